// SPDX-License-Identifier: Apache-2.0
// Backends that a Service leads to no more, while sockets and translations still do. UDP has no end, so it is to move at
// once; a TCP connection may finish for as long as the Service's slices name its endpoint: while that terminates.

import type { Address } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import type { Backend } from '../services/frontends.ts'
import type { ObjectName } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import type { Left } from './service-tables.ts'

export interface Removed {
  /** Of Services with a UDP port. */
  readonly udp: readonly Backend[]
  /** Of Services with a TCP port, in none of its slices any more. */
  readonly tcp: readonly Backend[]
}

/** What is removed once the Service, of which World holds the slices as they are now, has left these backends. */
export type RemovedBy = (world: WorldView, service: ObjectName, left: Left) => Removed

export function createRemoval(): RemovedBy {
  const leaving = new Map<ObjectName, readonly Backend[]>() // that the slices still name
  return (world, service, { backends, protocols }) => {
    const udp = protocols.has(Protocol.UDP) ? backends : []
    const candidates = [...(leaving.get(service) ?? []), ...(protocols.has(Protocol.TCP) ? backends : [])]
    if (candidates.length === 0) return { udp, tcp: [] }
    const named = addressesOf(world, service)
    const still = candidates.filter(({ address }) => named.has(address))
    if (still.length > 0) leaving.set(service, still)
    else leaving.delete(service)
    return { udp, tcp: candidates.filter(({ address }) => !named.has(address)) }
  }
}

/** Of every endpoint that the slices of the Service name, whatever its state. */
export function addressesOf(world: WorldView, service: ObjectName): ReadonlySet<Address> {
  const endpoints = [...world.slicesOfService(service)].flatMap((slice) => slice.endpoints)
  return new Set(endpoints.map(({ address }) => address))
}

export function joinRemoved(a: Removed, b: Removed): Removed {
  return { udp: [...a.udp, ...b.udp], tcp: [...a.tcp, ...b.tcp] }
}
