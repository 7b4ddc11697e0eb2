// SPDX-License-Identifier: Apache-2.0
// `heddle policy verdict --engine model` against a model that was written from the API's documentation alone.
// HEDDLE_SEED repeats a failure.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { agree, cases } from '../../test/support/policy-agreement.ts'
import { modelVerdict } from '../../test/support/policy-model.ts'
import { policyWorlds } from '../../test/support/policy-worlds.ts'
import { soak } from '../../test/support/soak.ts'
import { modelEngine } from './offline.ts'

const RUNS = soak(2500, 55_000)
const QUERIES = 400

test.each(cases)('$why', async ({ objects, queries, answers }) => {
  expect(queries.map((query) => modelVerdict(objects, query))).toEqual(answers)
  await agree({ objects, queries }, modelEngine)
})

test('every verdict and the rule that it names are what the NetworkPolicy documentation says', {
  timeout: 60_000 + RUNS * 20,
}, async () => {
  const seed = process.env.HEDDLE_SEED ? { seed: Number(process.env.HEDDLE_SEED) } : {}
  const counts = { verdicts: 0, denied: 0, named: 0, audited: 0 }
  await fc.assert(
    fc.asyncProperty(policyWorlds(QUERIES), async (world) => {
      const { verdicts, denied, named, audited } = await agree(world, modelEngine)
      counts.verdicts += verdicts
      counts.denied += denied
      counts.named += named
      counts.audited += audited
    }),
    { numRuns: RUNS, ...seed },
  )
  console.log(`policy, the compiled form against the documentation: ${JSON.stringify(counts)}`)
  expect(counts.verdicts).toBeGreaterThan(soak(200_000, 5_000_000))
  expect(counts.denied).toBeGreaterThan(counts.verdicts / 20)
  expect(counts.audited).toBeGreaterThan(counts.verdicts / 50)
  expect(counts.named).toBeGreaterThan(counts.verdicts / 5)
})
