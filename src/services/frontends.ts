// SPDX-License-Identifier: Apache-2.0
// Service + EndpointSlices -> frontends with their backends; one Service at a time, so that a change costs what it
// changes. Source: core/v1 ServiceSpec, discovery.k8s.io/v1 EndpointSlice.

import { type Address, compareAddresses, family, type Port } from '../core/address.ts'
import { type Id64, id64 } from '../core/id64.ts'
import { objectName } from '../core/names.ts'
import type { Protocol } from '../core/protocol.ts'
import type { EndpointSlice, ObjectName, Service, ServicePort } from '../world/objects.ts'

export interface Backend {
  readonly address: Address
  readonly port: Port
}

export interface Frontend {
  /** "namespace/name". */
  readonly service: ObjectName
  readonly portName: string
  readonly address: Address
  readonly port: Port
  readonly protocol: Protocol
  /** Sorted by address, then port; no duplicates. Empty: refuse. */
  readonly backends: readonly Backend[]
}

/** Frontends of one Service, one for each cluster IP and port, sorted by address, protocol, port. Headless: none. */
export function serviceFrontends(service: Service, slices: Iterable<EndpointSlice>): readonly Frontend[] {
  const slicesOfFamily = Map.groupBy(slices, (slice) => slice.family)
  return service.clusterIPs
    .flatMap((address) =>
      service.ports.map((port) => ({
        service: objectName(service.namespace, service.name),
        portName: port.name,
        address,
        port: port.port,
        protocol: port.protocol,
        backends: backendsOf(port, slicesOfFamily.get(family(address)) ?? []),
      })),
    )
    .toSorted(compareFrontends)
}

/** Id of the frontend's backend list: a list belongs to one frontend, so two frontends never share an id. */
export function backendListId(frontend: Frontend): Id64 {
  const { address, port, protocol, backends } = frontend
  const list = backends.map((backend) => `${backend.address} ${backend.port}`)
  return id64(`backends of ${address} ${port} ${protocol}: ${list.join(', ')}`)
}

function compareFrontends(a: Frontend, b: Frontend): number {
  return compareAddresses(a.address, b.address) || a.protocol - b.protocol || a.port - b.port
}

/** Ready endpoints; where there is none, those that still serve while they terminate. */
function backendsOf(servicePort: ServicePort, slices: readonly EndpointSlice[]): readonly Backend[] {
  const ready = new Map<string, Backend>()
  const terminating = new Map<string, Backend>()
  for (const slice of slices) {
    for (const port of slice.ports) {
      if (port.name !== servicePort.name || port.protocol !== servicePort.protocol) continue
      for (const endpoint of slice.endpoints) {
        const into = endpoint.ready ? ready : endpoint.serving && endpoint.terminating ? terminating : null
        // EndpointSlice: consumers use the first address of an endpoint.
        const address = endpoint.addresses[0]
        if (into !== null && address !== undefined) into.set(`${address} ${port.port}`, { address, port: port.port })
      }
    }
  }
  const chosen = ready.size > 0 ? ready : terminating
  return chosen.size < 2 ? [...chosen.values()] : [...chosen.values()].sort(compareBackends)
}

function compareBackends(a: Backend, b: Backend): number {
  return compareAddresses(a.address, b.address) || a.port - b.port
}
