// SPDX-License-Identifier: Apache-2.0

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { Address, Port } from '../core/address.ts'
import { createHttpServer, listening } from './http.ts'
import { createHealthPorts, type HealthPorts, healthRoutes } from './proxy-health.ts'

let cleanUp = new AsyncDisposableStack()
const log = { warn: () => {}, error: () => {} } as unknown as Parameters<typeof createHealthPorts>[2]
const loopback = ['127.0.0.1'] as Address[]

afterEach(async () => {
  await cleanUp.disposeAsync()
  cleanUp = new AsyncDisposableStack()
})

/** A port that nobody has now. */
async function freePort(): Promise<Port> {
  const server = createServer().listen(0, '127.0.0.1')
  await listening(server)
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port as Port
}

function openPorts(isHealthy = () => true): HealthPorts {
  const ports = createHealthPorts(loopback, isHealthy, log)
  cleanUp.defer(() => ports.close())
  return ports
}

describe('a load balancer that is told the wrong thing sends clients nowhere', () => {
  test('a Service’s port says whether this node has an endpoint, whatever path is asked', async () => {
    const port = await freePort()
    let isHealthy = true
    const ports = openPorts(() => isHealthy)
    const check = (localEndpoints: number) => ports.sync(new Map([['shop/web', { port, localEndpoints }]]))
    const ask = () => fetch(`http://127.0.0.1:${port}/anything`)
    await check(2)
    const good = await ask()
    expect([good.status, Object.fromEntries(good.headers)]).toMatchObject([
      200,
      {
        'content-type': 'application/json',
        'x-content-type-options': 'nosniff',
        'x-load-balancing-endpoint-weight': '2',
      },
    ])
    expect(await good.text()).toBe(
      [
        '{',
        '\t"service": {',
        '\t\t"namespace": "shop",',
        '\t\t"name": "web"',
        '\t},',
        '\t"localEndpoints": 2,',
        '\t"serviceProxyHealthy": true',
        '}',
      ].join('\n'),
    )
    await check(0)
    expect((await ask()).status).toBe(503)
    await check(1)
    isHealthy = false
    const sick = await ask()
    expect([sick.status, await sick.json()]).toMatchObject([503, { localEndpoints: 1, serviceProxyHealthy: false }])
    await ports.sync(new Map())
    await expect(ask()).rejects.toThrow()
  })

  test('a port that somebody else has is named, and taken when it is free; one that moves is followed', async () => {
    const [port, other] = [await freePort(), await freePort()]
    const holder = createServer().listen(port, '127.0.0.1')
    await listening(holder)
    const ports = openPorts()
    const sync = (at: Port) => ports.sync(new Map([['shop/web', { port: at, localEndpoints: 1 }]]))
    await sync(port)
    expect(ports.problems()).toEqual([
      expect.stringMatching(`^Service shop/web: its health check port ${port} cannot be opened: .*EADDRINUSE`),
    ])
    await new Promise((resolve) => holder.close(resolve))
    await sync(port)
    expect(ports.problems()).toEqual([])
    expect((await fetch(`http://127.0.0.1:${port}`)).status).toBe(200)
    await sync(other)
    expect((await fetch(`http://127.0.0.1:${other}`)).status).toBe(200)
    await expect(fetch(`http://127.0.0.1:${port}`)).rejects.toThrow()
  })

  test.each([
    ['/healthz', true, false, 200, '{"lastUpdated": "NOW","currentTime": "NOW", "nodeEligible": true}'],
    ['/healthz', true, true, 503, '{"lastUpdated": "UPDATED","currentTime": "NOW", "nodeEligible": false}'],
    ['/healthz', false, false, 503, '{"lastUpdated": "UPDATED","currentTime": "NOW", "nodeEligible": true}'],
    ['/livez', true, true, 200, '{"lastUpdated": "NOW","currentTime": "NOW"}'],
    ['/livez', false, false, 503, '{"lastUpdated": "UPDATED","currentTime": "NOW"}'],
  ] as const)('%s: healthy %s, node leaving %s: %i', async (path, isHealthy, isLeaving, status, body) => {
    const updatedMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
    const routes = healthRoutes(
      () => ({ isHealthy, updatedMs }),
      () => isLeaving,
      () => updatedMs + 60_000,
    )
    const server = createHttpServer(routes, () => {}).listen(0, '127.0.0.1')
    await listening(server)
    cleanUp.defer(() => {
      server.close()
      server.closeAllConnections()
    })
    const reply = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`)
    expect(reply.status).toBe(status)
    const times = { NOW: '2026-01-02 03:05:05.678 +0000 UTC', UPDATED: '2026-01-02 03:04:05.678 +0000 UTC' }
    expect(await reply.text()).toBe(body.replaceAll(/NOW|UPDATED/g, (name) => times[name as keyof typeof times]))
    expect(reply.headers.get('x-content-type-options')).toBe('nosniff')
  })
})
