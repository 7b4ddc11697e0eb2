// SPDX-License-Identifier: Apache-2.0
// What the kernel's tables hold, beside what is desired: the ground of every list.

import type { ByteText } from '../datapath/bytes.ts'
import type { TableStore } from '../datapath/desired.ts'
import { type KeyOf, readKey, readValue, type TableName, type ValueOf } from '../datapath/tables.ts'
import type { Kernel } from '../kernel/apply.ts'
import type { Drift } from './api.ts'

export interface ReadEntry<M extends TableName> {
  readonly key: KeyOf<M>
  /** Of the kernel; where it has none, what is desired. */
  readonly value: ValueOf<M>
  readonly drift: Drift
}

/** Every entry that the kernel holds or that is desired. */
export async function readBack<M extends TableName>(
  kernel: Kernel,
  store: TableStore,
  table: M,
): Promise<ReadEntry<M>[]> {
  const held = new Set<ByteText>()
  const entries: ReadEntry<M>[] = []
  for (const { key, value } of await kernel.readTable(table)) {
    held.add(key)
    const desired = store.desired(table, key)
    const drift = desired === undefined ? 'unexpected' : desired === value ? 'none' : 'different'
    entries.push(readEntry(table, key, value, drift))
  }
  for (const { key, value } of store.desiredEntries(table)) {
    if (!held.has(key)) entries.push(readEntry(table, key, value, 'missing'))
  }
  return entries
}

function readEntry<M extends TableName>(table: M, key: ByteText, value: ByteText, drift: Drift): ReadEntry<M> {
  return { key: readKey(table, key), value: readValue(table, value), drift }
}

/** The drift of a row made of several entries: all alike, or different. */
export function driftOf(entries: readonly { readonly drift: Drift }[]): Drift {
  const first = entries[0]?.drift ?? 'none'
  return entries.every(({ drift }) => drift === first) ? first : 'different'
}
