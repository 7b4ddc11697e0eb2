// SPDX-License-Identifier: Apache-2.0
// The memory of a real agent in a big cluster: a lab of one node with 250 pods that the CNI plugin wired, and an API server
// beside it that has the other 99,750.

import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parse, stringify } from 'yaml'
import type { Status } from '../src/agent/api.ts'
import { askAgent } from '../src/agent/client.ts'
import { agentReady, agentSocket, endAgent, startAgent } from '../src/lab/agents.ts'
import { bringUp, takeDown } from '../src/lab/lifecycle.ts'
import { netnsPath, nodeDir } from '../src/lab/names.ts'
import type { KubeManifest } from '../src/lab/objects.ts'
import { residentBytes, waitUntil } from '../src/lab/process.ts'
import { ObjectStore } from '../src/lab/state.ts'
import { startBackground } from '../test/support/background.ts'
import { HERE, namespaceOf, PODS, PODS_PER_NODE, podOf, type Scenario } from './big-cluster.ts'

const LAB = 'bench-policies'
/** What reading everything has left is collected meanwhile. */
const SETTLE_MS = 5_000
const KNOWN_MS = 60_000

/** Resident bytes, once all is in force and quiet. */
export async function residentOfAgent(scenario: Scenario): Promise<number> {
  await takeDown(LAB)
  const cluster = await bringUp({ name: LAB, nodeCount: 1, mode: 'native', families: '4', wire: 'fabric' }, () => {})
  try {
    const pods = Array.from({ length: PODS_PER_NODE }, (_, at) => at)
    await cluster.apply([...pods.map((at) => namespaceOf(at)), ...pods.map((at) => podOf(at))] as KubeManifest[])
    const node = await endAgent(cluster.state.nodes[0]!, 'SIGTERM')
    const script = fileURLToPath(new URL('policies-server.ts', import.meta.url))
    const argv = ['nsenter', `--net=${netnsPath(LAB, HERE)}`, '--', process.execPath, script, scenario]
    const server = startBackground(argv)
    server.write(`${JSON.stringify(new ObjectStore(LAB).all())}\n`)
    await server.until((output) => output.endsWith('\n'))
    followServer(server.output().trim())
    const agent = startAgent(LAB, node)
    cluster.setNode(agent)
    await agentReady(LAB, agent)
    if (!(await waitUntil(knowsAll, KNOWN_MS))) throw new Error('the agent has not classified every pod')
    await sleep(SETTLE_MS)
    const bytes = residentBytes(agent.agent!.pid)
    await server.stop()
    return bytes
  } finally {
    await takeDown(LAB)
  }
}

async function knowsAll(): Promise<boolean> {
  const { maps } = await askAgent<Status>(agentSocket(LAB, HERE), 'GET', '/v1/status')
  return maps.find(({ name }) => name === 'classes')!.desiredCount! >= PODS
}

/** The node's agent follows it from its next start on. */
function followServer(server: string): void {
  const dir = nodeDir(LAB, HERE)
  const kubeconfig = `${dir}/kubeconfig`
  const context = { 'current-context': 'c', contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }] }
  const parties = { clusters: [{ name: 'k', cluster: { server } }], users: [{ name: 'u', user: { token: 'anybody' } }] }
  writeFileSync(kubeconfig, JSON.stringify({ ...context, ...parties }))
  const config = parse(readFileSync(`${dir}/config.yaml`, 'utf8'))
  writeFileSync(`${dir}/config.yaml`, stringify({ ...config, kubeconfig, cniConfDir: '', cniBinDir: '' }))
}
