// SPDX-License-Identifier: Apache-2.0
// Random histories of a World: objects and attachments that come, change and go, some of them between two passes.

import fc from 'fast-check'
import { endpointKey } from '../../src/core/names.ts'
import type { Endpoint, KubeObject, Pod } from '../../src/world/objects.ts'
import { keyOf, type World } from '../../src/world/world.ts'
import { endpointsOf, object, objects, pod } from './worlds.ts'

/** What is printed of a history that fails is its changes. */
export interface Change {
  readonly what: string
  readonly on: (world: World) => void
}

const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 8, arbitrary: object.map(put) },
  { weight: 2, arbitrary: object.map((it) => of('delete', it, (world) => world.delete(it.kind, keyOf(it)))) },
  { weight: 2, arbitrary: pod.map(wire) },
  { weight: 1, arbitrary: pod.map(unwire) },
  { weight: 1, arbitrary: fc.boolean().map((live) => of('live', live, (world) => world.setLive(live))) },
)

function put(it: KubeObject): Change {
  return of('put', it, (world) => world.put(it))
}

/** With the addresses that it has by then, which World may know of another pod, or give to one later. */
function wire(local: Pod): Change {
  const it = endpointOf(local)
  return of('wire', it, (world) => world.putEndpoint(it))
}

function unwire(local: Pod): Change {
  const it = endpointKey(endpointOf(local))
  return of('unwire', it, (world) => world.deleteEndpoint(it))
}

function endpointOf(local: Pod): Endpoint {
  const [attached] = endpointsOf([{ ...local, nodeName: 'n1' }])
  return { ...attached!, uid: local.uid, addresses: local.podIPs }
}

function of(what: string, it: unknown, on: (world: World) => void): Change {
  return {
    what: `${what} ${JSON.stringify(it, (_, value) => (typeof value === 'bigint' ? String(value) : value))}`,
    on,
  }
}

/** By pass: the first makes a world, in which some pods are wired, the others change it. */
export const changes: fc.Arbitrary<readonly (readonly Change[])[]> = fc
  .tuple(objects, objects, fc.array(fc.array(change, { minLength: 1, maxLength: 3 }), { maxLength: 8 }))
  .map(([first, more, passes]) => {
    const local = [...first, ...more].filter((each) => each.kind === 'Pod').filter(({ nodeName }) => nodeName === 'n1')
    return [[...[...first, ...more].map(put), ...local.map(wire)], ...passes]
  })
