// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest'
import type { Address } from '../core/address.ts'
import type { Check } from './check.ts'
import { blameOf, type DropEvent, dropsOf, explains, judgeDrops, type NodeDrops } from './drops.ts'

const [client, guarded, stranger] = ['10.0.0.2', '10.0.0.3', '10.0.9.9'] as Address[]

const denied: Check = {
  name: 'policy/denied',
  group: 'policy',
  from: '',
  to: '',
  family: 4,
  todo: {
    do: 'probe',
    pod: 'client-1',
    probe: { kind: 'http', address: '10.96.0.1' as Address, port: 80, count: 1 },
    expect: { outcome: 'denied', target: guarded!, port: 8080 },
  },
}

function event(change: Partial<DropEvent> = {}): DropEvent {
  return {
    reason: 'policy-ingress',
    protocol: 'TCP',
    source: client!,
    sourcePort: 40_000,
    destination: guarded!,
    destinationPort: 8080,
    hook: 'from_pod',
    rule: null,
    ...change,
  }
}

describe('the drop that a denied path has to account for', () => {
  test.each([
    ['its own packet, behind the Service', event(), true],
    ['another port', event({ destinationPort: 8081 }), false],
    ['another protocol', event({ protocol: 'UDP' }), false],
    ['another sender', event({ source: stranger! }), false],
    ['no policy did it', event({ reason: 'no-endpoint' }), false],
  ])('%s', (_, one, isIt) => {
    expect(explains({ check: denied, from: [client!] }, one)).toBe(isIt)
    expect(dropsOf([{ check: denied, from: [client!] }], [one]).size).toBe(isIt ? 1 : 0)
  })
})

test('two denied paths to the same pod need an event each; a repeated SYN is no second one', () => {
  const attempts = [denied, { ...denied, name: 'policy/denied-by-service' }].map((check) => ({
    check,
    from: [client!],
  }))
  expect(dropsOf(attempts, [event(), event()]).size).toBe(1)
  expect(dropsOf(attempts, [event(), event({ sourcePort: 40_001 })]).size).toBe(2)
})

test('a path that broke is blamed on a drop of its own packets, behind a Service too', () => {
  const attempt = { check: denied, from: [client!] }
  expect(blameOf(attempt, [event({ reason: 'no-nexthop' })])).toMatchObject({ reason: 'no-nexthop' })
  expect(blameOf(attempt, [event({ destinationPort: 8081 }), event({ source: stranger! })])).toBeUndefined()
})

test('a Service without endpoints may be refused by a drop', () => {
  const address = '10.96.0.9' as Address
  const probe = { kind: 'http', address, port: 80, count: 1 } as const
  const refused: Check = { ...denied, todo: { do: 'probe', pod: 'client-1', probe, expect: { outcome: 'refused' } } }
  const at = (reason: string) => event({ reason, destination: address, destinationPort: 80 })
  expect(explains({ check: refused, from: [client!] }, at('no-backend'))).toBe(true)
  expect(explains({ check: refused, from: [client!] }, at('no-frontend'))).toBe(false)
})

describe('what was dropped on a node', () => {
  const own = { pods: new Set([client!, guarded!]), nodes: new Set(['172.18.0.11' as Address]), nodePorts: [20_000] }
  const judged = (change: Partial<NodeDrops>) => {
    const drops: NodeDrops = { node: 'n1', unknown: '', events: [], before: {}, after: {}, ...change }
    const { result, detail } = judgeDrops(drops, own, (one) => explains({ check: denied, from: [client!] }, one))
    return `${result}: ${detail}`
  }
  const counted = { before: { 'policy-ingress': 3 }, after: { 'policy-ingress': 4 } }

  test("a policy's drop of a denied path is what should be", () => {
    expect(judged({ events: [event()], ...counted })).toBe(
      'passed: 1 packets, all of them on paths that are denied or refused',
    )
  })

  test('a drop of the test that no path accounts for is named', () => {
    const lost = event({ reason: 'no-nexthop', destination: '10.0.0.3' as Address })
    expect(judged({ events: [lost], after: { 'no-nexthop': 1 } })).toBe(
      'failed: no-nexthop at from_pod: TCP 10.0.0.2:40000 -> 10.0.0.3:8080',
    )
  })

  test("a drop at a port of the test on a node's address counts as the test's own", () => {
    const lost = event({ source: stranger!, destination: '172.18.0.11' as Address, destinationPort: 20_000 })
    expect(judged({ events: [lost], after: { 'policy-ingress': 1 } })).toMatch(/^failed: policy-ingress/)
  })

  test("others' drops are none of the test's business, nor is group chatter of its pods", () => {
    const others = event({ source: stranger!, destination: stranger!, reason: 'source' })
    const chatter = event({ reason: 'multicast' })
    expect(judged({ events: [others, chatter], after: { source: 1, multicast: 1 } })).toBe('passed: nothing was')
  })

  test('a counter that rose less than events tell is a fault of the counting', () => {
    expect(judged({ events: [event(), event()], ...counted })).toBe(
      'failed: 2 events tell of policy-ingress, its counter rose by 1',
    )
  })

  test('lost events leave it open what was dropped', () => {
    expect(judged({ after: { 'event-lost': 2 } })).toMatch(/^failed: 2 events were lost/)
  })

  test('no agent: skipped, with the reason', () => {
    expect(judged({ unknown: 'no agent of Heddle runs on n1' })).toBe('skipped: no agent of Heddle runs on n1')
  })
})
