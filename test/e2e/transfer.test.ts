// SPDX-License-Identifier: Apache-2.0
// Large and awkward traffic arrives whole, and the network answers as a network does: path MTU, time exceeded,
// unreachable ports.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkout } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { idlePod, namespace } from '../support/manifests.ts'

const port = 9_000
const script = `${checkout}/test/support/transfer.py`
const near = `${namespace}/near`
const client = `${namespace}/client`
const far = `${namespace}/far`

describe.each(['vxlan', 'native'] as const)('%s', (mode) => {
  let lab: TestLab

  beforeAll(async () => {
    lab = await startTestLab(`transfer-${mode}`, { mode, families: '46' })
    await lab.apply(idlePod('client', 'n1'), idlePod('near', 'n1'), idlePod('far', 'n2'))
    for (const place of [near, far, 'outside']) {
      const server = lab.start(place, ['python3', script, 'serve', String(port)])
      await server.until((output) => output.includes('listening'))
    }
  })

  afterAll(async () => {
    expect(await lab?.down()).toEqual([])
  })

  async function send(
    kind: 'tcp' | 'datagram' | 'segment',
    host: string,
    ...numbers: readonly number[]
  ): Promise<void> {
    const started = performance.now()
    const outcome = await lab.run(client, ['python3', script, kind, host, String(port), ...numbers.map(String)])
    const seconds = ((performance.now() - started) / 1_000).toFixed(1)
    console.log(`${mode}: ${kind} ${numbers.join(' x ')} to ${host}: ${outcome.stdout.trim()} in ${seconds} s`)
    expect(outcome, `${kind} to ${host}`).toMatchObject({ exitCode: 0 })
  }

  describe.each([4, 6] as const)('IPv%s', (family) => {
    test('1 GB over one connection across nodes, 100 MB on the same node and to outside', async () => {
      await send('tcp', lab.podIP(far, family), 1_000_000_000)
      await send('tcp', lab.podIP(near, family), 100_000_000)
      await send('tcp', outsideIPs[family], 100_000_000)
    })

    test('datagrams of 60,000 bytes, in fragments', async () => {
      for (const host of [lab.podIP(near, family), lab.podIP(far, family), outsideIPs[family]])
        await send('datagram', host, 60_000, 20)
    })

    test('many datagrams in one send (UDP_SEGMENT)', async () => {
      for (const host of [lab.podIP(near, family), lab.podIP(far, family), outsideIPs[family]])
        await send('segment', host, 1_200, 40)
    })

    test('a closed UDP port is unreachable at once, across nodes and outside', async () => {
      for (const host of [lab.podIP(near, family), lab.podIP(far, family), outsideIPs[family]]) {
        const line = `import socket; s = socket.socket(socket.AF_INET${family === 6 ? '6' : ''}, socket.SOCK_DGRAM); s.settimeout(3); s.connect(("${host}", 9)); s.send(b"x"); s.recv(1)`
        const outcome = await lab.run(client, ['python3', '-c', line])
        expect(outcome.stderr, host).toContain('ConnectionRefusedError')
      }
    })

    test('traceroute sees the nodes on the way', async () => {
      const argv = ['traceroute', '-n', '-q', '1', '-w', '1', '-m', '6', lab.podIP(far, family)]
      const { stdout } = await lab.run(client, argv)
      const hops = stdout
        .trim()
        .split('\n')
        .slice(1)
        .map((line) => line.trim().split(/\s+/)[1])
      console.log(`${mode}: IPv${family} hops ${hops.join(' ')}`)
      expect(hops[0]).toBe(lab.nodeIP('n1', family))
      expect(hops.at(-1)).toBe(lab.podIP(far, family))
      expect(hops.length).toBeLessThanOrEqual(3)
    })

    test('a narrow path outside is announced to the pod, and its connections adapt', async () => {
      await lab.shell('fabric', 'ip link set world mtu 1300')
      await lab.shell('outside', 'ip link set eth0 mtu 1300')
      const header = family === 4 ? 28 : 48
      const ping = await lab.run(client, [
        'ping',
        '-c',
        '2',
        '-i',
        '0.2',
        '-W',
        '1',
        '-M',
        'do',
        '-s',
        String(1_400 - header),
        outsideIPs[family],
      ])
      console.log(`${mode}: ${ping.stdout.split('\n')[1]}`)
      expect(ping.stdout + ping.stderr).toMatch(/mtu ?= ?1300/)
      await send('tcp', outsideIPs[family], 1_000_000)
      await lab.shell('fabric', 'ip link set world mtu 1500')
      await lab.shell('outside', 'ip link set eth0 mtu 1500')
    })
  })
})
