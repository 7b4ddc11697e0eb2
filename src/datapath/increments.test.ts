// SPDX-License-Identifier: Apache-2.0
// Tables that are brought up to date with what is dirty, beside those of a compiler that begins anew, through random histories.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Change, changes } from '../../test/support/histories.ts'
import { soak } from '../../test/support/soak.ts'
import { createWorld, type World } from '../world/world.ts'
import { type CompileInput, createCompiler } from './compile.ts'
import { createTableStore, type TableStore } from './desired.ts'
import { tableNames } from './tables.ts'

const input: CompileInput = {
  nodeName: 'n1',
  mode: 'native',
  serviceCIDRs: [],
  clusterServiceCIDRs: [],
  ownAddresses: [],
  uplink: 2,
  uplinkMtu: 1500,
  gateways: new Map(),
  nodePortAddresses: [],
}

function printed(store: TableStore): Record<string, readonly string[]> {
  return Object.fromEntries(
    tableNames.map((table) => [
      table,
      Array.from(store.desiredEntries(table), ({ key, value }) => `${key} ${value}`).sort(),
    ]),
  )
}

/** What a world has that the same changes made in one go. */
function anew(history: readonly Change[]): TableStore {
  const world = createWorld()
  for (const { on } of history) on(world)
  const store = createTableStore()
  createCompiler(store, () => 10_000).compile(world, world.takeDirty(), input)
  return store
}

test('what is not compiled again although it changed stays in the kernel as it was', () => {
  fc.assert(
    fc.property(changes, (passes) => {
      const world: World = createWorld()
      const store = createTableStore()
      const compiler = createCompiler(store, () => 10_000)
      for (const [pass, batch] of passes.entries()) {
        for (const { on } of batch) on(world)
        compiler.compile(world, world.takeDirty(), input)
        expect(printed(store)).toEqual(printed(anew(passes.slice(0, pass + 1).flat())))
      }
    }),
    { numRuns: soak(100, 10_000) },
  )
})
