// SPDX-License-Identifier: Apache-2.0
// A real Kubernetes on this machine: clusterUp, clusterDown, and what a test asks of one that is up.

import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { CommandError } from '../../src/core/command-error.ts'
import { makeCgroup } from '../../src/lab/cgroup.ts'
import { ipBatch, isAlive, type Outcome, type ProcessId, runProgram, waitUntil } from '../../src/lab/process.ts'
import { type Families, replaceFile } from '../../src/lab/state.ts'
import type { Built } from './build.ts'
import { cgroupLeftovers, makeCgroups, removeCgroups } from './cgroups.ts'
import { apiServerReady, type ControlProgram, lastLine, serverUrl, startControl } from './control-plane.ts'
import { cgroup2Path, checkClusterName, clusterDir, existingClusters, netnsOf, netnsPath } from './names.ts'
import { addressesOf, familiesOf, kubernetesIPs, makeNetwork, routePods } from './network.ts'
import { commandInNode, startNode } from './node.ts'
import { makePki } from './pki.ts'
import { configurePtp } from './ptp.ts'

export interface ClusterPlan {
  readonly name: string
  readonly nodes: number
  readonly families: Families
  /** 'ptp': the reference plugins and routes, ready at once. 'heddle': no network until Heddle is installed. */
  readonly cni: 'ptp' | 'heddle'
  readonly kubeProxy: boolean
}

export interface ClusterState extends ClusterPlan {
  readonly built: Built
  /** Name -> the process whose end is the node's. */
  readonly nodeProcesses: Readonly<Record<string, ProcessId>>
  readonly control: Readonly<Partial<Record<ControlProgram, ProcessId>>>
}

/** Starts a cluster; resolves when every node is Ready, or with `cni: 'heddle'` when every node is registered and has its
 *  pod CIDRs. What a killed run left under this name is removed first. `step` hears what has been done. */
export async function clusterUp(plan: ClusterPlan, built: Built, step: (text: string) => void): Promise<Cluster> {
  checkClusterName(plan.name)
  if (process.getuid?.() !== 0) throw new CommandError('a cluster makes namespaces and mounts: run this as root', 2)
  await clusterDown(plan.name)
  const nodes = Array.from({ length: plan.nodes }, (_, index) => `n${index + 1}`)
  mkdirSync(clusterDir(plan.name), { recursive: true, mode: 0o711 })
  await Promise.all([
    makeNetwork(plan.name, plan.families, ['control', ...nodes]),
    makePki(`${clusterDir(plan.name)}/pki`, serverUrl(plan.families), identities(plan, nodes)),
  ])
  makeCgroups(plan.name, 'control')
  makeCgroup(cgroup2Path(plan.name, 'control'))
  step('network and certificates')
  const cluster = new Cluster({ ...plan, built, nodeProcesses: {}, control: {} })
  cluster.startControl('etcd')
  cluster.startControl('kube-apiserver')
  // Nodes import their images while the API server starts.
  for (const node of nodes) cluster.startNode(node)
  await cluster.apiServerReady()
  step('API server')
  cluster.startControl('kube-controller-manager')
  cluster.startControl('kube-scheduler')
  await cluster.registered()
  step(`${nodes.length} nodes registered`)
  for (const node of nodes) {
    const cidrs = await cluster.podCIDRs(node)
    const others = ['control', ...(plan.cni === 'ptp' ? nodes : [])].filter((place) => place !== node)
    for (const place of others) await routePods(plan.name, place, cidrs, addressesOf(node, plan.families))
    if (plan.cni === 'ptp') await configurePtp(cluster, node, cidrs)
  }
  if (plan.cni === 'ptp') {
    await cluster.nodesReady()
    step(`${nodes.length} nodes Ready`)
  }
  return cluster
}

function identities({ families }: ClusterPlan, nodes: readonly string[]) {
  const serving = [...addressesOf('control', families), ...familiesOf(families).map((family) => kubernetesIPs[family])]
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local']
  const client = true
  return [
    {
      file: 'apiserver',
      subject: '/CN=kube-apiserver',
      names: [...['127.0.0.1', ...serving].map((ip) => `IP:${ip}`), ...names.map((name) => `DNS:${name}`)],
    },
    { file: 'kubelet-client', subject: '/O=system:masters/CN=kube-apiserver-kubelet-client' },
    { file: 'front-proxy', subject: '/CN=front-proxy' },
    { file: 'admin', subject: '/O=system:masters/CN=admin', client },
    ...['kube-controller-manager', 'kube-scheduler', 'kube-proxy'].map((file) => ({
      file,
      subject: `/CN=system:${file}`,
      client,
    })),
    ...nodes.map((node) => ({
      file: node,
      subject: `/O=system:nodes/CN=system:node:${node}`,
      names: [`DNS:${node}`, ...addressesOf(node, families).map((ip) => `IP:${ip}`)],
      client,
    })),
  ]
}

/** Removes all that bears the cluster's name: processes with the namespaces and mounts that they alone hold, links,
 *  cgroups, files. What is not there is a success. */
export async function clusterDown(name: string): Promise<void> {
  checkClusterName(name)
  await removeCgroups(name)
  await ipBatch(
    null,
    netnsOf(name).map((netns) => `netns del ${netns}`),
  )
  rmSync(clusterDir(name), { recursive: true, force: true })
}

/** What a cluster has on this machine; empty once it is down. */
export function clusterLeftovers(name: string): string[] {
  return [...netnsOf(name), ...cgroupLeftovers(name), ...[clusterDir(name)].filter((path) => existsSync(path))]
}

/** Takes down the clusters of test processes that are no more (names "t<pid>-…"). */
export async function sweepClusters(): Promise<void> {
  for (const name of existingClusters()) {
    const pid = /^t(\d+)-/.exec(name)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) await clusterDown(name)
  }
}

/** A cluster that an earlier command started. */
export function openCluster(name: string): Cluster {
  const path = `${clusterDir(checkClusterName(name))}/state.json`
  if (existsSync(path)) return new Cluster(JSON.parse(readFileSync(path, 'utf8')) as ClusterState)
  const others = existingClusters()
  throw new CommandError(`there is no cluster ${name}${others.length > 0 ? `; there is ${others.join(', ')}` : ''}`)
}

export class Cluster {
  #state: ClusterState

  constructor(state: ClusterState) {
    this.#state = state
    this.#save()
  }

  get state(): ClusterState {
    return this.#state
  }

  get nodes(): string[] {
    return Array.from({ length: this.#state.nodes }, (_, index) => `n${index + 1}`)
  }

  /** Path of a kubeconfig with all rights; its server is reached from the cluster's namespaces only. */
  get kubeconfig(): string {
    return `${clusterDir(this.#state.name)}/pki/admin.kubeconfig`
  }

  #save(): void {
    const dir = clusterDir(this.#state.name)
    replaceFile(`${dir}/state.json`, `${JSON.stringify(this.#state, null, 1)}\n`, dir)
  }

  startControl(program: ControlProgram): void {
    const { name, families, built, control } = this.#state
    this.#state = {
      ...this.#state,
      control: { ...control, [program]: startControl(name, families, built.bin, program) },
    }
    this.#save()
  }

  /** Ends a program of the control plane and waits until it is gone. */
  async stopControl(program: ControlProgram, signal: 'SIGTERM' | 'SIGKILL' = 'SIGKILL'): Promise<void> {
    const known = this.#state.control[program] ?? null
    if (!isAlive(known)) return
    process.kill(known.pid, signal)
    if (!(await waitUntil(() => !isAlive(known), 20_000)))
      throw new CommandError(`${program} does not end on ${signal}`)
  }

  async apiServerReady(): Promise<void> {
    const { name, families, control } = this.#state
    await apiServerReady(name, families, control['kube-apiserver']!)
  }

  startNode(node: string): void {
    const { name, families, built, kubeProxy, nodeProcesses } = this.#state
    const started = startNode({
      cluster: name,
      name: node,
      families,
      kubeProxy,
      programs: built.bin,
      images: built.images,
    })
    this.#state = { ...this.#state, nodeProcesses: { ...nodeProcesses, [node]: started } }
    this.#save()
  }

  /** Command line that runs `argv` in every namespace of a node, or in the control plane's. */
  commandAt(place: string, argv: readonly string[]): string[] {
    const { name, nodeProcesses } = this.#state
    if (place !== 'control') return commandInNode(name, place, nodeProcesses[place] ?? null, argv)
    return ['nsenter', `--net=${netnsPath(name, 'control')}`, '--', ...argv]
  }

  run(
    place: string,
    argv: readonly string[],
    options: { readonly input?: string; readonly timeoutMs?: number } = {},
  ): Promise<Outcome> {
    return runProgram(this.commandAt(place, argv), { timeoutMs: 120_000, ...options })
  }

  /** Kills containerd, kubelet or kube-proxy; the node starts it again. */
  async killProgram(node: string, program: string): Promise<void> {
    const outcome = await this.run(node, ['sh', '-c', `kill -9 $(cat /run/${program}.pid)`])
    if (outcome.exitCode !== 0) throw new Error(`${node}: cannot kill ${program}: ${outcome.stderr}`)
  }

  /** Command line of kubectl with all rights. */
  kubectlCommand(argv: readonly string[]): string[] {
    const { built } = this.#state
    return this.commandAt('control', [`${built.bin}/kubernetes`, 'kubectl', `--kubeconfig=${this.kubeconfig}`, ...argv])
  }

  /** Standard output of a kubectl that must succeed. */
  async kubectl(argv: readonly string[], input?: string): Promise<string> {
    const outcome = await runProgram(this.kubectlCommand(argv), {
      timeoutMs: 180_000,
      ...(input === undefined ? {} : { input }),
    })
    if (outcome.exitCode === 0) return outcome.stdout
    throw new Error(`kubectl ${argv.join(' ')}: ${outcome.stderr.trim() || outcome.stdout.trim()}`)
  }

  async getJson<T>(...argv: readonly string[]): Promise<T> {
    return JSON.parse(await this.kubectl(['get', ...argv, '-o', 'json'])) as T
  }

  async apply(...objects: readonly object[]): Promise<void> {
    const list = { apiVersion: 'v1', kind: 'List', items: objects }
    await this.kubectl(['apply', '--server-side', '-f', '-'], JSON.stringify(list))
  }

  helmCommand(argv: readonly string[]): string[] {
    return this.commandAt('control', [`${this.#state.built.bin}/helm`, `--kubeconfig=${this.kubeconfig}`, ...argv])
  }

  /** Makes an image archive known to containerd on every node. */
  async importImage(archive: string): Promise<void> {
    for (const node of this.nodes) {
      const outcome = await this.run(node, ['ctr', '-n', 'k8s.io', 'images', 'import', archive])
      if (outcome.exitCode !== 0)
        throw new CommandError(`${node}: ctr images import ${archive}: ${outcome.stderr.trim()}`)
    }
  }

  async podCIDRs(node: string): Promise<string[]> {
    const object = await this.getJson<{ spec: { podCIDRs?: string[] } }>('node', node)
    return object.spec.podCIDRs ?? []
  }

  /** Waits until every node has registered and was given its pod CIDRs. */
  async registered(): Promise<void> {
    const wanted = familiesOf(this.#state.families).length
    const done = await waitUntil(async () => {
      for (const [node, known] of Object.entries(this.#state.nodeProcesses))
        if (!isAlive(known)) throw new CommandError(`node ${node} ended: ${lastLine(this.nodeLog(node, 'node'))}`)
      const list = await this.getJson<{ items: { spec: { podCIDRs?: string[] } }[] }>('nodes')
      return list.items.length === this.#state.nodes && list.items.every(({ spec }) => spec.podCIDRs?.length === wanted)
    }, 90_000)
    if (done) return
    const said = this.nodes.map((node) => `${node}: ${lastLine(this.nodeLog(node, 'kubelet'))}`)
    throw new CommandError(`not every node registered in 90 s: ${said.join('; ')}`)
  }

  async nodesReady(timeoutSeconds = 90): Promise<void> {
    await this.kubectl(['wait', '--for=condition=Ready', 'node', '--all', `--timeout=${timeoutSeconds}s`])
  }

  /** Log file of a node's program: node (its first process), containerd, kubelet, kube-proxy. */
  nodeLog(node: string, program: string): string {
    return `${clusterDir(this.#state.name)}/${node}/${program}.log`
  }

  async down(): Promise<string[]> {
    await clusterDown(this.#state.name)
    return clusterLeftovers(this.#state.name)
  }
}
