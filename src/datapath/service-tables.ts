// SPDX-License-Identifier: Apache-2.0
// Frontends of one Service -> its entries of the tables of bpf/abi/service.h.

import { type Address, prefixToKey } from '../core/address.ts'
import type { Id64 } from '../core/id64.ts'
import { serviceId, servicePortName } from '../core/names.ts'
import { Protocol } from '../core/protocol.ts'
import { FrontendFlags, SLOT_CHUNK_SIZE, SLOT_TABLE_SIZE, SOURCE_RANGE_FIXED_BITS } from '../generated/abi.ts'
import { type Backend, backendListId, backendText, type Frontend, FrontendKind } from '../services/frontends.ts'
import { hasSlotTable, slotTable } from '../services/slot-table.ts'
import { Algorithm, AT_RANDOM, type Balancing, type ObjectName } from '../world/objects.ts'
import type { TableStore } from './desired.ts'
import { readKey, readValue, type TableEntry, tableEntry } from './tables.ts'

/** Ids of the lists of backends; the empty ones have 0. */
export type BackendLists = ReadonlyMap<readonly Backend[], Id64>

/** Replaces what the Service contributes. Returns the backends that it had and has no more, where a port of it was UDP:
 *  connected sockets still lead there. bornMs: the older of two Services has the frontends that both claim. */
export function contributeService(
  store: TableStore,
  name: ObjectName,
  frontends: readonly Frontend[],
  bornMs: number | undefined,
): Backend[] {
  const before = udpBackendsOf(store, name)
  const balancing = frontends[0]?.balancing ?? AT_RANDOM
  const lists = backendLists(name, frontends, balancing)
  store.contribute('backends', name, [...lists].flatMap(backendEntries))
  const listsWithTable = hasSlotTable(balancing) ? [...lists] : []
  store.contribute(
    'slot_tables',
    name,
    listsWithTable.flatMap(([backends, list]) => chunkEntries(list, backends, balancing)),
  )
  store.contribute('source_ranges', name, frontends.flatMap(rangeEntries))
  store.contribute(
    'frontends',
    name,
    [...frontends.map((frontend) => frontendEntry(frontend, lists)), ...addressEntries(frontends)],
    bornMs,
  )
  const after = new Set([...lists.keys()].flatMap((backends) => backends.map(backendText)))
  return before.filter((backend) => !after.has(backendText(backend)))
}

/** Each list once. */
export function backendLists(service: ObjectName, frontends: readonly Frontend[], balancing: Balancing): BackendLists {
  const lists = new Map<readonly Backend[], Id64>()
  for (const { internal, external } of frontends) {
    for (const backends of external === null ? [internal.backends] : [internal.backends, external.backends]) {
      if (lists.has(backends)) continue
      lists.set(backends, backends.length === 0 ? 0n : backendListId(service, backends, balancing))
    }
  }
  return lists
}

function backendEntries([backends, backendList]: readonly [readonly Backend[], Id64]): TableEntry[] {
  return backends.map((backend, slot) => tableEntry('backends', { backendList, slot }, backend))
}

function chunkEntries(backendList: Id64, backends: readonly Backend[], balancing: Balancing): TableEntry[] {
  if (backends.length === 0) return []
  return slotChunks(backends, balancing).map((slots, chunk) =>
    tableEntry('slot_tables', { backendList, chunk }, { slots }),
  )
}

/** The table of a list, in the pieces of `slot_tables`. */
export function slotChunks(backends: readonly Backend[], balancing: Balancing): Uint16Array[] {
  const chunks = Math.ceil(SLOT_TABLE_SIZE / SLOT_CHUNK_SIZE)
  const table = new Uint16Array(chunks * SLOT_CHUNK_SIZE)
  table.set(slotTable(backends, balancing, SLOT_TABLE_SIZE))
  return Array.from({ length: chunks }, (_, chunk) =>
    table.subarray(chunk * SLOT_CHUNK_SIZE, (chunk + 1) * SLOT_CHUNK_SIZE),
  )
}

function frontendEntry(frontend: Frontend, lists: BackendLists): TableEntry {
  const { address, port, protocol, internal, external, affinitySeconds } = frontend
  return tableEntry(
    'frontends',
    { address, port, protocol },
    {
      backendList: lists.get(internal.backends)!,
      count: internal.backends.length,
      flags: flagsOf(frontend),
      service: idOf(frontend),
      externalList: external === null ? 0n : lists.get(external.backends)!,
      externalCount: external === null ? 0 : external.backends.length,
      affinitySeconds,
    },
  )
}

export const algorithmFlags: Readonly<Record<Algorithm, number>> = {
  [Algorithm.RANDOM]: 0,
  [Algorithm.ROUND_ROBIN]: FrontendFlags.IN_TURN,
  [Algorithm.SOURCE_HASH]: FrontendFlags.BY_SOURCE,
  [Algorithm.MAGLEV]: FrontendFlags.BY_SOURCE,
  [Algorithm.LEAST_CONNECTIONS]: FrontendFlags.BY_LOAD,
}

function flagsOf({ internal, external, sourceRanges, balancing }: Frontend): number {
  return (
    (external === null ? 0 : FrontendFlags.EXTERNAL) |
    (internal.dropsWhenEmpty ? FrontendFlags.INTERNAL_DROPS : 0) |
    (external?.dropsWhenEmpty ? FrontendFlags.EXTERNAL_DROPS : 0) |
    (sourceRanges === null ? 0 : FrontendFlags.SOURCE_RANGES) |
    (hasSlotTable(balancing) ? FrontendFlags.SLOT_TABLE : 0) |
    algorithmFlags[balancing.algorithm]
  )
}

function rangeEntries(frontend: Frontend): TableEntry[] {
  return (frontend.sourceRanges ?? []).map((range) => {
    const { length, address } = prefixToKey(range)
    const key = { prefixLength: SOURCE_RANGE_FIXED_BITS + length, service: idOf(frontend), address }
    return tableEntry('source_ranges', key, { allowed: 1 })
  })
}

/** A cluster IP is its Service's with every port. */
function addressEntries(frontends: readonly Frontend[]): TableEntry[] {
  const owners = new Map<Address, Frontend>()
  for (const frontend of frontends) {
    if (frontend.kind === FrontendKind.CLUSTER_IP && !owners.has(frontend.address))
      owners.set(frontend.address, frontend)
  }
  return Array.from(owners, ([address, frontend]) =>
    tableEntry(
      'frontends',
      { address, port: 0, protocol: 0 },
      {
        backendList: 0n,
        count: 0,
        flags: 0,
        service: idOf(frontend),
        externalList: 0n,
        externalCount: 0,
        affinitySeconds: 0,
      },
    ),
  )
}

function idOf({ service, portName, port }: Frontend): Id64 {
  return serviceId(servicePortName(service, portName, port))
}

/** Backends of the Service as last contributed; none where none of its ports is UDP. */
function udpBackendsOf(store: TableStore, service: ObjectName): Backend[] {
  const isUdp = ({ key }: TableEntry): boolean => readKey('frontends', key).protocol === Protocol.UDP
  if (!store.contributions('frontends', service).some(isUdp)) return []
  return store.contributions('backends', service).map(({ value }) => readValue('backends', value) as Backend)
}
