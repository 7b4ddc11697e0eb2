// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import type { Address, Prefix } from '../core/address.ts'
import type { EndpointSlice, LabelSelector, Labels, Node, Pod } from '../world/objects.ts'
import { createWorld } from '../world/world.ts'
import { createClassifier, type Questions, serverClassId } from './classes.ts'
import { type PodPeer, SERVERS } from './rules.ts'

const address = '192.0.2.1' as Address

function node(change: Partial<Node>): Node {
  return { kind: 'Node', name: 'n1', labels: {}, internalIPs: [], podCIDRs: [], createdMs: 0, ...change }
}

const servers: EndpointSlice = {
  kind: 'EndpointSlice',
  namespace: 'default',
  name: 'kubernetes',
  serviceName: 'kubernetes',
  family: 4,
  ports: [],
  endpoints: [{ address, nodeName: '', hints: null, ready: true, serving: true, terminating: false }],
  triggeredMs: 0,
}

const nothing: Questions = {
  selectors: [],
  asksForPods: false,
  deniesPods: false,
  asksForRanges: false,
  portNames: new Set(),
}

test('the class of a node, and what it is once an API server is there', () => {
  const world = createWorld()
  world.put(node({ labels: { zone: 'a' }, internalIPs: [address] }))
  const nodes = { matchLabels: { zone: 'a' }, matchExpressions: [] }
  const classify = createClassifier()
  const questions: Questions = {
    ...nothing,
    selectors: [SERVERS, { kind: 'nodes', text: 'nodes where zone=a', nodes }],
  }
  const classOf = () => classify(world, 'n2', questions, world.takeDirty()).byAddress.get(address)!
  const before = classOf()
  world.put(servers)
  expect([...classOf().members].sort()).toEqual(['kube-apiserver', 'nodes where zone=a'])
  expect(classOf().classId).toBe(serverClassId(before.text))
})

test('an API server outside is one in a pod range once a node has that range', () => {
  const world = createWorld()
  world.put(servers)
  const classify = createClassifier()
  const questions: Questions = { ...nothing, selectors: [SERVERS], asksForRanges: true }
  const classOf = () => classify(world, 'n2', questions, world.takeDirty()).byAddress.get(address)!.text
  expect(classOf()).toBe('world; kube-apiserver')
  world.put(node({ podCIDRs: ['192.0.2.0/24' as Prefix] }))
  expect(classOf()).toBe('pod range; kube-apiserver; perhaps any pod')
  world.delete('Node', 'n1')
  expect(classOf()).toBe('world; kube-apiserver')
})

describe('a selector that comes is asked of whom it may select', () => {
  const pod = (namespace: string, name: string, ip: string): Pod => ({
    kind: 'Pod',
    namespace,
    name,
    uid: '',
    labels: { app: name },
    nodeName: '',
    hostNetwork: false,
    podIPs: [ip as Address],
    finished: false,
    createdMs: 0,
    containerPorts: [],
  })
  const labelled = (matchLabels: Labels): LabelSelector => ({ matchLabels, matchExpressions: [] })
  const cart = (where: Pick<PodPeer, 'namespace' | 'namespaces'>): PodPeer => ({
    kind: 'pods',
    text: `cart in ${JSON.stringify(where)}`,
    pods: labelled({ app: 'cart' }),
    ...where,
  })

  /** Classes of those that are looked at anew, once the selector has come and once it has gone. */
  function changed(peer: PodPeer): readonly (readonly string[])[] {
    const world = createWorld()
    world.put({ kind: 'Namespace', name: 'red', labels: { team: 'red' } })
    world.put(pod('red', 'cart', '10.1.0.1'))
    world.put(pod('red', 'till', '10.1.0.2'))
    world.put(pod('unknown', 'cart', '10.1.0.3'))
    const classify = createClassifier()
    const some: Questions = { ...nothing, asksForPods: true, deniesPods: true }
    const look = (questions: Questions) => {
      const { changed, byAddress } = classify(world, 'n1', questions, world.takeDirty())
      return Array.from(changed.addresses, (each) => `${each} ${byAddress.get(each)!.text}`).sort()
    }
    look(some)
    return [look({ ...some, selectors: [peer] }), look(some)]
  }

  test('in a namespace by its name', () => {
    const peer = cart({ namespace: 'red', namespaces: null })
    expect(changed(peer)).toEqual([[`10.1.0.1 pod; ${peer.text}`], ['10.1.0.1 pod']])
  })

  test('in namespaces by their labels, and where those are not known', () => {
    const peer = cart({ namespace: null, namespaces: labelled({ team: 'red' }) })
    expect(changed(peer)).toEqual([
      [`10.1.0.1 pod; ${peer.text}`, `10.1.0.3 pod; perhaps ${peer.text}`],
      ['10.1.0.1 pod', '10.1.0.3 pod'],
    ])
  })
})
