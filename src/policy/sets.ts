// SPDX-License-Identifier: Apache-2.0
// One policy set and direction -> its table entries on the levels any, realm and class (bpf/abi/policy.h).
//
// The broadest rule is named where several agree. A level holds an entry only where a lookup would otherwise end with
// another rule: nothing matches above it, or a shorter prefix of the same level hides what does.

import { type Id64, id64 } from '../core/id64.ts'
import { POLICY_FIXED_BITS, PolicyDirection, PolicyLevels, PolicyVerdict, Realm } from '../generated/abi.ts'
import type { Class } from './classes.ts'
import { covers, EVERYTHING, type NamedPorts, namedPortsText, type PortPrefix, portPrefixes } from './ports.ts'
import { type Direction, directionText, type Rule } from './rules.ts'
import type { PolicyTableEntry } from './tables.ts'

/** Policies that together isolate a pod in one direction. */
export interface RuleSet {
  readonly id: Id64
  readonly direction: Direction
  /** "namespace/name", sorted. */
  readonly policies: readonly string[]
  /** By policy name, then index. */
  readonly rules: readonly Rule[]
  /** What ingress rules' port names mean at the pods that have this set. */
  readonly ownPorts: NamedPorts
}

/** Equal policies and equal own ports give the same set, whichever pods have it. */
export function ruleSet(
  direction: Direction,
  policies: readonly string[],
  rules: readonly Rule[],
  ownPorts: NamedPorts,
): RuleSet {
  const ruleTexts = rules.map((rule) => rule.text).join('\n')
  const text = `${directionText(direction)} set ${policies.join(' ')}\n${namedPortsText(ownPorts)}\n${ruleTexts}`
  return { id: id64(text), direction, policies, rules, ownPorts }
}

/** Bits of PolicyLevels that lookups in this set visit: where its rules could stand, whoever is there. */
export function levelsOf(set: RuleSet): number {
  return set.rules.reduce((bits, rule) => {
    const perClass = rule.selectors.length > 0 || dependsOnPeer(set, rule)
    const realm = rule.everyPod ? PolicyLevels.REALM : 0
    const any = rule.everybody ? PolicyLevels.ANY : 0
    return bits | any | realm | (perClass ? PolicyLevels.CLASS : 0)
  }, 0)
}

/** Entries of the levels any and realm, which no class changes. */
export function sharedEntries(set: RuleSet): readonly PolicyTableEntry[] {
  const any = grants(set, null, null)
  const pods = grants(set, Realm.POD, null)
  return [
    ...difference(any, []).map((grant) => entry(set, PolicyLevels.ANY, 0n, grant)),
    ...difference(pods, any).map((grant) => entry(set, PolicyLevels.REALM, BigInt(Realm.POD), grant)),
  ]
}

/** Entries of one class: none where the levels above say the same. */
export function classEntries(set: RuleSet, peer: Class): readonly PolicyTableEntry[] {
  const upper = grants(set, peer.realm, null)
  return difference(grants(set, peer.realm, peer), upper).map((grant) => entry(set, PolicyLevels.CLASS, peer.id, grant))
}

/** Whether the peer's own named ports matter to the rule. */
export function dependsOnPeer(set: RuleSet, rule: Rule): boolean {
  return set.direction === PolicyDirection.EGRESS && rule.portNames.length > 0
}

/** One rule admits one prefix of ports. */
interface Grant {
  readonly prefix: PortPrefix
  readonly rule: Rule
  /** Broadest peer of the rule that holds here, ANY > REALM > CLASS; then the rule's place in the set. */
  readonly breadth: number
  readonly place: number
}

/** What the rules admit for every address (realm null), for a realm as such (peer null), or for a class. */
function grants(set: RuleSet, realm: Realm | null, peer: Class | null): readonly Grant[] {
  return set.rules.flatMap((rule, place) => {
    const breadth = breadthOf(rule, realm, peer)
    if (breadth === 0) return []
    const named = set.direction === PolicyDirection.INGRESS ? set.ownPorts : peer?.namedPorts
    const prefixes = rule.ports?.flatMap((port) => portPrefixes(port, named ?? new Map())) ?? [EVERYTHING]
    return prefixes.map((prefix) => ({ prefix, rule, breadth, place }))
  })
}

function breadthOf(rule: Rule, realm: Realm | null, peer: Class | null): number {
  if (rule.everybody) return PolicyLevels.ANY
  if (rule.everyPod && realm === Realm.POD) return PolicyLevels.REALM
  if (peer !== null && rule.selectors.some((selector) => peer.members.has(selector.text))) return PolicyLevels.CLASS
  return 0
}

/** The grants that a level must hold as entries, given those that the levels above it already express. */
function difference(own: readonly Grant[], above: readonly Grant[]): readonly Grant[] {
  if (own.length === above.length) return []
  const entries: Grant[] = []
  for (const prefix of distinctPrefixes(own)) {
    const best = bestAt(prefix, own)!
    // Shorter prefixes come first, so the last entry that covers this one is the nearest.
    const found = entries.findLast((each) => covers(each.prefix, prefix)) ?? bestAt(prefix, above)
    if (found?.rule !== best.rule) entries.push({ ...best, prefix })
  }
  return entries
}

function distinctPrefixes(all: readonly Grant[]): readonly PortPrefix[] {
  const distinct = new Map(all.map(({ prefix }) => [`${prefix.length} ${prefix.protocol} ${prefix.port}`, prefix]))
  return [...distinct.values()].sort((a, b) => a.length - b.length || a.protocol - b.protocol || a.port - b.port)
}

function bestAt(prefix: PortPrefix, all: readonly Grant[]): Grant | undefined {
  let best: Grant | undefined
  for (const grant of all) {
    if (!covers(grant.prefix, prefix)) continue
    if (
      best === undefined ||
      grant.breadth > best.breadth ||
      (grant.breadth === best.breadth && grant.place < best.place)
    ) {
      best = grant
    }
  }
  return best
}

function entry(set: RuleSet, level: number, scope: bigint, { prefix, rule }: Grant): PolicyTableEntry {
  return {
    key: {
      prefixLength: POLICY_FIXED_BITS + prefix.length,
      direction: set.direction,
      level,
      set: set.id,
      scope,
      protocol: prefix.protocol,
      port: prefix.port,
    },
    value: { verdict: PolicyVerdict.ALLOW, flags: 0, l7: 0, rule: rule.id },
  }
}
