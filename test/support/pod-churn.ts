// SPDX-License-Identifier: Apache-2.0
// Pods that come and go at a rate, as a kubelet and a runtime start and end them, while labels and policies of all change.
// Each is listened to, and speaks, from before its ADD.

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { cniAdd, cniDel } from '../../src/lab/cni.ts'
import { checkout, netnsName, netnsPath } from '../../src/lab/names.ts'
import { deleteNetns, makePodNetns } from '../../src/lab/network.ts'
import type { KubeManifest, PodManifest } from '../../src/lab/objects.ts'
import { planPod } from '../../src/lab/pods.ts'
import { inParallel } from '../../src/lab/process.ts'
import type { LabPod, LabState } from '../../src/lab/state.ts'
import { startDialogue } from './dialogue.ts'
import { idlePod, networkPolicy } from './manifests.ts'
import { publish, withdraw } from './publish.ts'

/** Places of these pods in the lab begin here, where its own do not come. */
const FIRST_PLACE = 1_000
const PARALLEL_NETNS = 4
const WAVES = 4

/** What arrived, by "SENDER > DESTINATION" (listen.py). */
export type Heard = Readonly<Record<string, Arrivals>>

export interface Arrivals {
  readonly count: number
  /** By monotonicUs. */
  readonly firstUs: number
  /** Longest time between two of them. */
  readonly gapUs: number
}

/** Packet sockets in network namespaces, by names of ours. */
export interface Listener {
  listen(name: string, netns: string): Promise<void>
  leave(name: string): Promise<void>
  heard(name: string): Promise<Heard>
  stop(): Promise<void>
}

export function startListener(): Listener {
  const { ask, stop } = startDialogue(['python3', `${checkout}/test/support/listen.py`])
  return {
    listen: async (name, netns) => void (await ask(`listen ${name} ${netns}`)),
    leave: async (name) => void (await ask(`leave ${name}`)),
    heard: async (name) => JSON.parse(await ask(`heard ${name}`)) as Heard,
    stop,
  }
}

/** Who sends datagrams from network namespaces, with names of ours in them. */
export interface Speaker {
  speak(name: string, netns: string, to: readonly string[]): Promise<void>
  hush(name: string): Promise<void>
  stop(): Promise<void>
}

export function startSpeaker(port: number): Speaker {
  const { ask, stop } = startDialogue(['python3', `${checkout}/test/support/speak.py`, `${port}`])
  return {
    speak: async (name, netns, to) => void (await ask(`${name} ${netns} ${to.join(' ')}`)),
    hush: async (name) => void (await ask(name)),
    stop,
  }
}

export interface ChurnedPod {
  readonly name: string
  readonly manifest: PodManifest
  readonly record: LabPod
  readonly isFriend: boolean
}

export interface StartedPod extends ChurnedPod {
  readonly podIPs: readonly string[]
  /** When status.podIPs was there for every node's source, by monotonicUs. */
  readonly visibleUs: number
}

/** Pods labelled `app: victim`, on the nodes in turn, half of each node's `friend: yes`; their network namespaces are made. */
export async function preparePods(lab: LabState, count: number): Promise<readonly ChurnedPod[]> {
  const pods = Array.from({ length: count }, (_, index): ChurnedPod => {
    const isFriend = index % 4 < 2
    const name = `${isFriend ? 'friend' : 'stranger'}-${index}`
    const labels = { app: 'victim', ...waveOf(index), ...(isFriend && { friend: 'yes' }) }
    const pod = idlePod(name, lab.nodes[index % lab.nodes.length]!.name, labels)
    const manifest = { ...pod, metadata: { ...pod.metadata, uid: randomUUID() } } as PodManifest
    return { name, manifest, isFriend, record: planPod(manifest, FIRST_PLACE + index) }
  })
  await inParallel(pods, PARALLEL_NETNS, ({ record }) => makePodNetns(lab.name, record.place))
  return pods
}

export interface PodChurn {
  /** Object, listener and speaker, ADD, status: as they come in a cluster. */
  start(pod: ChurnedPod, speaksTo: readonly string[]): Promise<StartedPod>
  remove(pod: ChurnedPod): Promise<void>
  /** A label of some pod that has started changes, and a policy comes or goes; the count-th of such changes. */
  change(count: number): void
}

export function createPodChurn(lab: LabState, listener: Listener, speaker: Speaker): PodChurn {
  /** As every node's source has them. */
  const manifests = new Map<string, PodManifest>()
  const policies = new Set<KubeManifest>()

  function put(manifest: PodManifest): number {
    manifests.set(manifest.metadata.name, manifest)
    return publish(lab, manifest)
  }

  function relabel(count: number): void {
    const pods = [...manifests.values()]
    const pod = pods[(count * 7_919) % pods.length]
    if (pod === undefined) return
    put({ ...pod, metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, ...waveOf(count) } } })
  }

  function toggle(policy: KubeManifest): void {
    if (policies.delete(policy)) withdraw(lab, policy)
    else {
      policies.add(policy)
      publish(lab, policy)
    }
  }

  return {
    async start(pod, speaksTo) {
      const netns = netnsPath(lab.name, pod.record.place)
      put(pod.manifest)
      await listener.listen(pod.name, netns)
      await speaker.speak(pod.name, netns, speaksTo)
      const podIPs = await cniAdd(lab.name, pod.record, pod.manifest.metadata.uid!)
      const status = { phase: 'Running', podIPs: podIPs.map((ip) => ({ ip })) }
      return { ...pod, podIPs, visibleUs: put({ ...manifests.get(pod.name)!, status }) }
    },
    async remove({ name, manifest, record }) {
      await speaker.hush(name)
      await listener.leave(name)
      manifests.delete(name)
      await cniDel(lab.name, record, manifest.metadata.uid!)
      withdraw(lab, manifest)
      await deleteNetns([netnsName(lab.name, record.place)])
    },
    change(count) {
      relabel(count)
      toggle(churnedPolicies[count % churnedPolicies.length]!)
    },
  }
}

/** Of one wave each. They let in only friends, and out to every victim. */
const churnedPolicies: readonly KubeManifest[] = Array.from({ length: WAVES }, (_, wave) => {
  const podSelector = { matchLabels: waveOf(wave) }
  const friends = { matchLabels: { friend: 'yes', ...waveOf(wave + 1) } }
  const victims = { matchLabels: { app: 'victim' } }
  return [
    networkPolicy(`in-${wave}`, {
      podSelector,
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ podSelector: friends }] }],
    }),
    networkPolicy(`out-${wave}`, {
      podSelector,
      policyTypes: ['Egress'],
      egress: [{ to: [{ podSelector: victims }] }],
    }),
  ]
}).flat()

function waveOf(index: number): { readonly wave: string } {
  return { wave: String(index % WAVES) }
}

/** `work` over all items, which begin `perSecond`; late ones at once. */
export async function atRate<T, R>(
  items: readonly T[],
  perSecond: number,
  work: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const began = performance.now()
  return Promise.all(
    items.map(async (item, index) => {
      await sleep(Math.max(0, began + (index * 1_000) / perSecond - performance.now()))
      return work(item)
    }),
  )
}
