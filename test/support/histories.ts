// SPDX-License-Identifier: Apache-2.0
// Random histories of a World: objects and attachments that come, change and go, some of them between two passes.

import fc from 'fast-check'
import type { Endpoint, Pod } from '../../src/world/objects.ts'
import { keyOf, type World } from '../../src/world/world.ts'
import { endpointsOf, object, pod } from './worlds.ts'

/** What is printed of a history that fails is its changes. */
export interface Change {
  readonly what: string
  readonly on: (world: World) => void
}

/** With the addresses that it has by then, which World may know of another pod, or give to one later. */
const endpoint: fc.Arbitrary<Endpoint> = pod.map((local: Pod) => {
  const [attached] = endpointsOf([{ ...local, nodeName: 'n1' }])
  return { ...attached!, uid: local.uid, addresses: local.podIPs }
})

const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 8, arbitrary: object.map((it) => of('put', it, (world) => world.put(it))) },
  { weight: 2, arbitrary: object.map((it) => of('delete', it, (world) => world.delete(it.kind, keyOf(it)))) },
  { weight: 2, arbitrary: endpoint.map((it) => of('wire', it, (world) => world.putEndpoint(it))) },
  {
    weight: 1,
    arbitrary: endpoint.map((it) => of('unwire', it, (world) => world.deleteEndpoint(`${it.containerId}/eth0`))),
  },
  { weight: 1, arbitrary: fc.boolean().map((live) => of('live', live, (world) => world.setLive(live))) },
)

function of(what: string, it: unknown, on: (world: World) => void): Change {
  return {
    what: `${what} ${JSON.stringify(it, (_, value) => (typeof value === 'bigint' ? String(value) : value))}`,
    on,
  }
}

/** By pass: the first makes a world, the others change it. */
export const changes: fc.Arbitrary<readonly (readonly Change[])[]> = fc
  .tuple(
    fc.array(change, { minLength: 8, maxLength: 16 }),
    fc.array(fc.array(change, { minLength: 1, maxLength: 3 }), { maxLength: 8 }),
  )
  .map(([first, passes]) => [first, ...passes])
