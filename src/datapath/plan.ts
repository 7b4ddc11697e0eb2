// SPDX-License-Identifier: Apache-2.0
// From differences to ordered steps, as data that prints as text.
//
//   (delete frontends, lists: where there is no room beside them)  |
//   put backends .. endpoints  |  put kernel routes  |  epoch  |  delete kernel routes  |  delete endpoints .. backends  |  epoch
//
// Puts go from referent to reference, deletes the other way. Within a longest-prefix table the longer prefix is put
// first and deleted last: a packet between two writes never meets a shorter prefix that was not meant for it, such as
// ::/0 for an IPv4 address.

import { compareText } from '../core/names.ts'
import type { KernelRoute } from '../routing/compile.ts'
import type { ByteText } from './bytes.ts'
import type { Difference } from './desired.ts'
import { mustRejudge } from './epoch.ts'
import { type Differences, earlyDeletes } from './make-room.ts'
import { keyText, prefixLength, type TableEntry, type TableName, tableGroups, tableNames, valueText } from './tables.ts'

export type { KernelRoute } from '../routing/compile.ts'

export type Step =
  | { readonly kind: 'put'; readonly table: TableName; readonly entries: readonly TableEntry[] }
  | { readonly kind: 'delete'; readonly table: TableName; readonly keys: readonly ByteText[] }
  | { readonly kind: 'put-route'; readonly route: KernelRoute }
  | { readonly kind: 'delete-route'; readonly route: KernelRoute }
  | { readonly kind: 'epoch'; readonly epoch: number }

/** A table that cannot hold what is desired; nothing of its group is written. */
export interface Refusal {
  readonly table: TableName
  /** Entries at the fullest moment of the change. */
  readonly needed: number
  readonly maxEntries: number
}

export interface Plan {
  readonly steps: readonly Step[]
  readonly refusals: readonly Refusal[]
}

export interface PlanInput {
  readonly differences: (table: TableName) => readonly Difference[]
  readonly actualCount: (table: TableName) => number
  readonly maxEntries: (table: TableName) => number
  readonly routes: RouteDifferences
  /** The epoch in force. */
  readonly epoch: number
  /** Writes of before may have been cut off from their epoch: flows must be judged again whatever differs. */
  readonly isEpochOwed: boolean
}

export interface RouteDifferences {
  /** Absent, or there with another gateway or MTU. */
  readonly put: readonly KernelRoute[]
  readonly delete: readonly KernelRoute[]
}

export function plan(input: PlanInput): Plan {
  const differences = new Map(tableNames.map((table) => [table, input.differences(table)]))
  const early = earlyWhereNeeded(differences, input)
  const refusals = refusalsOf(differences, early, input)
  for (const group of tableGroups) {
    if (group.some((table: TableName) => refusals.some((refused) => refused.table === table))) {
      for (const table of group) differences.set(table, [])
    }
  }
  const puts = tableNames.flatMap((table) => putStep(table, differences.get(table)!))
  const room = Array.from(early, ([table, each]) => deleteStep(table, each)).flat()
  const deletes = tableNames.toReversed().flatMap((table) => {
    const done = new Set(early.get(table))
    return deleteStep(
      table,
      differences.get(table)!.filter((each) => !done.has(each)),
    )
  })
  const rejudgeAfter = (isPart: (difference: Difference) => boolean): boolean =>
    tableNames.some((table) => differences.get(table)!.some((each) => isPart(each) && mustRejudge(table, each)))

  const steps: Step[] = [...room, ...puts, ...input.routes.put.map((route) => ({ kind: 'put-route', route }) as const)]
  let epoch = input.epoch
  const nextEpoch = (): Step => {
    epoch = (epoch + 1) >>> 0
    return { kind: 'epoch', epoch }
  }
  if (input.isEpochOwed || rejudgeAfter((each) => each.desired !== undefined)) steps.push(nextEpoch())
  steps.push(...input.routes.delete.map((route) => ({ kind: 'delete-route', route }) as const), ...deletes)
  if (rejudgeAfter((each) => each.desired === undefined)) steps.push(nextEpoch())
  return { steps, refusals }
}

/** One line for each entry, route and epoch, in order; equal plans print equal text. */
export function printPlan({ steps, refusals }: Plan): string[] {
  return [...steps.flatMap(printStep), ...refusals.map(printRefusal)]
}

export function printRefusal({ table, needed, maxEntries }: Refusal): string {
  return `refused: ${table} needs ${needed} of ${maxEntries} entries`
}

/** Compares by destination. */
export function routeDifferences(desired: readonly KernelRoute[], actual: readonly KernelRoute[]): RouteDifferences {
  const wanted = new Map(desired.map((route) => [route.destination, route]))
  const present = new Map(actual.map((route) => [route.destination, route]))
  return {
    put: desired.filter((route) => !sameRoute(route, present.get(route.destination))),
    delete: actual.filter((route) => !wanted.has(route.destination)),
  }
}

function sameRoute(a: KernelRoute, b: KernelRoute | undefined): boolean {
  return (
    b !== undefined && a.gateway === b.gateway && a.ifindex === b.ifindex && a.source === b.source && a.mtu === b.mtu
  )
}

const NOTHING: Differences = new Map()

/** Deletes that go first because Services do not fit beside each other; none where they fit, or do not even so. */
function earlyWhereNeeded(differences: Differences, input: PlanInput): Differences {
  const isRefused = (early: Differences): boolean =>
    refusalsOf(differences, early, input).some(({ table }) => tableGroups[0].some((each) => each === table))
  if (!isRefused(NOTHING)) return NOTHING
  const early = earlyDeletes(differences)
  return isRefused(early) ? NOTHING : early
}

function refusalsOf(differences: Differences, early: Differences, input: PlanInput): Refusal[] {
  return tableNames.flatMap((table) => refusal(table, differences.get(table)!, early.get(table)?.length ?? 0, input))
}

/** freed: entries that go before any other is put. */
function refusal(table: TableName, differences: readonly Difference[], freed: number, input: PlanInput): Refusal[] {
  const added = differences.filter((each) => each.actual === undefined).length
  const needed = input.actualCount(table) + added - freed
  const maxEntries = input.maxEntries(table)
  return added > 0 && needed > maxEntries ? [{ table, needed, maxEntries }] : []
}

function putStep(table: TableName, differences: readonly Difference[]): Step[] {
  const entries: TableEntry[] = []
  for (const { key, desired } of differences) if (desired !== undefined) entries.push({ key, value: desired })
  return entries.length === 0 ? [] : [{ kind: 'put', table, entries: longestFirst(table, entries) }]
}

function deleteStep(table: TableName, differences: readonly Difference[]): Step[] {
  const gone = differences.filter((each) => each.desired === undefined)
  if (gone.length === 0) return []
  return [
    {
      kind: 'delete',
      table,
      keys: longestFirst(table, gone)
        .map((each) => each.key)
        .toReversed(),
    },
  ]
}

/** Longer prefixes first, then by key. */
function longestFirst<T extends { readonly key: ByteText }>(table: TableName, items: readonly T[]): T[] {
  const lengths = new Map<T, number>()
  for (const item of items) {
    const length = prefixLength(table, item.key)
    if (length > 0) lengths.set(item, length) // none in tables without prefixes, which are the long ones
  }
  const lengthOf = (item: T): number => lengths.get(item) ?? 0
  return items.toSorted((a, b) => lengthOf(b) - lengthOf(a) || compareText(a.key, b.key))
}

function printStep(step: Step): string[] {
  switch (step.kind) {
    case 'put':
      return step.entries.map(
        ({ key, value }) => `put ${step.table} ${keyText(step.table, key)} -> ${valueText(step.table, value)}`,
      )
    case 'delete':
      return step.keys.map((key) => `delete ${step.table} ${keyText(step.table, key)}`)
    case 'put-route':
      return [`put route ${routeText(step.route)}`]
    case 'delete-route':
      return [`delete route ${routeText(step.route)}`]
    case 'epoch':
      return [`epoch ${step.epoch}`]
  }
}

function routeText({ destination, gateway, ifindex, source, mtu }: KernelRoute): string {
  return `${destination} via ${gateway} on ifindex ${ifindex} from ${source} mtu ${mtu}`
}
