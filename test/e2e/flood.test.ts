// SPDX-License-Identifier: Apache-2.0
// SYN floods, from outside and from a pod, break none of the established connections, masqueraded ones included, nor those
// to a node port; and new ones are opened there meanwhile.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkout } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import type { Background } from '../support/background.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, idlePod, namespace, serverPod, service } from '../support/manifests.ts'
import { tcp } from '../support/packet.ts'
import { packetBytes } from '../support/packet-bytes.ts'
import { soak } from '../support/soak.ts'

const seconds = soak(8, 60)
let lab: TestLab

beforeAll(async () => {
  lab = await startTestLab('flood', { mode: 'vxlan', families: '46' })
  await lab.apply(
    serverPod('web-1', 'n1', { app: 'web' }),
    serverPod('web-2', 'n2', { app: 'web', name: 'web-2' }),
    idlePod('client', 'n1'),
    idlePod('flooder', 'n1'),
    service('web', { app: 'web' }),
    nodePort('away', 30080, { name: 'web-2' }),
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
  port = 8080,
): Background {
  const frames = targets.map(([source, destination]) =>
    Buffer.from(packetBytes(tcp(`${bracket(source)}:1`, `${bracket(destination)}:${port}`, 'S'))).toString('hex'),
  )
  return lab.start(place, ['python3', `${checkout}/test/support/syn-flood.py`, 'eth0', mac, String(seconds), ...frames])
}

/** TCP, in both families. */
function nodePort(name: string, port: number, selector: Readonly<Record<string, string>>): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name },
    spec: {
      type: 'NodePort',
      selector,
      ipFamilyPolicy: 'PreferDualStack',
      ports: [{ name: 'http', port: 80, targetPort: httpPort, protocol: 'TCP', nodePort: port }],
    },
  }
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

test.each([4, 6] as const)(
  'IPv%s: a node port whose backend is elsewhere is flooded by clients that do not exist, and serves those that do',
  async (family) => {
    const node = lab.nodeIP('n1', family)
    const place = { host: node, port: 30080, seconds }
    const rates = { keptConnections: 200, requestsPerSecond: 200, newConnectionsPerSecond: 50 }
    const { report } = await lab.load('outside', { ...place, ...rates })
    const fabricGateway = (await lab.shell('fabric', 'ip -o link show world')).match(/link\/ether (\S+)/)![1]!
    const network = outsideIPs[family].replace(/2$/, '')
    // From eight addresses, the same port in all: each SYN is another flow, and the backend answers it.
    const targets = Array.from({ length: 8 }, (_, i) => [`${network}${100 + i}`, node] as const)
    const running = flood('outside', fabricGateway, targets, place.port)
    const sent = Number((await running.ended).trim().split('\n').at(-1))
    const seen = await report
    console.log(`IPv${family}: ${sent} SYNs in ${seconds} s to a node port: ${JSON.stringify(seen)}`)
    expect(seen.failures).toEqual({})
    expect(seen.keptSockets).toBe(200)
    expect(seen.newConnections).toBeGreaterThan(0)
    expect(sent, 'more than there are ports towards the backend').toBeGreaterThan(30_000)
  },
)
