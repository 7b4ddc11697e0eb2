// SPDX-License-Identifier: Apache-2.0
// What policies of a big cluster cost one node: 250 pods here, 1,000 policies, 100,000 pods in 2,000 namespaces on 400 nodes.
// World, compiler and tables are the agent's, the maps are real; what reads the API server is not here (bench/kube.ts).
// Prints a table and writes bench/results/<stamp>-policies.json; ends with 1 where a figure is beyond its bound.
//   node bench/policies.ts [--changes 200] [--no-save]

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { releaseMemory } from '../src/agent/memory.ts'
import { type Applied, createReconciler } from '../src/agent/reconcile.ts'
import { table } from '../src/cli/print.ts'
import type { Address, Port, Prefix } from '../src/core/address.ts'
import { Protocol } from '../src/core/protocol.ts'
import { tableNames } from '../src/datapath/tables.ts'
import type { MapName } from '../src/generated/abi.ts'
import type { Fd } from '../src/kernel/addon.ts'
import { createLiveKernel } from '../src/kernel/live.ts'
import { loadAddon } from '../src/kernel/load-addon.ts'
import type { LabelSelector, Labels, NetworkPolicy, Pod, PolicyPeer } from '../src/world/objects.ts'
import { createWorld, type World } from '../src/world/world.ts'
import { loadShipped } from '../test/support/maps.ts'
import { machine, stampedName } from '../tools/machine.ts'
import { median, quantile } from './statistics.ts'

const PODS = 100_000
const NAMESPACES = 2_000
const PODS_PER_NODE = 250
const NODES = PODS / PODS_PER_NODE
const POLICIES = 1_000
/** Of the namespaces, by which peers are selected: one holds 10,000 pods. */
const GROUPS = 10
const HERE = 'n0'
const SETTLE_MS = 3_000

/** Source: issue 6. */
const bounds = { fullMs: 3_000, changeMsP50: 5, residentBytes: 200e6 } as const

const peersOf = {
  'peers of 10,000 pods each': (policy: number): PolicyPeer => ({
    namespaceSelector: selector({ group: `group-${policy % GROUPS}` }),
    // A thousand selectors that differ, and match alike but for the pods that a change has marked.
    podSelector: {
      matchLabels: {},
      matchExpressions: [{ key: 'marked', operator: 'NotIn', values: [`by-${policy}`] }],
    },
  }),
  'peers in every namespace': (): PolicyPeer => ({ namespaceSelector: selector({}), podSelector: null }),
} as const
type Scenario = keyof typeof peersOf

interface Figures {
  readonly scenario: Scenario
  /** From a known world to tables in the kernel: compile and apply. */
  readonly fullMs: number
  /** One label of a pod elsewhere: compile, plan and apply. */
  readonly changeMsP50: number
  readonly changeMsP99: number
  readonly changeWrites: number
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

if (options.scenario === undefined) main()
else process.stdout.write(JSON.stringify(await measure(options.scenario as Scenario)))

function main(): void {
  const figures = (Object.keys(peersOf) as Scenario[]).map(inItsOwnProcess)
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
function inItsOwnProcess(scenario: Scenario): Figures {
  const argv = [fileURLToPath(import.meta.url), '--scenario', scenario, '--changes', options.changes]
  const { stdout, status } = spawnSync(process.execPath, ['--max-semi-space-size=2', '--expose-gc', ...argv], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (status !== 0) throw new Error(`measuring ${scenario} failed`)
  return JSON.parse(stdout.toString())
}

async function measure(scenario: Scenario): Promise<Figures> {
  const addon = loadAddon()
  using pods = await loadShipped(addon, 'from_pod', Number.MAX_SAFE_INTEGER)
  using sockets = await loadShipped(addon, 'sock', Number.MAX_SAFE_INTEGER)
  const ofSockets: ReadonlySet<string> = new Set(['endpoint_cookie'])
  const names: readonly MapName[] = [...tableNames, 'policy_epoch']
  const fds = Object.fromEntries(names.map((name) => [name, (ofSockets.has(name) ? sockets : pods).map(name)]))
  const noRoutes = { read: async () => [], put: async () => {}, delete: async () => {} }
  const world = bigWorld(peersOf[scenario])
  const applied: Applied[] = []
  const reconciler = createReconciler({
    world,
    kernel: createLiveKernel(addon, fds as Record<MapName, Fd>, noRoutes),
    node: {
      nodeName: HERE,
      mode: 'native',
      serviceCIDRs: [],
      ownAddresses: [nodeAddress(0)],
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
  await sleep(SETTLE_MS)
  const { sets, classes } = reconciler.compiled().policies
  const refusals = reconciler.refusals()
  if (refusals.length > 0) throw new Error(`the tables are too small: ${JSON.stringify(refusals)}`)
  const entryCount = [...sets.values()].reduce((sum, { entries }) => sum + entries.length, 0)
  return {
    scenario,
    fullMs,
    ...changes,
    residentBytes: process.memoryUsage.rss(),
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
    const marked = change % 2 === 0 ? { marked: `by-${groupOf(namespaceOf(at)) + GROUPS * (change % 7)}` } : {}
    const before = applied.length
    world.put(podOf(at, marked))
    times.push(await timed(pass))
    writes.push(applied.slice(before).reduce((sum, { entryCount }) => sum + entryCount, 0))
  }
  return {
    changeMsP50: median(times),
    changeMsP99: quantile(times, 0.99),
    changeWrites: median(writes),
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const started = performance.now()
  await work()
  return performance.now() - started
}

// -- The cluster ---------------------------------------------------------------------------------------------------

function bigWorld(peerOf: (policy: number) => PolicyPeer): World {
  const world = createWorld()
  for (let node = 0; node < NODES; node++) {
    const podCIDRs = [`${prefixOf(node)}.0/24` as Prefix]
    world.put({ kind: 'Node', name: `n${node}`, labels: {}, internalIPs: [nodeAddress(node)], podCIDRs, createdMs: 0 })
  }
  for (let each = 0; each < NAMESPACES; each++) {
    world.put({ kind: 'Namespace', name: `ns-${each}`, labels: { group: `group-${groupOf(each)}` } })
  }
  for (let at = 0; at < PODS; at++) world.put(podOf(at, {}))
  for (let at = 0; at < PODS_PER_NODE; at++) {
    const { namespace, name, uid, podIPs: addresses } = podOf(at, {})
    const wire = {
      containerId: uid,
      ifname: 'eth0',
      ifindex: 100 + at,
      hostIfname: `hd${at}`,
      netnsCookie: BigInt(at + 1),
    }
    world.putEndpoint({ ...wire, namespace, name, uid, addresses })
  }
  for (let policy = 0; policy < POLICIES; policy++) world.put(policyOf(policy, peerOf(policy)))
  return world
}

/** Each selects one pod of this node; four select each. */
function policyOf(policy: number, peer: PolicyPeer): NetworkPolicy {
  const at = policy % PODS_PER_NODE
  return {
    kind: 'NetworkPolicy',
    namespace: `ns-${namespaceOf(at)}`,
    name: `policy-${policy}`,
    podSelector: selector({ app: `app-${at}` }),
    ingress: [
      { peers: [peer], ports: [{ protocol: Protocol.TCP, port: (8000 + (policy % 4)) as Port, endPort: null }] },
    ],
    egress: null,
  }
}

function podOf(at: number, more: Labels): Pod {
  const node = Math.floor(at / PODS_PER_NODE)
  return {
    kind: 'Pod',
    namespace: `ns-${namespaceOf(at)}`,
    name: `pod-${at}`,
    uid: `00000000-0000-4000-8000-${String(at).padStart(12, '0')}`,
    labels: { app: `app-${at % 500}`, 'pod-template-hash': `hash-${at % 2_000}`, ...more },
    nodeName: `n${node}`,
    hostNetwork: false,
    podIPs: [`${prefixOf(node)}.${(at % PODS_PER_NODE) + 2}` as Address],
    finished: false,
    createdMs: at,
    containerPorts: [],
  }
}

function namespaceOf(at: number): number {
  return at % NAMESPACES
}

function groupOf(namespace: number): number {
  return namespace % GROUPS
}

function prefixOf(node: number): string {
  return `10.${16 + (node >> 8)}.${node & 255}`
}

function nodeAddress(node: number): Address {
  return `172.16.${node >> 8}.${node & 255}` as Address
}

function selector(matchLabels: Labels): LabelSelector {
  return { matchLabels, matchExpressions: [] }
}

// -- What it says --------------------------------------------------------------------------------------------------

function textOf(figures: readonly Figures[]): string {
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
  return table(
    ['POLICIES', 'FULL', 'LABEL P50', 'P99', 'WRITES', 'RSS', 'SETS', 'ENTRIES PER SET', 'CLASSES'],
    figures.map((each) => [
      each.scenario,
      `${(each.fullMs / 1_000).toFixed(2)} s`,
      `${each.changeMsP50.toFixed(2)} ms`,
      `${each.changeMsP99.toFixed(1)} ms`,
      each.changeWrites,
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
