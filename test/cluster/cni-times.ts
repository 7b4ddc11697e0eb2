// SPDX-License-Identifier: Apache-2.0
// What ADD and DEL cost while many pods start or end at once, and whose time it is:
//
//   RunPodSandbox, StopPodSandbox (containerd's log)
//     |-- the runtime: cgroups, mounts, the pause container ...
//     '-- plugins (containerd's metrics: mean): executing and waiting for them
//           '-- the agent (its log)

import { readFileSync, statSync } from 'node:fs'
import type { Cluster } from './cluster.ts'
import { saveSoakFigures } from './soak-figures.ts'

/** A moment, by what each node had said until then. */
export interface Mark {
  readonly date: Date
  readonly logBytes: Readonly<Record<string, number>>
  readonly plugins: Readonly<Record<Operation, PluginTotal>>
}

type Operation = 'set_up_pod' | 'tear_down_pod'

interface PluginTotal {
  readonly count: number
  readonly seconds: number
}

interface Quantiles {
  readonly count: number
  readonly p50: number
  readonly p99: number
}

/** Milliseconds. */
interface Split {
  readonly sandbox: Quantiles
  readonly pluginsMean: number
  readonly agent: Quantiles
}

export async function markNow(cluster: Cluster): Promise<Mark> {
  const { nodes } = cluster
  const logBytes = Object.fromEntries(nodes.map((node) => [node, statSync(cluster.nodeLog(node, 'containerd')).size]))
  return { date: new Date(), logBytes, plugins: await pluginTotals(cluster) }
}

/** What happened since the mark to pods whose name begins so; printed, and in a soak run written to bench/results. */
export async function reportCniTimes(cluster: Cluster, mark: Mark, podPrefix: string): Promise<void> {
  const sandboxes = cluster.nodes.map((node) => sandboxTimes(logSince(cluster, node, mark), podPrefix))
  const ids = new Set(sandboxes.flatMap(({ ids }) => ids))
  const agent = await agentTimes(cluster, mark.date, ids)
  const plugins = await pluginTotals(cluster)
  const split = (sandbox: readonly number[], operation: Operation, ours: readonly number[]): Split => ({
    sandbox: quantiles(sandbox),
    pluginsMean: meanMs(mark.plugins[operation], plugins[operation]),
    agent: quantiles(ours),
  })
  const times = {
    add: split(
      sandboxes.flatMap(({ started }) => started),
      'set_up_pod',
      agent.ADD,
    ),
    del: split(
      sandboxes.flatMap(({ stopped }) => stopped),
      'tear_down_pod',
      agent.DEL,
    ),
  }
  console.log(splitText('ADD', 'RunPodSandbox', times.add))
  console.log(splitText('DEL', 'StopPodSandbox', times.del))
  saveSoakFigures('containerd', { pods: times.add.agent.count, ...times })
}

function splitText(command: string, call: string, { sandbox, pluginsMean, agent }: Split): string {
  const text = ({ count, p50, p99 }: Quantiles) => `p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms (${count})`
  return `${command} through containerd: ${call} ${text(sandbox)}; of that plugins ${pluginsMean.toFixed(0)} ms in the mean; of that the agent ${text(agent)}`
}

function logSince(cluster: Cluster, node: string, { logBytes }: Mark): readonly string[] {
  return readFileSync(cluster.nodeLog(node, 'containerd')).subarray(logBytes[node]).toString().split('\n')
}

interface SandboxTimes {
  readonly ids: readonly string[]
  /** Milliseconds of each RunPodSandbox and of the first StopPodSandbox of each. */
  readonly started: readonly number[]
  readonly stopped: readonly number[]
}

function sandboxTimes(lines: readonly string[], podPrefix: string): SandboxTimes {
  const begun = new Map<string, number>() // by pod, then by sandbox
  const ids: string[] = []
  const started: number[] = []
  const stopped: number[] = []
  for (const line of lines) {
    const [, time, text = ''] = /^time="([^"]+)" level=info msg="(.*)"/.exec(line) ?? []
    if (time === undefined) continue
    const ms = Date.parse(time)
    const run = /^RunPodSandbox for &PodSandboxMetadata\{Name:([^,]*),Uid:([^,]*),/i.exec(text)
    const stop = /^StopPodSandbox for \\"(\w+)\\"/.exec(text)
    const key = run?.[2] ?? stop?.[1]
    if (key === undefined || (run !== null && !run[1]!.startsWith(podPrefix)) || (stop !== null && !ids.includes(key)))
      continue
    const id = /returns sandbox id \\"(\w+)\\"/.exec(text)?.[1]
    const since = begun.get(key)
    if (id === undefined && !text.includes('returns')) begun.set(key, since ?? ms)
    else if (since !== undefined && !Number.isNaN(since)) {
      if (id !== undefined) ids.push(id)
      ;(run === null ? stopped : started).push(ms - since)
      begun.set(key, Number.NaN) // kubelet stops a sandbox more than once
    }
  }
  return { ids, started, stopped }
}

async function agentTimes(
  cluster: Cluster,
  since: Date,
  sandboxes: ReadonlySet<string>,
): Promise<Record<'ADD' | 'DEL', number[]>> {
  const text = await cluster.kubectl([
    ...['-n', 'kube-system', 'logs', '-l', 'app.kubernetes.io/name=heddle', '-c', 'agent', '--tail=-1'],
    `--since-time=${since.toISOString()}`,
  ])
  const times = { ADD: [] as number[], DEL: [] as number[] }
  for (const line of text.split('\n').filter((line) => line.includes('"msg":"cni"'))) {
    const { command, containerId, ms } = JSON.parse(line) as { command: string; containerId: string; ms: number }
    if (sandboxes.has(containerId) && (command === 'ADD' || command === 'DEL')) times[command].push(ms)
  }
  return times
}

async function pluginTotals(cluster: Cluster): Promise<Record<Operation, PluginTotal>> {
  const texts = await Promise.all(
    cluster.nodes.map(
      async (node) => (await cluster.run(node, ['curl', '-sf', 'http://127.0.0.1:1338/v1/metrics'])).stdout,
    ),
  )
  const sum = (operation: Operation, what: string): number => {
    const line = new RegExp(
      `^containerd_cri_network_plugin_operations_duration_seconds_seconds_${what}{operation_type="${operation}"} (.*)$`,
      'm',
    )
    return texts.reduce((total, text) => total + Number(line.exec(text)?.[1] ?? 0), 0)
  }
  const total = (operation: Operation): PluginTotal => ({
    count: sum(operation, 'count'),
    seconds: sum(operation, 'sum'),
  })
  return { set_up_pod: total('set_up_pod'), tear_down_pod: total('tear_down_pod') }
}

function meanMs(before: PluginTotal, after: PluginTotal): number {
  return ((after.seconds - before.seconds) * 1000) / (after.count - before.count)
}

function quantiles(values: readonly number[]): Quantiles {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN
  return { count: sorted.length, p50: at(0.5), p99: at(0.99) }
}
