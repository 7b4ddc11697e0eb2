// SPDX-License-Identifier: Apache-2.0

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { type ApiServer, startApiServer } from '../../test/support/api-server.ts'
import { eventually, type Followed, node, service, useFollowers } from '../../test/support/kube-source.ts'

const { follow } = useFollowers()

/** Of Services. */
function failuresOf({ source }: Followed): Record<string, number> {
  const own = source.failures().filter(({ kind }) => kind === 'Service')
  return Object.fromEntries(own.map(({ reason, count }) => [reason, count]))
}

test.each<[reason: string, arrange: (server: ApiServer) => void]>([
  ['forbidden', ({ forbidden }) => forbidden.add('watch services')],
  [
    'unauthorized',
    (server) => {
      server.token = 'another'
    },
  ],
  ['not-found', ({ absent }) => absent.add('Service')],
  ['expired', (server) => server.compact()],
  ['unreachable', () => {}],
])(
  'a stream that fails is counted by its kind and why, also where it is up to date again: %s',
  async (reason, arrange) => {
    await using server = await startApiServer()
    for (const each of [node, service('s')]) server.put(each)
    using followed = follow([server.url])
    await eventually(() => expect(followed.world.countOf('Service')).toBe(1))
    expect(failuresOf(followed)).toEqual({})
    arrange(server)
    await eventually(() => {
      server.cut()
      expect(failuresOf(followed)[reason]).toBeGreaterThan(0)
    })
    expect(followed.world.countOf('Service')).toBe(1)
  },
)

test('a stream that fails is counted by its kind and why: garbled', async () => {
  await using server = await startApiServer()
  server.put(node)
  using followed = follow([server.url])
  await eventually(() => expect(followed.source.state().synchronised).toBe(true))
  server.garble('{"type":"MODIFIED","object":{"metad')
  server.put(service('s'))
  await eventually(() => expect(failuresOf(followed)).toEqual({ garbled: 1 }))
})

test.each([
  [503, 'server-error'],
  [429, 'throttled'],
  [409, 'refused'],
])('a stream that fails is counted by its kind and why: status %i', async (status, reason) => {
  const server = createServer((_, response) => response.writeHead(status).end('no'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    using followed = follow([`http://127.0.0.1:${(server.address() as AddressInfo).port}`])
    await eventually(() => expect(failuresOf(followed)[reason]).toBeGreaterThan(1))
    expect(Object.keys(failuresOf(followed))).toEqual([reason])
  } finally {
    server.close()
    server.closeAllConnections()
  }
})

test('what is no failure is not counted: an absent kind that may be, and a server without WatchList', async () => {
  await using server = await startApiServer()
  server.watchList = false
  server.absent.add('ClusterNetworkPolicy')
  server.put(node)
  using followed = follow([server.url])
  const asked = () => server.requests.filter((url) => url.includes('/clusternetworkpolicies')).length
  await eventually(() => expect(asked()).toBeGreaterThan(2))
  await eventually(() => expect(followed.source.state().synchronised).toBe(true))
  expect(followed.source.failures()).toEqual([])
})
