// SPDX-License-Identifier: Apache-2.0
// The compiled tables' answer to one question, looked up exactly as the data plane does (bpf/lib/policy.h).

import { type Address, family, type Prefix, prefixContains, splitPrefix } from '../core/address.ts'
import type { Id64 } from '../core/id64.ts'
import {
  type PeerClass,
  POLICY_FIXED_BITS,
  POLICY_PROTOCOL_BITS,
  type PolicyEntry,
  PolicyFlags,
  PolicyLevels,
  PolicyVerdict,
} from '../generated/abi.ts'
import { covers } from './ports.ts'
import type { CompiledPolicies, PolicySet, PolicyTableEntry } from './tables.ts'

export interface PolicyAnswer {
  readonly allowed: boolean
  /** Allowed, but audited policies would deny it: by the rule, or, where that is 0, since they isolate. */
  readonly audited: boolean
  /** Id of the rule that decided; 0: none did, either because nothing isolates or because nothing admits. */
  readonly rule: Id64
  /** Level that decided, a bit of PolicyLevels; 0: none. */
  readonly level: number
}

/** Nothing forbids it. */
export const UNISOLATED: PolicyAnswer = { allowed: true, audited: false, rule: 0n, level: 0 }
/** What isolates where no policy does. */
export const DEFAULT_DENY = 'default deny'

/** No rule allows it. */
export const ISOLATED: PolicyAnswer = { allowed: false, audited: false, rule: 0n, level: 0 }

/** The class of any address: its own entry, else that of the longest prefix of its family. */
export function classOfAddress(compiled: CompiledPolicies, address: Address): PeerClass {
  const exact = compiled.classes.get(address)
  if (exact !== undefined) return exact
  let best: Prefix | null = null
  for (const prefix of compiled.classPrefixes.keys()) {
    if (family(prefix) !== family(address) || !prefixContains(prefix, address)) continue
    if (best === null || splitPrefix(prefix).length > splitPrefix(best).length) best = prefix
  }
  return compiled.classPrefixes.get(best!)!
}

/** set 0 allows. port: for ICMP, type << 8 | code. Own host's traffic to its own pods is not policy's to judge. */
export function judge(
  compiled: CompiledPolicies,
  set: Id64,
  peer: PeerClass,
  protocol: number,
  port: number,
): PolicyAnswer {
  if (set === 0n) return UNISOLATED
  const of = compiled.sets.get(set)
  if (of === undefined) return ISOLATED
  const scopes = [
    [PolicyLevels.CLASS, peer.classId],
    [PolicyLevels.REALM, BigInt(peer.realm)],
    [PolicyLevels.ANY, 0n],
  ] as const
  for (const [level, scope] of scopes) {
    const entry = (of.levels & level) === 0 ? null : longest(of, level, scope, protocol, port)
    if (entry !== null) {
      return { ...answerOf(entry.value), level }
    }
  }
  return ISOLATED
}

/** What an entry that a lookup ends at says. */
export function answerOf({ verdict, flags, l7, rule }: PolicyEntry): Omit<PolicyAnswer, 'level'> {
  const allowed = verdict === PolicyVerdict.ALLOW && l7 === 0
  return { allowed, audited: allowed && (flags & PolicyFlags.AUDIT) !== 0, rule }
}

/** What a person reads: the rule's name, else the policies that isolate, else null where nothing forbids. */
export function reasonText(compiled: CompiledPolicies, set: Id64, answer: PolicyAnswer): string | null {
  if (answer.rule !== 0n) return compiled.rules.get(answer.rule) ?? null
  if (answer.allowed && !answer.audited) return null
  return isolating(compiled.sets.get(set), answer.audited)?.join(', ') ?? null
}

/** Names of the policies by which a set isolates; of an audited verdict those too that would. Where there are
 *  none, the configuration does. */
export function isolating(set: PolicySet | undefined, audited: boolean): readonly string[] | undefined {
  if (set === undefined) return undefined
  const names = audited ? set.withAudited : set.policies
  const denies = set.otherwise === 'deny' || (audited && set.otherwise === 'audit')
  return names.length === 0 && denies ? [DEFAULT_DENY] : names
}

function longest(
  set: PolicySet,
  level: number,
  scope: bigint,
  protocol: number,
  port: number,
): PolicyTableEntry | null {
  const asked = { protocol, port, length: POLICY_PROTOCOL_BITS + 16 }
  let best: PolicyTableEntry | null = null
  for (const entry of set.entries) {
    const { key } = entry
    if (key.level !== level || key.scope !== scope) continue
    const prefix = { protocol: key.protocol, port: key.port, length: key.prefixLength - POLICY_FIXED_BITS }
    if (covers(prefix, asked) && (best === null || key.prefixLength > best.key.prefixLength)) best = entry
  }
  return best
}
