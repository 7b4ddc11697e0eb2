// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { attachment } from '../../test/support/ipam.ts'
import { type Address, type Prefix, parsePrefix, prefixContains } from '../core/address.ts'
import {
  type AllocatorState,
  chooseAddress,
  emptyState,
  type Moment,
  type Pool,
  poolStatus,
  REST_MS,
  record,
  snapshot,
} from './allocator.ts'

const at = (ms: number, bootId = 'boot'): Moment => ({ bootId, ms })
const pool = (prefix: string, ...reserved: string[]): Pool => ({
  prefix: parsePrefix(prefix) as Prefix,
  reserved: reserved as Address[],
})

/** Gives one address of the pool to a container of that name. */
function take(state: AllocatorState, from: Pool, name: string, now: Moment): Address | null {
  const address = chooseAddress(state, from, now)
  if (address !== null) record(state, { fact: 'put', attachment: attachment(name, [address]) })
  return address
}

function release(state: AllocatorState, name: string, now: Moment): void {
  const { addresses } = state.attachments.get(`${name}/eth0`)!
  record(state, { fact: 'drop', id: { containerId: name, ifname: 'eth0' }, addresses, at: now })
}

function takeAll(state: AllocatorState, from: Pool): (Address | null)[] {
  const taken = []
  for (let i = 0; i < 64; i++) {
    const address = take(state, from, `c${i}`, at(0))
    if (address === null) break
    taken.push(address)
  }
  return taken
}

describe('what a pool can give', () => {
  test.each([
    ['10.1.0.0/30', ['10.1.0.1', '10.1.0.2']],
    ['10.1.0.0/31', ['10.1.0.0', '10.1.0.1']],
    ['10.1.0.7/32', ['10.1.0.7']],
    ['fd00::/126', ['fd00::1', 'fd00::2', 'fd00::3']],
    ['fd00::/127', ['fd00::', 'fd00::1']],
    ['fd00::9/128', ['fd00::9']],
  ])('%s: %j', (prefix, addresses) => {
    expect(takeAll(emptyState(), pool(prefix))).toEqual(addresses)
    expect(poolStatus(emptyState(), pool(prefix), at(0)).capacity).toBe(BigInt(addresses.length))
  })

  test('a reserved address is never given, nor counted', () => {
    const reserving = pool('10.1.0.0/29', '10.1.0.3', '192.0.2.1')
    const state = emptyState()
    expect(takeAll(state, reserving)).toEqual(['10.1.0.1', '10.1.0.2', '10.1.0.4', '10.1.0.5', '10.1.0.6'])
    expect(poolStatus(state, reserving, at(0))).toEqual({
      prefix: '10.1.0.0/29',
      capacity: 5n,
      used: 5,
      resting: 0,
    })
  })

  test('an IPv6 /64 gives distinct addresses as cheaply as a small pool', () => {
    const state = emptyState()
    const addresses = Array.from({ length: 3000 }, (_, i) => take(state, pool('fd00:1::/64'), `c${i}`, at(0)))
    expect(new Set(addresses).size).toBe(3000)
    expect(addresses.at(-1)).toBe('fd00:1::bb8')
    expect(poolStatus(state, pool('fd00:1::/64'), at(0)).capacity).toBe(2n ** 64n - 1n)
  })

  test('after the podCIDR changed, addresses come from the new one', () => {
    const state = emptyState()
    take(state, pool('10.1.0.0/24'), 'a', at(0))
    expect(take(state, pool('10.2.0.0/24'), 'b', at(0))).toBe('10.2.0.1')
  })
})

describe('rest', () => {
  test('addresses are given in turn, so a released one comes back last', () => {
    const state = emptyState()
    const small = pool('10.1.0.0/29')
    expect(take(state, small, 'a', at(0))).toBe('10.1.0.1')
    expect(take(state, small, 'b', at(0))).toBe('10.1.0.2')
    release(state, 'a', at(0))
    expect(take(state, small, 'c', at(REST_MS))).toBe('10.1.0.3')
  })

  test('a released address rests 30 s', () => {
    const state = emptyState()
    const small = pool('10.1.0.0/30')
    take(state, small, 'a', at(0))
    release(state, 'a', at(1000))
    expect(take(state, small, 'b', at(1000))).toBe('10.1.0.2')
    release(state, 'b', at(2000))
    expect(poolStatus(state, small, at(1000 + REST_MS - 1)).resting).toBe(2)
    expect(poolStatus(state, small, at(1000 + REST_MS)).resting).toBe(1)
    expect(take(state, small, 'c', at(1000 + REST_MS))).toBe('10.1.0.1')
  })

  test('the one released first ends its rest early when the pool has nothing else', () => {
    const state = emptyState()
    const small = pool('10.1.0.0/30')
    take(state, small, 'a', at(0))
    take(state, small, 'b', at(0))
    release(state, 'b', at(10))
    release(state, 'a', at(20))
    expect(take(state, small, 'c', at(30))).toBe('10.1.0.2')
    expect(take(state, small, 'd', at(30))).toBe('10.1.0.1')
    expect(take(state, small, 'e', at(30))).toBeNull()
  })

  test.each([
    ['another boot', at(5, 'before')],
    ['a later time than now', at(1_000_000)],
  ])('a rest that began in %s begins anew', (_, moment) => {
    const state = emptyState()
    const small = pool('10.1.0.0/30')
    take(state, small, 'a', at(0))
    release(state, 'a', moment)
    expect(poolStatus(state, small, at(100)).resting).toBe(1)
    expect(poolStatus(state, small, at(100 + REST_MS - 1)).resting).toBe(1)
    expect(poolStatus(state, small, at(100 + REST_MS)).resting).toBe(0)
  })
})

describe('facts', () => {
  test('an address put for another attachment proves that the first was dropped', () => {
    const state = emptyState()
    const address = '10.1.0.1' as Address
    record(state, { fact: 'put', attachment: attachment('a', [address]) })
    record(state, { fact: 'put', attachment: attachment('b', [address]) })
    expect([...state.attachments.keys()]).toEqual(['b/eth0'])
    expect(state.owners.get(address)).toBe('b/eth0')
  })

  /** One of eight containers comes, goes, or time passes. */
  const step = fc.oneof(
    fc.record({ take: fc.integer({ min: 0, max: 7 }) }),
    fc.record({ release: fc.integer({ min: 0, max: 7 }) }),
    fc.record({ wait: fc.integer({ min: 0, max: REST_MS }) }),
  )

  test('no address has two owners, none leaves its pool, a snapshot gives the same state', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.constantFrom('10.1.0.0/29', 'fd00::/125'), (steps, prefix) => {
        const state = emptyState()
        const tiny = pool(prefix)
        let now = 0
        for (const one of steps) {
          if ('wait' in one) now += one.wait
          else if ('take' in one) {
            if (!state.attachments.has(`c${one.take}/eth0`)) {
              const before = new Set(state.owners.keys())
              const address = take(state, tiny, `c${one.take}`, at(now))
              if (address === null) expect(BigInt(before.size)).toBe(poolStatus(state, tiny, at(now)).capacity)
              else {
                expect(before).not.toContain(address)
                expect(prefixContains(tiny.prefix, address)).toBe(true)
              }
            }
          } else if (state.attachments.has(`c${one.release}/eth0`)) release(state, `c${one.release}`, at(now))

          const owned = [...state.attachments.values()].flatMap(({ addresses }) => addresses)
          expect(new Set(owned).size).toBe(owned.length)
          expect(new Set(state.owners.keys())).toEqual(new Set(owned))
          const again = emptyState()
          for (const fact of snapshot(state)) record(again, fact)
          expect(again).toEqual(state)
        }
      }),
    )
  })
})
