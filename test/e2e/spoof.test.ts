// SPDX-License-Identifier: Apache-2.0
// Live attempts to be someone else: from a pod, from a host outside, from another node. Each frame goes to a port of its
// own at the victim, which must not hear it; the victim's node or the sender's must count it under the right reason.
//
//   n1: villain, victim      n2: away      outside

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Status } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import type { IpPacket } from '../../src/datapath/trace-packet.ts'
import { agentSocket } from '../../src/lab/agents.ts'
import { checkout } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { idlePod, namespace } from '../support/manifests.ts'
import { tcp, udp, vxlan } from '../support/packet.ts'
import { packetBytes } from '../support/packet-bytes.ts'

let lab: TestLab
const villain = `${namespace}/villain`
const victim = `${namespace}/victim`
const away = `${namespace}/away`

beforeAll(async () => {
  lab = await startTestLab('spoof', { mode: 'vxlan', families: '46' })
  await lab.apply(idlePod('villain', 'n1'), idlePod('victim', 'n1'), idlePod('away', 'n2'))
  await lab.shell(
    'fabric',
    `ip route add 10.244.1.0/24 via ${lab.nodeIP('n1', 4)} && ip route add fd00:10:244:1::/64 via ${lab.nodeIP('n1', 6)}`,
  )
})

afterAll(async () => {
  expect(await lab?.down()).toEqual([])
})

interface Attempt {
  readonly from: string
  readonly device: string
  readonly mac: string
  readonly packet: IpPacket
  readonly port: number
  /** Which node counts the drop. */
  readonly node: string
}

/** Sends one frame and says whether the victim heard it, and what the node counted in the meantime. */
async function attempt({
  from,
  device,
  mac,
  packet,
  port,
  node,
}: Attempt): Promise<{ heard: boolean; counted: string[] }> {
  const capture = lab.start(victim, ['tcpdump', '-l', '--immediate-mode', '-nn', '-i', 'any', `port ${port}`])
  await capture.until((output) => output.includes('listening on'))
  const before = await drops(node)
  const hex = Buffer.from(packetBytes(packet)).toString('hex')
  await lab.shell(from, `python3 ${checkout}/test/support/send-frames.py ${device} ${mac} ${hex}`)
  // The path of one frame through this machine takes microseconds; the capture is read without a buffer.
  await new Promise((resolve) => setTimeout(resolve, 200))
  const output = await capture.stop()
  const after = await drops(node)
  const counted = [...after]
    // A pod's stack announces its multicast groups whenever it likes.
    .filter(([reason, packets]) => reason !== 'multicast' && packets > (before.get(reason) ?? 0))
    .map(([reason]) => reason)
  return { heard: /^\d\d:\d\d:\d\d.* In /m.test(output), counted }
}

async function drops(node: string): Promise<Map<string, number>> {
  const status = await askAgent<Status>(agentSocket(lab.name, node), 'GET', '/v1/status')
  return new Map(status.drops.map(({ reason, packets }) => [reason, packets]))
}

const macOf = async (place: string, device: string) =>
  (await lab.shell(place, `ip -o link show ${device}`)).match(/link\/ether (\S+)/)![1]!

/** The MAC that `place` sends to by default: its gateway's, as its neighbour table has it. */
async function gatewayMac(place: string, family: 4 | 6): Promise<string> {
  const gateway = (await lab.shell(place, `ip -${family} route get ${outsideOther(family)}`)).match(
    /via (?:inet6 )?(\S+)/,
  )?.[1]
  await lab.run(place, ['ping', '-c', '1', '-W', '1', outsideOther(family)])
  return (await lab.shell(place, `ip -${family} neigh show ${gateway}`)).match(/lladdr (\S+)/)![1]!
}

function outsideOther(family: 4 | 6): string {
  return family === 4 ? '192.168.77.12' : 'fd00:77::12'
}

const ends = (ip: string, port: number) => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`)

describe.each([4, 6] as const)('IPv%s', (family) => {
  const ip = (pod: string) => lab.podIP(pod, family)
  let port = family * 1_000

  const fromVillain = async (packet: (port: number) => IpPacket) => {
    port++
    const mac = await gatewayMac(villain, family)
    return attempt({ from: villain, device: 'eth0', mac, packet: packet(port), port, node: 'n1' })
  }

  test('control: a frame with the own address is heard', async () => {
    const { heard, counted } = await fromVillain((to) => udp(ends(ip(villain), 4_000), ends(ip(victim), to)))
    expect({ heard, counted }).toEqual({ heard: true, counted: [] })
  })

  test.each([
    ["another pod's of the node", () => ip(victim)],
    ["another node's pod's", () => ip(away)],
    ["the node's", () => lab.nodeIP('n1', family)],
    ["another node's", () => lab.nodeIP('n2', family)],
    ["a host's outside", () => outsideIPs[family]],
  ] as const)('a pod with %s address is not heard', async (_, source) => {
    for (const make of [udp, (from: string, to: string) => tcp(from, to, 'S')]) {
      const seen = await fromVillain((to) => make(ends(source(), 4_000), ends(ip(victim), to)))
      expect(seen).toEqual({ heard: false, counted: ['source'] })
    }
  })

  test('a pod that forges a tunnel packet is not heard', async () => {
    const seen = await fromVillain((to) => {
      const inner = udp(ends(ip(away), 4_000), ends(ip(victim), to))
      return vxlan(ip(villain), lab.nodeIP('n1', family), inner)
    })
    expect(seen).toEqual({ heard: false, counted: ['tunnel-forged'] })
  })

  test('a host outside that sends a tunnel packet is not heard', async () => {
    port++
    const inner = udp(ends(ip(away), 4_000), ends(ip(victim), port))
    const packet = vxlan(outsideIPs[family], lab.nodeIP('n1', family), inner)
    const mac = await macOf('fabric', 'world')
    const seen = await attempt({ from: 'outside', device: 'eth0', mac, packet, port, node: 'n1' })
    expect(seen).toEqual({ heard: false, counted: ['tunnel-source'] })
  })

  test('a node that sends with the address of a pod that is not its own is not heard', async () => {
    port++
    const inner = udp(ends(ip(villain), 4_000), ends(ip(victim), port))
    const packet = vxlan(lab.nodeIP('n2', family), lab.nodeIP('n1', family), inner)
    const mac = await macOf('node/n1', 'eth0')
    const seen = await attempt({ from: 'node/n2', device: 'eth0', mac, packet, port, node: 'n1' })
    expect(seen).toEqual({ heard: false, counted: ['tunnel-inner'] })
  })

  test.each([
    ["a pod's", () => ip(away)],
    ["the node's own", () => lab.nodeIP('n1', family)],
  ] as const)('a bare packet from outside with %s address is not heard', async (_, source) => {
    port++
    const packet = udp(ends(source(), 4_000), ends(ip(victim), port))
    const mac = await macOf('fabric', 'world')
    const seen = await attempt({ from: 'outside', device: 'eth0', mac, packet, port, node: 'n1' })
    expect(seen.heard).toBe(false)
  })
})

test('a pod with an IPv6-mapped address is not heard', async () => {
  for (const source of ['10.244.2.2', '192.168.77.11']) {
    const packet = udp(ends(source, 4_000), ends(lab.podIP(victim, 4), 6_666), { family: 6 })
    const mac = await gatewayMac(villain, 6)
    const seen = await attempt({ from: villain, device: 'eth0', mac, packet, port: 6_666, node: 'n1' })
    expect(seen).toEqual({ heard: false, counted: ['mapped-address'] })
  }
})
