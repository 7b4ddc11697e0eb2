// SPDX-License-Identifier: Apache-2.0
// Pods of a real cluster as tests see them: what the API says of them, commands in their containers through kubectl exec,
// and processes of this machine in their network namespace.

import { inside, type Outcome, runProgram, waitUntil } from '../../src/lab/process.ts'
import { type Background, startBackground } from '../support/background.ts'
import { scriptArgv } from '../support/lab.ts'
import type { Load, LoadReport } from '../support/load.ts'
import { containerPid, joinableCgroup } from './cgroups.ts'
import type { Cluster } from './cluster.ts'

export interface PodView {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly node: string
  readonly ips: readonly string[]
  readonly ready: boolean
  readonly restarts: number
  /** Of its first container; '' before it started. */
  readonly containerId: string
}

interface PodObject {
  readonly metadata: { readonly name: string; readonly uid: string; readonly deletionTimestamp?: string }
  readonly spec: { readonly nodeName?: string }
  readonly status: {
    readonly podIPs?: readonly { readonly ip: string }[]
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
    readonly containerStatuses?: readonly { readonly containerID?: string; readonly restartCount: number }[]
  }
}

/** Pods with these labels that are not being deleted, by name. */
export async function podsOf(cluster: Cluster, namespace: string, selector: string): Promise<PodView[]> {
  const list = await cluster.getJson<{ items: PodObject[] }>('pods', '-n', namespace, '-l', selector)
  return list.items
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map(({ metadata, spec, status }) => ({
      namespace,
      name: metadata.name,
      uid: metadata.uid,
      node: spec.nodeName ?? '',
      ips: status.podIPs?.map(({ ip }) => ip) ?? [],
      ready: status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false,
      restarts: status.containerStatuses?.[0]?.restartCount ?? 0,
      containerId: status.containerStatuses?.[0]?.containerID?.replace('containerd://', '') ?? '',
    }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

/** Of the agents' pods, in kube-system. */
export const agentLabel = 'app.kubernetes.io/name=heddle'

/** What `heddle status` says on an agent's node, ready or not. Rejects when it cannot be asked, so that silence does not
 *  count as an answer in which something is missing. */
export async function agentStatus(cluster: Cluster, agent: PodView): Promise<string> {
  const { stdout, stderr } = await execIn(cluster, agent, ['heddle', 'status'])
  if (stdout === '') throw new Error(`${agent.name} does not tell its status: ${stderr}`)
  return stdout
}

/** Waits until this many pods with these labels are ready and no other is left. */
export async function readyPods(
  cluster: Cluster,
  namespace: string,
  selector: string,
  count: number,
  timeoutMs = 120_000,
): Promise<PodView[]> {
  const end = Date.now() + timeoutMs
  for (;;) {
    const pods = await podsOf(cluster, namespace, selector)
    if (pods.length === count && pods.every(({ ready }) => ready)) return pods
    if (Date.now() > end) {
      const events = await cluster.kubectl(['get', 'events', '-n', namespace, '--sort-by=.lastTimestamp'])
      const seen = pods.map(({ name, ready }) => `${name} ${ready ? 'ready' : 'not ready'}`).join(', ')
      throw new Error(`${count} pods ${selector} are not ready: ${seen}\n${events.split('\n').slice(-12).join('\n')}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

/** A pod's address of a family. */
export function addressOf(view: PodView, family: 4 | 6): string {
  return view.ips.find((ip) => ip.includes(':') === (family === 6))!
}

/** "1.2.3.4:80" or "[fd00::1]:80". */
export function hostPort(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`
}

/** Runs in the pod's first container through the API server and kubelet. */
export function execIn(cluster: Cluster, view: PodView, argv: readonly string[], input?: string): Promise<Outcome> {
  const stdin = input === undefined ? [] : ['-i']
  const command = cluster.kubectlCommand(['exec', ...stdin, '-n', view.namespace, view.name, '--', ...argv])
  return runProgram(command, { timeoutMs: 60_000, ...(input === undefined ? {} : { input }) })
}

/** What curl in the pod prints; '' when it fails, or after `seconds` without an answer. */
export async function curlFrom(cluster: Cluster, view: PodView, url: string, seconds = 3): Promise<string> {
  const outcome = await execIn(cluster, view, ['curl', '-sgf', '-m', String(seconds), url])
  return outcome.exitCode === 0 ? outcome.stdout : ''
}

/** A program of this machine in the pod's network namespace and its node's cgroup2; a signal to it reaches the program. */
export function commandInPod(cluster: Cluster, view: PodView, argv: readonly string[]): string[] {
  return inside(joinableCgroup(cluster.state.name, view.node), podNetns(cluster, view), argv)
}

/** Path of the network namespace of a pod that runs. */
export function podNetns(cluster: Cluster, view: PodView): string {
  const pid = containerPid(cluster.state.name, view.node, view.containerId)
  if (pid === undefined) throw new Error(`pod ${view.name} has no running container`)
  return `/proc/${pid}/ns/net`
}

/** Kills the pod's container on its node, behind the API server's back. Rejects when it cannot be killed. */
export async function killContainer(cluster: Cluster, { node, containerId }: PodView): Promise<void> {
  await containerd(cluster, node, 'tasks', 'kill', '-s', 'SIGKILL', containerId)
}

/** Kills the process that holds the pod's network namespace, and resolves when kubelet has made another: to the addresses
 *  in that one, which the API server need not know yet. */
export async function replaceSandbox(cluster: Cluster, view: PodView, timeoutMs: number): Promise<string[]> {
  const { node } = view
  const before = await runningSandbox(cluster, view)
  if (before === undefined) throw new Error(`${view.name} has no sandbox`)
  await containerd(cluster, node, 'tasks', 'kill', '-s', 'SIGKILL', before.id)
  let ips: string[] = []
  const isReplaced = await waitUntil(async () => {
    const after = await runningSandbox(cluster, view)
    if (after === undefined || after.id === before.id) return false
    const show = ['nsenter', '-t', after.pid, '-n', 'ip', '-json', 'addr', 'show', 'dev', 'eth0', 'scope', 'global']
    ips = (await cluster.run(node, show)).stdout.match(/(?<="local":")[^"]+/g) ?? []
    return ips.length === cluster.state.families.length
  }, timeoutMs)
  if (!isReplaced) throw new Error(`${view.name} has no other sandbox with an address after ${timeoutMs} ms`)
  return ips
}

/** The process is the one that holds the pod's namespaces, as its node numbers it. */
async function runningSandbox(
  cluster: Cluster,
  { node, uid }: PodView,
): Promise<{ readonly id: string; readonly pid: string } | undefined> {
  const labels = `labels."io.kubernetes.pod.uid"==${uid},labels."io.cri-containerd.kind"==sandbox`
  const ids = (await containerd(cluster, node, 'containers', 'ls', '-q', labels)).split('\n')
  for (const line of (await containerd(cluster, node, 'tasks', 'ls')).split('\n')) {
    const [id = '', pid = '', status] = line.split(/\s+/)
    if (ids.includes(id) && status === 'RUNNING') return { id, pid }
  }
  return undefined
}

async function containerd(cluster: Cluster, node: string, ...argv: readonly string[]): Promise<string> {
  const outcome = await cluster.run(node, ['ctr', '-n', 'k8s.io', ...argv])
  if (outcome.exitCode !== 0) throw new Error(`${node}: ctr ${argv.join(' ')}: ${outcome.stderr}`)
  return outcome.stdout
}

/** Puts a Service or pod under load from a pod (test/support/load.ts); resolves when every kept connection has answered
 *  once. */
export async function loadFrom(cluster: Cluster, view: PodView, load: Load): Promise<{ report: Promise<LoadReport> }> {
  const argv = commandInPod(cluster, view, scriptArgv('load.ts', JSON.stringify(load)))
  const running: Background = startBackground(argv)
  await running.until((output) => output.includes('running\n'))
  const report = running.ended.then((output) => JSON.parse(output.slice(output.indexOf('{'))) as LoadReport)
  // A test that fails earlier must not end the process with an unhandled rejection as well.
  report.catch(() => {})
  return { report }
}
