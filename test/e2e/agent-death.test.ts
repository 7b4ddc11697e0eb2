// SPDX-License-Identifier: Apache-2.0
// Agents die and come back under load: no connection breaks, no request fails, policy holds meanwhile.

import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { PlanReply } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentSocket } from '../../src/lab/agents.ts'
import { checkout, nodeDir } from '../../src/lab/names.ts'
import { isAlive } from '../../src/lab/process.ts'
import type { Reply } from '../support/ask.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import type { Load } from '../support/load.ts'
import { httpPort, idlePod, namespace, webForClient } from '../support/manifests.ts'
import { soak } from '../support/soak.ts'

const load: Omit<Load, 'host' | 'port'> = {
  keptConnections: 200,
  requestsPerSecond: 2_000,
  newConnectionsPerSecond: 500,
  seconds: soak(10, 60),
}
const deaths = soak(1, 4)

describe.each(['vxlan', 'native'] as const)('%s', (mode) => {
  let lab: TestLab

  beforeAll(async () => {
    lab = await startTestLab(`death-${mode}`, { mode, families: '46' })
    await lab.apply(...webForClient, idlePod('stranger', 'n1', { app: 'stranger' }))
  })

  afterAll(async () => {
    expect(await lab?.down()).toEqual([])
  })

  async function strangerIsDenied(): Promise<void> {
    const targets = ['web-1', 'web-2'].flatMap((pod) =>
      lab.families().map((family) => ({
        protocol: 'TCP',
        host: lab.podIP(`${namespace}/${pod}`, family),
        port: httpPort,
        timeoutMs: 700,
      })),
    )
    const replies = await lab.script<Reply[]>(`${namespace}/stranger`, 'ask.ts', targets)
    expect(replies).toEqual(targets.map(() => ({ error: 'timeout' })))
  }

  test.each([4, 6] as const)('IPv%s: both agents killed and started again under load', async (family) => {
    const input: Load = { ...load, host: lab.clusterIP('test/web', family), port: 80 }
    const running = await lab.load(`${namespace}/client`, input)
    for (let death = 1; death <= deaths; death++) {
      await lab.killAgents()
      await strangerIsDenied()
      await lab.startAgents()
      await strangerIsDenied()
    }
    const report = await running.report
    console.log(`${mode} IPv${family}: both agents killed, ${deaths} times: ${JSON.stringify(report)}`)
    expect(report.failures).toEqual({})
    expect(report.keptSockets).toBe(load.keptConnections)
    expect(report.keptRequests).toBeGreaterThan(load.requestsPerSecond * load.seconds * 0.9)
    expect(report.newConnections).toBeGreaterThan(load.newConnectionsPerSecond * load.seconds * 0.9)
  })

  test('an agent that comes back finds in the kernel what it wants there', async () => {
    await lab.killAgents()
    await lab.startAgents()
    for (const node of lab.cluster.state.nodes) {
      expect(await askAgent<PlanReply>(agentSocket(lab.name, node.name), 'GET', '/v1/plan')).toEqual({ steps: [] })
    }
  })

  test('a second agent on a node is refused, the first goes on', async () => {
    const node = lab.cluster.node('n1')
    const config = `${nodeDir(lab.name, 'n1')}/config.yaml`
    const second = await lab.run('node/n1', [`${checkout}/bin/heddle`, 'agent', '--config', config])
    expect(second.exitCode).toBe(1)
    expect(second.stdout + second.stderr).toMatch(
      `another agent (pid ${node.agent!.pid}) holds ${nodeDir(lab.name, 'n1')}/run/lock`,
    )
    expect(isAlive(node.agent)).toBe(true)
  })

  test('a second agent with folders of its own, but the same pinned tables, is refused as well', async () => {
    const node = lab.cluster.node('n1')
    const dir = nodeDir(lab.name, 'n1')
    const own = readFileSync(`${dir}/config.yaml`, 'utf8').replace(/^(runDir|stateDir): .*$/gm, `$1: ${dir}/other-$1`)
    writeFileSync(`${dir}/other.yaml`, own)
    const second = await lab.run('node/n1', [`${checkout}/bin/heddle`, 'agent', '--config', `${dir}/other.yaml`])
    expect(second.exitCode).toBe(1)
    expect(second.stdout + second.stderr).toContain(`another agent (pid ${node.agent!.pid}) holds ${dir}/bpf/heddle`)
    expect(isAlive(node.agent)).toBe(true)
  })
})
