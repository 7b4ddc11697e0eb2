// SPDX-License-Identifier: Apache-2.0
// Service + EndpointSlices -> frontends with their backends; one Service at a time, so that a change costs what it
// changes. Source: core/v1 ServiceSpec, discovery.k8s.io/v1 EndpointSlice.

import { type Address, compareAddresses, type Family, family, type Port, type Prefix } from '../core/address.ts'
import { type Id64, id64 } from '../core/id64.ts'
import { objectName } from '../core/names.ts'
import type { Protocol } from '../core/protocol.ts'
import type { Balancing, EndpointSlice, ObjectName, Service, ServicePort } from '../world/objects.ts'
import { type Choice, choose, type Place } from './choice.ts'
import { endpointsOf, ignoredBecause } from './endpoints.ts'
import { hasSlotTable } from './slot-table.ts'

export interface Backend {
  readonly address: Address
  readonly port: Port
  /** Only where the Service has weights. */
  readonly weight?: number
}

/** Backends by it are the same ones, whatever they weigh. */
export function backendText({ address, port }: { readonly address: Address; readonly port: number }): string {
  return `${address} ${port}`
}

export const FrontendKind = {
  CLUSTER_IP: 'ClusterIP',
  NODE_PORT: 'NodePort',
  LOAD_BALANCER: 'LoadBalancer',
  EXTERNAL_IP: 'ExternalIP',
} as const
export type FrontendKind = (typeof FrontendKind)[keyof typeof FrontendKind]

/** The backends that some clients of a frontend are led to. */
export interface Candidates {
  /** Sorted by address, then port; no duplicates. Clients that are led to the same backends share one array. */
  readonly backends: readonly Backend[]
  /** Traffic policy Local: all of them are on this node, and a client beyond the cluster keeps its own address. */
  readonly isLocal: boolean
  /** What is said to a client when there is none: false: refuse; true: drop, since other nodes have backends. */
  readonly dropsWhenEmpty: boolean
}

/** One way into a Service: what compile writes, and the data plane reads, of it. */
export interface Frontend {
  /** "namespace/name". */
  readonly service: ObjectName
  readonly portName: string
  readonly kind: FrontendKind
  readonly address: Address
  readonly port: Port
  readonly protocol: Protocol
  /** For clients inside the cluster, of this node and its pods: internalTrafficPolicy at a ClusterIP; at every other address
   *  all of the cluster's backends, whatever externalTrafficPolicy says. */
  readonly internal: Candidates
  /** For clients beyond the cluster, by externalTrafficPolicy; null: they cannot reach it. Pods of other nodes that ask
   *  this node count as such (Kubernetes e2e, service.go). */
  readonly external: Candidates | null
  /** Who may come in, inside the cluster too, before any translation; null: everybody. Empty where the Service's ranges
   *  are all of the other family: nobody (kube-proxy: everybody, which no one who wrote ranges can have meant). */
  readonly sourceRanges: readonly Prefix[] | null
  /** How long a client keeps its backend after its last connection (sessionAffinity ClientIP); 0: not at all. */
  readonly affinitySeconds: number
  readonly balancing: Balancing
}

/** What this node is to Services. */
export interface ServicePlace extends Place {
  /** Where NodePorts are answered: addresses of this node. */
  readonly nodePortAddresses: readonly Address[]
}

/** Frontends of one Service, one for each of its addresses and ports, sorted by address, protocol, port. Headless, and
 *  in a family that it has no cluster IP of: none. */
export function serviceFrontends(
  service: Service,
  slices: Iterable<EndpointSlice>,
  place: ServicePlace,
): readonly Frontend[] {
  const slicesOfFamily = Map.groupBy(slices, (slice) => slice.family)
  const frontends = new Map<string, Frontend>()
  for (const of of new Set(service.clusterIPs.map(family))) {
    for (const port of service.ports) {
      const { weights } = service.balancing
      const choice = choose(endpointsOf(port, slicesOfFamily.get(of) ?? [], place.nodeName, weights), place)
      for (const frontend of portFrontends(service, port, of, choice, place)) {
        const key = `${frontend.address} ${frontend.port} ${frontend.protocol}`
        if (!frontends.has(key)) frontends.set(key, frontend)
      }
    }
  }
  return [...frontends.values()].sort(compareFrontends)
}

/** Where one address is of several kinds the first stands: one with source ranges before one without. */
function portFrontends(
  service: Service,
  port: ServicePort,
  of: Family,
  choice: Choice,
  { nodePortAddresses }: ServicePlace,
): Frontend[] {
  const shared = {
    service: objectName(service.namespace, service.name),
    portName: port.name,
    protocol: port.protocol,
    affinitySeconds: service.affinitySeconds,
    balancing: service.balancing,
  }
  const inside: Omit<Frontend, 'address'> = {
    ...shared,
    kind: FrontendKind.CLUSTER_IP,
    port: port.port,
    internal: candidates(choice, service.internalLocal),
    external: null,
    sourceRanges: null,
  }
  const outside: Omit<Frontend, 'address'> = {
    ...inside,
    kind: FrontendKind.EXTERNAL_IP,
    internal: candidates(choice, false),
    external: candidates(choice, service.externalLocal),
  }
  const at = (addresses: readonly Address[], frontend: Omit<Frontend, 'address'>): Frontend[] =>
    addresses.filter((address) => family(address) === of).map((address) => ({ ...frontend, address }))
  const sourceRanges = service.sourceRanges?.filter((range) => family(range) === of) ?? null
  return [
    ...at(service.clusterIPs, inside),
    ...at(service.loadBalancerIPs, { ...outside, kind: FrontendKind.LOAD_BALANCER, sourceRanges }),
    ...at(service.externalIPs, outside),
    ...(port.nodePort === null
      ? []
      : at(nodePortAddresses, { ...outside, kind: FrontendKind.NODE_PORT, port: port.nodePort })),
  ]
}

function candidates({ cluster, local }: Choice, isLocal: boolean): Candidates {
  return isLocal
    ? { backends: local, isLocal, dropsWhenEmpty: cluster.length > 0 }
    : { backends: cluster, isLocal, dropsWhenEmpty: false }
}

/** What a health check of this node counts: addresses of ready endpoints here, of any port; of a Service with two
 *  families the family that has more, or each pod would count twice. */
export function localReadyCount(slices: Iterable<EndpointSlice>, nodeName: string): number {
  const addresses = { 4: new Set<Address>(), 6: new Set<Address>() }
  for (const slice of slices) {
    for (const endpoint of slice.endpoints) {
      if (endpoint.ready && endpoint.nodeName === nodeName && ignoredBecause(slice.family, endpoint) === null)
        addresses[slice.family].add(endpoint.address)
    }
  }
  return Math.max(addresses[4].size, addresses[6].size)
}

/** Id of a list of backends of the Service ("namespace/name"), and of its table: its frontends share a list, two Services
 *  never do. */
export function backendListId(service: ObjectName, backends: readonly Backend[], balancing: Balancing): Id64 {
  const list = backends.map(({ address, port, weight }) => `${address} ${port}${weight ? ` x ${weight}` : ''}`)
  const table = hasSlotTable(balancing) ? ` by ${balancing.algorithm}` : ''
  return id64(`backends of ${service}${table}: ${list.join(', ')}`)
}

function compareFrontends(a: Frontend, b: Frontend): number {
  return compareAddresses(a.address, b.address) || a.protocol - b.protocol || a.port - b.port
}
