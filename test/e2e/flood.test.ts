// SPDX-License-Identifier: Apache-2.0
// SYN floods, from outside and from a pod, break none of the established connections, masqueraded ones included.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkout } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import type { Background } from '../support/background.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { idlePod, namespace, serverPod, service } from '../support/manifests.ts'
import { tcp } from '../support/packet.ts'
import { packetBytes } from '../support/packet-bytes.ts'
import { soak } from '../support/soak.ts'

const seconds = soak(8, 60)
let lab: TestLab

beforeAll(async () => {
  lab = await startTestLab('flood', { mode: 'vxlan', families: '46' })
  await lab.apply(
    serverPod('web-1', 'n1', { app: 'web' }),
    serverPod('web-2', 'n2', { app: 'web' }),
    idlePod('client', 'n1'),
    idlePod('flooder', 'n1'),
    service('web', { app: 'web' }),
  )
  await lab.shell(
    'fabric',
    `ip route add 10.244.1.0/24 via ${lab.nodeIP('n1', 4)} && ip route add fd00:10:244:1::/64 via ${lab.nodeIP('n1', 6)}`,
  )
  await lab.serve('outside', { http: 7000, udp: 7001 })
})

afterAll(async () => {
  expect(await lab?.down()).toEqual([])
})

function load(host: string, port: number): ReturnType<TestLab['load']> {
  const rates = { keptConnections: 100, requestsPerSecond: 200, newConnectionsPerSecond: 0, seconds }
  return lab.load(`${namespace}/client`, { host, port, ...rates })
}

function flood(
  place: string,
  mac: string,
  targets: readonly (readonly [source: string, destination: string])[],
): Background {
  const frames = targets.map(([source, destination]) =>
    Buffer.from(packetBytes(tcp(`${bracket(source)}:1`, `${bracket(destination)}:1`, 'S'))).toString('hex'),
  )
  return lab.start(place, ['python3', `${checkout}/test/support/syn-flood.py`, 'eth0', mac, String(seconds), ...frames])
}

function bracket(ip: string): string {
  return ip.includes(':') ? `[${ip}]` : ip
}

test('200 kept connections, to a Service and masqueraded to a host outside, live through both floods', async () => {
  const path = (pod: string) => `${namespace}/${pod}`
  const loads = await Promise.all([load(lab.clusterIP('test/web', 4), 80), load(outsideIPs[6], 7000)])
  const podGateway = (await lab.shell(path('flooder'), 'ip neigh show 169.254.1.1')).match(/lladdr (\S+)/)![1]!
  const fabricGateway = (await lab.shell('fabric', 'ip -o link show world')).match(/link\/ether (\S+)/)![1]!
  const floods = [
    flood(path('flooder'), podGateway, [
      [lab.podIP(path('flooder'), 4), lab.podIP(path('web-2'), 4)],
      [lab.podIP(path('flooder'), 4), outsideIPs[4]],
      [lab.podIP(path('flooder'), 6), outsideIPs[6]],
    ]),
    flood('outside', fabricGateway, [
      [outsideIPs[4], lab.podIP(path('web-1'), 4)],
      [outsideIPs[6], lab.podIP(path('web-1'), 6)],
    ]),
  ]
  const sent = await Promise.all(floods.map(async (running) => Number((await running.ended).trim().split('\n').at(-1))))
  const reports = await Promise.all(loads.map(({ report }) => report))
  console.log(`floods of ${sent.join(' and ')} SYNs in ${seconds} s: ${JSON.stringify(reports)}`)
  for (const report of reports) {
    expect(report.failures).toEqual({})
    expect(report.keptSockets).toBe(100)
  }
  expect(Math.min(...sent)).toBeGreaterThan(65_000)
})
