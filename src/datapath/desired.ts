// SPDX-License-Identifier: Apache-2.0
// What each table should hold, and what it holds as far as the agent knows. Every entry is contributed by a source (one
// Service, one endpoint, one policy set), so that a changed source costs its own entries. Where two sources claim one
// key, the first by name wins: the result depends on the contributions, not on their order.
//
//   contribute --> desired ----\
//                  touched keys --> differences --> plan --> apply --> recordWrite
//   adopt -------> actual -----/                                            |
//                    ^------------------------------------------------------'

import { invariant } from '../core/errors.ts'
import { compareText } from '../core/names.ts'
import type { ByteText } from './bytes.ts'
import { type TableEntry, type TableName, tableNames } from './tables.ts'

export interface Difference {
  readonly key: ByteText
  /** undefined: should not be there. */
  readonly desired: ByteText | undefined
  /** undefined: is not there. */
  readonly actual: ByteText | undefined
}

export interface TableStore {
  /** Replaces what the source contributes to the table; no entries: withdraws it. Cost: old and new entries. */
  contribute(table: TableName, source: string, entries: readonly TableEntry[]): void
  desired(table: TableName, key: ByteText): ByteText | undefined
  desiredCount(table: TableName): number
  /** Entries that the source contributes, also where another source's is in force. */
  contributions(table: TableName, source: string): TableEntry[]
  desiredEntries(table: TableName): Iterable<TableEntry>
  /** Sources that contribute to the table. */
  sources(table: TableName): Iterable<string>
  actual(table: TableName, key: ByteText): ByteText | undefined
  actualCount(table: TableName): number
  /** What the kernel's table holds, read just now. */
  adopt(table: TableName, actual: Map<ByteText, ByteText>): void
  /** The kernel's table was changed so; undefined: deleted. */
  recordWrite(table: TableName, key: ByteText, value: ByteText | undefined): void
  /** Keys where desired and actual differ. Cost: the keys touched since they were equal. */
  differences(table: TableName): readonly Difference[]
}

/** Claims to one key, sorted by source; the first is in force. */
interface Claim {
  readonly source: string
  readonly value: ByteText
  readonly next: Claim | undefined
}

interface Table {
  readonly claims: Map<ByteText, Claim>
  readonly keysOf: Map<string, readonly ByteText[]>
  readonly touched: Set<ByteText>
  actual: Map<ByteText, ByteText>
}

export function createTableStore(): TableStore {
  const tables = new Map<TableName, Table>(
    tableNames.map((name) => [name, { claims: new Map(), keysOf: new Map(), touched: new Set(), actual: new Map() }]),
  )
  const of = (name: TableName): Table => tables.get(name)!

  return {
    contribute(name, source, entries) {
      const { claims, keysOf, touched } = of(name)
      for (const key of keysOf.get(source) ?? []) {
        const rest = withoutClaim(claims.get(key), source)
        if (rest === undefined) claims.delete(key)
        else claims.set(key, rest)
        touched.add(key)
      }
      for (const { key, value } of entries) {
        claims.set(key, withClaim(claims.get(key), source, value))
        touched.add(key)
      }
      if (entries.length === 0) keysOf.delete(source)
      else
        keysOf.set(
          source,
          entries.map((entry) => entry.key),
        )
    },
    desired: (name, key) => of(name).claims.get(key)?.value,
    desiredCount: (name) => of(name).claims.size,
    contributions: (name, source) =>
      (of(name).keysOf.get(source) ?? []).map((key) => ({
        key,
        value: claimOf(of(name).claims.get(key), source).value,
      })),
    *desiredEntries(name) {
      for (const [key, { value }] of of(name).claims) yield { key, value }
    },
    sources: (name) => of(name).keysOf.keys(),
    actual: (name, key) => of(name).actual.get(key),
    actualCount: (name) => of(name).actual.size,
    adopt(name, actual) {
      const table = of(name)
      table.actual = actual
      table.touched.clear()
      for (const key of actual.keys()) table.touched.add(key)
      for (const key of table.claims.keys()) table.touched.add(key)
    },
    recordWrite(name, key, value) {
      const { actual } = of(name)
      if (value === undefined) actual.delete(key)
      else actual.set(key, value)
    },
    differences(name) {
      const { claims, actual, touched } = of(name)
      const differences: Difference[] = []
      for (const key of touched) {
        const difference = { key, desired: claims.get(key)?.value, actual: actual.get(key) }
        if (difference.desired === difference.actual) touched.delete(key)
        else differences.push(difference)
      }
      return differences
    },
  }
}

/** Differences between what a store desires and a table that was read apart from it. */
export function drift(store: TableStore, table: TableName, read: ReadonlyMap<ByteText, ByteText>): Difference[] {
  const differences: Difference[] = []
  for (const { key, value } of store.desiredEntries(table)) {
    const actual = read.get(key)
    if (actual !== value) differences.push({ key, desired: value, actual })
  }
  for (const [key, actual] of read) {
    if (store.desired(table, key) === undefined) differences.push({ key, desired: undefined, actual })
  }
  return differences
}

function claimOf(claim: Claim | undefined, source: string): Claim {
  invariant(claim !== undefined, `no claim of ${source}`)
  return claim.source === source ? claim : claimOf(claim.next, source)
}

function withClaim(claim: Claim | undefined, source: string, value: ByteText): Claim {
  if (claim === undefined || compareText(source, claim.source) < 0) return { source, value, next: claim }
  if (claim.source === source) return { source, value, next: claim.next }
  return { ...claim, next: withClaim(claim.next, source, value) }
}

function withoutClaim(claim: Claim | undefined, source: string): Claim | undefined {
  if (claim === undefined || claim.source === source) return claim?.next
  return { ...claim, next: withoutClaim(claim.next, source) }
}
