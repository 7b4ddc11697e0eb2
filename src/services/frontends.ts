// SPDX-License-Identifier: Apache-2.0
// Service + EndpointSlices -> frontends with their backends; one Service at a time, so that a change costs what it
// changes. Source: core/v1 ServiceSpec, discovery.k8s.io/v1 EndpointSlice.

import { type Address, compareAddresses, family, type Port, type Prefix } from '../core/address.ts'
import { type Id64, id64 } from '../core/id64.ts'
import { objectName } from '../core/names.ts'
import type { Protocol } from '../core/protocol.ts'
import type { EndpointSlice, ObjectName, Service, ServicePort } from '../world/objects.ts'

export interface Backend {
  readonly address: Address
  readonly port: Port
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
  /** For clients inside the cluster: internalTrafficPolicy at a ClusterIP; at every other address all of the cluster's
   *  backends, whatever externalTrafficPolicy says. */
  readonly internal: Candidates
  /** For clients beyond the cluster, by externalTrafficPolicy; null: they cannot reach it. */
  readonly external: Candidates | null
  /** Who may come in, inside the cluster too; null: everybody. Before any translation. */
  readonly sourceRanges: readonly Prefix[] | null
  /** How long a client keeps its backend after its last connection (sessionAffinity ClientIP); 0: not at all. */
  readonly affinitySeconds: number
}

/** Frontends of one Service, one for each cluster IP and port, sorted by address, protocol, port. Headless: none. */
export function serviceFrontends(service: Service, slices: Iterable<EndpointSlice>): readonly Frontend[] {
  const slicesOfFamily = Map.groupBy(slices, (slice) => slice.family)
  return service.clusterIPs
    .flatMap((address) =>
      service.ports.map((port) => ({
        service: objectName(service.namespace, service.name),
        portName: port.name,
        kind: FrontendKind.CLUSTER_IP,
        address,
        port: port.port,
        protocol: port.protocol,
        internal: {
          backends: backendsOf(port, slicesOfFamily.get(family(address)) ?? []),
          isLocal: false,
          dropsWhenEmpty: false,
        },
        external: null,
        sourceRanges: null,
        affinitySeconds: 0,
      })),
    )
    .toSorted(compareFrontends)
}

/** Id of a list of backends of the Service ("namespace/name"): its frontends share a list, two Services never do. */
export function backendListId(service: ObjectName, backends: readonly Backend[]): Id64 {
  const list = backends.map((backend) => `${backend.address} ${backend.port}`)
  return id64(`backends of ${service}: ${list.join(', ')}`)
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
