// SPDX-License-Identifier: Apache-2.0
// hostPort by the portmap plugin of containernetworking, chained after Heddle's as a runtime chains it: iptables on the
// node changes the destination, and whoever asks the node's address reaches the pod.
//
//   n1: web (TCP and UDP by hostPorts), near      n2: far      outside

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { netnsPath } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import type { Reply, Target } from '../support/ask.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, idlePod, namespace, networkPolicy, serverPod, udpPort } from '../support/manifests.ts'

const plugin = '/usr/lib/cni/portmap'
const hostPorts = { TCP: 18_080, UDP: 15_353 } as const
const path = (pod: string) => `${namespace}/${pod}`

describe.each(['vxlan', 'native'] as const)('%s', (mode) => {
  let lab: TestLab

  beforeAll(async () => {
    lab = await startTestLab(`host-port-${mode}`, { mode, families: '46' })
    await lab.apply(
      serverPod('web', 'n1', { app: 'web' }),
      idlePod('near', 'n1', { app: 'near' }),
      idlePod('far', 'n2'),
    )
    await portmap('ADD')
  })

  afterAll(async () => {
    if (lab) await portmap('DEL')
    expect(await lab?.down()).toEqual([])
  })

  /** Runs the plugin on n1 with the result of the pod's ADD, as libcni does for the next plugin of a list. */
  async function portmap(command: 'ADD' | 'DEL'): Promise<void> {
    const pod = lab.pod(path('web'))
    const sandbox = netnsPath(lab.name, pod.place)
    const ips = pod.podIPs.map((ip) => ({ address: `${ip}/${ip.includes(':') ? 128 : 32}`, interface: 0 }))
    const configuration = {
      cniVersion: '1.0.0',
      name: 'heddle',
      type: 'portmap',
      runtimeConfig: {
        portMappings: [
          { hostPort: hostPorts.TCP, containerPort: httpPort, protocol: 'tcp' },
          { hostPort: hostPorts.UDP, containerPort: udpPort, protocol: 'udp' },
        ],
      },
      prevResult: { cniVersion: '1.0.0', interfaces: [{ name: 'eth0', sandbox }], ips },
    }
    const env = [
      `CNI_COMMAND=${command}`,
      `CNI_CONTAINERID=${pod.containerId}`,
      `CNI_NETNS=${sandbox}`,
      'CNI_IFNAME=eth0',
      'CNI_PATH=/usr/lib/cni',
    ]
    const outcome = await lab.run('node/n1', ['env', ...env, plugin], { input: JSON.stringify(configuration) })
    expect(outcome, `${outcome.stdout}${outcome.stderr}`).toMatchObject({ exitCode: 0 })
  }

  const targets = (family: 4 | 6): Target[] =>
    (['TCP', 'UDP'] as const).map((protocol) => ({
      protocol,
      host: lab.nodeIP('n1', family),
      port: hostPorts[protocol],
    }))

  describe.each([4, 6] as const)('IPv%s', (family) => {
    test.each([
      ['a host outside', 'outside', () => outsideIPs[family]],
      ['another node', 'node/n2', () => lab.nodeIP('n2', family)],
      ['a pod of this node', path('near'), () => lab.podIP(path('near'), family)],
      ['a pod of another node', path('far'), () => lab.podIP(path('far'), family)],
    ] as const)('%s reaches the pod by the node’s port, and the pod sees who it is', async (_, place, client) => {
      const answer = { server: 'web', client: client() }
      expect(await lab.script<Reply[]>(place, 'ask.ts', targets(family))).toMatchObject([{ answer }, { answer }])
    })

    test('a process of the node and the pod itself reach it by the node’s port', async () => {
      for (const place of ['node/n1', path('web')]) {
        const answer = { server: 'web' }
        const replies = await lab.script<Reply[]>(place, 'ask.ts', targets(family))
        expect(replies, place).toMatchObject([{ answer }, { answer }])
      }
    })
  })

  test('policy judges the client by its own address', async () => {
    const nobody = networkPolicy('only-far', {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ ipBlock: { cidr: `${lab.podIP(path('far'), 4)}/32` } }] }],
    })
    await lab.apply(nobody)
    const [target] = targets(4)
    for (const place of [path('near'), 'outside']) {
      const replies = await lab.script<Reply[]>(place, 'ask.ts', [{ ...target!, timeoutMs: 700 }])
      expect(replies, place).toEqual([{ error: 'timeout' }])
    }
    expect(await lab.script<Reply[]>(path('far'), 'ask.ts', [target])).toMatchObject([{ answer: { server: 'web' } }])
    await lab.delete(nobody)
  })
})
