// SPDX-License-Identifier: Apache-2.0
// Heddle as it is measured: a lab of two nodes on one veth wire, pods a and b on n1, c on n2; or, for Services, of n1 alone
// with what is outside the cluster at the other end of the wire.

import { rmSync } from 'node:fs'
import type { SyncReply } from '../src/agent/api.ts'
import { askAgent } from '../src/agent/client.ts'
import { agentSocket, manifestsDir } from '../src/lab/agents.ts'
import type { Cluster } from '../src/lab/cluster.ts'
import { bringUp, takeDown } from '../src/lab/lifecycle.ts'
import { cgroupPath, netnsPath, nodeDir } from '../src/lab/names.ts'
import type { KubeManifest } from '../src/lab/objects.ts'
import { podCgroup } from '../src/lab/pods.ts'
import { replaceFile } from '../src/lab/state.ts'

interface Client {
  readonly netns: string
  readonly cgroup: string
}

export interface HeddleLab {
  /** Network namespace, cgroup and IPv4 address of a pod or node. */
  place(name: 'a' | 'b' | 'c' | 'n1' | 'n2'): Client & { readonly address: string }
  readonly outside: Client
  /** Where n1's agent listens for the CNI plugin. */
  readonly cniSocket: string
  /** Gives objects to n1's agent as its source would, in place of those that had this name, and waits until they are in
   *  force. The lab itself does not know them: it neither wires the pods nor makes slices. */
  announce(name: string, objects: readonly KubeManifest[]): Promise<SyncReply>
  down(): Promise<void>
}

const podNodes = { a: 'n1', b: 'n1', c: 'n2' } as const
const kinds = { native: 'native', vxlan: 'vxlan', edge: 'native', policed: 'native' } as const
/** edge: n1 alone, what is outside beside it. policed: POLICY_COUNT policies select every pod. */
export type HeddleKind = keyof typeof kinds
/** Source: issue 6. */
export const POLICY_COUNT = 100
/** Longest load of the greatest number of Services. */
const syncTimeoutMs = 180_000

export async function makeHeddle(kind: HeddleKind): Promise<HeddleLab> {
  const name = `bench-${kind}`
  const nodeCount = kind === 'edge' ? 1 : 2
  const cluster = await bringUp({ name, nodeCount, mode: kinds[kind], families: '4', wire: 'direct' }, () => {})
  try {
    const pods = Object.entries(podNodes).filter(([, node]) => cluster.state.nodes.some(({ name }) => name === node))
    await cluster.apply([
      ...pods.map(([pod, node]) => podManifest(pod, node)),
      ...(kind === 'policed' ? Array.from({ length: POLICY_COUNT }, (_, index) => policyManifest(index)) : []),
    ])
    return heddleLab(cluster)
  } catch (error) {
    await takeDown(name)
    throw error
  }
}

/** Removes what a benchmark that was killed left. */
export async function removeHeddle(): Promise<void> {
  for (const kind of Object.keys(kinds)) await takeDown(`bench-${kind}`)
}

function heddleLab(cluster: Cluster): HeddleLab {
  const { name } = cluster.state
  return {
    place: (place) => {
      const node = cluster.state.nodes.find((node) => node.name === place)
      if (node)
        return { netns: netnsPath(name, place), cgroup: cgroupPath(name, place, 'host'), address: node.internalIPs[0]! }
      const pod = cluster.state.pods.find((pod) => pod.name === `default/${place}`)!
      return { netns: netnsPath(name, pod.place), cgroup: podCgroup(name, pod), address: pod.podIPs[0]! }
    },
    outside: { netns: netnsPath(name, 'outside'), cgroup: cgroupPath(name, 'outside') },
    cniSocket: `${nodeDir(name, 'n1')}/run/cni.sock`,
    announce: (subject, objects) => announce(name, subject, objects),
    down: () => takeDown(name),
  }
}

async function announce(lab: string, subject: string, objects: readonly KubeManifest[]): Promise<SyncReply> {
  const file = `${manifestsDir(lab, 'n1')}/announced-${subject}.yaml`
  const text = objects.map((object) => `---\n${JSON.stringify(object)}\n`).join('')
  if (objects.length > 0) replaceFile(file, text, nodeDir(lab, 'n1'))
  else rmSync(file, { force: true })
  const reply = await askAgent<SyncReply>(agentSocket(lab, 'n1'), 'POST', '/v1/sync', syncTimeoutMs)
  const problems = reply.problems.map(({ field, message }) => `${field}: ${message}`)
  if (problems.length > 0) throw new Error(`the agent refused: ${problems.join('; ')}`)
  return reply
}

/** For both directions. Only the last admits the pods that are measured. */
function policyManifest(index: number): KubeManifest {
  const apps = index === POLICY_COUNT - 1 ? Object.keys(podNodes) : [`other-${index}`]
  const peers = [{ podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: apps }] } }]
  const ports = [{ port: 1, endPort: 65_535, protocol: 'TCP' }]
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: `policy-${index}`, namespace: 'default' },
    spec: {
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: peers, ports }],
      egress: [{ to: peers, ports }],
    },
  }
}

export function podManifest(name: string, node: string): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app: name } },
    spec: { nodeName: node, containers: [{ name: 'idle', command: ['sleep', 'infinity'] }] },
  }
}
