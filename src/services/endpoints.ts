// SPDX-License-Identifier: Apache-2.0
// EndpointSlices of one Service -> the endpoints of one of its ports: slices merged, duplicates made one, what no packet
// can be sent to left out. Source: discovery.k8s.io/v1 EndpointSlice.

import { compareAddresses, type Family, family, specialAddress } from '../core/address.ts'
import { compareText } from '../core/names.ts'
import type { Balancing, EndpointSlice, ServicePort, SliceEndpoint } from '../world/objects.ts'
import type { Backend } from './frontends.ts'

/** An endpoint behind one port. */
export interface PortEndpoint {
  readonly backend: Backend
  readonly endpoint: SliceEndpoint
}

/** Why something that a slice says is not used, as `heddle status` and metrics print it. */
export type Ignored = 'unknown port' | 'other family' | 'unspecified' | 'loopback' | 'link-local' | 'multicast'

/** What can be sent to behind the port in one family, whatever its conditions; sorted by address, then port. */
export function endpointsOf(
  servicePort: Pick<ServicePort, 'name' | 'protocol'>,
  slices: readonly EndpointSlice[],
  nodeName: string,
  weights: Balancing['weights'],
): readonly PortEndpoint[] {
  const joined = new Map<string, PortEndpoint>()
  for (const slice of slices) {
    for (const { name, protocol, port } of slice.ports) {
      if (name !== servicePort.name || protocol !== servicePort.protocol) continue
      for (const endpoint of slice.endpoints) {
        const { address } = endpoint
        if (ignoredBecause(slice.family, endpoint) !== null) continue
        const key = `${address} ${port}`
        const other = joined.get(key)?.endpoint
        if (other === undefined || isPreferred(endpoint, other, nodeName)) {
          joined.set(key, { backend: weighted({ address, port }, endpoint, weights), endpoint })
        }
      }
    }
  }
  return joined.size < 2 ? [...joined.values()] : [...joined.values()].sort(byBackend)
}

function weighted(backend: Backend, { nodeName }: SliceEndpoint, weights: Balancing['weights']): Backend {
  if (weights === null) return backend
  return { ...backend, weight: Object.hasOwn(weights, nodeName) ? weights[nodeName]! : 1 }
}

/** How often each reason applies to the slices of a Service with these ports. Cost: endpoints. */
export function ignoredIn(
  ports: readonly ServicePort[],
  slices: Iterable<EndpointSlice>,
): ReadonlyMap<Ignored, number> | null {
  let counts: Map<Ignored, number> | null = null
  const count = (reason: Ignored): void => {
    counts ??= new Map()
    counts.set(reason, (counts.get(reason) ?? 0) + 1)
  }
  for (const slice of slices) {
    for (const port of slice.ports) {
      const isAsked = ports.some(({ name, protocol }) => name === port.name && protocol === port.protocol)
      if (!isAsked) count('unknown port')
    }
    for (const endpoint of slice.endpoints) {
      const reason = ignoredBecause(slice.family, endpoint)
      if (reason !== null) count(reason)
    }
  }
  return counts
}

export function ignoredBecause(sliceFamily: Family, { address }: SliceEndpoint): Ignored | null {
  return family(address) === sliceFamily ? specialAddress(address) : 'other family'
}

export function isUsable({ ready, serving, terminating }: SliceEndpoint): boolean {
  return ready || (serving && terminating)
}

/** An endpoint may move between slices, and be in two of them: the one on this node counts, then the one in better
 *  health. What is left is decided by text, so that the order of slices never matters. */
function isPreferred(a: SliceEndpoint, b: SliceEndpoint, nodeName: string): boolean {
  const rank = (each: SliceEndpoint): number =>
    4 * Number(each.nodeName === nodeName) + 2 * Number(each.ready) + Number(isUsable(each))
  return (rank(a) - rank(b) || compareText(JSON.stringify(a), JSON.stringify(b))) > 0
}

function byBackend({ backend: a }: PortEndpoint, { backend: b }: PortEndpoint): number {
  return compareAddresses(a.address, b.address) || a.port - b.port
}
