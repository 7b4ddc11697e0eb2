// SPDX-License-Identifier: Apache-2.0
// Datagrams whose pieces come in any order arrive whole, wherever they go, and are judged as those in order are.
//
//   n1: client, near, closed      n2: far      outside

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Status } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentSocket } from '../../src/lab/agents.ts'
import { checkout } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { idlePod, namespace, networkPolicy, nodePortService } from '../support/manifests.ts'

const script = `${checkout}/test/support/pieces.py`
const PORT = 7000
const nodePorts = { near: 30_701, far: 30_702 } as const
const client = `${namespace}/client`

type Order = readonly (readonly [datagram: number, piece: number])[]

const reversed: Order = [2, 1, 0].map((piece) => [0, piece])
const interleaved: Order = [
  [0, 2],
  [1, 1],
  [0, 0],
  [1, 2],
  [0, 1],
  [1, 0],
]

function service(name: keyof typeof nodePorts): KubeManifest {
  return nodePortService(name, { app: name }, [{ port: PORT, nodePort: nodePorts[name], protocol: 'UDP' }])
}

describe.each(['vxlan', 'native'] as const)('%s', (mode) => {
  let lab: TestLab

  beforeAll(async () => {
    lab = await startTestLab(`fragments-${mode}`, { mode, families: '46' })
    await lab.apply(
      idlePod('client', 'n1'),
      idlePod('near', 'n1', { app: 'near' }),
      idlePod('far', 'n2', { app: 'far' }),
      idlePod('closed', 'n1', { app: 'closed' }),
      service('near'),
      service('far'),
      networkPolicy('nobody', { podSelector: { matchLabels: { app: 'closed' } }, policyTypes: ['Ingress'] }),
    )
    const servers = ['near', 'far', 'closed'].map((name) =>
      lab.start(`${namespace}/${name}`, ['python3', script, 'serve', String(PORT)]),
    )
    await Promise.all(servers.map((server) => server.until((output) => output.includes('listening'))))
  })

  afterAll(async () => {
    expect(await lab?.down()).toEqual([])
  })

  interface Question {
    readonly from: string
    readonly source: string
    readonly target: string
    readonly port?: number
    readonly bytes?: number
    readonly cut?: number
    readonly attempts?: number
    readonly order?: Order
  }

  /** Who has answered each datagram. */
  async function ask({ from, ...question }: Question): Promise<readonly (string | null)[]> {
    const input = JSON.stringify({ port: PORT, bytes: 2_900, cut: 1_200, attempts: 5, order: interleaved, ...question })
    const { stdout, stderr } = await lab.run(from, ['python3', script, 'ask'], { input })
    expect(stderr).toBe('')
    return JSON.parse(stdout)
  }

  const drops = async (node: string, reason: string): Promise<number> => {
    const status = await askAgent<Status>(agentSocket(lab.name, node), 'GET', '/v1/status')
    return status.drops.find((each) => each.reason === reason)?.packets ?? 0
  }

  test('the status says that fragments are sorted', async () => {
    const status = await askAgent<Status>(agentSocket(lab.name, 'n1'), 'GET', '/v1/status')
    expect(status.kernelFeatures).toContainEqual(expect.objectContaining({ name: 'defragmenter', found: true }))
  })

  describe.each([4, 6] as const)('IPv%s', (family) => {
    const ip = (pod: string) => lab.podIP(pod, family)
    const fromClient = () => ({ from: client, source: ip(client) })
    const fromOutside = () => ({ from: 'outside', source: outsideIPs[family] })

    test.each(['near', 'far'])('from a pod to a pod: %s', async (name) => {
      const target = ip(`${namespace}/${name}`)
      expect(await ask({ ...fromClient(), target })).toEqual([target, target])
      expect(await ask({ ...fromClient(), target, order: reversed })).toEqual([target])
    })

    test.each(['near', 'far'])('from a pod to a cluster IP that no socket hook has resolved: %s', async (name) => {
      const target = lab.clusterIP(`${namespace}/${name}`, family)
      expect(await ask({ ...fromClient(), target })).toEqual([target, target])
    })

    test.each(['near', 'far'] as const)('from outside to a node port: %s', async (name) => {
      const target = lab.nodeIP('n1', family)
      expect(await ask({ ...fromOutside(), target, port: nodePorts[name] })).toEqual([target, target])
    })

    test('policy denies what it denies in order', async () => {
      const before = await drops('n1', 'policy-ingress')
      const target = ip(`${namespace}/closed`)
      expect(await ask({ ...fromClient(), target, attempts: 1, order: reversed })).toEqual([null])
      expect(await drops('n1', 'policy-ingress')).toBeGreaterThan(before)
    })
  })

  test('pieces too large for the way to a backend elsewhere are cut', async () => {
    const target = lab.nodeIP('n1', 4)
    const question = { from: 'outside', source: outsideIPs[4], target, port: nodePorts.far, cut: 1_480 }
    const inOrder: Order = [
      [0, 0],
      [0, 1],
    ]
    expect(await ask({ ...question, order: inOrder })).toEqual([target])
    expect(await ask({ ...question, order: inOrder.toReversed() })).toEqual([target])
  })

  if (mode === 'vxlan')
    test('without the agent, and with the next one, they are sorted as before', async () => {
      const target = lab.podIP(`${namespace}/far`, 4)
      const question = { from: client, source: lab.podIP(client, 4), target, order: reversed }
      const device = () => lab.shell('node/n1', 'ip -o link show heddle_sort | cut -d: -f1')
      const before = await device()
      await lab.killAgents()
      expect(await ask(question)).toEqual([target])
      await lab.startAgents()
      expect(await ask(question)).toEqual([target])
      expect(await device()).toBe(before)
    })
})
