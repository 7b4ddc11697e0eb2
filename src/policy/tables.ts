// SPDX-License-Identifier: Apache-2.0
// What policy compilation yields: entries of the tables policies, classes and class_prefixes (bpf/abi/policy.h,
// class.h), what each endpoint's entry says of policy (endpoint.h), and the names behind the ids.

import type { Address, Prefix } from '../core/address.ts'
import type { Id64 } from '../core/id64.ts'
import type { PeerClass, PolicyEntry, PolicyKey } from '../generated/abi.ts'
import type { Otherwise } from './sets.ts'

/** The policy part of a local endpoint's table entry. Set 0: no policy judges that direction. */
export interface EndpointPolicy {
  readonly egressSet: Id64
  readonly ingressSet: Id64
  /** Bits of enum policy_levels. */
  readonly egressLevels: number
  readonly ingressLevels: number
}

export interface PolicyTableEntry {
  readonly key: PolicyKey
  readonly value: PolicyEntry
}

export interface PolicySet {
  readonly id: Id64
  /** DIRECTION_EGRESS or DIRECTION_INGRESS. */
  readonly direction: number
  /** Bits of enum policy_levels that a lookup visits; they depend on the rules alone, not on who is there. */
  readonly levels: number
  /** Names of the policies that isolate, "namespace/name" or "Cilium:namespace/name": what a denial without a rule is due
   *  to; empty: none. */
  readonly policies: readonly string[]
  /** Those, and the audited ones that would isolate. */
  readonly withAudited: readonly string[]
  /** What the configuration wants where nothing isolates and no rule decides. */
  readonly otherwise: Otherwise
  /** Sorted by level, scope, protocol, port, length. */
  readonly entries: readonly PolicyTableEntry[]
}

export interface CompiledPolicies {
  /** By endpointKey. A local endpoint whose pod is not in World yet is absent: it stays isolated. */
  readonly endpoints: ReadonlyMap<string, EndpointPolicy>
  readonly sets: ReadonlyMap<Id64, PolicySet>
  /** Exact addresses: nodes, and the pods whose class is not that of their prefix. While no local endpoint is isolated
   *  nobody asks, and only nodes are here. Of the agent's compiler the same map in every pass. */
  readonly classes: ReadonlyMap<Address, PeerClass>
  /** Longest prefixes for every other address; ::/0 and 0.0.0.0/0 are always there. */
  readonly classPrefixes: ReadonlyMap<Prefix, PeerClass>
  /** Class id -> its membership in words, for people. */
  readonly classNames: ReadonlyMap<Id64, string>
  /** Rule id -> "namespace/name ingress[0]". */
  readonly rules: ReadonlyMap<Id64, string>
  /** Rule id -> id of what it says: another one where the rule of that name says something else. */
  readonly ruleMeanings: ReadonlyMap<Id64, Id64>
}
