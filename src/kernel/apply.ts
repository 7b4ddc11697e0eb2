// SPDX-License-Identifier: Apache-2.0
// A plan, performed.

import type { ByteText } from '../datapath/bytes.ts'
import type { KernelRoute, Plan, Step } from '../datapath/plan.ts'
import type { TableEntry, TableName } from '../datapath/tables.ts'

/** Entries in one batch call: beyond it the kernel holds locks too long for what little it saves. */
const BATCH = 1024

/** What a plan changes. Every call is idempotent: deleting what is absent succeeds. */
export interface Kernel {
  /** One look at the whole table; decoded as it is iterated, once. */
  readTable(table: TableName): Promise<Iterable<TableEntry>>
  put(table: TableName, entries: readonly TableEntry[]): Promise<void>
  delete(table: TableName, keys: readonly ByteText[]): Promise<void>
  maxEntries(table: TableName): number
  readEpoch(): number
  writeEpoch(epoch: number): void
  /** The node's own routes that Heddle made. */
  readRoutes(): Promise<readonly KernelRoute[]>
  putRoute(route: KernelRoute): Promise<void>
  deleteRoute(route: KernelRoute): Promise<void>
}

export interface Applied {
  /** Steps done in full. */
  readonly done: number
  readonly failed?: { readonly step: Step; readonly error: unknown }
}

/** Told of every batch that the kernel has taken. */
export type OnWrite = (table: TableName, key: ByteText, value: ByteText | undefined) => void

/** Performs the steps in plan order; stops at the first failure. Repeating it is harmless.
 *  Never retries: the loop reads the kernel again and plans again. */
export async function apply(plan: Plan, kernel: Kernel, onWrite: OnWrite): Promise<Applied> {
  for (const [done, step] of plan.steps.entries()) {
    try {
      await perform(step, kernel, onWrite)
    } catch (error) {
      return { done, failed: { step, error } }
    }
  }
  return { done: plan.steps.length }
}

async function perform(step: Step, kernel: Kernel, onWrite: OnWrite): Promise<void> {
  switch (step.kind) {
    case 'put':
      for (let i = 0; i < step.entries.length; i += BATCH) {
        const batch = step.entries.slice(i, i + BATCH)
        await kernel.put(step.table, batch)
        for (const { key, value } of batch) onWrite(step.table, key, value)
      }
      return
    case 'delete':
      for (let i = 0; i < step.keys.length; i += BATCH) {
        const batch = step.keys.slice(i, i + BATCH)
        await kernel.delete(step.table, batch)
        for (const key of batch) onWrite(step.table, key, undefined)
      }
      return
    case 'put-route':
      return kernel.putRoute(step.route)
    case 'delete-route':
      return kernel.deleteRoute(step.route)
    case 'epoch':
      return kernel.writeEpoch(step.epoch)
  }
}
