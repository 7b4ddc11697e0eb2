// SPDX-License-Identifier: Apache-2.0
// Services, slices and a node that come, change and go, on a kernel that is read back after each change.

import fc from 'fast-check'
import { expect } from 'vitest'
import { createReconciler, type Reconciler } from '../../src/agent/reconcile.ts'
import type { Address } from '../../src/core/address.ts'
import { objectName } from '../../src/core/names.ts'
import { type TableEntry, tableGroups } from '../../src/datapath/tables.ts'
import type { Kernel } from '../../src/kernel/apply.ts'
import { createFakeKernel } from '../../src/kernel/fake.ts'
import type { KubeObject, ObjectName } from '../../src/world/objects.ts'
import { createWorld, keyOf, objectKey, type World } from '../../src/world/world.ts'
import { serviceObjects } from './services.ts'

type Change = { readonly put: KubeObject } | { readonly remove: KubeObject }

/** The tables that Services share. */
export const [serviceTables] = tableGroups

export const serviceHistories: fc.Arbitrary<readonly (readonly Change[])[]> = fc
  .array(serviceObjects, { minLength: 1, maxLength: 10 })
  .chain((all) => {
    const changes: Change[] = all.flatMap((object) => [{ put: object }, { remove: object }])
    return fc.array(fc.array(fc.constantFrom(...changes), { maxLength: 4 }), { minLength: 1, maxLength: 10 })
  })

/** After each batch the kernel's tables are those of a compile from scratch, and no more was written than what the
 *  Services of the batch had and have. The kernel's service tables are empty at first. */
export async function checkServiceHistory(kernel: Kernel, history: readonly (readonly Change[])[]): Promise<void> {
  let writes = 0
  const counting: Kernel = {
    ...kernel,
    put(table, entries) {
      writes += entries.length
      return kernel.put(table, entries)
    },
    delete(table, keys) {
      writes += keys.length
      return kernel.delete(table, keys)
    },
  }
  const world = createWorld()
  const reconciler = reconcilerOf(world, counting)
  await reconciler.pass() // an empty world has tables too
  const state = new Map<string, KubeObject>()
  for (const batch of history) {
    const touched = touchedBy(batch, world)
    const had = entryCount(reconciler, touched)
    for (const change of batch) perform(change, world, state)
    writes = 0
    const servedWrites = (): number => writes - nodeWrites(batch)
    await reconciler.pass()
    expect(servedWrites()).toBeLessThanOrEqual(had + entryCount(reconciler, touched))
    expect(await contents(kernel)).toEqual(await fromScratch([...state.values()]))
  }
}

/** A node that changes costs its own entries: its address, and the way to it. */
function nodeWrites(batch: readonly Change[]): number {
  return batch.some((change) => objectOf(change).kind === 'Node') ? 4 : 0
}

function reconcilerOf(world: World, kernel: Kernel): Reconciler {
  return createReconciler({
    world,
    kernel,
    node: { nodeName: 'n1', mode: 'vxlan', serviceCIDRs: [], ownAddresses: [], uplink: 2, uplinkMtu: 1500 },
    nodePortAddresses: async () => ['192.168.0.1' as Address],
    gateways: async (addresses) => new Map(addresses.map((address) => [address, address])),
    onRemovedBackends: async () => {},
    onApplied: () => {},
  })
}

function objectOf(change: Change): KubeObject {
  return 'put' in change ? change.put : change.remove
}

function perform(change: Change, world: World, state: Map<string, KubeObject>): void {
  const object = objectOf(change)
  if ('put' in change) {
    world.put(object)
    state.set(objectKey(object), object)
  } else {
    world.delete(object.kind, keyOf(object))
    state.delete(objectKey(object))
  }
}

/** Services that the batch may change: all of them where the node moves to another zone. */
function touchedBy(batch: readonly Change[], world: World): ReadonlySet<ObjectName> {
  const names = batch.map(objectOf).flatMap((object) => {
    if (object.kind === 'EndpointSlice') return [objectName(object.namespace, object.serviceName)]
    if (object.kind === 'Service') return [keyOf(object)]
    return Array.from(world.services(), keyOf)
  })
  return new Set(names)
}

function entryCount({ store }: Reconciler, services: ReadonlySet<ObjectName>): number {
  return [...services].reduce(
    (sum, name) => sum + serviceTables.reduce((count, table) => count + store.contributionCount(table, name), 0),
    0,
  )
}

async function fromScratch(objects: readonly KubeObject[]): Promise<unknown> {
  const world = createWorld()
  for (const object of objects) world.put(object)
  const kernel = createFakeKernel()
  await reconcilerOf(world, kernel).pass()
  return contents(kernel)
}

async function contents(kernel: Kernel): Promise<unknown> {
  return Promise.all(serviceTables.map(async (table) => Array.from(await kernel.readTable(table), entryText).sort()))
}

function entryText({ key, value }: TableEntry): string {
  return JSON.stringify([key, value])
}
