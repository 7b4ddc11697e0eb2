// SPDX-License-Identifier: Apache-2.0
// One pass: what is dirty in World -> compile -> plan -> apply. What the kernel holds is read when the agent starts and
// again after every failure; in between the agent is the only writer and knows.

import type { Address, Prefix } from '../core/address.ts'
import { unfailing } from '../core/errors.ts'
import { compareText } from '../core/names.ts'
import { encodeText } from '../datapath/bytes.ts'
import { type Compiler, createCompiler } from '../datapath/compile.ts'
import { createTableStore, drift, type TableStore } from '../datapath/desired.ts'
import { heldRoutes, holdUnseen } from '../datapath/hold.ts'
import {
  type KernelRoute,
  type Plan,
  plan,
  printPlan,
  type Refusal,
  routeDifferences,
  type Step,
} from '../datapath/plan.ts'
import { joinRemoved, type Removed } from '../datapath/removed.ts'
import { readValue, tableNames } from '../datapath/tables.ts'
import { endpointKey } from '../generated/abi.ts'
import { apply, type Kernel } from '../kernel/apply.ts'
import type { PolicySettings } from '../policy/compile.ts'
import { NOWHERE, type RoutingInput } from '../routing/compile.ts'
import { sameValue } from '../world/equal.ts'
import type { Kind } from '../world/objects.ts'
import type { World } from '../world/world.ts'

/** What a pass did, for logs, metrics and status. */
export interface Applied {
  readonly at: Date
  readonly stepCount: number
  readonly entryCount: number
  readonly compileMs: number
  readonly applyMs: number
  /** Tables that would not hold what is desired: their groups were left as they were. */
  readonly refusals: readonly Refusal[]
  /** null: everything in the plan was done. */
  readonly error: unknown
}

export interface ReconcilerOptions {
  readonly world: World
  readonly kernel: Kernel
  readonly node: NodeFacts
  /** By default every policy is as its object says. */
  readonly policy?: PolicySettings
  /** Kinds of which not every object is known yet: what one of them may want stays as it is (datapath/hold.ts). */
  readonly unseenKinds?: () => ReadonlySet<Kind>
  /** For each node address the neighbour on the uplink that leads there; absent: unreachable now. */
  readonly gateways: (addresses: readonly Address[]) => Promise<ReadonlyMap<Address, Address>>
  /** Addresses of this node where NodePorts are answered. */
  readonly nodePortAddresses: () => Promise<readonly Address[]>
  /** Backends that no Service leads to any more: sockets connected to them must learn it. 'unknown' in the first pass:
   *  whichever went while no agent ran, or whose removal a killed one had written and not told. */
  readonly onRemovedBackends: (backends: Removed | 'unknown', store: TableStore) => Promise<void>
  readonly onApplied: (applied: Applied) => void
}

export type NodeFacts = Omit<RoutingInput, 'gateways' | 'clusterServiceCIDRs'>

export interface Reconciler {
  readonly store: TableStore
  readonly compiled: Compiler['compiled']
  /** For the loop. Rejects when the kernel did, and with a BrokenInvariant when compiling or planning threw; what tables
   *  are too small for is in refusals(), not in the kernel. */
  pass(): Promise<void>
  /** As of the last pass: tables that cannot hold what is desired. They keep what they have. */
  refusals(): readonly Refusal[]
  /** The plan that a fresh look at the kernel would give; changes nothing. */
  planNow(): Promise<string[]>
  /** The endpoint's own entries are in the kernel and do not say isolated. */
  isInForce(addresses: readonly Address[]): boolean
  /** The next pass reads this node's routes again, and the way to each node: links or routes may have changed. */
  routesMoved(): void
}

const NO_KINDS: ReadonlySet<Kind> = new Set()
const NONE_REMOVED: Removed = { udp: [], unnamed: [] }

export function createReconciler(options: ReconcilerOptions): Reconciler {
  const { world, kernel } = options
  const store = createTableStore()
  const compiler = createCompiler(store, kernel.maxEntries, options.policy)
  let isKernelKnown = false
  let kernelRoutes: readonly KernelRoute[] | undefined // unknown: somebody else may have changed them
  let removed: Removed | 'unknown' = 'unknown' // since the last pass that succeeded
  let refusals: readonly Refusal[] = []
  let lookedUp: readonly Address[] = []
  let gateways: ReadonlyMap<Address, Address> | undefined
  let nodePortAddresses: readonly Address[] = []

  async function readKernel(): Promise<void> {
    for (const table of tableNames) store.adopt(table, await kernel.readTable(table))
    isKernelKnown = true
  }

  function planFrom(
    differences: Parameters<typeof plan>[0]['differences'],
    routes: readonly KernelRoute[],
    isEpochOwed: boolean,
  ): Plan {
    const epoch = kernel.readEpoch()
    const unseen = options.unseenKinds?.() ?? NO_KINDS
    const hold = holdUnseen(unseen, world, compiler.compiled().policies.classNames)
    return unfailing('plan', () =>
      plan({
        differences: hold === null ? differences : (table) => differences(table).filter((each) => !hold(table, each)),
        actualCount: store.actualCount,
        maxEntries: kernel.maxEntries,
        routes: heldRoutes(unseen, routeDifferences(compiler.compiled().routing.kernelRoutes, routes)),
        epoch,
        isEpochOwed,
      }),
    )
  }

  async function pass(): Promise<void> {
    const addresses = [...nodeAddresses(world), ...Object.values(NOWHERE)]
    if (gateways === undefined || !sameValue(addresses, lookedUp)) {
      gateways = await options.gateways(addresses)
      nodePortAddresses = await options.nodePortAddresses()
    }
    lookedUp = addresses
    const input = { ...options.node, clusterServiceCIDRs: clusterServiceCIDRs(world), gateways, nodePortAddresses }
    const started = performance.now()
    const change = unfailing('compile', () => compiler.compile(world, world.takeDirty(), input))
    if (removed !== 'unknown') removed = joinRemoved(removed, change.removed)
    // Whoever wrote last, an agent that was killed or a pass that failed, may not have come to the epoch.
    const isEpochOwed = !isKernelKnown
    if (!isKernelKnown) await readKernel()
    kernelRoutes ??= await kernel.readRoutes()
    const todo = planFrom(store.differences, kernelRoutes, isEpochOwed)
    const planned = performance.now()
    const { done, failed } = await apply(todo, kernel, store.recordWrite)
    kernelRoutes = failed ? undefined : compiler.compiled().routing.kernelRoutes
    if (failed) isKernelKnown = false
    const isNews = todo.steps.length > 0 || !sameValue(todo.refusals, refusals)
    refusals = todo.refusals
    if (isNews) {
      options.onApplied({
        at: new Date(),
        stepCount: done,
        entryCount: entryCount(todo.steps.slice(0, done)),
        compileMs: planned - started,
        applyMs: performance.now() - planned,
        refusals: todo.refusals,
        error: failed?.error ?? null,
      })
    }
    if (failed) throw failed.error
    const unseen = options.unseenKinds?.() ?? NO_KINDS
    if (removed === 'unknown' && (unseen.has('Service') || unseen.has('EndpointSlice'))) return // they may be there yet
    if (removed === 'unknown' || removed.udp.length + removed.unnamed.length > 0) {
      await options.onRemovedBackends(removed, store)
    }
    removed = NONE_REMOVED
  }

  return {
    store,
    compiled: compiler.compiled,
    pass,
    refusals: () => refusals,
    async planNow() {
      const tables = new Map(
        await Promise.all(tableNames.map(async (name) => [name, await kernel.readTable(name)] as const)),
      )
      const fresh = planFrom((table) => drift(store, table, tables.get(table)!), await kernel.readRoutes(), false)
      return printPlan(fresh)
    },
    isInForce: (addresses) => addresses.every((address) => isEndpointInForce(store, address)),
    routesMoved() {
      gateways = undefined
      kernelRoutes = undefined
    },
  }
}

/** Sorted, since the order of objects says nothing. */
function clusterServiceCIDRs(world: World): readonly Prefix[] {
  return [...world.serviceCIDRs()].flatMap(({ cidrs }) => cidrs).sort(compareText)
}

function nodeAddresses(world: World): Address[] {
  return [...world.nodes()].flatMap((node) => node.internalIPs)
}

function entryCount(steps: readonly Step[]): number {
  return steps.reduce((count, step) => {
    if (step.kind === 'put') return count + step.entries.length
    return count + (step.kind === 'delete' ? step.keys.length : 1)
  }, 0)
}

function isEndpointInForce(store: TableStore, address: Address): boolean {
  const key = encodeText(endpointKey, { address })
  const actual = store.actual('endpoints', key)
  return actual !== undefined && actual === store.desired('endpoints', key) && !readValue('endpoints', actual).isolated
}
