// SPDX-License-Identifier: Apache-2.0
// The kernel that plans are applied to: the pinned tables and this node's routes.

import { encode } from '../core/codec.ts'
import { toBytes, toByteText } from '../datapath/bytes.ts'
import type { KernelRoute } from '../datapath/plan.ts'
import type { TableEntry, TableName } from '../datapath/tables.ts'
import { type MapName, maps, policyEpoch, u32 } from '../generated/abi.ts'
import type { Addon, Fd } from './addon.ts'
import type { Kernel } from './apply.ts'

/** Up to here single calls cost less than a trip to the thread pool (about 1 us each against 50 us). */
const INLINE_MAX = 16
const BPF_ANY = 0

export interface RouteTable {
  read(): Promise<readonly KernelRoute[]>
  put(route: KernelRoute): Promise<void>
  delete(route: KernelRoute): Promise<void>
}

/** The maps stay the caller's. */
export function createLiveKernel(addon: Addon, fds: Readonly<Record<MapName, Fd>>, routes: RouteTable): Kernel {
  const epochKey = encode(u32, 0)
  const sizes = new Map(Object.values(fds).map((fd) => [fd, addon.mapInfo(fd).maxEntries]))
  return {
    async readTable(table) {
      const { keySize, valueSize } = maps[table]
      const { keys, values, count } = await addon.mapDump(fds[table])
      return entries(keys, keySize, values, valueSize, count)
    },
    async put(table, entries) {
      const { keySize, valueSize } = maps[table]
      const keys = toBytes(
        entries.map(({ key }) => key),
        keySize,
      )
      const values = toBytes(
        entries.map(({ value }) => value),
        valueSize,
      )
      if (entries.length > INLINE_MAX) {
        await addon.mapUpdateBatch(fds[table], keys, values, entries.length)
        return
      }
      for (let i = 0; i < entries.length; i++) {
        addon.mapUpdate(fds[table], at(keys, i, keySize), at(values, i, valueSize), BPF_ANY)
      }
    },
    async delete(table, deleted) {
      const { keySize } = maps[table]
      const keys = toBytes(deleted, keySize)
      if (deleted.length > INLINE_MAX) {
        await addon.mapDeleteBatch(fds[table], keys, deleted.length)
        return
      }
      for (let i = 0; i < deleted.length; i++) addon.mapDelete(fds[table], at(keys, i, keySize))
    },
    maxEntries: (table: TableName) => sizes.get(fds[table])!,
    readEpoch: () => policyEpoch.read(addon.mapLookup(fds.policy_epoch, epochKey)!, 0).epoch,
    writeEpoch: (epoch) => addon.mapUpdate(fds.policy_epoch, epochKey, encode(policyEpoch, { epoch }), BPF_ANY),
    readRoutes: routes.read,
    putRoute: routes.put,
    deleteRoute: routes.delete,
  }
}

function* entries(
  keys: Uint8Array,
  keySize: number,
  values: Uint8Array,
  valueSize: number,
  count: number,
): Generator<TableEntry> {
  for (let i = 0; i < count; i++) {
    yield { key: toByteText(at(keys, i, keySize)), value: toByteText(at(values, i, valueSize)) }
  }
}

function at(bytes: Uint8Array, index: number, size: number): Uint8Array {
  return bytes.subarray(index * size, (index + 1) * size)
}
