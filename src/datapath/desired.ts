// SPDX-License-Identifier: Apache-2.0
// What each table should hold, and what it holds as far as the agent knows. Every entry is contributed by a source (one
// Service, one endpoint, one policy set), so that a changed source costs its own entries. Where two sources claim one
// key, the older wins, then the first by name: the result depends on the contributions, not on their order.
//
//   contribute --> claims ----> desired --\
//                                          differs --> plan --> apply --> recordWrite
//   adopt ------------------------> actual -/                                 |
//                                     ^---------------------------------------'
//
// What the kernel holds is remembered only where it differs: 50,000 entries in force are 50,000 claims and no more.

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
  /** Replaces what the source contributes to the table; no entries: withdraws it. `bornMs`: the earlier has its claims.
   *  Cost: old and new entries. */
  contribute(table: TableName, source: string, entries: readonly TableEntry[], bornMs?: number): void
  desired(table: TableName, key: ByteText): ByteText | undefined
  desiredCount(table: TableName): number
  /** Entries that the source contributes, also where another source's is in force. */
  contributions(table: TableName, source: string): TableEntry[]
  contributionCount(table: TableName, source: string): number
  /** Contributions of all sources. */
  claimCount(table: TableName): number
  /** Keys that several sources claim, the one in force first. Cost: the table. */
  contested(table: TableName): readonly { readonly key: ByteText; readonly sources: readonly string[] }[]
  desiredEntries(table: TableName): Iterable<TableEntry>
  actual(table: TableName, key: ByteText): ByteText | undefined
  actualCount(table: TableName): number
  /** What the kernel's table holds, read just now. */
  adopt(table: TableName, entries: Iterable<TableEntry>): void
  /** The kernel's table was changed so; undefined: deleted. */
  recordWrite(table: TableName, key: ByteText, value: ByteText | undefined): void
  /** Keys where desired and actual differ. Cost: as many as there are. */
  differences(table: TableName): readonly Difference[]
}

/** A source, and since when it is where that is known: of 100,000 claims few need it. */
type Source = string | { readonly name: string; readonly bornMs: number }

/** Claims to one key, the oldest first, then by name of the source; the first is in force. */
interface Claim {
  readonly source: Source
  readonly value: ByteText
  readonly next: Claim | undefined
}

/** A claim that has no rival and no age is its value alone: as objects 100,000 of them take 5 MB. */
type Claims = Claim | ByteText

interface Table {
  readonly claims: Map<ByteText, Claims>
  /** Most sources have one key, which is kept without a list around it: of 100,000 that saves 6 MB. */
  readonly keysOf: Map<string, ByteText | readonly ByteText[]>
  /** Keys where the kernel holds something else than is desired, and what; undefined: nothing. */
  readonly differs: Map<ByteText, ByteText | undefined>
  claimCount: number
}

export function createTableStore(): TableStore {
  const tables = new Map<TableName, Table>(
    tableNames.map((name) => [name, { claims: new Map(), keysOf: new Map(), differs: new Map(), claimCount: 0 }]),
  )
  const of = (name: TableName): Table => tables.get(name)!

  return {
    contribute(name, source, entries, bornMs = 0) {
      const table = of(name)
      const before = keysOf(table, source)
      for (const key of before) setClaims(table, key, withoutClaim(table.claims.get(key), source))
      table.keysOf.delete(source)
      const values = new Map(entries.map(({ key, value }) => [key, value]))
      const born = bornMs === 0 ? source : { name: source, bornMs }
      for (const [key, value] of values) setClaims(table, key, withClaim(claimsOf(table, key), born, value))
      const [first, ...more] = values.keys()
      if (first !== undefined) table.keysOf.set(source, more.length === 0 ? first : [first, ...more])
      table.claimCount += values.size - before.length
    },
    desired: (name, key) => inForce(of(name).claims.get(key)),
    desiredCount: (name) => of(name).claims.size,
    contributions(name, source) {
      const table = of(name)
      return keysOf(table, source).map((key) => ({ key, value: claimedBy(table.claims.get(key), source) }))
    },
    contributionCount: (name, source) => keysOf(of(name), source).length,
    claimCount: (name) => of(name).claimCount,
    contested(name) {
      const found: { key: ByteText; sources: string[] }[] = []
      for (const [key, claims] of of(name).claims)
        if (typeof claims !== 'string' && claims.next !== undefined) found.push({ key, sources: sourcesOf(claims) })
      return found
    },
    *desiredEntries(name) {
      for (const [key, claims] of of(name).claims) yield { key, value: inForce(claims)! }
    },
    actual: (name, key) => actualOf(of(name), key),
    actualCount(name) {
      const { claims, differs } = of(name)
      let count = claims.size
      for (const [key, actual] of differs) count += Number(actual !== undefined) - Number(claims.has(key))
      return count
    },
    adopt(name, entries) {
      const table = of(name)
      table.differs.clear()
      for (const key of table.claims.keys()) table.differs.set(key, undefined)
      for (const { key, value } of entries) setActual(table, key, value)
    },
    recordWrite: (name, key, value) => setActual(of(name), key, value),
    differences(name) {
      const { claims, differs } = of(name)
      return Array.from(differs, ([key, actual]) => ({ key, desired: inForce(claims.get(key)), actual }))
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

function actualOf({ claims, differs }: Table, key: ByteText): ByteText | undefined {
  return differs.has(key) ? differs.get(key) : inForce(claims.get(key))
}

function setClaims(table: Table, key: ByteText, claims: Claims | undefined): void {
  const actual = actualOf(table, key)
  if (claims === undefined) table.claims.delete(key)
  else table.claims.set(key, claims)
  setActual(table, key, actual)
}

function setActual({ claims, differs }: Table, key: ByteText, actual: ByteText | undefined): void {
  if (actual === inForce(claims.get(key))) differs.delete(key)
  else differs.set(key, actual)
}

function keysOf({ keysOf }: Table, source: string): readonly ByteText[] {
  const found = keysOf.get(source) ?? []
  return typeof found === 'string' ? [found] : found
}

/** Its value. */
function inForce(claims: Claims | undefined): ByteText | undefined {
  return typeof claims === 'string' ? claims : claims?.value
}

/** Those to a key that is about to have one more. Cost of one without rival: all sources, but few keys ever have two. */
function claimsOf(table: Table, key: ByteText): Claim | undefined {
  const found = table.claims.get(key)
  if (typeof found !== 'string') return found
  const source = Array.from(table.keysOf.keys()).find((each) => keysOf(table, each).includes(key))
  invariant(source !== undefined, 'a claim of no source')
  return { source, value: found, next: undefined }
}

function claimedBy(claims: Claims | undefined, source: string): ByteText {
  if (typeof claims === 'string') return claims
  invariant(claims !== undefined, `no claim of ${source}`)
  return nameOf(claims.source) === source ? claims.value : claimedBy(claims.next, source)
}

function withClaim(claim: Claim | undefined, source: Source, value: ByteText): Claims {
  if (claim === undefined) return typeof source === 'string' ? value : { source, value, next: undefined }
  return inOrder(claim, { source, value, next: undefined })
}

function inOrder(claim: Claim | undefined, newcomer: Claim): Claim {
  if (claim === undefined || compareSources(newcomer.source, claim.source) < 0) return { ...newcomer, next: claim }
  return { ...claim, next: inOrder(claim.next, newcomer) }
}

function withoutClaim(claims: Claims | undefined, source: string): Claim | undefined {
  if (typeof claims === 'string') return undefined
  if (claims === undefined || nameOf(claims.source) === source) return claims?.next
  return { ...claims, next: withoutClaim(claims.next, source) }
}

function sourcesOf(claim: Claim): string[] {
  return [nameOf(claim.source), ...(claim.next === undefined ? [] : sourcesOf(claim.next))]
}

function compareSources(a: Source, b: Source): number {
  return bornOf(a) - bornOf(b) || compareText(nameOf(a), nameOf(b))
}

function nameOf(source: Source): string {
  return typeof source === 'string' ? source : source.name
}

function bornOf(source: Source): number {
  return typeof source === 'string' ? 0 : source.bornMs
}
