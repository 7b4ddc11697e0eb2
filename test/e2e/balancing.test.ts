// SPDX-License-Identifier: Apache-2.0
// How backends are chosen for Services that say how (docs/services.md), by sockets and by packets.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkout, netnsPath } from '../../src/lab/names.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { runProgram } from '../../src/lab/process.ts'
import type { Reply, Target } from '../support/ask.ts'
import { scriptArgv, startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, idlePod, namespace, nodePortService, serverPod, udpPort } from '../support/manifests.ts'

function balanced(
  name: string,
  firstNodePort: number,
  annotations: Readonly<Record<string, string>>,
  selector: Readonly<Record<string, string>> = { app: 'web' },
): KubeManifest {
  const ports = [
    { name: 'http', port: 80, targetPort: httpPort, protocol: 'TCP', nodePort: firstNodePort },
    { name: 'udp', port: 53, targetPort: udpPort, protocol: 'UDP', nodePort: firstNodePort + 1 },
  ]
  return nodePortService(name, selector, ports, annotations)
}

let lab: TestLab
const balancing = 'service.heddle.network/balancing'
const weights = 'service.heddle.network/weights'

beforeAll(async () => {
  lab = await startTestLab('balancing', { mode: 'vxlan', families: '46' })
  await lab.apply(
    ...['w1', 'w2', 'w3', 'w4'].map((name, i) =>
      serverPod(name, i % 2 ? 'n2' : 'n1', { app: 'web', name, half: i < 2 ? 'first' : 'second' }),
    ),
    idlePod('client', 'n1'),
    balanced('maglev', 30080, { [balancing]: 'mh' }),
    balanced('hashed', 30082, { [balancing]: 'sh' }),
    balanced('turns', 30084, { [balancing]: 'rr' }),
    balanced('weighted', 30086, { [balancing]: 'wrr', [weights]: 'n1=3' }),
  )
})

afterAll(async () => {
  expect(await lab?.down()).toEqual([])
})

type Ask = (...targets: Target[]) => Promise<string[]>

const nameOf = (reply: Reply) => ('answer' in reply ? reply.answer!.server : (reply.error ?? ''))
const at =
  (place: string): Ask =>
  async (...targets) =>
    (await lab.script<Reply[]>(place, 'ask.ts', targets)).map(nameOf)
/** Outside of the pod's cgroup: no socket hook chooses, its packets are given a backend. */
const byPackets: Ask = async (...targets) => {
  const argv = [`--net=${netnsPath(lab.name, lab.pod(`${namespace}/client`).place)}`, '--', ...scriptArgv('ask.ts')]
  const { stdout } = await runProgram(['nsenter', ...argv], { input: JSON.stringify(targets), timeoutMs: 20_000 })
  return (JSON.parse(stdout) as Reply[]).map(nameOf)
}

const times = (count: number, target: Target): Target[] => Array.from({ length: count }, () => target)
const countsOf = (answers: readonly string[]) =>
  ['w1', 'w2', 'w3', 'w4'].map((server) => answers.filter((answer) => answer === server).length)

describe.each([4, 6] as const)('IPv%s', (family) => {
  const clusterIP = (service: string, protocol: 'TCP' | 'UDP'): Target => ({
    protocol,
    host: lab.clusterIP(`${namespace}/${service}`, family),
    port: protocol === 'TCP' ? 80 : 53,
  })

  test.each([
    ['maglev', 'TCP', 30080],
    ['maglev', 'UDP', 30081],
    ['hashed', 'TCP', 30082],
    ['hashed', 'UDP', 30083],
  ] as const)(
    '%s, %s: a client has one backend, by socket, by packet, by any node',
    async (service, protocol, port) => {
      const target = clusterIP(service, protocol)
      const inside = [
        ...(await at(`${namespace}/client`)(...times(4, target))),
        ...(await byPackets(...times(4, target))),
      ]
      expect(new Set(inside).size, inside.join(' ')).toBe(1)
      const nodePorts = ['n1', 'n2'].map((node) => ({ protocol, host: lab.nodeIP(node, family), port }))
      const outside = await at('outside')(...nodePorts, ...nodePorts)
      expect(new Set(outside).size, outside.join(' ')).toBe(1)
      expect(inside[0]).toMatch(/^w[1-4]$/)
      expect(outside[0]).toMatch(/^w[1-4]$/)
    },
  )

  test('in turn: each backend twice in eight connections', async () => {
    const answers = await at(`${namespace}/client`)(...times(8, clusterIP('turns', 'TCP')))
    expect(countsOf(answers), answers.join(' ')).toEqual([2, 2, 2, 2])
    const packets = await byPackets(...times(8, clusterIP('turns', 'TCP')))
    expect(countsOf(packets), packets.join(' ')).toEqual([2, 2, 2, 2])
  })

  test('by load: where many connections are held nobody new is led, by socket and by packet', async () => {
    const least = (selector: Readonly<Record<string, string>>) =>
      balanced('least', 30088, { [balancing]: 'lc' }, selector)
    await lab.apply(least({ name: 'w1' }))
    const target = clusterIP('least', 'TCP')
    const argv = ['python3', `${checkout}/test/support/hold.py`, 'hold', target.host, '80', '60', 'held']
    const holding = lab.start(`${namespace}/client`, argv)
    await holding.until((output) => output.includes('held\n'))
    await lab.apply(least({ half: 'first' }))
    for (const ask of [at(`${namespace}/client`), byPackets]) {
      const answers = async () => new Set(await ask(...times(8, target)))
      await expect.poll(answers, { timeout: 30_000, interval: 1_000 }).toEqual(new Set(['w2']))
    }
    await holding.stop()
    await lab.delete(least({}))
  })

  test('in turn by weight: those on n1 three times as often, but for where the table begins anew', async () => {
    const counts = countsOf(await at(`${namespace}/client`)(...times(40, clusterIP('weighted', 'TCP'))))
    for (const [index, expected] of [15, 5, 15, 5].entries()) {
      expect(Math.abs(counts[index]! - expected), counts.join(' ')).toBeLessThanOrEqual(2)
    }
  })
})
