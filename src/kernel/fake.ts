// SPDX-License-Identifier: Apache-2.0
// A kernel in memory, for tests. It refuses what a packet between two writes could trip over: a reference to what is not
// there, the removal of what is still referred to, a table beyond its size.

import type { ByteText } from '../datapath/bytes.ts'
import type { KernelRoute } from '../datapath/plan.ts'
import { type KeyOf, keyText, readKey, readValue, type TableName, tableNames } from '../datapath/tables.ts'
import { FrontendFlags, maps, PolicyLevels, SLOT_CHUNK_SIZE, SLOT_TABLE_SIZE } from '../generated/abi.ts'
import type { Kernel } from './apply.ts'

export interface FakeKernel extends Kernel {
  /** Contents of a table, as text, sorted: "key -> value bytes in hex". */
  print(table: TableName): readonly string[]
  /** The next call that changes something is refused with this error. */
  failOnce(error: Error): void
  /** The next write of the epoch is. */
  failEpochOnce(error: Error): void
  /** Entries put and deleted so far. */
  readonly writes: () => number
}

export interface FakeOptions {
  /** Entries of tables that are smaller than by default. */
  readonly sizes?: Partial<Record<TableName, number>>
}

export function createFakeKernel({ sizes = {} }: FakeOptions = {}): FakeKernel {
  const tables = new Map<TableName, Map<ByteText, ByteText>>(tableNames.map((name) => [name, new Map()]))
  const of = (name: TableName): Map<ByteText, ByteText> => tables.get(name)!
  const routes = new Map<string, KernelRoute>()
  const maxEntries = (name: TableName): number => sizes[name] ?? maps[name].maxEntries
  let epoch = 0
  let writes = 0
  let failure: Error | undefined
  let epochFailure: Error | undefined

  function mayFail(): void {
    const error = failure
    failure = undefined
    if (error !== undefined) throw error
  }

  return {
    async readTable(table) {
      return Array.from(of(table), ([key, value]) => ({ key, value }))
    },
    async put(table, entries) {
      mayFail()
      for (const { key, value } of entries) {
        const problem = problemOfPut(of, table, key, value)
        if (problem !== null) throw new Error(`put ${table} ${keyText(table, key)}: ${problem}`)
        if (!of(table).has(key) && of(table).size >= maxEntries(table)) throw new Error(`put ${table}: E2BIG`)
        of(table).set(key, value)
        writes++
      }
    },
    async delete(table, keys) {
      mayFail()
      for (const key of keys) {
        if (!of(table).has(key)) continue
        const problem = problemOfDelete(of, table, key)
        if (problem !== null) throw new Error(`delete ${table} ${keyText(table, key)}: ${problem}`)
        of(table).delete(key)
        writes++
      }
    },
    maxEntries,
    readEpoch: () => epoch,
    writeEpoch(next) {
      failure ??= epochFailure
      epochFailure = undefined
      mayFail()
      epoch = next
    },
    readRoutes: async () => [...routes.values()],
    async putRoute(route) {
      mayFail()
      routes.set(route.destination, route)
    },
    async deleteRoute({ destination }) {
      mayFail()
      routes.delete(destination)
    },
    print: (table) =>
      [...of(table)]
        .map(([key, value]) => `${keyText(table, key)} -> ${Buffer.from(value, 'latin1').toString('hex')}`)
        .sort(),
    failOnce(error) {
      failure = error
    },
    failEpochOnce(error) {
      epochFailure = error
    },
    writes: () => writes,
  }
}

type Tables = (name: TableName) => Map<ByteText, ByteText>

function problemOfPut(tables: Tables, table: TableName, key: ByteText, value: ByteText): string | null {
  if (table === 'frontends') {
    const { backendList, count, externalList, externalCount, flags } = readValue(table, value)
    const lists = [
      [backendList, count],
      [externalList, externalCount],
    ] as const
    const problems = lists.map(([list, count]) => missingSlot(tables, list, count) ?? missingChunk(tables, list, flags))
    return problems.find((problem) => problem !== null) ?? null
  }
  if (table === 'class_prefixes') return coversIpv4WithoutIt(tables, readKey(table, key))
  if (table === 'policies' && !tables(table).has(key)) {
    return isInUse(tables, readKey(table, key)) ? 'a packet may already look here and find less' : null
  }
  return null
}

function problemOfDelete(tables: Tables, table: TableName, key: ByteText): string | null {
  if (table === 'backends') {
    const { backendList, slot } = readKey(table, key)
    const used = values(tables, 'frontends').some(
      (frontend) =>
        (frontend.backendList === backendList && slot < frontend.count) ||
        (frontend.externalList === backendList && slot < frontend.externalCount),
    )
    return used ? 'a frontend leads there' : null
  }
  if (table === 'slot_tables') {
    const { backendList } = readKey(table, key)
    const used = values(tables, 'frontends').some(
      (frontend) =>
        frontend.flags & FrontendFlags.SLOT_TABLE &&
        (frontend.backendList === backendList || frontend.externalList === backendList),
    )
    return used ? 'a frontend looks there' : null
  }
  if (table === 'class_prefixes' && isMappedPrefix(readKey(table, key))) {
    const covered = [...tables(table).keys()].some((other) => coversMapped(readKey(table, other)))
    return covered ? 'a shorter prefix would take its addresses' : null
  }
  if (table === 'policies') return isInUse(tables, readKey(table, key)) ? 'an endpoint and a class look here' : null
  return null
}

function missingChunk(tables: Tables, list: bigint, flags: number): string | null {
  if (list === 0n || !(flags & FrontendFlags.SLOT_TABLE)) return null
  const chunks = [...tables('slot_tables').keys()]
    .map((key) => readKey('slot_tables', key))
    .filter(({ backendList }) => backendList === list)
  return chunks.length === Math.ceil(SLOT_TABLE_SIZE / SLOT_CHUNK_SIZE) ? null : 'its table is not whole'
}

function missingSlot(tables: Tables, backendList: bigint, count: number): string | null {
  const slots = new Set(
    [...tables('backends').keys()]
      .map((key) => readKey('backends', key))
      .filter((key) => key.backendList === backendList)
      .map(({ slot }) => slot),
  )
  for (let slot = 0; slot < count; slot++) if (!slots.has(slot)) return `its backend ${slot} is not there`
  return null
}

/** Some endpoint has the set, and the level can be reached: at the class level only through an address of that class. */
function isInUse(tables: Tables, { set, level, scope }: KeyOf<'policies'>): boolean {
  const isLive = values(tables, 'endpoints').some(
    ({ egressSet, ingressSet }) => egressSet === set || ingressSet === set,
  )
  if (!isLive || level !== PolicyLevels.CLASS) return isLive
  return [...values(tables, 'classes'), ...values(tables, 'class_prefixes')].some(({ classId }) => classId === scope)
}

function coversIpv4WithoutIt(tables: Tables, prefix: KeyOf<'class_prefixes'>): string | null {
  if (!coversMapped(prefix)) return null
  const hasMapped = [...tables('class_prefixes').keys()].some((key) => isMappedPrefix(readKey('class_prefixes', key)))
  return hasMapped ? null : 'it covers every IPv4 address, and 0.0.0.0/0 is not there'
}

/** Shorter than ::ffff:0:0/96 and around it. */
function coversMapped({ length, address }: KeyOf<'class_prefixes'>): boolean {
  return length < 96 && address === '::'
}

function isMappedPrefix({ length, address }: KeyOf<'class_prefixes'>): boolean {
  return length === 96 && address === '0.0.0.0'
}

function values<M extends TableName>(tables: Tables, table: M): ReturnType<typeof readValue<M>>[] {
  return [...tables(table).values()].map((value) => readValue(table, value))
}
