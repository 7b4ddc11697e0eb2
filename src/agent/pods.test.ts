// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import type { Address } from '../core/address.ts'
import type { Endpoint, Pod } from '../world/objects.ts'
import { createWorld } from '../world/world.ts'
import { startLoop } from './loop.ts'
import { createEndpoints } from './pods.ts'

const endpoint: Endpoint = {
  containerId: 'c1',
  ifname: 'eth0',
  namespace: 'shop',
  name: 'db-0',
  uid: '2',
  addresses: ['10.1.0.5' as Address],
  ifindex: 7,
  hostIfname: 'hd0',
  netnsCookie: 7n,
}
const old: Pod = {
  kind: 'Pod',
  namespace: 'shop',
  name: 'db-0',
  uid: '1',
  labels: {},
  nodeName: 'n1',
  hostNetwork: false,
  podIPs: [],
  finished: false,
  createdMs: 0,
  containerPorts: [],
}

function joining() {
  const world = createWorld()
  const stopping = new AbortController()
  const late = new AbortController()
  const loop = startLoop({ pass: async () => {}, onSuccess() {}, onFailure() {}, onBroken() {} })
  const known = () => world.podOf(endpoint) !== undefined
  const { join } = createEndpoints(world, loop, known, stopping.signal)
  return { world, stopping, late, loop, join, joined: join(endpoint, late.signal) }
}

test('a pod whose object comes late joins when it comes', async () => {
  const { world, loop, joined } = joining()
  world.put({ ...old, uid: '2' })
  loop.wake()
  await joined
  await loop.stop()
})

test('who waits for a pod that does not come is told why', async () => {
  const { world, late, loop, joined } = joining()
  world.put(old)
  late.abort(new Error('late'))
  await expect(joined).rejects.toThrow('the Pod shop/db-0 is known with the uid 1, not yet with 2')
  await loop.stop()
})

test('an agent that is stopped does not wait for a pod: its successor would not come in time', async () => {
  const { stopping, late, loop, join, joined } = joining()
  stopping.abort(new Error('the agent is stopping'))
  await expect(joined).rejects.toThrow('the agent is stopping')
  await expect(join(endpoint, late.signal)).rejects.toThrow('the agent is stopping') // of a request that queued
  await loop.stop()
})
