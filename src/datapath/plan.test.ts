// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import type { Address, Prefix } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import { PolicyDirection, PolicyLevels, PolicyVerdict, Realm } from '../generated/abi.ts'
import { createTableStore, type TableStore } from './desired.ts'
import { type KernelRoute, type Plan, plan, printPlan, routeDifferences } from './plan.ts'
import { type TableName, tableEntry } from './tables.ts'

const route: KernelRoute = {
  destination: '10.2.0.0/24' as Prefix,
  gateway: '192.0.2.2' as Address,
  ifindex: 2,
  source: '192.0.2.1' as Address,
  mtu: 1450,
}

function planOf(
  store: TableStore,
  desired: readonly KernelRoute[] = [],
  actual: readonly KernelRoute[] = [],
  maxEntries = 1000,
): Plan {
  const { differences, actualCount } = store
  const routes = routeDifferences(desired, actual)
  return plan({ differences, actualCount, maxEntries: () => maxEntries, routes, epoch: 4, isEpochOwed: false })
}

/** What apply would tell the store. */
function perform({ steps }: Plan, store: TableStore): void {
  for (const step of steps) {
    if (step.kind === 'put') for (const { key, value } of step.entries) store.recordWrite(step.table, key, value)
    if (step.kind === 'delete') for (const key of step.keys) store.recordWrite(step.table, key, undefined)
  }
}

function contributeEverything(store: TableStore): void {
  const address = '10.1.0.5' as Address
  const set = 0xabcn
  const policy = { direction: PolicyDirection.INGRESS, set, protocol: Protocol.TCP, prefixLength: 192, port: 80 }
  const allow = { verdict: PolicyVerdict.ALLOW, flags: 0, l7: 0, rule: 0x111n }
  const world = { classId: 0x22n, realm: Realm.WORLD }
  store.contribute('endpoints', 'c/eth0', [
    tableEntry(
      'endpoints',
      { address },
      {
        netnsCookie: 9n,
        egressSet: 0n,
        ingressSet: set,
        ifindex: 7,
        egressLevels: 0,
        ingressLevels: PolicyLevels.CLASS,
        isolated: 0,
        pod: 0x33n,
      },
    ),
  ])
  store.contribute('class_prefixes', 'all', [
    tableEntry('class_prefixes', { length: 0, address: '::' as Address }, world),
    tableEntry('class_prefixes', { length: 96, address: '0.0.0.0' as Address }, world),
  ])
  store.contribute('classes', 'pod', [tableEntry('classes', { address }, { classId: 0x44n, realm: Realm.POD })])
  store.contribute('policies', 'set', [
    tableEntry('policies', { ...policy, level: PolicyLevels.CLASS, scope: 0x44n }, allow),
    tableEntry(
      'policies',
      { ...policy, level: PolicyLevels.ANY, scope: 0n, prefixLength: 160, port: 0, protocol: 0 },
      allow,
    ),
  ])
  store.contribute('backends', 'shop/web', [
    tableEntry('backends', { backendList: 0x55n, slot: 0 }, { address, port: 8080 }),
  ])
  store.contribute('frontends', 'shop/web', [
    tableEntry(
      'frontends',
      { address: '10.96.0.1' as Address, port: 80, protocol: Protocol.TCP },
      {
        backendList: 0x55n,
        count: 1,
        flags: 0,
        service: 0x66n,
        externalList: 0n,
        externalCount: 0,
        affinitySeconds: 0,
      },
    ),
  ])
}

const everything: readonly (readonly [TableName, string])[] = [
  ['endpoints', 'c/eth0'],
  ['class_prefixes', 'all'],
  ['classes', 'pod'],
  ['policies', 'set'],
  ['backends', 'shop/web'],
  ['frontends', 'shop/web'],
]

describe('a packet between two writes must never meet a reference to what is not there', () => {
  test('puts go from referent to reference, longer prefixes first; removal goes the other way, with an epoch after it', () => {
    const store = createTableStore()
    contributeEverything(store)
    const added = planOf(store, [route], [])
    expect(printPlan(added)).toEqual([
      'put backends 0000000000000055[0] -> 10.1.0.5:8080',
      'put frontends 10.96.0.1:80/TCP -> list 0000000000000055 of 1, service 0000000000000066',
      'put policies 0000000000000abc ingress class 0000000000000044 TCP 80 -> allow by 0000000000000111',
      'put policies 0000000000000abc ingress any any -> allow by 0000000000000111',
      'put class_prefixes 0.0.0.0/0 -> class 0000000000000022, realm world',
      'put class_prefixes ::/0 -> class 0000000000000022, realm world',
      'put classes 10.1.0.5 -> class 0000000000000044, realm pod',
      'put endpoints 10.1.0.5 -> ifindex 7, pod 0000000000000033, ingress set 0000000000000abc, egress open',
      'put route 10.2.0.0/24 via 192.0.2.2 on ifindex 2 from 192.0.2.1 mtu 1450',
      'epoch 5',
    ])
    perform(added, store)
    expect(printPlan(planOf(store, [route], [route]))).toEqual([])

    for (const [table, source] of everything) store.contribute(table, source, [])
    expect(printPlan(planOf(store, [], [route]))).toEqual([
      'delete route 10.2.0.0/24 via 192.0.2.2 on ifindex 2 from 192.0.2.1 mtu 1450',
      'delete endpoints 10.1.0.5',
      'delete classes 10.1.0.5',
      'delete class_prefixes ::/0',
      'delete class_prefixes 0.0.0.0/0',
      'delete policies 0000000000000abc ingress any any',
      'delete policies 0000000000000abc ingress class 0000000000000044 TCP 80',
      'delete frontends 10.96.0.1:80/TCP',
      'delete backends 0000000000000055[0]',
      'epoch 5',
    ])
  })

  test('a table that does not fit holds back its own group before anything of it is written', () => {
    const store = createTableStore()
    contributeEverything(store)
    const { steps, refusals } = planOf(store, [], [], 1)
    expect(refusals.map(({ table }) => table)).toEqual(['policies', 'class_prefixes'])
    expect(steps.map((step) => ('table' in step ? step.table : step.kind))).toEqual(['backends', 'frontends'])
  })

  test('a route with another gateway is replaced, not removed', () => {
    const moved = { ...route, gateway: '192.0.2.9' as Address }
    expect(printPlan(planOf(createTableStore(), [moved], [route]))).toEqual([
      'put route 10.2.0.0/24 via 192.0.2.9 on ifindex 2 from 192.0.2.1 mtu 1450',
    ])
  })
})

describe('two sources that claim one key must not depend on who came first', () => {
  const key = { address: '10.96.0.1' as Address, port: 80, protocol: Protocol.TCP }
  const claim = (service: bigint) => [
    tableEntry('frontends', key, {
      backendList: 0n,
      count: 0,
      flags: 0,
      service,
      externalList: 0n,
      externalCount: 0,
      affinitySeconds: 0,
    }),
  ]

  test('the first by name is in force, and the other one when it goes', () => {
    for (const order of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      const store = createTableStore()
      for (const source of order) store.contribute('frontends', source, claim(source === 'a' ? 1n : 2n))
      const text = claim(1n)[0]!.key
      expect(store.desired('frontends', text)).toBe(claim(1n)[0]!.value)
      store.contribute('frontends', 'a', [])
      expect(store.desired('frontends', text)).toBe(claim(2n)[0]!.value)
      store.contribute('frontends', 'b', [])
      expect(store.desired('frontends', text)).toBeUndefined()
      expect(store.desiredCount('frontends')).toBe(0)
    }
  })
})
