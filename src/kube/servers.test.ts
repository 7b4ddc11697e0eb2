// SPDX-License-Identifier: Apache-2.0

import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type ApiJson, startApiServer } from '../../test/support/api-server.ts'
import { makeCertificate } from '../../test/support/certificate.ts'
import { eventually, namesOf, node, service, useFollowers } from '../../test/support/kube-source.ts'
import { openServerMemory } from './servers.ts'

const place = useFollowers()

/** TLS of a server that the followers trust. */
function trusted(): { readonly key: string; readonly cert: string } {
  const { key, cert } = makeCertificate(place.path('.'))
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
}

/** default/kubernetes, whose endpoints are the API servers. */
function serversAt(ports: readonly number[], ready = true): ApiJson {
  return {
    kind: 'EndpointSlice',
    apiVersion: 'discovery.k8s.io/v1',
    metadata: { namespace: 'default', name: 'kubernetes', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: 'IPv4',
    ports: ports.map((port) => ({ name: 'https', port, protocol: 'TCP' })),
    endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready } }],
  }
}

test('an agent whose configured server is dead starts by the endpoints that it remembers, and by no journal', async () => {
  await using remembered = await startApiServer(trusted())
  await using configured = await startApiServer()
  for (const server of [configured, remembered]) {
    for (const each of [node, service('s'), serversAt([remembered.port])]) server.put(each)
  }
  {
    using followed = place.follow([configured.url])
    await eventually(() => expect(openServerMemory(place.path('servers')).servers()).toEqual([remembered.url]))
    expect(followed.source.state().name).toBe(configured.url)
    expect(remembered.requests).toEqual([])
  }
  await configured.stop()
  using followed = place.follow([configured.url])
  await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Service a/s']))
  expect(followed.source.state()).toMatchObject({ name: remembered.url, synchronised: true })
  expect(followed.errors).toEqual([])
})

test('what is remembered follows the endpoints; none, and what is no list of servers, changes nothing', async () => {
  await using server = await startApiServer()
  for (const each of [node, service('s'), serversAt([1])]) server.put(each)
  using followed = place.follow([server.url])
  const known = () => openServerMemory(place.path('servers')).servers()
  await eventually(() => expect(known()).toEqual(['https://127.0.0.1:1']))
  server.put(serversAt([2]))
  await eventually(() => expect(known()).toEqual(['https://127.0.0.1:2']))
  server.put(serversAt([3], false))
  const after = { namespace: 'a', name: 'after', labels: { 'kubernetes.io/service-name': 's' } }
  server.put({ ...serversAt([80]), metadata: after })
  await eventually(() => expect(namesOf(followed.world)).toContain('EndpointSlice a/after'))
  expect(known()).toEqual(['https://127.0.0.1:2'])
  for (const text of ['{', '[1, "http://plain", "https://127.0.0.1:4"]']) {
    writeFileSync(place.path('servers'), text)
    expect(known()).toEqual(text === '{' ? [] : ['https://127.0.0.1:4'])
  }
})
