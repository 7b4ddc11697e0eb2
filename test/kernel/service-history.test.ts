// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { test } from 'vitest'
import type { TableName } from '../../src/datapath/tables.ts'
import type { MapName } from '../../src/generated/abi.ts'
import type { Fd } from '../../src/kernel/addon.ts'
import type { Kernel } from '../../src/kernel/apply.ts'
import { createFakeKernel } from '../../src/kernel/fake.ts'
import { createLiveKernel } from '../../src/kernel/live.ts'
import { loadAddon } from '../../src/kernel/load-addon.ts'
import { loadShipped } from '../support/maps.ts'
import { checkServiceHistory, serviceHistories, serviceTables } from '../support/service-history.ts'
import { soak } from '../support/soak.ts'

const addon = loadAddon()
const ENTRIES = 4096

/** Service tables of the kernel; what Services have nothing to do with is beside the point. */
function withServiceTables(live: Kernel): Kernel {
  const beside = createFakeKernel()
  const of = (table: TableName): Kernel => ((serviceTables as readonly TableName[]).includes(table) ? live : beside)
  return {
    ...beside,
    readTable: (table) => of(table).readTable(table),
    put: (table, entries) => of(table).put(table, entries),
    delete: (table, keys) => of(table).delete(table, keys),
    maxEntries: (table) => of(table).maxEntries(table),
  }
}

async function empty(kernel: Kernel): Promise<void> {
  for (const table of serviceTables.toReversed()) {
    const keys = Array.from(await kernel.readTable(table), ({ key }) => key)
    if (keys.length > 0) await kernel.delete(table, keys)
  }
}

test('whatever comes and goes, the maps read back are those of a compile from scratch', async () => {
  using object = await loadShipped(addon, 'from_pod', ENTRIES)
  const fds = Object.fromEntries(serviceTables.map((table) => [table, object.map(table)])) as Record<MapName, Fd>
  const none = { read: async () => [], put: async () => {}, delete: async () => {} }
  const kernel = withServiceTables(createLiveKernel(addon, fds, none))
  await fc.assert(
    fc
      .asyncProperty(serviceHistories, (history) => checkServiceHistory(kernel, history))
      .beforeEach(() => empty(kernel)),
    { numRuns: soak(100, 2_000) },
  )
})
