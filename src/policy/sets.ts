// SPDX-License-Identifier: Apache-2.0
// One policy set and direction -> its table entries on the levels any, realm and class (bpf/abi/policy.h).
//
// Precedence is resolved here: an entry says how the tiers decide for its ports and peers, so the data plane looks up one
// verdict whatever tiers there are, and whether policies are enforced or audited. Within the tier of NetworkPolicy, to which
// Cilium's policies belong, a rule that denies wins, and the broadest is named where several agree. A level holds an entry
// only where a lookup would otherwise end otherwise: nothing matches above it, or a shorter prefix of the same level hides
// what does.
//
// Of a pod that is not known yet, or whose namespace is not, no rule can tell whether it means it. What may be denied is
// denied until it is known: a rule that denies holds for it, one that accepts does not, and where a rule may pass to the
// tiers below, theirs is taken if it denies.

import { type Id64, id64 } from '../core/id64.ts'
import {
  POLICY_FIXED_BITS,
  PolicyDirection,
  PolicyFlags,
  PolicyLevels,
  PolicyVerdict,
  Realm,
} from '../generated/abi.ts'
import { ANY_POD, type Class } from './class-table.ts'
import {
  anyPort,
  covers,
  EVERYTHING,
  type NamedPorts,
  NO_PORTS,
  namedPortsText,
  type PortPrefix,
  portPrefixes,
} from './ports.ts'
import { type Direction, directionText, type Rule } from './rules.ts'
import type { PolicyTableEntry } from './tables.ts'

/** What becomes of what no policy decides; audit: it passes, and is told. */
export type Otherwise = 'allow' | 'audit' | 'deny'

/** Policies that together judge a pod in one direction. */
export interface RuleSet {
  readonly id: Id64
  readonly direction: Direction
  /** Enforced policies that isolate: "namespace/name", then "Cilium:namespace/name"; empty: `otherwise` holds for what no
   *  rule judges. */
  readonly policies: readonly string[]
  /** Those, and the audited ones that would. */
  readonly withAudited: readonly string[]
  readonly otherwise: Otherwise
  /** In order of precedence: tier Admin by priority, policy, index; NetworkPolicy, then Cilium's, by policy and index; Baseline. */
  readonly rules: readonly Rule[]
  /** What ingress rules' port names mean at the pods that have this set. */
  readonly ownPorts: NamedPorts
}

/** Equal policies and equal own ports give the same set, whichever pods have it. */
export function ruleSet(
  direction: Direction,
  { policies, withAudited, otherwise }: Pick<RuleSet, 'policies' | 'withAudited' | 'otherwise'>,
  rules: readonly Rule[],
  ownPorts: NamedPorts,
): RuleSet {
  const ruleTexts = rules.map((rule) => rule.text).join('\n')
  const audited = withAudited.filter((name) => !policies.includes(name)).map((name) => `audit:${name}`)
  const isolating = [...policies, ...audited].join(' ')
  const otherwiseText = otherwise === 'allow' ? '' : `\notherwise ${otherwise}`
  const text = `${directionText(direction)} set ${isolating}\n${namedPortsText(ownPorts)}\n${ruleTexts}${otherwiseText}`
  return { id: id64(text), direction, policies, withAudited, otherwise, rules, ownPorts }
}

/** Bits of PolicyLevels that lookups in this set visit: where its rules could stand, whoever is there. */
export function levelsOf(set: RuleSet): number {
  return set.rules.reduce(
    (bits, rule) => {
      const perClass = rule.selectors.length > 0 || dependsOnPeer(set, rule) || deniesPods(set, rule)
      const realm = rule.realms.length > 0 ? PolicyLevels.REALM : 0
      const any = rule.everybody ? PolicyLevels.ANY : 0
      return bits | any | realm | (perClass ? PolicyLevels.CLASS : 0)
    },
    set.policies.length === 0 && set.otherwise !== 'deny' ? PolicyLevels.ANY : 0,
  )
}

/** Entries of the levels any and realm, which no class changes. */
export function sharedEntries(set: RuleSet): readonly PolicyTableEntry[] {
  const any = grants(set, null, null)
  const realms = new Set(set.rules.flatMap((rule) => rule.realms))
  return [
    ...difference(set, any, null).map((each) => entry(set, PolicyLevels.ANY, 0n, each)),
    ...[...realms].flatMap((realm) =>
      difference(set, grants(set, realm, null), any).map((each) => entry(set, PolicyLevels.REALM, BigInt(realm), each)),
    ),
  ]
}

/** Entries of one class: none where the levels above say the same. */
export function classEntries(set: RuleSet, peer: Class): readonly PolicyTableEntry[] {
  const upper = grants(set, peer.realm, null)
  const own = grants(set, peer.realm, peer)
  return difference(set, own, upper).map((each) => entry(set, PolicyLevels.CLASS, peer.classId, each))
}

/** Whether the peer's own named ports matter to the rule. */
export function dependsOnPeer(set: RuleSet, rule: Rule): boolean {
  return set.direction === PolicyDirection.EGRESS && rule.portNames.length > 0
}

/** Whether it may deny a pod of which nobody knows yet whether the rule means it. */
export function deniesPods(set: RuleSet, rule: Rule): boolean {
  if (rule.action === 'Accept') return false
  return namesPods(rule) || dependsOnPeer(set, rule)
}

function namesPods({ realms, selectors }: Rule): boolean {
  return realms.includes(Realm.POD) || selectors.some(({ kind }) => kind === 'pods')
}

/** One rule speaks of one prefix of ports. */
interface Grant {
  readonly prefix: PortPrefix
  readonly rule: Rule
  /** Nobody can tell whether it does. Never of a rule that accepts. */
  readonly isPerhaps: boolean
  /** Broadest peer of the rule that holds here, ANY > REALM > CLASS. */
  readonly breadth: number
}

/** What a lookup ends with; rule 0: no rule decides, NetworkPolicies isolate or nothing forbids. */
interface Decision {
  readonly verdict: PolicyVerdict
  /** Of enum policy_flags. */
  readonly flags: number
  readonly rule: Id64
}

interface Decided extends Decision {
  readonly prefix: PortPrefix
}

/** Also what a lookup without an entry ends with. */
const DENIED: Decision = { verdict: PolicyVerdict.DENY, flags: 0, rule: 0n }
const PASSED: Decision = { verdict: PolicyVerdict.ALLOW, flags: 0, rule: 0n }

/** What the rules say, in order, for every address (realm null), for a realm as such (peer null), or for a class. */
function grants(set: RuleSet, realm: Realm | null, peer: Class | null): readonly Grant[] {
  return set.rules.flatMap((rule) => {
    const breadth = breadthOf(rule, realm, peer)
    const isPerhaps = breadth === 0 && peer !== null && mayMean(rule, peer)
    if (breadth === 0 && !isPerhaps) return []
    return prefixesOf(set, rule, peer).map(({ prefix, isUnclear }) => ({
      prefix,
      rule,
      isPerhaps: isPerhaps || isUnclear,
      breadth: breadth || PolicyLevels.CLASS,
    }))
  })
}

interface Spoken {
  readonly prefix: PortPrefix
  /** It may be a smaller part of it. */
  readonly isUnclear: boolean
}

function prefixesOf(set: RuleSet, rule: Rule, peer: Class | null): readonly Spoken[] {
  const named = (set.direction === PolicyDirection.INGRESS ? set.ownPorts : peer?.namedPorts) ?? NO_PORTS
  const isUnclear = peer?.perhaps === ANY_POD && rule.action !== 'Accept' && dependsOnPeer(set, rule)
  if (rule.ports === null) return [{ prefix: EVERYTHING, isUnclear: false }]
  return rule.ports.flatMap((port): readonly Spoken[] => {
    if (isUnclear && typeof port.port === 'string') return [{ prefix: anyPort(port), isUnclear }]
    return portPrefixes(port, named).map((prefix) => ({ prefix, isUnclear: false }))
  })
}

function mayMean(rule: Rule, { perhaps }: Class): boolean {
  if (rule.action === 'Accept') return false
  return perhaps === ANY_POD ? namesPods(rule) : rule.selectors.some(({ text }) => perhaps.has(text))
}

function breadthOf(rule: Rule, realm: Realm | null, peer: Class | null): number {
  if (rule.everybody) return PolicyLevels.ANY
  if (realm !== null && rule.realms.includes(realm)) return PolicyLevels.REALM
  if (peer !== null && rule.selectors.some((selector) => peer.members.has(selector.text))) return PolicyLevels.CLASS
  return 0
}

/** The decisions that a level must hold as entries, given what the levels above it already express; null: there is none. */
function difference(set: RuleSet, own: readonly Grant[], above: readonly Grant[] | null): readonly Decided[] {
  if (own.length === above?.length) return []
  const entries: Decided[] = []
  for (const prefix of distinctPrefixes(own)) {
    const wanted = decide(set, prefix, own)
    // Shorter prefixes come first, so the last entry that covers this one is the nearest.
    const nearest = entries.findLast((each) => covers(each.prefix, prefix))
    const found = nearest ?? (above === null ? DENIED : decide(set, prefix, above))
    if (!sameDecision(found, wanted)) entries.push({ ...wanted, prefix })
  }
  return entries
}

/** EVERYTHING among them: where no rule speaks, something is decided too. */
function distinctPrefixes(all: readonly Grant[]): readonly PortPrefix[] {
  const prefixes = [EVERYTHING, ...all.map(({ prefix }) => prefix)]
  const distinct = new Map(prefixes.map((each) => [`${each.length} ${each.protocol} ${each.port}`, each]))
  return [...distinct.values()].sort((a, b) => a.length - b.length || a.protocol - b.protocol || a.port - b.port)
}

function sameDecision(a: Decision, b: Decision): boolean {
  return a.rule === b.rule && a.verdict === b.verdict && a.flags === b.flags
}

/** What the enforced policies decide. What passes by them and would not if the audited ones were enforced too is marked,
 *  with what would deny it; where they decide nothing, the audited rule that admits is named. */
function decide(set: RuleSet, prefix: PortPrefix, all: readonly Grant[]): Decision {
  const enforced = decideBy(set, prefix, all, false)
  if (enforced.verdict === PolicyVerdict.DENY || !hasAudited(set)) return enforced
  const whole = decideBy(set, prefix, all, true)
  if (whole.verdict === PolicyVerdict.DENY) return { ...whole, verdict: PolicyVerdict.ALLOW, flags: PolicyFlags.AUDIT }
  return enforced.rule === 0n ? whole : enforced
}

function hasAudited({ policies, withAudited, otherwise, rules }: RuleSet): boolean {
  return otherwise === 'audit' || withAudited.length > policies.length || rules.some((rule) => rule.audited)
}

/** How the tiers judge a prefix of ports: the first rule of Admin and of Baseline counts, any of NetworkPolicy, and there
 *  denials before the rest. */
function decideBy(set: RuleSet, prefix: PortPrefix, all: readonly Grant[], withAudited: boolean): Decision {
  const admin: Tier = { rule: undefined, mayPass: false }
  const baseline: Tier = { rule: undefined, mayPass: false }
  let denying: Grant | undefined
  let admitting: Grant | undefined
  for (const grant of all) {
    const { rule } = grant
    if (!covers(grant.prefix, prefix) || (rule.audited && !withAudited)) continue
    if (rule.tier === 'Admin') note(admin, grant)
    else if (rule.tier === 'Baseline') note(baseline, grant)
    else if (rule.action === 'Deny') denying = broader(denying, grant)
    else admitting = broader(admitting, grant)
  }
  const last = set.otherwise === 'deny' || (withAudited && set.otherwise === 'audit') ? DENIED : PASSED
  return ofTier(admin, () => {
    const own = denying ?? admitting
    if (own !== undefined) return decisionOf(own.rule)
    if ((withAudited ? set.withAudited : set.policies).length > 0) return DENIED
    return ofTier(baseline, () => last)
  })
}

/** What the rules of Admin, or of Baseline, come to. */
interface Tier {
  /** The first that matches, or may. */
  rule: Rule | undefined
  /** One before it may pass. */
  mayPass: boolean
}

function note(tier: Tier, { rule, isPerhaps }: Grant): void {
  if (tier.rule !== undefined) return
  if (isPerhaps && rule.action === 'Pass') tier.mayPass = true
  else tier.rule = rule
}

function ofTier({ rule, mayPass }: Tier, below: () => Decision): Decision {
  if (rule === undefined || rule.action === 'Pass') return below()
  const own = decisionOf(rule)
  if (own.verdict === PolicyVerdict.DENY || !mayPass) return own
  const passed = below()
  return passed.verdict === PolicyVerdict.DENY ? passed : own
}

/** The first of those that are equally broad. */
function broader(best: Grant | undefined, grant: Grant): Grant {
  return best === undefined || grant.breadth > best.breadth ? grant : best
}

function decisionOf({ action, id }: Rule): Decision {
  return { verdict: action === 'Deny' ? PolicyVerdict.DENY : PolicyVerdict.ALLOW, flags: 0, rule: id }
}

function entry(
  set: RuleSet,
  level: number,
  scope: bigint,
  { prefix, verdict, flags, rule }: Decided,
): PolicyTableEntry {
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
    value: { verdict, flags, l7: 0, rule },
  }
}
