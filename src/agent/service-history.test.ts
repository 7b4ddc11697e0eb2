// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { test } from 'vitest'
import { checkServiceHistory, serviceHistories } from '../../test/support/service-history.ts'
import { soak } from '../../test/support/soak.ts'
import { createFakeKernel } from '../kernel/fake.ts'

test('a change of Services costs what it changes and leaves what a compile from scratch gives', async () => {
  await fc.assert(
    fc.asyncProperty(serviceHistories, (history) => checkServiceHistory(createFakeKernel(), history)),
    { numRuns: soak(300, 10_000) },
  )
})
