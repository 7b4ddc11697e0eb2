// SPDX-License-Identifier: Apache-2.0
// Whom a node must know about: pods elsewhere and namespaces' labels matter only to policies that ask for them and select
// a pod here.

import type { ClusterNetworkPolicy, NetworkPolicy, Pod, PolicyRule } from '../world/objects.ts'
import { matches } from './selector.ts'

/** Some policy that selects one of the pods tells its peers apart by pod or namespace, or by what their named ports mean.
 *  A ClusterNetworkPolicy always may: whom it selects, labels of namespaces
 *  decide. Cost: the policies that do so x the pods, until one is found. */
export function needsPeers(
  policies: Iterable<NetworkPolicy>,
  clusterPolicies: Iterable<ClusterNetworkPolicy>,
  pods: Iterable<Pod>,
): boolean {
  const subjects = [...pods].filter((pod) => !pod.hostNetwork && !pod.finished)
  const [clusterPolicy] = clusterPolicies
  if (clusterPolicy !== undefined && subjects.length > 0) return true
  const asking = [...policies].filter(asksForPeers)
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

function namesPods({ peers }: PolicyRule): boolean {
  return peers?.some((peer) => !('ipBlock' in peer)) ?? false
}

/** In egress a port's name is resolved at the destination; in ingress at the pod itself. */
function namesPorts({ ports }: PolicyRule): boolean {
  return ports?.some(({ port }) => typeof port === 'string') ?? false
}
