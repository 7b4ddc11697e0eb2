// SPDX-License-Identifier: Apache-2.0
// What policies of a big cluster cost one node: 250 pods here, 1,000 policies, 100,000 pods in 2,000 namespaces on 400 nodes.
// Times are of World, compiler and tables as the agent has them, with real maps; memory is a whole agent's, which follows an
// API server. Prints a table and writes bench/results/<stamp>-policies.json; ends with 1 where a figure is beyond its bound.
//   node bench/policies.ts [--changes 200] [--no-save]

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { releaseMemory } from '../src/agent/memory.ts'
import { type Applied, createReconciler } from '../src/agent/reconcile.ts'
import { table } from '../src/cli/print.ts'
import { objectName } from '../src/core/names.ts'
import { tableNames } from '../src/datapath/tables.ts'
import type { MapName } from '../src/generated/abi.ts'
import type { Fd } from '../src/kernel/addon.ts'
import { createLiveKernel } from '../src/kernel/live.ts'
import { loadAddon } from '../src/kernel/load-addon.ts'
import type { LabelSelector, Labels, Pod } from '../src/world/objects.ts'
import { createWorld, type World } from '../src/world/world.ts'
import { loadShipped } from '../test/support/maps.ts'
import { machine, stampedName } from '../tools/machine.ts'
import {
  bigCluster,
  GROUPS,
  groupOf,
  HERE,
  PODS,
  PODS_PER_NODE,
  podOf,
  readObject,
  type Scenario,
  scenarios,
} from './big-cluster.ts'
import { residentOfAgent } from './policies-agent.ts'
import { median, quantile } from './statistics.ts'

/** Source: issue 6. */
const bounds = { fullMs: 3_000, changeMsP50: 5, residentBytes: 200e6 } as const

/** Policies that come, and go again. */
const POLICY_CHANGES = 25

interface Figures {
  readonly scenario: Scenario
  /** From a known world to tables in the kernel: compile and apply. */
  readonly fullMs: number
  /** One label of a pod elsewhere, from World being told: compile, plan and apply. */
  readonly changeMsP50: number
  readonly changeMsP99: number
  readonly changeWrites: number
  /** A policy that comes or goes, whose selector no other has. */
  readonly policyMsP50: number
  readonly residentBytes: number
  readonly sets: number
  readonly entriesPerSet: number
  readonly classEntries: number
}

const { values: options } = parseArgs({
  options: {
    changes: { type: 'string', default: '200' },
    scenario: { type: 'string' },
    'no-save': { type: 'boolean', default: false },
  },
})

if (options.scenario === undefined) await main()
else process.stdout.write(JSON.stringify(await measure(options.scenario as Scenario)))

async function main(): Promise<void> {
  const figures: Figures[] = []
  for (const scenario of scenarios) {
    figures.push({ ...inItsOwnProcess(scenario), residentBytes: await residentOfAgent(scenario) })
  }
  process.stdout.write(textOf(figures))
  const misses = figures.flatMap(missesOf)
  process.stdout.write(misses.length === 0 ? 'every figure is within its bound\n' : `${misses.join('\n')}\n`)
  process.exitCode = misses.length === 0 ? 0 : 1
  if (options['no-save']) return
  const date = new Date()
  const from = machine()
  const path = fileURLToPath(new URL(`results/${stampedName(date, from)}-policies.json`, import.meta.url))
  writeFileSync(path, `${JSON.stringify({ date, machine: from, bounds, figures }, null, 1)}\n`)
  process.stderr.write(`wrote ${path}\n`)
}

/** What one leaves in memory is no part of the next. */
function inItsOwnProcess(scenario: Scenario): Omit<Figures, 'residentBytes'> {
  const argv = [fileURLToPath(import.meta.url), '--scenario', scenario, '--changes', options.changes]
  const { stdout, status } = spawnSync(process.execPath, ['--max-semi-space-size=2', '--expose-gc', ...argv], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (status !== 0) throw new Error(`measuring ${scenario} failed`)
  return JSON.parse(stdout.toString())
}

async function measure(scenario: Scenario): Promise<Omit<Figures, 'residentBytes'>> {
  const addon = loadAddon()
  using pods = await loadShipped(addon, 'from_pod', Number.MAX_SAFE_INTEGER)
  using sockets = await loadShipped(addon, 'sock', Number.MAX_SAFE_INTEGER)
  const ofSockets: ReadonlySet<string> = new Set(['endpoint_cookie'])
  const names: readonly MapName[] = [...tableNames, 'policy_epoch']
  const fds = Object.fromEntries(names.map((name) => [name, (ofSockets.has(name) ? sockets : pods).map(name)]))
  const noRoutes = { read: async () => [], put: async () => {}, delete: async () => {} }
  const world = bigWorld(scenario)
  const applied: Applied[] = []
  const reconciler = createReconciler({
    world,
    kernel: createLiveKernel(addon, fds as Record<MapName, Fd>, noRoutes),
    node: {
      nodeName: HERE,
      mode: 'native',
      serviceCIDRs: [],
      ownAddresses: world.node(HERE)!.internalIPs,
      uplink: 2,
      uplinkMtu: 1500,
    },
    nodePortAddresses: async () => [],
    gateways: async (addresses) => new Map(addresses.map((address) => [address, address])),
    onRemovedBackends: async () => {},
    onApplied: (each) => applied.push(each),
  })
  const fullMs = await timed(() => reconciler.pass())
  releaseMemory(addon)
  const changes = await timeChanges(world, () => reconciler.pass(), applied)
  const policyMsP50 = await timePolicies(world, () => reconciler.pass())
  const { sets, classes } = reconciler.compiled().policies
  const refusals = reconciler.refusals()
  if (refusals.length > 0) throw new Error(`the tables are too small: ${JSON.stringify(refusals)}`)
  const entryCount = [...sets.values()].reduce((sum, { entries }) => sum + entries.length, 0)
  return {
    scenario,
    fullMs,
    ...changes,
    policyMsP50,
    sets: sets.size,
    entriesPerSet: entryCount / sets.size,
    classEntries: classes.size,
  }
}

/** Pods elsewhere that a policy's selector leaves out, and lets in again. */
async function timeChanges(
  world: World,
  pass: () => Promise<void>,
  applied: readonly Applied[],
): Promise<Pick<Figures, 'changeMsP50' | 'changeMsP99' | 'changeWrites'>> {
  const [times, writes]: [number[], number[]] = [[], []]
  for (let change = 0; change < Number(options.changes); change++) {
    const at = PODS_PER_NODE + ((Math.floor(change / 2) * 7_919) % (PODS - PODS_PER_NODE))
    const marked = change % 2 === 0 ? { marked: `by-${groupOf(at) + GROUPS * (change % 7)}` } : {}
    const before = applied.length
    const changed = readObject(podOf(at, marked))
    const told = async (): Promise<void> => {
      world.put(changed)
      await pass()
    }
    times.push(await timed(told))
    writes.push(applied.slice(before).reduce((sum, { entryCount }) => sum + entryCount, 0))
  }
  return {
    changeMsP50: median(times),
    changeMsP99: quantile(times, 0.99),
    changeWrites: median(writes),
  }
}

/** Of one pod of this node, for others of its namespace. */
async function timePolicies(world: World, pass: () => Promise<void>): Promise<number> {
  const times: number[] = []
  for (let at = 0; at < POLICY_CHANGES; at++) {
    const { namespace, labels } = readObject(podOf(at)) as Pod
    const name = 'one-more'
    const podSelector = select({ app: labels.app! })
    const peers = [{ podSelector: select({ tier: `tier-${at}` }), namespaceSelector: null }]
    world.put({ kind: 'NetworkPolicy', namespace, name, podSelector, ingress: [{ peers, ports: null }], egress: null })
    times.push(await timed(pass))
    world.delete('NetworkPolicy', objectName(namespace, name))
    times.push(await timed(pass))
  }
  return median(times)
}

function select(matchLabels: Labels): LabelSelector {
  return { matchLabels, matchExpressions: [] }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const started = performance.now()
  await work()
  return performance.now() - started
}

function bigWorld(scenario: Scenario): World {
  const world = createWorld()
  for (const object of bigCluster(scenario)) world.put(readObject(object))
  for (let at = 0; at < PODS_PER_NODE; at++) {
    const { namespace, name, uid, podIPs: addresses } = readObject(podOf(at)) as Pod
    const ifindex = 100 + at
    const wire = { containerId: uid, ifname: 'eth0', ifindex, hostIfname: `hd${at}`, netnsCookie: BigInt(at + 1) }
    world.putEndpoint({ ...wire, namespace, name, uid, addresses })
  }
  return world
}

// -- What it says --------------------------------------------------------------------------------------------------

function textOf(figures: readonly Figures[]): string {
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
  return table(
    ['POLICIES', 'FULL', 'LABEL P50', 'P99', 'WRITES', 'POLICY P50', 'RSS', 'SETS', 'ENTRIES PER SET', 'CLASSES'],
    figures.map((each) => [
      each.scenario,
      `${(each.fullMs / 1_000).toFixed(2)} s`,
      `${each.changeMsP50.toFixed(2)} ms`,
      `${each.changeMsP99.toFixed(1)} ms`,
      each.changeWrites,
      `${each.policyMsP50.toFixed(1)} ms`,
      megabytes(each.residentBytes),
      each.sets,
      each.entriesPerSet.toFixed(1),
      each.classEntries,
    ]),
  )
}

function missesOf(figures: Figures): readonly string[] {
  return (Object.keys(bounds) as (keyof typeof bounds)[])
    .filter((name) => figures[name] > bounds[name])
    .map((name) => `${figures.scenario}: ${name} is ${figures[name].toFixed(1)}, at most ${bounds[name]} is wanted`)
}
