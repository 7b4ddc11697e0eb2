// SPDX-License-Identifier: Apache-2.0
// `heddle lab status`: what the lab recorded, checked against what runs.

import type { Status } from '../agent/api.ts'
import { askAgent } from '../agent/client.ts'
import { agentSocket } from './agents.ts'
import type { Cluster } from './cluster.ts'
import { podPhase } from './pods.ts'
import { isAlive, residentBytes } from './process.ts'

/** CONTRACT.md names nodes and pods; the rest is extra. */
export interface LabStatus {
  readonly name: string
  readonly mode: string
  readonly families: string
  readonly nodes: readonly {
    readonly name: string
    readonly internalIPs: readonly string[]
    readonly podCIDRs: readonly string[]
    readonly cut: boolean
    /** pid null while no agent runs. */
    readonly agent: { readonly pid: number | null; readonly ready: boolean; readonly rssBytes: number }
  }[]
  readonly pods: readonly {
    readonly namespace: string
    readonly name: string
    readonly node: string
    readonly podIPs: readonly string[]
    readonly phase: string
    readonly ready: boolean
  }[]
  readonly services: readonly {
    readonly namespace: string
    readonly name: string
    readonly clusterIPs: readonly string[]
  }[]
}

export async function labStatus(cluster: Cluster): Promise<LabStatus> {
  const { name, mode, families, nodes, pods } = cluster.state
  return {
    name,
    mode,
    families,
    nodes: await Promise.all(
      nodes.map(async ({ name: nodeName, internalIPs, podCIDRs, cut, agent }) => {
        const alive = isAlive(agent)
        const status = alive
          ? await askAgent<Status>(agentSocket(name, nodeName), 'GET', '/v1/status').catch(() => null)
          : null
        return {
          name: nodeName,
          internalIPs,
          podCIDRs,
          cut,
          agent: {
            pid: alive ? agent.pid : null,
            ready: status?.ready ?? false,
            rssBytes: alive ? residentBytes(agent.pid) : 0,
          },
        }
      }),
    ),
    pods: pods.map((pod) => {
      const [namespace, podName] = pod.name.split('/') as [string, string]
      const phase = podPhase(name, pod)
      return {
        namespace,
        name: podName,
        node: pod.node,
        podIPs: pod.podIPs,
        phase,
        ready: pod.ready && phase === 'Running',
      }
    }),
    services: cluster.services(),
  }
}
