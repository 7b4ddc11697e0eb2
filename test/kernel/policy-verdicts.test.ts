// SPDX-License-Identifier: Apache-2.0
// `heddle policy verdict --engine kernel` against the model that was written from the API's documentation: real packets
// through the shipped programs, rules as the kernel's maps give them. HEDDLE_SEED repeats a failure.

import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type KernelEngine, openKernelEngine } from '../../src/agent/policy-engine.ts'
import { agree, cases } from '../support/policy-agreement.ts'
import { policyWorlds } from '../support/policy-worlds.ts'
import { soak } from '../support/soak.ts'

const RUNS = soak(2500, 55_000)
const QUERIES = 400

let kernel: KernelEngine

beforeAll(async () => {
  kernel = await openKernelEngine()
})
afterAll(() => kernel?.[Symbol.dispose]())

test.each(cases)('$why', async ({ objects, queries }) => {
  await agree({ objects, queries }, kernel.engine)
})

test('the programs say of random packets what the documentation says', { timeout: 60_000 + RUNS * 100 }, async () => {
  const seed = process.env.HEDDLE_SEED ? { seed: Number(process.env.HEDDLE_SEED) } : {}
  let verdicts = 0
  let denied = 0
  await fc.assert(
    fc.asyncProperty(policyWorlds(QUERIES), async (world) => {
      const seen = await agree(world, kernel.engine)
      verdicts += seen.verdicts
      denied += seen.denied
    }),
    { numRuns: RUNS, ...seed },
  )
  console.log(`policy, the programs against the documentation: ${JSON.stringify({ verdicts, denied })}`)
  expect(verdicts).toBeGreaterThan(soak(200_000, 5_000_000))
  expect(denied).toBeGreaterThan(verdicts / 20)
})
