// SPDX-License-Identifier: Apache-2.0
// Another version takes over under load, and the first one comes back: its conntrack value has one member more and its
// maps are twice the size. No connection breaks, no request fails, and the entries are the same ones.

import { readdirSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Status } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentReady, agentSocket, endAgent, startAgent } from '../../src/lab/agents.ts'
import { checkout, nodeDir } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import type { Load } from '../support/load.ts'
import { httpPort, namespace, webForClient } from '../support/manifests.ts'
import { soak } from '../support/soak.ts'
import { buildVariant, type Variant } from '../support/variant.ts'

const load: Omit<Load, 'host' | 'port'> = {
  keptConnections: 200,
  requestsPerSecond: 2_000,
  newConnectionsPerSecond: 500,
  seconds: soak(12, 60),
}

const OUTSIDE_PORT = 7000

let lab: TestLab
let variant: Variant

beforeAll(async () => {
  variant = buildVariant((header, text) => {
    const larger = text.replace(
      /__uint\(max_entries, (\d{3,})\)/g,
      (_, entries) => `__uint(max_entries, ${2 * entries})`,
    )
    if (header !== 'conntrack.h') return larger
    return larger.replace('\t__u8 spare[8];', '\t__u32 added;\n\t__u8 spare[4];')
  })
  lab = await startTestLab('migration', { mode: 'native', families: '46' })
  await lab.serve('outside', { http: OUTSIDE_PORT, udp: 7001 })
  await lab.apply(...webForClient)
})

afterAll(async () => {
  variant?.[Symbol.dispose]()
  expect(await lab?.down()).toEqual([])
})

function flowPins(): string[] {
  const pins = lab.cluster.state.nodes.flatMap(({ name }) => readdirSync(`${nodeDir(lab.name, name)}/bpf/heddle`))
  return [...new Set(pins.filter((pin) => pin.startsWith('flows_v')))]
}

/** Packets dropped on all nodes, by reason. The counters survive as the tables do. */
async function drops(): Promise<Record<string, number>> {
  const totals: Record<string, number> = {}
  for (const { name } of lab.cluster.state.nodes) {
    const status = await askAgent<Status>(agentSocket(lab.name, name), 'GET', '/v1/status')
    for (const { reason, packets } of status.drops) {
      // What pods send of their own accord (MLD reports) comes at any time.
      if (reason !== 'multicast') totals[reason] = (totals[reason] ?? 0) + packets
    }
  }
  return totals
}

async function replaceAgents(root: string): Promise<void> {
  for (const node of lab.cluster.state.nodes) lab.cluster.setNode(await endAgent(node, 'SIGKILL'))
  for (const node of lab.cluster.state.nodes) lab.cluster.setNode(startAgent(lab.name, node, root))
  await Promise.all(lab.cluster.state.nodes.map((node) => agentReady(lab.name, node)))
}

test.each([
  ['a ClusterIP', 4],
  ['a ClusterIP', 6],
  ['a pod', 4],
  ['a host outside', 4],
  ['a host outside', 6],
] as const)('%s over IPv%s: another version and back, under load', async (target, family) => {
  const ends = {
    'a ClusterIP': { host: lab.clusterIP('test/web', family), port: 80 },
    'a pod': { host: lab.podIP(`${namespace}/web-2`, family), port: httpPort },
    'a host outside': { host: outsideIPs[family], port: OUTSIDE_PORT },
  }
  const input: Load = { ...load, ...ends[target] }
  const dropped = await drops()
  const running = await lab.load(`${namespace}/client`, input)
  const own = flowPins()
  await replaceAgents(variant.root)
  const others = flowPins()
  expect(others).toHaveLength(1)
  expect(others).not.toEqual(own)
  await replaceAgents(checkout)
  expect(flowPins()).toEqual(own)
  const report = await running.report
  console.log(`${target} over IPv${family}: ${JSON.stringify(report)}`)
  expect(report.failures).toEqual({})
  expect(report.keptSockets).toBe(load.keptConnections)
  expect(await drops()).toEqual(dropped)
})
