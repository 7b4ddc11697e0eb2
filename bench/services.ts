// SPDX-License-Identifier: Apache-2.0
// What a Service costs, by how many there are: through its ClusterIP against the pod's own address, and through its
// NodePort from outside against plain routing to a pod.

import { compare, type Method, type Row, say } from './blocks.ts'
import type { HeddleLab } from './heddle.ts'
import type { Path, Test } from './netperf.ts'
import { crowd, measured, measuredService } from './service-crowd.ts'
import { type Summary, type Table, tableOf } from './statistics.ts'
import { cgroup, netnsPath, podAddress } from './topology.ts'

/** What CI measures. */
export const shortSize = 10_000

export interface ServiceFigures {
  readonly services: number
  readonly table: Table
}

export const clusterIPRow = 'Heddle: ClusterIP'
export const nodePortRow = 'Heddle: NodePort'

/** The rows among `count` Services, in a lab of one node with what is outside at the other end of its wire. */
export async function measureServices(lab: HeddleLab, count: number, method: Method): Promise<ServiceFigures> {
  say(`loading ${count} Services`)
  await lab.announce('measured', measured(lab.place('b').address))
  await lab.announce('crowd', crowd(count - 1))
  const pods = podRows(lab)
  const figures = new Map<Test, ReadonlyMap<string, Summary>>([
    ['TCP_RR', await compare(pods, 'TCP_RR', method)],
    ['TCP_CRR', await compare([...pods, ...outsideRows(lab)], 'TCP_CRR', method)],
  ])
  return { services: count, table: tableOf(figures) }
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
