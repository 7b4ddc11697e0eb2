// SPDX-License-Identifier: Apache-2.0
// Heddle as it is measured: a lab of two nodes on one veth wire, pods a and b on n1, c on n2, and Services.

import { writeFileSync } from 'node:fs'
import { manifestsDir, syncAgent } from '../src/lab/agents.ts'
import type { Cluster } from '../src/lab/cluster.ts'
import { bringUp, takeDown } from '../src/lab/lifecycle.ts'
import { cgroupPath, netnsPath, nodeDir } from '../src/lab/names.ts'
import type { KubeManifest } from '../src/lab/objects.ts'
import { podCgroup } from '../src/lab/pods.ts'
import type { Mode } from '../src/lab/state.ts'

export interface HeddleLab {
  /** Network namespace, cgroup and IPv4 address of pods a, b and c and of both nodes. */
  place(name: 'a' | 'b' | 'c' | 'n1' | 'n2'): {
    readonly netns: string
    readonly cgroup: string
    readonly address: string
  }
  /** Where n1's agent listens for the CNI plugin. */
  readonly cniSocket: string
  /** Gives objects to n1's agent as its source would, and waits until they are in force. The lab itself does not know
   *  them: it neither wires the pods nor makes slices. */
  announce(objects: readonly KubeManifest[]): Promise<void>
  down(): Promise<void>
}

const podNodes = { a: 'n1', b: 'n1', c: 'n2' } as const

export async function makeHeddle(mode: Mode): Promise<HeddleLab> {
  const name = `bench-${mode}`
  const cluster = await bringUp({ name, nodeCount: 2, mode, families: '4', wire: 'direct' }, () => {})
  try {
    await cluster.apply(Object.entries(podNodes).map(([pod, node]) => podManifest(pod, node)))
    return heddleLab(cluster)
  } catch (error) {
    await takeDown(name)
    throw error
  }
}

/** Removes what a benchmark that was killed left. */
export async function removeHeddle(): Promise<void> {
  for (const mode of ['native', 'vxlan']) await takeDown(`bench-${mode}`)
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
    cniSocket: `${nodeDir(name, 'n1')}/run/cni.sock`,
    announce: async (objects) => {
      const folder = manifestsDir(name, 'n1')
      for (const [index, object] of objects.entries())
        writeFileSync(`${folder}/announced-${object.kind}-${index}.json`, JSON.stringify(object))
      const { problems } = await syncAgent(name, cluster.state.nodes[0]!)
      if (problems.length > 0) throw new Error(`the agent refused: ${problems.join('; ')}`)
    },
    down: () => takeDown(name),
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

/** A Service for netperf: its control connection and its data. */
export const measuredService = { address: '10.96.255.1', controlPort: 12_865, dataPort: 20_000 } as const

/** `count` Services with four endpoints each, but for the measured one, whose only endpoint is `backend`. */
export function manyServices(count: number, backend: string): readonly KubeManifest[] {
  const others = Array.from({ length: count - 1 }, (_, index) => {
    const low = `${(index >> 8) & 255}.${index & 255}`
    const endpoints = [0, 1, 2, 3].map((last) => `10.250.${index % 250}.${last + 1}`)
    return service(`other-${index}`, `10.96.${low}`, [80, 443], endpoints)
  })
  const { address, controlPort, dataPort } = measuredService
  return [service('measured', address, [controlPort, dataPort], [backend]), ...others].flat()
}

function service(
  name: string,
  clusterIP: string,
  numbers: readonly number[],
  endpoints: readonly string[],
): readonly KubeManifest[] {
  const metadata = { namespace: 'default', name }
  const ports = numbers.map((port) => ({ name: `port-${port}`, protocol: 'TCP', port }))
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { clusterIP, clusterIPs: [clusterIP], ports },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { ...metadata, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports,
      endpoints: endpoints.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    },
  ]
}
