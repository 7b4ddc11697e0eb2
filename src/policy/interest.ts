// SPDX-License-Identifier: Apache-2.0
// Whom a node must know about: pods elsewhere and namespaces' labels matter only to policies that ask for them and select
// a pod here.

import type { NetworkPolicy, Pod, PolicyRule } from '../world/objects.ts'
import { matches } from './selector.ts'

/** Some policy that selects one of the pods tells its peers apart by pod or namespace, or by what their named ports mean.
 *  Cost: the policies that do so x the pods, until one is found. */
export function needsPeers(policies: Iterable<NetworkPolicy>, pods: Iterable<Pod>): boolean {
  const asking = [...policies].filter(asksForPeers)
  if (asking.length === 0) return false
  const byNamespace = Map.groupBy(asking, ({ namespace }) => namespace)
  for (const pod of pods) {
    if (pod.hostNetwork || pod.finished) continue
    if (byNamespace.get(pod.namespace)?.some(({ podSelector }) => matches(podSelector, pod.labels))) return true
  }
  return false
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
