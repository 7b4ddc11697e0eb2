// SPDX-License-Identifier: Apache-2.0
// Who loses a connection that a change of backends did not concern, and who carries more than a fair share.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Address, Port } from '../core/address.ts'
import { Algorithm, type Balancing } from '../world/objects.ts'
import type { Backend } from './frontends.ts'
import { slotTable } from './slot-table.ts'

const SIZE = 16_381
const maglev: Balancing = { algorithm: Algorithm.MAGLEV, weights: null }
const inTurn: Balancing = { algorithm: Algorithm.ROUND_ROBIN, weights: {} }

/** Sorted by a number that stands for the address. */
function backendsOf(numbers: readonly number[], weight?: (index: number) => number): Backend[] {
  return numbers
    .toSorted((a, b) => a - b)
    .map((number, index) => ({
      address: `10.${number >> 16}.${(number >> 8) & 255}.${number & 255}` as Address,
      port: 80 as Port,
      ...(weight && { weight: weight(index) }),
    }))
}

const addresses = (most: number) => fc.uniqueArray(fc.nat(0xff_ffff), { minLength: 2, maxLength: most })

function sharesOf(table: Uint16Array, count: number): number[] {
  const shares = new Array<number>(count).fill(0)
  for (const index of table) shares[index]! += 1
  return shares
}

/** Slots that another backend has in the second table, as a part of those whose backend is in both. */
function disrupted(before: Backend[], after: Backend[]): number {
  const [a, b] = [slotTable(before, maglev, SIZE), slotTable(after, maglev, SIZE)]
  const text = ({ address }: Backend) => address as string
  const kept = new Set(after.map(text))
  let [moved, staying] = [0, 0]
  for (let slot = 0; slot < SIZE; slot++) {
    const had = text(before[a[slot]!]!)
    if (!kept.has(had)) continue
    staying++
    if (had !== text(after[b[slot]!]!)) moved++
  }
  return moved / staying
}

describe('Maglev', () => {
  test('every backend has its share of the slots, but for one', () => {
    fc.assert(
      fc.property(addresses(100), (numbers) => {
        const shares = sharesOf(slotTable(backendsOf(numbers), maglev, SIZE), numbers.length)
        expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
      }),
      { numRuns: 20 },
    )
  })

  test('when one of the backends goes, few clients of the others move', () => {
    fc.assert(
      fc.property(addresses(100), fc.nat(), (numbers, gone) => {
        const before = backendsOf(numbers)
        const after = before.filter((_, index) => index !== gone % before.length)
        expect(disrupted(before, after)).toBeLessThan(0.05)
      }),
      { numRuns: 20 },
    )
  })

  test('a backend with another port is another one', () => {
    const [first] = backendsOf([1])
    const table = (port: number) => slotTable([{ ...first!, port: port as Port }, ...backendsOf([2])], maglev, SIZE)
    expect(table(80)).not.toEqual(table(81))
  })
})

describe('in turn by weight', () => {
  test('the heavy one is not asked thrice at once where it can be helped', () => {
    expect([
      ...slotTable(
        backendsOf([1, 2], (index) => [3, 1][index]!),
        inTurn,
        8,
      ),
    ]).toEqual([0, 1, 0, 0, 0, 1, 0, 0])
  })
})

describe.each([maglev, inTurn])('$algorithm by weight', (balancing) => {
  const weights = fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 50, maxLength: 50 })

  test('every share is what the weights say, but for some slots', () => {
    fc.assert(
      fc.property(addresses(50), weights, (numbers, weights) => {
        const backends = backendsOf(numbers, (index) => weights[index]!)
        const total = backends.reduce((sum, { weight }) => sum + weight!, 0)
        const off = sharesOf(slotTable(backends, balancing, SIZE), backends.length).map((share, index) => {
          const part = backends[index]!.weight! / total
          return Math.abs(share - SIZE * part) - backends.length * part // each has rounded up
        })
        expect(Math.max(...off)).toBeLessThanOrEqual(2)
      }),
      { numRuns: 20 },
    )
  })

  test('the lightest of 5,000 is not forgotten', () => {
    const many = Array.from({ length: 5000 }, (_, i) => i)
    const backends = backendsOf(many, (index) => (index === 17 ? 1 : 100))
    expect(new Set(slotTable(backends, balancing, SIZE)).size).toBe(5000)
  })

  test('more backends than slots: nobody has two', () => {
    const many = Array.from({ length: 40 }, (_, i) => i)
    expect(
      new Set(
        slotTable(
          backendsOf(many, () => 7),
          balancing,
          31,
        ),
      ).size,
    ).toBe(31)
  })
})
