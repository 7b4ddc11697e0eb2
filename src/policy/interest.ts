// SPDX-License-Identifier: Apache-2.0
// Whom a node must know about: pods elsewhere and namespaces' labels matter only to policies that ask for them and select
// a pod here.

import type {
  CiliumPolicy,
  CiliumRule,
  CiliumSpec,
  ClusterNetworkPolicy,
  NetworkPolicy,
  Pod,
  PolicyPort,
  PolicyRule,
} from '../world/objects.ts'
import { matches } from './selector.ts'

/** Some policy that selects one of the pods tells its peers apart by pod or namespace, or by what their named ports mean.
 *  A clusterwide one always may: whom it selects, labels of namespaces decide. Cost: the policies that do so x the pods,
 *  until one is found. */
export function needsPeers(
  policies: Iterable<NetworkPolicy>,
  clusterPolicies: Iterable<ClusterNetworkPolicy>,
  ciliumPolicies: Iterable<CiliumPolicy>,
  pods: Iterable<Pod>,
): boolean {
  const subjects = [...pods].filter((pod) => !pod.hostNetwork && !pod.finished)
  const specs = [...ciliumPolicies].flatMap((policy) => policy.specs)
  const isClusterwide = specs.some(({ namespace }) => namespace === '') || [...clusterPolicies].length > 0
  if (isClusterwide && subjects.length > 0) return true
  const asking = [
    ...[...policies].filter(asksForPeers),
    ...specs.filter(specAsksForPeers).map(({ namespace, subject: { podSelector } }) => ({ namespace, podSelector })),
  ]
  if (asking.length === 0) return false
  const byNamespace = Map.groupBy(asking, ({ namespace }) => namespace)
  return subjects.some(({ namespace, labels }) =>
    byNamespace.get(namespace)?.some(({ podSelector }) => matches(podSelector, labels)),
  )
}

/** Whether the policy's rules can be applied only by someone who knows other pods. */
export function asksForPeers({ ingress, egress }: NetworkPolicy): boolean {
  return (ingress ?? []).some(namesPods) || (egress ?? []).some((rule) => namesPods(rule) || namesPorts(rule))
}

/** What is inside the cluster and what outside, a node knows without pods. */
function specAsksForPeers({ ingress, egress }: CiliumSpec): boolean {
  const tellsPods = ({ peers }: CiliumRule): boolean => peers?.some((peer) => 'podSelector' in peer) ?? false
  return ingress.rules.some(tellsPods) || egress.rules.some((rule) => tellsPods(rule) || namesPorts(rule))
}

function namesPods({ peers }: PolicyRule): boolean {
  return peers?.some((peer) => !('ipBlock' in peer)) ?? false
}

/** In egress a port's name is resolved at the destination; in ingress at the pod itself. */
function namesPorts({ ports }: { readonly ports: readonly PolicyPort[] | null }): boolean {
  return ports?.some(({ port }) => typeof port === 'string') ?? false
}
