// SPDX-License-Identifier: Apache-2.0
// Backends that a Service leads to no more, while sockets and translations still do. UDP has no end, so it is to move at
// once; a TCP connection may finish for as long as the Service's slices name its endpoint: while that terminates.

import type { Address } from '../core/address.ts'
import type { Backend } from '../services/frontends.ts'
import type { ObjectName } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'

export interface Removed {
  /** Of Services with a UDP port. */
  readonly udp: readonly Backend[]
  /** Addresses that slices of a Service named and do not name any more. */
  readonly unnamed: readonly Address[]
}

/** What slices of the Service named when it was asked last and, as World holds them now, name no more. */
export type UnnamedBy = (world: WorldView, service: ObjectName) => readonly Address[]

export function createUnnamed(): UnnamedBy {
  const named = new Map<ObjectName, readonly Address[]>()
  return (world, service) => {
    const before = named.get(service) ?? []
    const now = addressesOf(world, service)
    if (now.size > 0) named.set(service, [...now])
    else named.delete(service)
    return before.filter((address) => !now.has(address))
  }
}

/** Of every endpoint that the slices of the Service name, whatever its state. */
export function addressesOf(world: WorldView, service: ObjectName): ReadonlySet<Address> {
  const endpoints = [...world.slicesOfService(service)].flatMap((slice) => slice.endpoints)
  return new Set(endpoints.map(({ address }) => address))
}

export function joinRemoved(a: Removed, b: Removed): Removed {
  return { udp: [...a.udp, ...b.udp], unnamed: [...a.unnamed, ...b.unnamed] }
}
