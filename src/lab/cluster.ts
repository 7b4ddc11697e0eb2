// SPDX-License-Identifier: Apache-2.0
// An open lab: its state and objects, and the moves that make what runs equal to what the objects say. Every move starts
// from the recorded state and records what it did, so a command that was killed half-way is completed by the next one.
//
//   objects --schedule, ClusterIPs, slices--> objects --copy--> each node's manifests --sync--> agents
//      pods without a record --ADD, containers, probes--> records, status.podIPs, Ready

import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { CommandError } from '../core/command-error.ts'
import { manifestsDir, type NodeSync, syncAgent } from './agents.ts'
import { nodeDir } from './names.ts'
import { isPod, isService, type KubeManifest, objectKey, type PodManifest, qualifiedName } from './objects.ts'
import { planPod, podPhase, startContainers, stopContainers, unwirePod, wirePod } from './pods.ts'
import { readyPods } from './probes.ts'
import { inParallel } from './process.ts'
import { assignClusterIPs, assignNodePorts, isMadeByLab, makeEndpointSlices, nodePortsOf } from './services.ts'
import {
  type LabNode,
  type LabPod,
  type LabState,
  ObjectStore,
  objectFile,
  readState,
  replaceFile,
  writeState,
} from './state.ts'

/** Pods that are wired at once: a runtime works on several, too. */
const parallelPods = 4

export class Cluster {
  #state: LabState
  readonly #store: ObjectStore

  constructor(state: LabState) {
    this.#state = state
    this.#store = new ObjectStore(state.name)
  }

  static open(lab: string): Cluster {
    return new Cluster(readState(lab))
  }

  get state(): LabState {
    return this.#state
  }

  node(name: string): LabNode {
    const node = this.#state.nodes.find((candidate) => candidate.name === name)
    if (node) return node
    const names = this.#state.nodes.map((candidate) => candidate.name).join(', ')
    throw new CommandError(`lab ${this.#state.name} has no node ${name}; its nodes are ${names}`, 2)
  }

  setNode(node: LabNode): void {
    this.#save({ nodes: this.#state.nodes.map((old) => (old.name === node.name ? node : old)) })
  }

  complete(): void {
    this.#save({ complete: true })
  }

  /** Node objects and the default namespace, for the agents to start with. */
  registerNodes(): void {
    for (const node of this.#state.nodes) this.#store.put(nodeObject(node))
    this.#addNamespace('default')
    this.writeManifests()
  }

  /** Takes in new and changed objects, then makes the lab run as they say. */
  async apply(objects: readonly KubeManifest[]): Promise<NodeSync[]> {
    const taken = new Set(this.services().flatMap(({ clusterIPs }) => clusterIPs))
    for (const object of objects) this.#admit(object, taken)
    return this.reconcile()
  }

  /** Removes objects; with a namespace goes all that is in it. What does not exist is a success. */
  async delete(objects: readonly KubeManifest[]): Promise<NodeSync[]> {
    const named = new Set(objects.map(objectKey))
    const namespaces = new Set(objects.filter(({ kind }) => kind === 'Namespace').map(({ metadata }) => metadata.name))
    const doomed = this.#store
      .all()
      .filter((object) => named.has(objectKey(object)) || namespaces.has(object.metadata.namespace ?? ''))
    // Services let go of the pods first, so that no new connection finds one that is about to end.
    const leaving = new Set(doomed.filter(isPod).map(qualifiedName))
    this.#makeSlices(leaving)
    const before = leaving.size > 0 ? await this.sync() : []
    for (const object of doomed) if (!isPod(object)) this.#store.delete(objectKey(object))
    await inParallel(doomed.filter(isPod), parallelPods, (pod) => this.#removePod(pod))
    return addUp(before, await this.reconcile())
  }

  /** Brings processes, status and agents to what the objects say. */
  async reconcile(): Promise<NodeSync[]> {
    this.#schedule()
    this.#makeSlices(new Set())
    const first = await this.sync()
    await this.#startPods()
    await this.#updateReadiness()
    this.#makeSlices(new Set())
    return addUp(first, await this.sync())
  }

  /** Writes every node's manifests and has the agents read them. */
  async sync(): Promise<NodeSync[]> {
    this.writeManifests()
    return Promise.all(this.#state.nodes.map((node) => syncAgent(this.#state.name, node)))
  }

  /** Every node's manifests folder made equal to the objects, file by file. */
  writeManifests(): void {
    const files = new Map(this.#store.all().map((object) => [objectFile(objectKey(object)), JSON.stringify(object)]))
    for (const node of this.#state.nodes) {
      const dir = manifestsDir(this.#state.name, node.name)
      for (const [file, text] of files)
        if (!hasText(`${dir}/${file}`, text)) replaceFile(`${dir}/${file}`, text, nodeDir(this.#state.name, node.name))
      for (const file of readdirSync(dir)) if (!files.has(file)) rmSync(`${dir}/${file}`)
    }
  }

  services(): { namespace: string; name: string; clusterIPs: readonly string[] }[] {
    return this.#store
      .all()
      .filter(isService)
      .map(({ metadata, spec }) => ({
        namespace: metadata.namespace,
        name: metadata.name,
        clusterIPs: spec.clusterIPs ?? [],
      }))
  }

  #save(change: Partial<LabState>): void {
    this.#state = { ...this.#state, ...change }
    writeState(this.#state)
  }

  /** taken: ClusterIPs in use, to which those of a new Service are added. */
  #admit(object: KubeManifest, taken: Set<string>): void {
    if (object.metadata.namespace !== undefined) this.#addNamespace(object.metadata.namespace)
    const previous = this.#store.get(objectKey(object))
    const metadata = {
      ...object.metadata,
      uid: previous?.metadata.uid ?? randomUUID(),
      creationTimestamp: previous?.metadata.creationTimestamp ?? new Date().toISOString(),
    }
    const stamped = { ...object, metadata }
    if (object.kind === 'Namespace') this.#store.put(withNameLabel(stamped))
    else if (isPod(stamped)) this.#store.put(this.#admitPod(stamped, previous))
    else if (isService(stamped)) {
      const before = previous && isService(previous) ? previous : undefined
      const addressed = assignClusterIPs(stamped, before, taken, this.#state.families)
      const service = assignNodePorts(addressed, before, this.#nodePortsBeside(stamped))
      for (const ip of service.spec.clusterIPs ?? []) taken.add(ip)
      this.#store.put(service)
    } else this.#store.put(stamped)
  }

  #nodePortsBeside(service: KubeManifest): ReadonlySet<number> {
    const others = this.#store.all().filter((object) => objectKey(object) !== objectKey(service))
    return new Set(others.filter(isService).flatMap(nodePortsOf))
  }

  /** A new pod as it is; of a known one labels may change, what runs may not. */
  #admitPod(pod: PodManifest, previous: KubeManifest | undefined): PodManifest {
    if (!previous || !isPod(previous)) return pod
    const spec = { ...pod.spec, nodeName: pod.spec.nodeName ?? previous.spec.nodeName! }
    if (sortedJson(spec) !== sortedJson(previous.spec))
      throw new CommandError(
        `pod ${qualifiedName(pod)}: the spec of a pod cannot change while it runs; delete it first`,
        2,
      )
    return { ...pod, spec, ...(previous.status ? { status: previous.status } : {}) }
  }

  #addNamespace(name: string): void {
    if (this.#store.get(`Namespace ${name}`)) return
    this.#store.put(withNameLabel({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }))
  }

  #schedule(): void {
    const { nodes } = this.#state
    for (const pod of this.#store.all().filter(isPod)) {
      if (pod.spec.nodeName) continue
      const nodeName = nodes[this.#state.nextNode % nodes.length]!.name
      this.#store.put({ ...pod, spec: { ...pod.spec, nodeName } })
      this.#save({ nextNode: this.#state.nextNode + 1 })
    }
  }

  #makeSlices(leaving: ReadonlySet<string>): void {
    const wanted = makeEndpointSlices(this.#store.all(), leaving)
    const keys = new Set(wanted.map(objectKey))
    for (const slice of wanted) this.#store.put(slice)
    for (const object of this.#store.all())
      if (isMadeByLab(object) && !keys.has(objectKey(object))) this.#store.delete(objectKey(object))
  }

  /** Pods of this lab's nodes; one that names another node is an object and nothing else. */
  #ownPods(): PodManifest[] {
    const nodes = new Set(this.#state.nodes.map(({ name }) => name))
    return this.#store
      .all()
      .filter(isPod)
      .filter((pod) => nodes.has(pod.spec.nodeName ?? ''))
  }

  async #startPods(): Promise<void> {
    const wired = new Set(this.#state.pods.filter((pod) => pod.wired).map(({ name }) => name))
    const waiting = this.#ownPods().filter((pod) => !wired.has(qualifiedName(pod)))
    for (const pod of waiting) this.#recordPod(pod)
    await inParallel(waiting, parallelPods, (pod) => this.#startPod(pod))
  }

  #recordPod(pod: PodManifest): void {
    if (this.#state.pods.some(({ name }) => name === qualifiedName(pod))) return
    const number = this.#state.nextPod
    this.#save({ pods: [...this.#state.pods, planPod(pod, number)], nextPod: number + 1 })
  }

  async #startPod(manifest: PodManifest): Promise<void> {
    const lab = this.#state.name
    const node = this.node(manifest.spec.nodeName!)
    const record = this.#state.pods.find(({ name }) => name === qualifiedName(manifest))!
    const wired = await wirePod(lab, record, node, manifest.metadata.uid ?? '')
    this.#setPod(startContainers(lab, wired, manifest, node))
  }

  #setPod(pod: LabPod): void {
    this.#save({ pods: this.#state.pods.map((old) => (old.name === pod.name ? pod : old)) })
  }

  async #removePod(manifest: PodManifest): Promise<void> {
    const lab = this.#state.name
    const record = this.#state.pods.find(({ name }) => name === qualifiedName(manifest))
    if (record) {
      await stopContainers(lab, record, manifest.spec.terminationGracePeriodSeconds ?? 2)
      await unwirePod(lab, record, manifest.metadata.uid ?? '')
      this.#save({ pods: this.#state.pods.filter(({ name }) => name !== record.name) })
    }
    this.#store.delete(objectKey(manifest))
  }

  async #updateReadiness(): Promise<void> {
    const lab = this.#state.name
    const manifests = new Map(this.#ownPods().map((pod) => [qualifiedName(pod), pod]))
    const running = this.#state.pods.flatMap((pod) => {
      const manifest = manifests.get(pod.name)
      return manifest && podPhase(lab, pod) === 'Running' ? [{ pod, manifest }] : []
    })
    const ready = await readyPods(lab, running)
    for (const pod of this.#state.pods) {
      const manifest = manifests.get(pod.name)
      if (!manifest) continue
      const updated = { ...pod, ready: ready.has(pod.name) }
      if (updated.ready !== pod.ready) this.#setPod(updated)
      this.#store.put(withStatus(manifest, updated, podPhase(lab, pod), this.node(pod.node)))
    }
  }
}

function nodeObject(node: LabNode): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: node.name, labels: { 'kubernetes.io/hostname': node.name } },
    spec: { podCIDR: node.podCIDRs[0], podCIDRs: node.podCIDRs },
    status: {
      addresses: [
        ...node.internalIPs.map((address) => ({ type: 'InternalIP', address })),
        { type: 'Hostname', address: node.name },
      ],
    },
  }
}

/** Every namespace carries its name as a label. Source: Kubernetes' NamespaceDefaultLabelName. */
function withNameLabel(namespace: KubeManifest): KubeManifest {
  const { metadata } = namespace
  return {
    ...namespace,
    metadata: { ...metadata, labels: { ...metadata.labels, 'kubernetes.io/metadata.name': metadata.name } },
  }
}

function withStatus(pod: PodManifest, record: LabPod, phase: string, node: LabNode): PodManifest {
  const [first] = record.podIPs
  return {
    ...pod,
    status: {
      phase,
      hostIP: node.internalIPs[0],
      ...(first === undefined ? {} : { podIP: first, podIPs: record.podIPs.map((ip) => ({ ip })) }),
      conditions: [{ type: 'Ready', status: record.ready ? 'True' : 'False' }],
    },
  }
}

function addUp(before: readonly NodeSync[], after: readonly NodeSync[]): NodeSync[] {
  return after.map((sync) => {
    const earlier = before.find(({ name }) => name === sync.name)?.milliseconds ?? 0
    return sync.milliseconds === null ? sync : { ...sync, milliseconds: sync.milliseconds + earlier }
  })
}

function hasText(path: string, text: string): boolean {
  return existsSync(path) && readFileSync(path, 'utf8') === text
}

function sortedJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
