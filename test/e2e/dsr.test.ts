// SPDX-License-Identifier: Apache-2.0
// Direct server return with real clients: `outside` asks a NodePort of n1 whose only backend is on n2.
//
//   outside --- n1 --- (tunnel, or plain) --- n2: web
//      \_________________________________________/   the answers, past n1

import { appendFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ServiceDetail, TraceReply } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentSocket } from '../../src/lab/agents.ts'
import { checkout, nodeDir } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import type { Reply } from '../support/ask.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, namespace, networkPolicy, serverPod, udpPort } from '../support/manifests.ts'

const nodePort = 30_080
const holdPort = 7_000
const holdNodePort = 30_070
const hold = `${checkout}/test/support/hold.py`
const web = `${namespace}/web`
const families = [4, 6] as const
const vips = { 4: '198.51.100.10', 6: '2001:db8:51::10' } as const
const labels = { app: 'web' }
const service: KubeManifest = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { namespace, name: 'web' },
  spec: {
    type: 'NodePort',
    selector: labels,
    ipFamilyPolicy: 'PreferDualStack',
    ports: [
      { name: 'http', port: 80, targetPort: httpPort, nodePort, protocol: 'TCP' },
      { name: 'udp', port: 53, targetPort: udpPort, nodePort, protocol: 'UDP' },
      { name: 'hold', port: 70, targetPort: holdPort, nodePort: holdNodePort, protocol: 'TCP' },
    ],
  },
}

/** The lab's own object of a node, and that its agent takes what another node has begun (docs/services.md). */
function nodeThatAnswers(lab: TestLab, name: string): KubeManifest {
  const { internalIPs, podCIDRs } = lab.cluster.node(name)
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, annotations: { 'node.heddle.network/capabilities': 'dsr' } },
    spec: { podCIDR: podCIDRs[0], podCIDRs },
    status: { addresses: internalIPs.map((address) => ({ type: 'InternalIP', address })) },
  }
}

describe.each(['native', 'vxlan'] as const)('%s', (mode) => {
  let lab: TestLab

  beforeAll(async () => {
    lab = await startTestLab(`dsr-${mode}`, { mode, families: '46' })
    await lab.killAgents()
    for (const node of ['n1', 'n2'])
      appendFileSync(`${nodeDir(lab.name, node)}/config.yaml`, 'loadBalancerMode: hybrid\n')
    await lab.startAgents()
    await lab.apply(serverPod('web', 'n2', labels), service, ...['n1', 'n2'].map((node) => nodeThatAnswers(lab, node)))
    const server = lab.start(web, ['python3', hold, 'serve', String(holdPort)])
    await server.until((output) => output.includes('listening'))
  })

  afterAll(async () => {
    expect(await lab?.down()).toEqual([])
  })

  const ask = (protocol: 'TCP' | 'UDP', host: string, port: number, timeoutMs = 3_000) =>
    lab.script<Reply[]>('outside', 'ask.ts', [{ protocol, host, port, timeoutMs }])
  const asks = (protocol: 'TCP' | 'UDP', family: 4 | 6, timeoutMs?: number) =>
    ask(protocol, lab.nodeIP('n1', family), nodePort, timeoutMs)

  test.each([4, 6] as const)(
    'the pod sees the client, its answers do not pass the node that was asked: IPv%s',
    async (family) => {
      const watch = (node: string) =>
        lab.start(`node/${node}`, ['tcpdump', '-l', '--immediate-mode', '-nn', '-i', 'eth0', `tcp port ${nodePort}`])
      const [asked, answering] = [watch('n1'), watch('n2')]
      await Promise.all([asked, answering].map((each) => each.until((output) => output.includes('listening on'))))
      expect(await asks('TCP', family)).toMatchObject([{ answer: { server: 'web', client: outsideIPs[family] } }])
      const at = `${lab.nodeIP('n1', family)}.${nodePort}`
      await asked.until((seen) => seen.includes(` > ${at}: Flags [F`))
      await answering.until((seen) => seen.includes(`${at} > `))
      expect(await asked.stop()).not.toContain(`${at} > `)
      expect(await answering.stop()).not.toContain(` > ${at}: `)
    },
  )

  test.each([4, 6] as const)('a datagram is answered by the node that was asked: IPv%s', async (family) => {
    expect(await asks('UDP', family)).toMatchObject([{ answer: { server: 'web', client: lab.nodeIP('n1', family) } }])
  })

  test('policy of the pod judges the client', async () => {
    const only = (...blocks: readonly Record<string, unknown>[]) =>
      networkPolicy('only', {
        podSelector: { matchLabels: labels },
        policyTypes: ['Ingress'],
        ingress: [{ from: blocks.map((ipBlock) => ({ ipBlock })) }],
      })
    const [v4, v6] = [`${outsideIPs[4]}/32`, `${outsideIPs[6]}/128`]
    await lab.apply(only({ cidr: v4 }, { cidr: v6 }))
    for (const family of families) expect(await asks('TCP', family)).toMatchObject([{ answer: { server: 'web' } }])
    await lab.apply(only({ cidr: '0.0.0.0/0', except: [v4] }, { cidr: '::/0', except: [v6] }))
    for (const family of families) expect(await asks('TCP', family, 500)).toEqual([{ error: 'timeout' }])
    await lab.delete(only())
  })

  test('at a load balancer’s address, whose source ranges hold where the client asks', async () => {
    for (const vip of Object.values(vips)) {
      const gateway = vip.includes(':') ? '2001:db8:113::1' : '203.0.113.1'
      await lab.shell('outside', `ip route add ${vip} via ${gateway}`)
      await lab.shell('fabric', `ip route add ${vip} via ${lab.nodeIP('n1', vip.includes(':') ? 6 : 4)}`)
    }
    const ranged = (...loadBalancerSourceRanges: readonly string[]) => ({
      ...service,
      spec: { ...(service.spec as object), type: 'LoadBalancer', loadBalancerSourceRanges },
      status: { loadBalancer: { ingress: Object.values(vips).map((ip) => ({ ip })) } },
    })
    await lab.apply(ranged('203.0.113.0/24', '2001:db8:113::/64'))
    for (const family of families)
      expect(await ask('TCP', vips[family], 80)).toMatchObject([{ answer: { client: outsideIPs[family] } }])
    await lab.apply(ranged('192.0.2.0/24', '2001:db8:99::/64'))
    for (const family of families) expect(await ask('TCP', vips[family], 80, 500)).toEqual([{ error: 'timeout' }])
    await lab.apply(service)
  })

  test('kept connections live on while the agents of both nodes are killed and start again', async () => {
    const held = families.map((family) =>
      lab.start('outside', ['python3', hold, 'hold', lab.nodeIP('n1', family), String(holdNodePort), '50', 'x']),
    )
    await Promise.all(held.map((each) => each.until((output) => output.includes('held\n'))))
    const goOn = (rounds: number) =>
      Promise.all(
        held.map((each) => {
          each.write('go\n')
          return each.until((output) => (output.match(/^50 50$/gm)?.length ?? 0) === rounds)
        }),
      )
    await goOn(1)
    await lab.killAgents()
    await goOn(2)
    for (const family of families)
      expect(await asks('TCP', family)).toMatchObject([{ answer: { client: outsideIPs[family] } }])
    await lab.startAgents()
    await goOn(3)
    await Promise.all(held.map((each) => each.stop()))
  })

  test('trace says which node answers', async () => {
    for (const family of families) {
      const [from, to] = [outsideIPs[family], lab.nodeIP('n1', family)]
      const query = new URLSearchParams({ from, to, port: String(nodePort), protocol: 'TCP' })
      const { steps } = await askAgent<TraceReply>(agentSocket(lab.name, 'n1'), 'GET', `/v1/trace?${query}`)
      expect(steps.map(({ text }) => text).join('\n')).toContain(`which answers as ${to} port ${nodePort}`)
    }
  })

  test('service show says the mode', async () => {
    const detail = await askAgent<ServiceDetail>(agentSocket(lab.name, 'n1'), 'GET', '/v1/service?name=test/web')
    expect(detail.loadBalancerMode).toBe('hybrid')
  })

  test('a node that does not say so is asked by the other one', async () => {
    const silent = { ...nodeThatAnswers(lab, 'n2'), metadata: { name: 'n2' } }
    await lab.apply(silent)
    expect(await asks('TCP', 4)).toMatchObject([{ answer: { client: lab.nodeIP('n1', 4) } }])
    await lab.apply(nodeThatAnswers(lab, 'n2'))
    expect(await asks('TCP', 4)).toMatchObject([{ answer: { client: outsideIPs[4] } }])
  })
})
