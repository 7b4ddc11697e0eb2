// SPDX-License-Identifier: Apache-2.0
// Why an endpoint gets traffic, or none: the choice of choice.ts told for each.

import { compareAddresses, family, type Port } from '../core/address.ts'
import type { Protocol } from '../core/protocol.ts'
import type { EndpointSlice, Service, ServicePort, SliceEndpoint } from '../world/objects.ts'
import { choose, isHinted, type Place } from './choice.ts'
import { endpointsOf, ignoredBecause, isUsable, type PortEndpoint } from './endpoints.ts'

export interface ExplainedEndpoint {
  readonly portName: string
  readonly protocol: Protocol
  readonly port: Port
  readonly endpoint: SliceEndpoint
  /** null where the Service has no weights, and for what cannot be sent to. */
  readonly weight: number | null
  /** Clients of the whole cluster are led there; of traffic policy Local. */
  readonly inCluster: boolean
  readonly inLocal: boolean
  /** Why it is not among the cluster's; '' when it is. */
  readonly excluded: string
}

/** Every endpoint that slices have for the Service's ports, by port, then address; what cannot be sent to comes last. */
export function explainEndpoints(service: Service, slices: Iterable<EndpointSlice>, place: Place): ExplainedEndpoint[] {
  const all = [...slices]
  const families = new Set(service.clusterIPs.map(family))
  const { weights } = service.balancing
  return service.ports.flatMap((port) => [
    ...[...families].flatMap((of) => {
      const ofFamily = all.filter((slice) => slice.family === of)
      return explainPort(port, endpointsOf(port, ofFamily, place.nodeName, weights), place)
    }),
    ...ignoredEndpoints(port, all),
  ])
}

function explainPort(
  { name, protocol }: ServicePort,
  endpoints: readonly PortEndpoint[],
  place: Place,
): ExplainedEndpoint[] {
  const { cluster, local, topology } = choose(endpoints, place)
  const anyReady = endpoints.some(({ endpoint }) => endpoint.ready)
  const reason = (each: PortEndpoint): string => {
    if (!isUsable(each.endpoint)) return each.endpoint.terminating ? 'terminating' : 'not ready'
    if (!each.endpoint.ready && anyReady) return 'terminating, and others are ready'
    return isHinted(each, topology, place)
      ? ''
      : `meant for ${topology === 'same node' ? 'another node' : 'another zone'}`
  }
  return endpoints.map((each) => ({
    portName: name,
    protocol,
    port: each.backend.port,
    endpoint: each.endpoint,
    weight: each.backend.weight ?? null,
    inCluster: cluster.includes(each.backend),
    inLocal: local.includes(each.backend),
    excluded: cluster.includes(each.backend) ? '' : reason(each),
  }))
}

function ignoredEndpoints({ name, protocol }: ServicePort, slices: readonly EndpointSlice[]): ExplainedEndpoint[] {
  return slices
    .flatMap((slice) =>
      slice.ports
        .filter((port) => port.name === name && port.protocol === protocol)
        .flatMap(({ port }) =>
          slice.endpoints.flatMap((endpoint) => {
            const excluded = ignoredBecause(slice.family, endpoint)
            if (excluded === null) return []
            const nowhere = { weight: null, inCluster: false, inLocal: false }
            return [{ portName: name, protocol, port, endpoint, ...nowhere, excluded }]
          }),
        ),
    )
    .sort((a, b) => compareAddresses(a.endpoint.address, b.endpoint.address))
}
