// SPDX-License-Identifier: Apache-2.0
// What a Service costs, by how many there are: through its ClusterIP against the pod's own address, and through its
// NodePort from outside against plain routing to a pod.

import { compare, type Method, type Row, say } from './blocks.ts'
import type { HeddleLab } from './heddle.ts'
import type { Path, Server, Test } from './netperf.ts'
import { type Change, timeChanges } from './service-changes.ts'
import { crowd, measured, measuredService } from './service-crowd.ts'
import { type Summary, type Table, tableOf } from './statistics.ts'
import { cgroup, type Kind, loadKubeProxyRules, netnsPath, nodeAddress, podAddress } from './topology.ts'

/** What CI measures. */
export const shortSize = 10_000
export const sizes = [1, 100, 1_000, 10_000, 30_000] as const
/** nft took 25 s for the rules of 10,000 Services, a hundred times as long as for 1,000, and was not done with those of
 *  30,000 after 200 s (iptables-restore: 13 s). */
const nftablesMost = 10_000

export interface ServiceFigures {
  readonly services: number
  readonly table: Table
  /** Empty: not timed. */
  readonly changes: readonly Change[]
}

const clusterIPRow = 'Heddle: ClusterIP'
const nodePortRow = 'Heddle: NodePort'

/** The rows among `count` Services, in a lab of one node with what is outside at the other end of its wire; in a full run
 *  beside kube-proxy and with what a change costs. */
export async function measureServices(
  lab: HeddleLab,
  count: number,
  {
    method,
    servers,
    isShort,
  }: { readonly method: Method; readonly servers: readonly Server[]; readonly isShort: boolean },
): Promise<ServiceFigures> {
  say(`loading ${count} Services`)
  await lab.announce('measured', measured(lab.place('b').address))
  await lab.announce('crowd', crowd(count - 1))
  const kubeProxy = isShort ? [] : await kubeProxyRows(count)
  const changes = isShort ? [] : await timeChanges(lab)
  const pods = podRows(lab)
  const figures = new Map<Test, ReadonlyMap<string, Summary>>([
    ['TCP_RR', await compare(pods, 'TCP_RR', method, servers)],
    ['TCP_CRR', await compare([...pods, ...outsideRows(lab), ...kubeProxy], 'TCP_CRR', method, servers)],
  ])
  return { services: count, table: tableOf(figures), changes }
}

/** Over the wires of ptp, with and without the rules. */
async function kubeProxyRows(count: number): Promise<readonly Row[]> {
  const direct = 'kernel ptp: direct'
  const { address, controlPort, dataPort, nodeControlPort } = measuredService
  const path = (kind: Kind, from: 'a' | 'n2', server: string, control: number): Path => {
    const client = { netns: netnsPath(kind, from), cgroup: cgroup(kind, from) }
    return { ...client, server, controlPort: control, dataPort }
  }
  const rows: Row[] = [{ name: direct, path: path('ptp', 'a', podAddress.b, controlPort), against: direct }]
  for (const kind of ['iptables', 'nftables'] as const) {
    if (kind === 'nftables' && count > nftablesMost) {
      say(`nft takes minutes to load the rules of ${count} Services: not measured`)
      continue
    }
    say(`loading kube-proxy's rules for ${kind}`)
    await loadKubeProxyRules(kind, count)
    rows.push(
      { name: `kube-proxy ${kind}: ClusterIP`, path: path(kind, 'a', address, controlPort), against: direct },
      {
        name: `kube-proxy ${kind}: NodePort`,
        path: path(kind, 'n2', nodeAddress.n1, nodeControlPort),
        against: 'plain routing',
      },
    )
  }
  return rows
}

function podRows(lab: HeddleLab): readonly Row[] {
  const { netns, cgroup } = lab.place('a')
  const { address, controlPort, dataPort } = measuredService
  const path = (server: string): Path => ({ netns, cgroup, server, controlPort, dataPort })
  return [
    { name: 'Heddle: direct', path: path(lab.place('b').address) },
    { name: clusterIPRow, path: path(address) },
  ]
}

function outsideRows(lab: HeddleLab): readonly Row[] {
  const { controlPort, dataPort, nodeControlPort } = measuredService
  const plain = { netns: netnsPath('ptp', 'n2'), cgroup: cgroup('ptp', 'n2') }
  const node = lab.place('n1').address
  return [
    {
      name: 'plain routing',
      path: { ...plain, server: podAddress.b, controlPort, dataPort },
      against: 'plain routing',
    },
    {
      name: nodePortRow,
      path: { ...lab.outside, server: node, controlPort: nodeControlPort, dataPort },
      against: 'plain routing',
    },
  ]
}
