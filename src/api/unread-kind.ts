// SPDX-License-Identifier: Apache-2.0

import type { CiliumDirection, CiliumPolicy, ClusterNetworkPolicy, Kind, KubeObject } from '../world/objects.ts'

/** As events and `heddle policy list` show it. */
const NAME = 'not-permitted'
const EVERYTHING = { matchLabels: {}, matchExpressions: [] }

/** What stands for the policies of a kind that exist, as far as anybody knows, and may not be read: nothing passes from or
 *  to any pod, since one of them may deny it. undefined: nothing can stand for that kind. */
export function standInForKind(kind: Kind): KubeObject | undefined {
  if (kind === 'ClusterNetworkPolicy') return closedTier()
  if (kind === 'CiliumNetworkPolicy' || kind === 'CiliumClusterwideNetworkPolicy') return closedCilium(kind)
  return undefined
}

function closedTier(): ClusterNetworkPolicy {
  const denial = [{ name: '', action: 'Deny' as const, peers: null, ports: null }]
  const subject = { namespaceSelector: EVERYTHING, podSelector: EVERYTHING }
  const first = { tier: 'Admin' as const, priority: 0 }
  const kind = 'ClusterNetworkPolicy'
  return { kind, name: NAME, ...first, subject, ingress: denial, egress: denial, unreadable: true }
}

/** Without a namespace, whichever kind it is: it is for the pods of all. */
function closedCilium(kind: CiliumPolicy['kind']): CiliumPolicy {
  const closed = (direction: string): CiliumDirection => ({
    isolates: true,
    rules: [{ place: `${direction}Deny`, action: 'Deny', peers: null, ports: null }],
  })
  const subject = { namespaceSelector: EVERYTHING, podSelector: EVERYTHING }
  const directions = { ingress: closed('ingress'), egress: closed('egress') }
  return {
    kind,
    namespace: '',
    name: NAME,
    specs: [{ policy: NAME, namespace: '', subject, ...directions }],
    unreadable: true,
  }
}
