// SPDX-License-Identifier: Apache-2.0
// Services as their backends come and go.

import { appendFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ServiceDetail } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentReady, agentSocket, endAgent, startAgent } from '../../src/lab/agents.ts'
import { checkout, netnsPath, nodeDir } from '../../src/lab/names.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { runProgram } from '../../src/lab/process.ts'
import type { Reply } from '../support/ask.ts'
import { type Background, startBackground } from '../support/background.ts'
import { scriptArgv, startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, idlePod, namespace, serverPod, service } from '../support/manifests.ts'
import { startUdpClient, type UdpClient } from '../support/udp-exchange.ts'

let lab: TestLab
const client = `${namespace}/client`
const hold = `${checkout}/test/support/hold.py`

beforeAll(async () => {
  lab = await startTestLab('services', { mode: 'vxlan', families: '46' })
  await lab.apply(idlePod('client', 'n1'), service('empty', { app: 'nobody' }))
})

afterAll(async () => {
  expect(await lab?.down()).toEqual([])
})

describe.each([4, 6] as const)('IPv%s', (family) => {
  test('a Service without endpoints refuses at once, by TCP and UDP, from pods and nodes', async () => {
    const host = lab.clusterIP('test/empty', family)
    for (const place of [client, 'node/n2']) {
      const replies = await lab.script<Reply[]>(place, 'ask.ts', [
        { protocol: 'TCP', host, port: 80 },
        { protocol: 'UDP', host, port: 53 },
      ])
      expect(replies, place).toEqual([{ error: 'ECONNREFUSED' }, { error: 'ECONNREFUSED' }])
    }
  })

  test('it refuses as well what the socket hooks miss: a process in the pod that is not in the node’s cgroup', async () => {
    const host = lab.clusterIP('test/empty', family)
    const targets = [
      { protocol: 'TCP', host, port: 80 },
      { protocol: 'UDP', host, port: 53, bytes: 1_200 },
    ]
    const argv = [`--net=${netnsPath(lab.name, lab.pod(client).place)}`, '--', ...scriptArgv('ask.ts')]
    const { stdout } = await runProgram(['nsenter', ...argv], { input: JSON.stringify(targets), timeoutMs: 20_000 })
    expect(JSON.parse(stdout)).toEqual([{ error: 'ECONNREFUSED' }, { error: 'ECONNREFUSED' }])
  })

  test('a datagram near the uplink’s MTU from a node process that the socket hooks miss arrives through the tunnel', async () => {
    await lab.apply(serverPod('u1', 'n2', { app: 'udp' }), service('udp', { app: 'udp' }))
    const targets = [1_300, 1_440, 4_000].map((bytes) => ({
      protocol: 'UDP',
      host: lab.clusterIP('test/udp', family),
      port: 53,
      bytes,
    }))
    const argv = [`--net=${netnsPath(lab.name, 'n1')}`, '--', ...scriptArgv('ask.ts')]
    const { stdout } = await runProgram(['nsenter', ...argv], { input: JSON.stringify(targets), timeoutMs: 20_000 })
    expect(JSON.parse(stdout)).toMatchObject(targets.map(({ bytes }) => ({ answer: { server: 'u1', bytes } })))
    await lab.delete(serverPod('u1', 'n2', { app: 'udp' }))
  })

  test('a port that the Service does not have is not answered by anybody', async () => {
    const host = lab.clusterIP('test/empty', family)
    const [reply] = await lab.script<Reply[]>(client, 'ask.ts', [{ protocol: 'TCP', host, port: 81, timeoutMs: 700 }])
    expect(reply).toHaveProperty('error')
  })

  test('a removed backend: a connected UDP client fails at once and reconnects to a live one', async () => {
    const backends = [serverPod('u1', 'n1', { app: 'udp' }), serverPod('u2', 'n2', { app: 'udp' })]
    await lab.apply(...backends, service('udp', { app: 'udp' }))
    const udp = udpClient(lab.clusterIP('test/udp', family), 'connected')
    const first = await udp.next()
    const removed = backends.find(({ metadata }) => metadata.name === first.server)!
    await lab.delete(removed)
    const failed = await udp.next()
    expect(failed.error).toMatch(/^(ECONNREFUSED|EDESTADDRREQ|ENOTCONN|ECONNABORTED)$/)
    const again = await udp.next()
    expect(again).toMatchObject({ server: first.server === 'u1' ? 'u2' : 'u1', error: null })
    console.log(
      `IPv${family}: connected: ${first.server}, removed: ${failed.error} in ${failed.milliseconds} ms, then ${again.server}`,
    )
    await udp.stop()
    await lab.delete(...backends)
  })

  test('a backend removed while the agent is dead: a connected UDP client fails once the agent is back', async () => {
    const backends = [serverPod('u1', 'n2', { app: 'udp' }), serverPod('u2', 'n2', { app: 'udp' })]
    await lab.apply(...backends, service('udp', { app: 'udp' }))
    const clients = Array.from({ length: 4 }, () => udpClient(lab.clusterIP('test/udp', family), 'connected'))
    const firsts = await Promise.all(clients.map((udp) => udp.next()))
    const dead = firsts[0]!.server
    const live = dead === 'u1' ? 'u2' : 'u1'
    const stopped = await endAgent(lab.cluster.node('n1'), 'SIGKILL')
    lab.cluster.setNode(stopped)
    await lab.delete(backends.find(({ metadata }) => metadata.name === dead)!)
    const started = startAgent(lab.name, stopped)
    lab.cluster.setNode(started)
    await agentReady(lab.name, started)
    for (const [index, udp] of clients.entries()) {
      if (firsts[index]!.server === dead) {
        expect((await udp.next()).error).toMatch(/^(ECONNREFUSED|EDESTADDRREQ|ENOTCONN|ECONNABORTED)$/)
      }
      expect(await udp.next()).toMatchObject({ server: live, error: null })
      await udp.stop()
    }
    await lab.delete(...backends)
  })

  test('a removed backend: an unconnected sender moves without an error', async () => {
    const backends = [serverPod('u1', 'n1', { app: 'udp' }), serverPod('u2', 'n2', { app: 'udp' })]
    await lab.apply(...backends, service('udp', { app: 'udp' }))
    const udp = udpClient(lab.clusterIP('test/udp', family), 'unconnected')
    const first = await udp.next()
    for (let more = 0; more < 3; more++) expect(await udp.next()).toMatchObject({ server: first.server, error: null })
    await lab.delete(backends.find(({ metadata }) => metadata.name === first.server)!)
    const moved = await udp.next()
    expect(moved).toMatchObject({ server: first.server === 'u1' ? 'u2' : 'u1', error: null })
    console.log(`IPv${family}: unconnected: ${first.server}, then ${moved.server} without an error`)
    await udp.stop()
    await lab.delete(...backends)
  })

  test('a Service is shown with its connections and their bytes, by sockets and by translated packets', async () => {
    const echo = idlePod('echo', 'n2', { app: 'echo' })
    await lab.apply(echo, service('echo', { app: 'echo' }))
    const server = lab.start(`${namespace}/echo`, ['python3', hold, 'serve', String(httpPort)])
    await server.until((output) => output.includes('listening\n'))
    const argv = (tag: string) => ['python3', hold, 'hold', lab.clusterIP('test/echo', family), '80', '3', tag]
    const bySocket = lab.start(client, argv('socket'))
    const byPacket = startBackground([
      'nsenter',
      `--net=${netnsPath(lab.name, lab.pod(client).place)}`,
      ...argv('packet'),
    ])
    for (const each of [bySocket, byPacket]) await each.until((output) => output.includes('held\n'))
    bySocket.write('go\n')
    await bySocket.until((output) => output.includes('\n3 '))
    const traffic = async () => {
      const socket = agentSocket(lab.name, 'n1')
      return (await askAgent<ServiceDetail>(socket, 'GET', '/v1/service?name=test/echo')).traffic
    }
    const backend = { address: lab.podIP(`${namespace}/echo`, family), port: httpPort, protocol: 'TCP' }
    const [told, ...others] = await traffic()
    expect(others).toEqual([])
    expect(told).toMatchObject({ ...backend, connections: 6 })
    expect(told!.bytesSent, 'socket-0 to socket-2').toBeGreaterThanOrEqual(3 * 'socket-0\n'.length)
    expect(told!.bytesReceived, 'the same, with the address of the client').toBeGreaterThan(3 * 'socket-0\n'.length)
    await bySocket.stop()
    expect(await traffic()).toEqual([{ ...backend, connections: 3, bytesSent: 0, bytesReceived: 0 }])
    await byPacket.stop()
    expect(await traffic()).toEqual([])
    await server.stop()
    await lab.delete(echo)
  })

  test('the peer of a socket is the Service, not the backend', async () => {
    await lab.apply(serverPod('u1', 'n2', { app: 'udp' }), service('udp', { app: 'udp' }))
    const host = lab.clusterIP('test/udp', family)
    for (const kind of ['connected', 'unconnected'] as const) {
      const udp = udpClient(host, kind)
      expect(await udp.next()).toMatchObject({ from: host, error: null })
      await udp.stop()
    }
    await lab.delete(serverPod('u1', 'n2', { app: 'udp' }))
  })
})

describe('with serviceResetTCP', () => {
  beforeAll(async () => {
    await lab.killAgents()
    for (const node of ['n1', 'n2']) appendFileSync(`${nodeDir(lab.name, node)}/config.yaml`, 'serviceResetTCP: true\n')
    await lab.startAgents()
  })

  const echo = service('echo')

  function slice(...endpoints: readonly { readonly pod: string; readonly conditions?: object }[]): KubeManifest {
    return {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace, name: 'echo-4', labels: { 'kubernetes.io/service-name': 'echo' } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: httpPort, protocol: 'TCP' }],
      endpoints: endpoints.map(({ pod, conditions = {} }) => ({
        addresses: [lab.podIP(`${namespace}/${pod}`, 4)],
        nodeName: pod === 'echo-1' ? 'n1' : 'n2',
        conditions: { ready: true, serving: true, terminating: false, ...conditions },
      })),
    }
  }

  /** How many of the three connections still answer. */
  async function alive(held: Background): Promise<number> {
    const before = held.output().length
    held.write('go\n')
    await held.until((output) => output.slice(before).includes('\n'))
    return Number(held.output().slice(before).split(' ')[0])
  }

  test('connections of a client outside go on when agents begin anew', async () => {
    const pod = idlePod('echo-1', 'n1', { app: 'kept' })
    const { spec, ...named } = service('kept', { app: 'kept' })
    const nodePort = { type: 'NodePort', ports: [{ name: 'http', port: 80, targetPort: httpPort, nodePort: 30_099 }] }
    await lab.apply(pod, { ...named, spec: Object.assign({}, spec, nodePort) })
    const server = lab.start(`${namespace}/echo-1`, ['python3', hold, 'serve', String(httpPort)])
    await server.until((output) => output.includes('listening\n'))
    const argv = (node: string) => ['python3', hold, 'hold', lab.nodeIP(node, 4), '30099', '3', 'kept']
    const clients = ['n1', 'n2'].map((node) => lab.start('outside', argv(node)))
    for (const each of clients) await each.until((output) => output.includes('held\n'))
    await lab.killAgents()
    await lab.startAgents()
    for (const each of clients) expect(await alive(each)).toBe(3)
    for (const each of [...clients, server]) await each.stop()
    await lab.delete(pod, named as KubeManifest)
  })

  test('TCP connections to a backend go on while it terminates, and are reset once its slices name it no more', async () => {
    const pods = [idlePod('echo-1', 'n1', {}), idlePod('echo-2', 'n2', {})]
    await lab.apply(...pods)
    await lab.apply(echo, slice({ pod: 'echo-2' }))
    const servers = ['echo-1', 'echo-2'].map((pod) =>
      lab.start(`${namespace}/${pod}`, ['python3', hold, 'serve', String(httpPort)]),
    )
    for (const server of servers) await server.until((output) => output.includes('listening\n'))
    const argv = ['python3', hold, 'hold', lab.clusterIP('test/echo', 4), '80', '3', 'kept']
    const bySocket = lab.start(client, argv)
    const byPacket = startBackground(['nsenter', `--net=${netnsPath(lab.name, lab.pod(client).place)}`, ...argv])
    const clients = [bySocket, byPacket]
    for (const each of clients) await each.until((output) => output.includes('held\n'))
    const leaving = { ready: false, serving: true, terminating: true }
    await lab.apply(slice({ pod: 'echo-1' }, { pod: 'echo-2', conditions: leaving }))
    for (const each of clients) expect(await alive(each)).toBe(3)
    await lab.apply(slice({ pod: 'echo-1' }))
    for (const each of clients) expect(await alive(each)).toBe(0)
    for (const each of [...clients, ...servers]) await each.stop()
    await lab.delete(...pods, echo, slice())
  })
})

function udpClient(host: string, kind: 'connected' | 'unconnected'): UdpClient {
  return startUdpClient(lab, client, host, 53, kind)
}
