// SPDX-License-Identifier: Apache-2.0
// GET /v1/policy-objects: what this node knows of the cluster that policy is about.

import type { PolicySettings } from '../policy/compile.ts'
import { API_SERVERS, type Pod } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import type { PolicyObjects } from './api.ts'

/** Pods elsewhere and namespaces are known where some policy of this node asks for them. A local pod has its addresses
 *  before its status tells them. */
export function policyObjects(world: WorldView, settings: PolicySettings): PolicyObjects {
  const namespaces = [...new Set([...world.pods()].map(({ namespace }) => namespace))]
    .map((name) => world.namespace(name))
    .filter((namespace) => namespace !== undefined)
  const pods = new Map([...world.pods()].map((pod) => [pod, pod]))
  for (const endpoint of world.endpoints()) {
    const pod = world.podOf(endpoint)
    if (pod !== undefined) pods.set(pod, { ...pod, podIPs: endpoint.addresses } satisfies Pod)
  }
  const policies = [...world.networkPolicies(), ...world.clusterPolicies(), ...world.ciliumPolicies()]
  const servers = world.slicesOfService(API_SERVERS)
  return { settings, objects: [...namespaces, ...world.nodes(), ...pods.values(), ...servers, ...policies] }
}
