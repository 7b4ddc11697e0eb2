// SPDX-License-Identifier: Apache-2.0
// What may leave the tables of Services before anything new is put, where both at once do not fit: frontends that are
// gone, then lists that no frontend leads to any more. A frontend that changes its list keeps the old one until it has
// the new one, so no packet finds half of a Service.

import type { Difference } from './desired.ts'
import { readKey, readValue, type TableName } from './tables.ts'

export type Differences = ReadonlyMap<TableName, readonly Difference[]>

/** In the order in which they are deleted. */
export function earlyDeletes(differences: Differences): Differences {
  const frontends = differences.get('frontends') ?? []
  const inUse = new Set(
    frontends.flatMap(({ desired, actual }) =>
      desired === undefined || actual === undefined ? [] : listsOf(readValue('frontends', actual)),
    ),
  )
  const goneWithList = (table: 'slot_tables' | 'backends'): [TableName, Difference[]] => [
    table,
    gone(differences.get(table) ?? []).filter(({ key }) => !inUse.has(readKey(table, key).backendList)),
  ]
  return new Map([['frontends', gone(frontends)], goneWithList('slot_tables'), goneWithList('backends')])
}

/** Lists for clients inside the cluster, and for those outside. */
function listsOf(frontend: { readonly backendList: bigint; readonly externalList?: bigint }): bigint[] {
  return [frontend.backendList, frontend.externalList ?? 0n]
}

function gone(differences: readonly Difference[]): Difference[] {
  return differences.filter(({ desired }) => desired === undefined)
}
