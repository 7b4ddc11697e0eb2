// SPDX-License-Identifier: Apache-2.0
// What Services promise, in the lab, in both modes; and what Heddle alone promises of them (docs/services.md).

import { describe, expect, test } from 'vitest'
import type { ServiceDetail, Status } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentSocket } from '../../src/lab/agents.ts'
import {
  dualService,
  during,
  type Family,
  families,
  MANY,
  path,
  reached,
  startServiceLab,
  vips,
} from '../conformance/service-lab.ts'
import { describeServices } from '../conformance/service-suite.ts'

const web = { app: 'web' }

describe.each(['vxlan', 'native'] as const)('%s', (mode) => {
  let services: Awaited<ReturnType<typeof startServiceLab>>

  describeServices(async () => {
    services = await startServiceLab(mode)
    return services
  })

  test('a process of the node cannot bind a port that a Service has, and the refusal is told', async () => {
    const bindAt = (family: 'AF_INET' | 'AF_INET6', address: string, port: number) =>
      `import socket; socket.socket(socket.${family}).bind(("${address}", ${port}))`
    const bind = (port: number) => bindAt('AF_INET', '0.0.0.0', port)
    const everyAddress = [bind(30080), bindAt('AF_INET6', '::', 30080), bindAt('AF_INET6', '::ffff:0.0.0.0', 30080)]
    for (const script of everyAddress) {
      const refused = await services.lab.run('node/n1', ['python3', '-c', script])
      expect(refused.stderr, script).toContain('Address already in use')
    }
    expect(await services.lab.run('node/n1', ['python3', '-c', bind(30090)])).toMatchObject({ exitCode: 0 })
    expect(
      await services.lab.run(path('near'), ['python3', '-c', bind(30080)]),
      'a pod has ports of its own',
    ).toMatchObject({
      exitCode: 0,
    })
  })

  test('of two Services that claim one address and port the older has it, and the younger once the older is gone', async () => {
    const { lab } = services
    const spec = { externalIPs: Object.values(vips.cases) }
    const older = dualService('z-older', { selector: { name: 'web-1' }, ports: [80, 53], spec })
    const younger = dualService('a-younger', { selector: { name: 'web-2' }, ports: [80, 53], spec })
    const vip = (family: Family) => vips.cases[family]
    await during(services, [older], async () => {
      await during(services, [younger], async () => {
        expect(await reached(services, path('near'), vip, [80, 53], MANY)).toEqual(['web-1'])
        await lab.delete(older)
        expect(await reached(services, path('near'), vip, [80, 53], MANY)).toEqual(['web-2'])
      })
    })
  })

  test('a process that was bound before a Service took its port is told of in status and with the Service', async () => {
    const { lab } = services
    const server = await lab.serve('node/n1', { http: 30_076, udp: 30_077 })
    const service = dualService('late', { selector: web, ports: [80, 53], nodePorts: [30_076, 30_048] })
    const notices = async (): Promise<string[]> => {
      const { conditions } = await askAgent<Status>(agentSocket(lab.name, 'n1'), 'GET', '/v1/status')
      const { problems } = await askAgent<ServiceDetail>(
        agentSocket(lab.name, 'n1'),
        'GET',
        '/v1/service?name=test/late',
      )
      expect(conditions.filter((text) => text.includes('was bound'))).toEqual(problems)
      return [...problems]
    }
    await during(services, [service], async () => {
      const why = 'first, and hears of no client beyond it'
      expect(await notices()).toEqual(
        families.map((family) => {
          const ip = lab.nodeIP('n1', family)
          return `Service test/late: a process of this node was bound to ${family === 6 ? `[${ip}]` : ip}:30076/TCP ${why}`
        }),
      )
      await server.stop()
      expect(await notices()).toEqual([])
    })
  })
})
