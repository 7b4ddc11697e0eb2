// SPDX-License-Identifier: Apache-2.0
// Which Services the tables have room for. One that does not fit is refused whole: half of its frontends, or half of a
// list, would be worse than none. The oldest come first, whatever came first to us, so that nodes agree and a restart
// changes nothing.

import { compareText, objectName } from '../core/names.ts'
import type { ObjectName } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import type { TableStore } from './desired.ts'
import { type TableName, tableGroups } from './tables.ts'

/** Tables that Services share. */
const [serviceTables] = tableGroups

/** Part of a table that stays free: what is new is written in full before the old goes. */
const SPARE = 1 / 32

/** A table that has no room for a Service, and how many entries it would need there. */
export interface Shortage {
  readonly table: TableName
  readonly needed: number
  readonly maxEntries: number
}

type Sizes = readonly number[] // by serviceTables

export interface Admission {
  /** After Services were contributed: withdraws those that do not fit, takes in those that do now. Cost: nothing while
   *  all fit, else all Services. */
  settle(
    world: Pick<WorldView, 'services'>,
    withdraw: (name: ObjectName) => void,
    takeIn: (name: ObjectName) => void,
  ): void
  /** The Service was contributed anew, or withdrawn. */
  forget(name: ObjectName): void
  readonly refused: ReadonlyMap<ObjectName, Shortage>
}

export function createAdmission(store: TableStore, maxEntries: (table: TableName) => number): Admission {
  const refused = new Map<ObjectName, Shortage>()
  const refusedSizes = new Map<ObjectName, Sizes>()

  function roomIn(table: TableName): number {
    return maxEntries(table) - Math.floor(maxEntries(table) * SPARE)
  }

  function sizesOf(name: ObjectName): Sizes {
    return refusedSizes.get(name) ?? serviceTables.map((table) => store.contributionCount(table, name))
  }

  return {
    refused,
    forget(name) {
      refused.delete(name)
      refusedSizes.delete(name)
    },
    settle(world, withdraw, takeIn) {
      if (refused.size === 0 && serviceTables.every((table) => store.claimCount(table) <= roomIn(table))) return
      const room = serviceTables.map(roomIn)
      const returning: ObjectName[] = []
      for (const name of oldestFirst(world)) {
        const sizes = sizesOf(name)
        const short = sizes.findIndex((size, i) => size > room[i]!)
        if (short < 0) {
          for (const [i, size] of sizes.entries()) room[i]! -= size
          if (refused.delete(name)) returning.push(name)
          continue
        }
        const table = serviceTables[short]!
        refused.set(name, { table, needed: sizes[short]!, maxEntries: maxEntries(table) })
        if (!refusedSizes.has(name)) withdraw(name)
        refusedSizes.set(name, sizes)
      }
      for (const name of returning) {
        refusedSizes.delete(name)
        takeIn(name)
      }
    },
  }
}

function oldestFirst(world: Pick<WorldView, 'services'>): ObjectName[] {
  return Array.from(world.services(), ({ namespace, name, createdMs }) => ({
    name: objectName(namespace, name),
    createdMs,
  }))
    .sort((a, b) => a.createdMs - b.createdMs || compareText(a.name, b.name))
    .map(({ name }) => name)
}
