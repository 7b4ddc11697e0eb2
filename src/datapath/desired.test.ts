// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compareText } from '../core/names.ts'
import { createTableStore } from './desired.ts'

interface Contribution {
  readonly source: string
  readonly keys: readonly string[]
  readonly value: string
  readonly bornMs: number
}

const contribution: fc.Arbitrary<Contribution> = fc.record({
  source: fc.constantFrom('a', 'b', 'c'),
  keys: fc.array(fc.constantFrom('k', 'l', 'm'), { maxLength: 4 }),
  value: fc.constantFrom('x', 'y'),
  bornMs: fc.constantFrom(0, 0, 7, 8),
})

/** Those that claim the key, as their contributions say: the oldest first, then by name. */
function claimants(contributions: readonly Contribution[], key: string): Contribution[] {
  const last = new Map(contributions.map((each) => [each.source, each]))
  return [...last.values()]
    .filter(({ keys }) => keys.includes(key))
    .sort((a, b) => a.bornMs - b.bornMs || compareText(a.source, b.source))
}

test('who has a key depends on what each source said last, not on what others said and when', () => {
  fc.assert(
    fc.property(fc.array(contribution, { maxLength: 12 }), (contributions) => {
      const store = createTableStore()
      for (const { source, keys, value, bornMs } of contributions) {
        const entries = keys.map((key) => ({ key, value }))
        store.contribute('frontends', source, entries, bornMs)
      }
      let claimCount = 0
      for (const key of ['k', 'l', 'm']) {
        const found = claimants(contributions, key)
        claimCount += found.length
        expect(store.desired('frontends', key)).toBe(found[0]?.value)
        for (const { source, value } of found)
          expect(store.contributions('frontends', source)).toContainEqual({ key, value })
        const contested = store.contested('frontends').find((each) => each.key === key)
        expect(contested?.sources).toEqual(found.length < 2 ? undefined : found.map(({ source }) => source))
      }
      expect(store.claimCount('frontends')).toBe(claimCount)
      expect([...store.desiredEntries('frontends')]).toHaveLength(store.desiredCount('frontends'))
    }),
    { numRuns: 2000 },
  )
})
