// SPDX-License-Identifier: Apache-2.0
// `trace`: which backend of a list a client gets that has none (bpf/lib/service.h).

import { type Address, addressBytes } from '../core/address.ts'
import { type Frontend, FrontendFlags, SLOT_CHUNK_SIZE, SLOT_TABLE_SIZE } from '../generated/abi.ts'
import { lookup, type Tables } from './trace-tables.ts'

/** For clients inside the cluster, or outside. */
export interface List {
  readonly id: bigint
  readonly count: number
}

/** What the client's address decides; `other`: chance, or whose turn it is. The list is not empty. */
export function newSlot(
  { slot_tables }: Pick<Tables, 'slot_tables'>,
  { flags }: Pick<Frontend, 'flags'>,
  { id, count }: List,
  source: Address,
  other: () => number,
): number {
  if (!(flags & FrontendFlags.BY_SOURCE)) return other()
  const number = sourceHash(source)
  const at = number % SLOT_TABLE_SIZE
  const chunk = lookup(slot_tables, { backendList: id, chunk: Math.floor(at / SLOT_CHUNK_SIZE) })
  return flags & FrontendFlags.SLOT_TABLE && chunk ? chunk.slots[at % SLOT_CHUNK_SIZE]! : number % count
}

/** MurmurHash3's last step (fmix64) over both words; the upper 32 bits. */
export function sourceHash(source: Address): number {
  const bytes = addressBytes(source)
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const stir = (hash: bigint, by: bigint) => BigInt.asUintN(64, (hash ^ (hash >> 33n)) * by)
  const word = (at: number) => words.getBigUint64(at, true)
  const mixed = BigInt.asUintN(64, word(0) * 0x9e3779b97f4a7c15n + word(8))
  return Number(stir(stir(mixed, 0xff51afd7ed558ccdn), 0xc4ceb9fe1a85ec53n) >> 32n)
}
