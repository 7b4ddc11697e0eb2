// SPDX-License-Identifier: Apache-2.0
// GET /v1/trace: places by name, tables from the kernel, an answer in words.

import { beforeEach, describe, expect, test } from 'vitest'
import { audit, ingress, native, pod, ruleIdOf, service, world as tablesOf } from '../../test/packet/cluster.ts'
import { address } from '../../test/support/packet.ts'
import { serviceWith } from '../../test/support/services.ts'
import { type TableName, tableEntry } from '../datapath/tables.ts'
import { createFakeKernel, type FakeKernel } from '../kernel/fake.ts'
import type { Names } from '../observe/events.ts'
import { createWorld } from '../world/world.ts'
import { answerTrace } from './trace-answer.ts'

const names: Names = {
  pod: () => 'shop/some-pod',
  rule: () => undefined,
  isolating: () => undefined,
  service: () => undefined,
  address: () => undefined,
}

const world = createWorld()
world.put({
  kind: 'Pod',
  namespace: 'shop',
  name: 'cart',
  uid: '',
  labels: {},
  nodeName: 'n1',
  hostNetwork: false,
  podIPs: [address('fd00:1::5'), address('10.1.0.5')],
  finished: false,
  createdMs: 0,
  containerPorts: [],
})
world.put({ kind: 'Node', name: 'n2', labels: {}, internalIPs: [address('192.168.0.2')], podCIDRs: [], createdMs: 0 })
world.put(serviceWith({ name: 'web', clusterIPs: [address('10.96.0.10')] }))

let kernel: FakeKernel

beforeEach(async () => {
  kernel = createFakeKernel()
  const tables = tablesOf(pod('cart'), pod('web'), service('shop:80', 'web:8080'))
  const order: readonly TableName[] = ['backends', 'frontends', 'nexthops', 'nodes', 'routes', 'policies']
  for (const name of [...order, 'class_prefixes', 'classes', 'endpoints'] as const) {
    const entries = tables[name as keyof typeof tables] as readonly (readonly [never, never])[]
    await kernel.put(
      name,
      entries.map(([key, value]) => tableEntry(name, key, value)),
    )
  }
})

function ask(query: Record<string, string>) {
  return answerTrace({ kernel, world, names, config: native, mtuBytes: 1500 }, new URLSearchParams(query))
}

test('a pod asks a Service: both by name, the family that both have', async () => {
  const answer = await ask({ from: 'shop/cart', to: 'svc/shop/web', port: '80', protocol: 'TCP' })
  expect(answer).toMatchObject({ from: 'shop/cart', to: 'svc/shop/web', verdict: 'allow', reason: null, rule: null })
  expect(answer.steps.map(({ stage }) => stage)).toEqual([
    'endpoint',
    'service',
    'route',
    'conntrack',
    'policy',
    'policy',
    'translation',
    'forward',
  ])
})

test('what audited policies would deny is allowed, and says by what', async () => {
  const audited = tablesOf(pod('web', { ingress: ingress('s', audit('no', 'any')) }))
  for (const name of ['policies', 'endpoints'] as const) {
    const entries = audited[name] as readonly (readonly [never, never])[]
    await kernel.put(
      name,
      entries.map(([key, value]) => tableEntry(name, key, value)),
    )
  }
  const query = new URLSearchParams({ from: 'node/n2', to: '10.1.0.6', port: '80', protocol: 'TCP' })
  const ruleNames = { ...names, rule: (id: bigint) => (id === ruleIdOf('no') ? 'shop/web ingress[0]' : undefined) }
  const answer = await answerTrace({ kernel, world, names: ruleNames, config: native, mtuBytes: 1500 }, query)
  expect(answer).toMatchObject({ verdict: 'allow', reason: null, rule: null, audit: 'shop/web ingress[0]' })
})

test('a denial gives its reason', async () => {
  const answer = await ask({ from: 'node/n2', to: '10.1.0.200', port: '80', protocol: 'UDP' })
  expect(answer).toMatchObject({ verdict: 'deny', reason: 'no-endpoint', rule: null })
})

describe('is refused', () => {
  test.each([
    ['a pod that nobody knows', { from: 'shop/nobody', to: '10.1.0.6', port: '80' }, /there is no shop\/nobody/],
    ['a Service that nobody knows', { from: 'shop/cart', to: 'svc/shop/nope', port: '80' }, /there is no svc\/shop/],
    ['two families', { from: 'node/n2', to: 'fd00:1::5', port: '80' }, /no address of the same family/],
    ['a port that is none', { from: 'shop/cart', to: '10.1.0.6', port: '70000' }, /70000 is not a port/],
    ['a protocol that is none', { from: 'shop/cart', to: '10.1.0.6', port: '8', protocol: 'X' }, /X is not TCP/],
  ])('%s', async (_, query, message) => {
    await expect(ask(query)).rejects.toThrow(message)
  })
})
