// SPDX-License-Identifier: Apache-2.0
// What `heddle trace` prints. The tables are those of the packet rows.

import { expect, test } from 'vitest'
import { allow, config, ingress, native, pod, service, tunnelled, world } from '../../test/packet/cluster.ts'
import { address } from '../../test/support/packet.ts'
import { Protocol } from '../core/protocol.ts'
import { type NodeConfig, Realm } from '../generated/abi.ts'
import { askTrace } from './trace-question.ts'

const tables = world(
  pod('cart'),
  pod('web', { ingress: ingress('shop', allow('pods-80', { realm: Realm.POD }, 'TCP/80')) }),
  service('shop:80', 'web:80'),
  service('empty:80'),
)

function ask(from: string, to: string, port: number, node: NodeConfig = native): readonly string[] {
  const { verdict, steps } = askTrace({
    tables,
    config: node,
    from: address(from),
    to: address(to),
    port,
    protocol: Protocol.TCP,
    mtuBytes: 1500,
    nameOf: (id) => `#${id.toString(16).slice(0, 4)}`,
  })
  const end = verdict.kind === 'drop' ? `drop ${verdict.reason}` : verdict.kind
  return [...steps.map(({ stage, text }) => `${stage}: ${text}`), end]
}

test('a pod asks a Service: backend, conntrack, policy and the way', () => {
  expect(ask('10.1.0.5', '10.96.0.10', 80)).toMatchInlineSnapshot(`
    [
      "endpoint: 10.1.0.5 is #7085, interface 21",
      "service: #b8af: backend 10.1.0.6 port 80, of 1",
      "route: 10.1.0.6 is a pod here, interface 22",
      "conntrack: new flow",
      "policy: egress of #7085 allowed: no policy isolates it",
      "policy: ingress of #1e89 allowed: rule #41fe",
      "translation: new, becomes 10.1.0.5 port 40000 to 10.1.0.6 port 80",
      "forward: into the pod behind interface 22",
      "pod",
    ]
  `)
})

test('a denied port names the set', () => {
  expect(ask('10.1.0.5', '10.1.0.6', 81)).toMatchInlineSnapshot(`
    [
      "endpoint: 10.1.0.5 is #7085, interface 21",
      "route: 10.1.0.6 is a pod here, interface 22",
      "conntrack: new flow",
      "policy: egress of #7085 allowed: no policy isolates it",
      "policy: ingress of #1e89 denied: no rule of #4916 matches",
      "drop 8",
    ]
  `)
})

test('a pod of another node, by VXLAN', () => {
  expect(ask('fd00:2::9', 'fd00:1::6', 80, tunnelled)).toMatchInlineSnapshot(`
    [
      "uplink: fd00:2::9 comes from the network",
      "tunnel: VXLAN of node #5a1b",
      "route: fd00:1::6 is a pod here, interface 22",
      "conntrack: new flow",
      "policy: ingress of #1e89 allowed: rule #41fe",
      "forward: into the pod behind interface 22",
      "pod",
    ]
  `)
})

test('a pod asks a pod of another node', () => {
  expect(ask('10.1.0.5', '10.2.0.9', 80, tunnelled)).toMatchInlineSnapshot(`
    [
      "endpoint: 10.1.0.5 is #7085, interface 21",
      "route: 10.2.0.9 is node #5a1b",
      "conntrack: new flow",
      "policy: egress of #7085 allowed: no policy isolates it",
      "nexthop: node #5a1b, VXLAN to 192.168.0.2 by 192.168.0.2 on interface 10",
      "nexthop",
    ]
  `)
})

test('a process of the node asks a Service', () => {
  expect(ask('192.168.0.1', '10.96.0.10', 80)).toMatchInlineSnapshot(`
    [
      "host: 192.168.0.1 is this node",
      "service: #b8af: backend 10.1.0.6 port 80, of 1",
      "conntrack: new flow",
      "policy: ingress of #1e89 allowed: the own host may always reach its pods",
      "stack",
    ]
  `)
})

test('a process of the node asks a Service without endpoints', () => {
  expect(ask('192.168.0.1', '10.96.0.11', 80)).toMatchInlineSnapshot(`
    [
      "host: 192.168.0.1 is this node",
      "service: #54b3 has no endpoints",
      "drop 10",
    ]
  `)
})

test('a pod asks the world', () => {
  expect(ask('10.1.0.5', '203.0.113.7', 443, config({ natPortMin: 40000 }))).toMatchInlineSnapshot(`
    [
      "endpoint: 10.1.0.5 is #7085, interface 21",
      "route: 203.0.113.7 is beyond the cluster",
      "conntrack: new flow",
      "policy: egress of #7085 allowed: no policy isolates it",
      "translation: new, becomes 192.168.0.1 port 40000 to 203.0.113.7 port 443",
      "forward: to the world by interface 10",
      "nexthop",
    ]
  `)
})
