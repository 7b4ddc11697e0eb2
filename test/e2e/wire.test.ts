// SPDX-License-Identifier: Apache-2.0
// What is on the wire between nodes: VXLAN or plain packets as the mode says, every checksum right without offloads.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Reply, Target } from '../support/ask.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, idlePod, namespace, serverPod, service, udpPort } from '../support/manifests.ts'

/** Outer headers only: tcpdump's filters do not look into a tunnel. */
const barePods = 'net 10.244.0.0/16 or net fd00:10:244::/48'
const tunnel = 'udp port 8472'

describe.each(['vxlan', 'native'] as const)('%s', (mode) => {
  let lab: TestLab

  beforeAll(async () => {
    lab = await startTestLab(`wire-${mode}`, { mode, families: '46' })
    await lab.apply(idlePod('a', 'n1'), serverPod('b', 'n2', { app: 'b' }), service('b', { app: 'b' }))
    const off = (device: string) => `ethtool -K ${device} tx off >/dev/null`
    await lab.shell('fabric', `${off('n1')} && ${off('n2')} && ${off('world')}`)
    for (const node of ['node/n1', 'node/n2']) await lab.shell(node, off('eth0'))
  })

  afterAll(async () => {
    expect(await lab?.down()).toEqual([])
  })

  /** Text of the packets that match while `work` runs. */
  async function captured(filter: string, work: () => Promise<void>): Promise<string[]> {
    const argv = ['tcpdump', '-l', '--immediate-mode', '-nn', '-vv', '-T', 'vxlan', '-i', 'n1', filter]
    const capture = lab.start('fabric', argv)
    await capture.until((output) => output.includes('listening on'))
    await work()
    const output = await capture.stop()
    // A packet begins at the start of a line; its further lines are indented.
    return output.split(/\n(?=\d\d:\d\d:\d\d\.)/).slice(1)
  }

  async function exchange(): Promise<void> {
    const targets = lab.families().flatMap((family): Target[] => {
      const pod = lab.podIP(`${namespace}/b`, family)
      return [
        { protocol: 'TCP', host: pod, port: httpPort, bytes: 20_000 },
        { protocol: 'TCP', host: pod, port: httpPort, bytes: 400_000 }, // in packets of more than 64 KiB
        { protocol: 'UDP', host: pod, port: udpPort, bytes: 500 },
        { protocol: 'ICMP', host: pod, port: 0 },
        { protocol: 'TCP', host: lab.clusterIP('test/b', family), port: 80, bytes: 3_000 },
        { protocol: 'UDP', host: lab.clusterIP('test/b', family), port: 53, bytes: 300 },
      ]
    })
    const replies = await lab.script<Reply[]>(`${namespace}/a`, 'ask.ts', targets)
    expect(replies.filter((reply) => 'error' in reply)).toEqual([])
  }

  test('packets between pods are tunnelled in vxlan mode and plain in native mode', async () => {
    const bare = await captured(barePods, exchange)
    const tunnelled = await captured(tunnel, exchange)
    console.log(`${mode}: ${bare.length} plain packets, ${tunnelled.length} in the tunnel`)
    if (mode === 'vxlan') {
      expect(bare).toEqual([])
      expect(tunnelled.length).toBeGreaterThan(20)
    } else {
      expect(bare.length).toBeGreaterThan(20)
      expect(tunnelled).toEqual([])
    }
  })

  test('every checksum is right, inner and outer', async () => {
    const packets = await captured(mode === 'vxlan' ? tunnel : barePods, exchange)
    const wrong = packets.filter((packet) => /incorrect|bad .*(cksum|checksum)|wrong/i.test(packet))
    const right = packets.filter((packet) => /\(correct\)|sum ok/.test(packet))
    console.log(
      `${mode}: ${right.length} of ${packets.length} packets show a right checksum, ${wrong.length} a wrong one`,
    )
    expect(wrong).toEqual([])
    expect(right.length).toBeGreaterThan(20)
  })

  test('the tunnel takes its source port from the inner flow', async () => {
    if (mode === 'native') return
    const packets = await captured(tunnel, async () => {
      await exchange()
      await exchange()
    })
    const ports = new Set(packets.map((packet) => /192\.168\.77\.11\.(\d+) > 192/.exec(packet)?.[1]).filter(Boolean))
    console.log(`vxlan: outer source ports of n1: ${[...ports].join(', ')}`)
    expect(ports.size).toBeGreaterThan(2)
  })
})
