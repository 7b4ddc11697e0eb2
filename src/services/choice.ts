// SPDX-License-Identifier: Apache-2.0
// Which endpoints of a port get traffic, as kube-proxy chooses (kubernetes pkg/proxy/topology.go, v1.34):
//
//                 ready, of these by topology    else serving and terminating
//   cluster       all, or those hinted for us    all
//   local         those on this node             those on this node            (decided apart; no topology)

import type { EndpointHints } from '../world/objects.ts'
import { isUsable, type PortEndpoint } from './endpoints.ts'
import type { Backend } from './frontends.ts'

/** Where this node stands. */
export interface Place {
  readonly nodeName: string
  /** Label topology.kubernetes.io/zone of the own Node; '' without one. */
  readonly zone: string
}

/** How far trafficDistribution narrows the choice down, as far as the hints allow. */
export type Topology = 'all' | 'same zone' | 'same node'

export interface Choice {
  readonly topology: Topology
  readonly cluster: readonly Backend[]
  /** The same array as cluster where all are the same. */
  readonly local: readonly Backend[]
}

const NONE: readonly Backend[] = []

export function choose(endpoints: readonly PortEndpoint[], place: Place): Choice {
  const ready = endpoints.filter(({ endpoint }) => endpoint.ready)
  const topology = topologyOf(ready, place)
  const terminating = (each: PortEndpoint): boolean => !each.endpoint.ready && isUsable(each.endpoint)
  const cluster =
    ready.length > 0 ? ready.filter((each) => isHinted(each, topology, place)) : endpoints.filter(terminating)
  const isHere = ({ endpoint }: PortEndpoint): boolean => endpoint.nodeName === place.nodeName
  const readyHere = ready.filter(isHere)
  const local = readyHere.length > 0 ? readyHere : endpoints.filter((each) => isHere(each) && terminating(each))
  const chosen = backendsOf(cluster)
  return { topology, cluster: chosen, local: isSame(cluster, local) ? chosen : backendsOf(local) }
}

/** Hints count only where every ready endpoint carries them and one at least is meant for us: nobody is cut off. */
function topologyOf(ready: readonly PortEndpoint[], { nodeName, zone }: Place): Topology {
  if (ready.length === 0 || ready[0]!.endpoint.hints === null) return 'all'
  const guard = (of: keyof EndpointHints, name: string): boolean =>
    ready.every(({ endpoint }) => (endpoint.hints?.[of].length ?? 0) > 0) &&
    ready.some(({ endpoint }) => endpoint.hints?.[of].includes(name))
  if (guard('nodes', nodeName)) return 'same node'
  return guard('zones', zone) ? 'same zone' : 'all'
}

export function isHinted({ endpoint }: PortEndpoint, topology: Topology, { nodeName, zone }: Place): boolean {
  if (topology === 'all') return true
  return topology === 'same node'
    ? (endpoint.hints?.nodes.includes(nodeName) ?? false)
    : (endpoint.hints?.zones.includes(zone) ?? false)
}

function backendsOf(endpoints: readonly PortEndpoint[]): readonly Backend[] {
  return endpoints.length === 0 ? NONE : endpoints.map(({ backend }) => backend)
}

function isSame(a: readonly PortEndpoint[], b: readonly PortEndpoint[]): boolean {
  return a.length === b.length && a.every((each, i) => each === b[i])
}
