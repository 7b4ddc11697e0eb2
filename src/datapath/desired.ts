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
  adopt(table: TableName, entries: Iterable<TableEntry>): void
  /** The kernel's table was changed so; undefined: deleted. */
  recordWrite(table: TableName, key: ByteText, value: ByteText | undefined): void
  /** Keys where desired and actual differ. Cost: the keys touched since they were equal. */
  differences(table: TableName): readonly Difference[]
}

/** What is known of one key. The same text object serves as key, as desired and as actual value wherever they are equal:
 *  50,000 entries are 50,000 rows and 100,000 small texts. */
interface Row {
  /** undefined: nobody wants it there. */
  claim: Claim | undefined
  actual: ByteText | undefined
}

/** Claims to one key, sorted by source; the first is in force. */
interface Claim {
  readonly source: string
  readonly value: ByteText
  readonly next: Claim | undefined
}

interface Table {
  readonly rows: Map<ByteText, Row>
  readonly keysOf: Map<string, readonly ByteText[]>
  readonly touched: Set<ByteText>
  desiredCount: number
  actualCount: number
}

export function createTableStore(): TableStore {
  const tables = new Map<TableName, Table>(
    tableNames.map((name) => [
      name,
      { rows: new Map(), keysOf: new Map(), touched: new Set(), desiredCount: 0, actualCount: 0 },
    ]),
  )
  const of = (name: TableName): Table => tables.get(name)!

  return {
    contribute(name, source, entries) {
      const table = of(name)
      for (const key of table.keysOf.get(source) ?? []) {
        const row = rowOf(table, key)
        setClaim(table, key, row, withoutClaim(row.claim, source))
        table.touched.add(key)
      }
      for (const { key, value } of entries) {
        const row = rowOf(table, key)
        setClaim(table, key, row, withClaim(row.claim, source, value))
        table.touched.add(key)
      }
      if (entries.length === 0) table.keysOf.delete(source)
      else
        table.keysOf.set(
          source,
          entries.map((entry) => entry.key),
        )
    },
    desired: (name, key) => of(name).rows.get(key)?.claim?.value,
    desiredCount: (name) => of(name).desiredCount,
    contributions: (name, source) =>
      (of(name).keysOf.get(source) ?? []).map((key) => ({
        key,
        value: claimOf(of(name).rows.get(key)?.claim, source).value,
      })),
    *desiredEntries(name) {
      for (const [key, { claim }] of of(name).rows) if (claim !== undefined) yield { key, value: claim.value }
    },
    sources: (name) => of(name).keysOf.keys(),
    actual: (name, key) => of(name).rows.get(key)?.actual,
    actualCount: (name) => of(name).actualCount,
    adopt(name, entries) {
      const table = of(name)
      for (const [key, row] of table.rows) {
        table.touched.add(key)
        setActual(table, key, row, undefined)
      }
      for (const { key, value } of entries) {
        const row = rowOf(table, key)
        const desired = row.claim?.value
        setActual(table, key, row, value === desired ? desired : value)
        table.touched.add(key)
      }
    },
    recordWrite(name, key, value) {
      const table = of(name)
      setActual(table, key, rowOf(table, key), value)
    },
    differences(name) {
      const { rows, touched } = of(name)
      const differences: Difference[] = []
      for (const key of touched) {
        const row = rows.get(key)
        const difference = { key, desired: row?.claim?.value, actual: row?.actual }
        if (difference.desired === difference.actual) touched.delete(key)
        else differences.push(difference)
      }
      return differences
    },
  }
}

/** Differences between what a store desires and a table that was read apart from it. */
export function drift(store: TableStore, table: TableName, held: Iterable<TableEntry>): Difference[] {
  const read = new Map([...held].map(({ key, value }) => [key, value]))
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

function rowOf({ rows }: Table, key: ByteText): Row {
  let row = rows.get(key)
  if (row === undefined) {
    row = { claim: undefined, actual: undefined }
    rows.set(key, row)
  }
  return row
}

function setClaim(table: Table, key: ByteText, row: Row, claim: Claim | undefined): void {
  table.desiredCount += Number(claim !== undefined) - Number(row.claim !== undefined)
  row.claim = claim
  dropIfEmpty(table, key, row)
}

function setActual(table: Table, key: ByteText, row: Row, actual: ByteText | undefined): void {
  table.actualCount += Number(actual !== undefined) - Number(row.actual !== undefined)
  row.actual = actual
  dropIfEmpty(table, key, row)
}

function dropIfEmpty({ rows }: Table, key: ByteText, { claim, actual }: Row): void {
  if (claim === undefined && actual === undefined) rows.delete(key)
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
