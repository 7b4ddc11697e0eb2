// SPDX-License-Identifier: Apache-2.0
// A thousand Services come, change and go while agents die: no connection to a backend that stays may fail, and nothing
// may stay in the tables.
//
//   outside --- fabric --- n1: web-1, client      n2: web-2, web-3 (listed now and then, there all the time)
//
// Sources: Kubernetes e2e [sig-network] Services "should be able to up and down services", "should work after restarting
// kube-proxy"; here under load.

import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { PlanReply, Status } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentSocket } from '../../src/lab/agents.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import type { Load } from '../support/load.ts'
import { idlePod, namespace, serverPod } from '../support/manifests.ts'
import { type ChurnedService, churn, crowdService, serviceChanges, settle } from '../support/service-churn.ts'
import { soak } from '../support/soak.ts'

const CROWD = 1_000
const CHANGES_PER_SECOND = 20
const DEATH_EVERY_MS = 20_000
const seconds = Number(process.env.HEDDLE_CHURN_SECONDS ?? soak(120, 1_800))
const seed = Date.now() % 1_000_000

let lab: TestLab

beforeAll(async () => {
  lab = await startTestLab('churn', { mode: 'vxlan', families: '46' })
  const servers = ['web-1', 'web-2', 'web-3'].map((name) => serverPod(name, name === 'web-1' ? 'n1' : 'n2'))
  await lab.apply(...servers, idlePod('client', 'n1'))
})

afterAll(async () => {
  expect(await lab?.down()).toEqual([])
})

function web(...pods: readonly string[]): ChurnedService {
  const addresses = (family: 4 | 6) => pods.map((pod) => lab.podIP(`${namespace}/${pod}`, family))
  return {
    name: 'web',
    spec: {
      type: 'NodePort',
      clusterIPs: ['10.96.0.80', 'fd00:96::50'],
      ports: [{ name: 'http', port: 80, protocol: 'TCP', nodePort: 30_080 }],
    },
    endpoints: { 4: addresses(4), 6: addresses(6) },
  }
}

/** What is held of what each table should hold, by node: what should not be there is a step of the plan. */
async function tables(): Promise<unknown> {
  return Promise.all(
    lab.cluster.state.nodes.map(async ({ name }) => {
      const socket = agentSocket(lab.name, name)
      const { maps } = await askAgent<Status>(socket, 'GET', '/v1/status')
      const counts = maps
        .filter(({ desiredCount }) => desiredCount !== null)
        .map(({ name, desiredCount }) => [name, desiredCount])
      return { counts, plan: await askAgent<PlanReply>(socket, 'GET', '/v1/plan') }
    }),
  )
}

test(
  `${CROWD} Services, ${CHANGES_PER_SECOND} changes a second, agents killed every 20 s, 2,000 new connections a second`,
  async () => {
    const crowd = Array.from({ length: CROWD }, (_, index) =>
      crowdService(index, { type: 'NodePort', port: 80, isLocal: false, isSticky: false, endpoints: [1, 2, 3] }),
    )
    const atRest = [web('web-1', 'web-2'), ...crowd]
    await settle(lab, atRest)
    const before = await tables()

    const rates: Omit<Load, 'host' | 'port' | 'newConnectionsPerSecond'> = {
      keptConnections: 20,
      requestsPerSecond: 20,
      seconds,
    }
    const loads = await Promise.all([
      lab.load(`${namespace}/client`, { ...rates, host: '10.96.0.80', port: 80, newConnectionsPerSecond: 1_000 }),
      lab.load('node/n2', { ...rates, host: 'fd00:96::50', port: 80, newConnectionsPerSecond: 500 }),
      lab.load('outside', { ...rates, host: lab.nodeIP('n1', 4), port: 30_080, newConnectionsPerSecond: 500 }),
    ])
    const hot = [web('web-1', 'web-2'), web('web-1', 'web-2', 'web-3'), web('web-2')]
    const changes = serviceChanges(seed, seconds * CHANGES_PER_SECOND, CROWD, hot)
    const changing = churn(lab, changes, CHANGES_PER_SECOND)
    for (let ms = DEATH_EVERY_MS / 2; ms < seconds * 1_000; ms += DEATH_EVERY_MS) {
      await sleep(DEATH_EVERY_MS / 2)
      await lab.killAgents()
      await lab.startAgents()
      await sleep(DEATH_EVERY_MS / 2)
    }
    await changing
    const reports = await Promise.all(loads.map(({ report }) => report))
    console.log(`churn, seed ${seed}, ${seconds} s: ${JSON.stringify(reports)}`)
    await settle(lab, atRest)
    for (const report of reports) {
      expect(report.failures, `seed ${seed}`).toEqual({})
      expect(report.keptSockets).toBe(rates.keptConnections)
    }
    expect(await tables(), `seed ${seed}`).toEqual(before)
  },
  (seconds + 200) * 1_000,
)
