// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createBackoff } from './backoff.ts'

test('waits double from the least to the most, and begin anew when it went well', () => {
  const backoff = createBackoff(100, 1_000, () => 0.5)
  const waits = (count: number) => Array.from({ length: count }, () => backoff.next())
  expect(waits(6)).toEqual([100, 200, 400, 800, 1_000, 1_000])
  backoff.reset()
  expect(waits(2)).toEqual([100, 200])
})

test('agents that lost one server together are spread over half to one and a half of each wait', () => {
  for (const [random, factor] of [
    [0, 0.5],
    [0.25, 0.75],
    [0.75, 1.25],
    [1 - 2 ** -53, 1.5],
  ] as const) {
    const backoff = createBackoff(100, 1_000, () => random)
    for (const middle of [100, 200, 400, 800, 1_000, 1_000]) expect(backoff.next()).toBeCloseTo(middle * factor, 9)
  }
})

test('no wait is outside of half the least and one and a half of the most, and each asks for a number of its own', () => {
  const randoms = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
    minLength: 1,
    maxLength: 100,
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000 }), fc.integer({ min: 1, max: 100 }), randoms, (min, times, drawn) => {
      const left = [...drawn]
      const backoff = createBackoff(min, min * times, () => left.shift()!)
      for (const _ of drawn) {
        const wait = backoff.next()
        expect(wait).toBeGreaterThanOrEqual(min * 0.5)
        expect(wait).toBeLessThanOrEqual(min * times * 1.5)
      }
      expect(left).toEqual([])
    }),
  )
})
