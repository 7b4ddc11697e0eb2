// SPDX-License-Identifier: Apache-2.0
// sessionAffinity ClientIP: a client comes back to its backend, by sockets and by packets, also after the agent has come
// back; it leaves a backend that has left the Service, and one that it has not asked for the timeout.
// Source: https://kubernetes.io/docs/reference/networking/virtual-ips/#session-affinity

import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ServiceDetail } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentSocket } from '../../src/lab/agents.ts'
import { netnsPath } from '../../src/lab/names.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { runProgram } from '../../src/lab/process.ts'
import type { Reply, Target } from '../support/ask.ts'
import { scriptArgv, startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, idlePod, namespace, serverPod, udpPort } from '../support/manifests.ts'

const TIMEOUT_SECONDS = 2

function sticky(name: string, nodePorts: readonly [number, number], timeoutSeconds: number): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name },
    spec: {
      type: 'NodePort',
      selector: { app: 'web' },
      ipFamilyPolicy: 'PreferDualStack',
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds } },
      ports: [
        { name: 'http', port: 80, targetPort: httpPort, protocol: 'TCP', nodePort: nodePorts[0] },
        { name: 'udp', port: 53, targetPort: udpPort, protocol: 'UDP', nodePort: nodePorts[1] },
      ],
    },
  }
}

let lab: TestLab
const servers = ['w1', 'w2', 'w3', 'w4'].map((name, i) => serverPod(name, i % 2 ? 'n2' : 'n1', { app: 'web' }))

beforeAll(async () => {
  lab = await startTestLab('affinity', { mode: 'vxlan', families: '46' })
  await lab.apply(
    ...servers,
    idlePod('client', 'n1'),
    sticky('sticky', [30080, 30053], 600),
    sticky('short', [30081, 30054], TIMEOUT_SECONDS),
  )
})

afterAll(async () => {
  expect(await lab?.down()).toEqual([])
})

type Ask = (target: Target) => Promise<string>

const nameOf = (reply: Reply | undefined) => (reply && 'answer' in reply ? reply.answer!.server : (reply?.error ?? ''))
const at =
  (place: string): Ask =>
  async (target) =>
    nameOf((await lab.script<Reply[]>(place, 'ask.ts', [target]))[0])
const past: Ask = async (target) => {
  const argv = [`--net=${netnsPath(lab.name, lab.pod(`${namespace}/client`).place)}`, '--', ...scriptArgv('ask.ts')]
  const { stdout } = await runProgram(['nsenter', ...argv], { input: JSON.stringify([target]), timeoutMs: 20_000 })
  return nameOf((JSON.parse(stdout) as Reply[])[0])
}

/** The one server that answers five questions in a row. */
async function kept(ask: Ask, target: Target): Promise<string> {
  const answers: string[] = []
  for (let i = 0; i < 5; i++) answers.push(await ask(target))
  expect(new Set(answers).size, answers.join(' ')).toBe(1)
  return answers[0]!
}

describe.each([4, 6] as const)('IPv%s', (family) => {
  const ports = { TCP: { cluster: 80, node: 30080 }, UDP: { cluster: 53, node: 30053 } }
  const clients: readonly (readonly [string, Ask, (protocol: 'TCP' | 'UDP') => Target])[] = [
    ['a pod’s sockets', at(`${namespace}/client`), clusterIP],
    ['a node’s sockets', at('node/n2'), clusterIP],
    ['a pod’s packets', past, clusterIP],
    ['a host outside', at('outside'), nodePort],
  ]

  function clusterIP(protocol: 'TCP' | 'UDP'): Target {
    return { protocol, host: lab.clusterIP('test/sticky', family), port: ports[protocol].cluster }
  }
  function nodePort(protocol: 'TCP' | 'UDP'): Target {
    return { protocol, host: lab.nodeIP('n1', family), port: ports[protocol].node }
  }

  test('the same backend for every kind of client, also after the agents were killed and have come back', async () => {
    const keptByAll = () =>
      Promise.all(
        clients.flatMap(([name, ask, to]) =>
          (['TCP', 'UDP'] as const).map(async (protocol) => `${name} ${protocol}: ${await kept(ask, to(protocol))}`),
        ),
      )
    const before = await keptByAll()
    await lab.killAgents()
    await lab.startAgents()
    expect(await keptByAll()).toEqual(before)
  })

  test('a Service is shown with whom it leads where', async () => {
    const server = await kept(at(`${namespace}/client`), clusterIP('TCP'))
    const socket = agentSocket(lab.name, 'n1')
    const { clients } = await askAgent<ServiceDetail>(socket, 'GET', '/v1/service?name=test/sticky')
    const backend = { address: lab.podIP(`${namespace}/${server}`, family), port: httpPort }
    expect(clients).toContainEqual({
      portName: 'http',
      client: `${namespace}/client`,
      backend,
      idleSeconds: expect.closeTo(0, -2),
    })
  })

  test.each(clients)(
    '%s: another backend once its own has left, and the same while another leaves',
    async (_, ask, to) => {
      const first = await kept(ask, to('TCP'))
      const other = servers.find(({ metadata }) => metadata.name !== first)!
      const own = servers.find(({ metadata }) => metadata.name === first)!
      await lab.delete(other)
      expect(await kept(ask, to('TCP'))).toBe(first)
      await lab.delete(own)
      const second = await kept(ask, to('TCP'))
      expect([first, other.metadata.name]).not.toContain(second)
      await lab.apply(own, other)
      expect(await kept(ask, to('TCP'))).toBe(second)
    },
  )

  test('a client that stays away for the timeout is a new one', async () => {
    const ask = at(`${namespace}/client`)
    const target: Target = { protocol: 'TCP', host: lab.clusterIP('test/short', family), port: 80 }
    const seen = new Set<string>()
    for (let i = 0; i < 12 && seen.size < 2; i++) {
      seen.add(await ask(target))
      await sleep((TIMEOUT_SECONDS + 1) * 1_000)
    }
    expect(seen.size, 'twelve choices among four backends').toBe(2)
  })
})
