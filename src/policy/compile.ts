// SPDX-License-Identifier: Apache-2.0
// Policies + peers -> policy sets, peer classes, rules (DESIGN principle 8).
//
//   local endpoints --which policies select them--> sets --what their rules ask of peers--> classes --> entries
//
// Nothing here depends on the order of objects: equal worlds give equal tables, on every node and after every restart.

import type { Address } from '../core/address.ts'
import type { Id64 } from '../core/id64.ts'
import { compareText, endpointKey, objectName } from '../core/names.ts'
import { PolicyDirection, Realm } from '../generated/abi.ts'
import type { CiliumSpec, ClusterNetworkPolicy, Endpoint, NetworkPolicy, Pod } from '../world/objects.ts'
import type { Dirty, WorldView } from '../world/world.ts'
import { ANY_POD, type Class, type Classes } from './class-table.ts'
import { createClassifier, type DirtyPeers, type Questions } from './classes.ts'
import { resolveNamedPorts } from './ports.ts'
import { ciliumPolicyName, ciliumRulesOf, clusterRulesOf, type Direction, type Rule, rulesOf } from './rules.ts'
import { isEmpty, matches } from './selector.ts'
import {
  classEntries,
  deniesPods,
  dependsOnPeer,
  levelsOf,
  type Otherwise,
  type RuleSet,
  ruleSet,
  sharedEntries,
} from './sets.ts'
import type { CompiledPolicies, EndpointPolicy, PolicySet, PolicyTableEntry } from './tables.ts'

/** What a cluster's configuration says beside its policies. */
export interface PolicySettings {
  /** Every policy is audited, whatever its annotation says. */
  readonly auditAll: boolean
  /** Namespaces in whose pods' directions is denied what no policy decides; EVERY_NAMESPACE: all. */
  readonly defaultDeny: readonly string[]
  /** Namespaces that EVERY_NAMESPACE leaves out. */
  readonly defaultAllow: readonly string[]
}

export const EVERY_NAMESPACE = '*'
export const BY_POLICY: PolicySettings = { auditAll: false, defaultDeny: [], defaultAllow: [] }

/** What holds for pods of the namespace where no policy decides. */
export function otherwiseOf({ auditAll, defaultDeny, defaultAllow }: PolicySettings, namespace: string): Otherwise {
  const everywhere = defaultDeny.includes(EVERY_NAMESPACE) && !defaultAllow.includes(namespace)
  if (!everywhere && !defaultDeny.includes(namespace)) return 'allow'
  return auditAll ? 'audit' : 'deny'
}

/** What the node's endpoints need to enforce their policies. Cost: endpoints x policies of their namespaces and of the
 *  tiers, pods of the cluster x selectors in use, and the entries. Sources: networking.k8s.io/v1 NetworkPolicySpec,
 *  policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicySpec, docs.cilium.io "Deny Policies", "Policy Enforcement Modes". */
export function compilePolicies(world: WorldView, nodeName: string, settings = BY_POLICY): CompiledPolicies {
  return createPolicyCompiler(settings)(world, nodeName, NOTHING_DIRTY).compiled
}

const NOTHING_DIRTY: DirtyPolicy = { addresses: new Set(), nodes: new Set(), policy: false }

/** What World has changed since the call before; the first call looks at everything. */
export type DirtyPolicy = DirtyPeers & Pick<Dirty, 'policy'>

export interface PolicyCompilation {
  readonly compiled: CompiledPolicies
  /** Of whom `classes` has another class than the time before, or no longer one. */
  readonly changedAddresses: ReadonlySet<Address>
}

export type PolicyCompiler = (world: WorldView, nodeName: string, dirty: DirtyPolicy) => PolicyCompilation

/** compilePolicies that remembers: only what is dirty is looked at, and what did not change comes out as the same objects;
 *  `classes` always does, brought up to date. What it yields depends on the world alone. Cost of a pod elsewhere: its
 *  addresses, and the sets whose classes came into use or went out of it. */
export function createPolicyCompiler(settings = BY_POLICY): PolicyCompiler {
  const select = createSelection(settings)
  const classify = createClassifier()
  const compileSets = createSetCompiler()
  let selected: Selected | null = null
  let classNames: ReadonlyMap<Id64, string> = new Map()

  return (world, nodeName, dirty) => {
    if (selected === null || dirty.policy) selected = select(world)
    const { endpoints, sets, questions, rules, ruleMeanings } = selected
    const classes = classify(world, nodeName, questions, dirty)
    if (classes.changed.classes.size > 0) {
      classNames = new Map(Array.from(classes.inUse.keys(), ({ classId, text }) => [classId, text]))
    }
    const compiled = {
      endpoints,
      sets: compileSets(sets, classes),
      classes: classes.byAddress,
      classPrefixes: classes.byPrefix,
      classNames,
      rules,
      ruleMeanings,
    }
    return { compiled, changedAddresses: classes.changed.addresses }
  }
}

/** Which policies judge the endpoints, and what follows from their rules alone. */
interface Selected extends Pick<CompiledPolicies, 'endpoints' | 'rules' | 'ruleMeanings'> {
  readonly sets: ReadonlyMap<Id64, RuleSet>
  readonly questions: Questions
}

/** Sets that are the same come out as the same map, with what follows from them. */
function createSelection(settings: PolicySettings): (world: WorldView) => Selected {
  const setsOfPod = createSetFinder(createRuleReader(settings), settings)
  let before: Selected | null = null

  return (world) => {
    const sets = new Map<Id64, RuleSet>()
    const endpoints = new Map<string, EndpointPolicy>()
    for (const endpoint of world.endpoints()) {
      const pod = podOf(world, endpoint, settings)
      if (pod === undefined) continue
      const { egress, ingress, policy } = pod === null ? withoutPolicies(settings, endpoint) : setsOfPod(world, pod)
      if (egress !== null) sets.set(egress.id, egress)
      if (ingress !== null) sets.set(ingress.id, ingress)
      endpoints.set(endpointKey(endpoint), policy)
    }
    before = before !== null && sameKeys(before.sets, sets) ? { ...before, endpoints } : selectedBy(endpoints, sets)
    return before
  }
}

function selectedBy(endpoints: Selected['endpoints'], sets: Selected['sets']): Selected {
  const rules = [...sets.values()].flatMap((set) => set.rules)
  return {
    endpoints,
    sets,
    questions: questionsOf(sets.values()),
    rules: new Map(rules.map(({ id, name }) => [id, name])),
    ruleMeanings: new Map(rules.map(({ id, meaning }) => [id, meaning])),
  }
}

/** A pod's sets; null: no policy judges that direction. */
interface PodSets {
  readonly egress: RuleSet | null
  readonly ingress: RuleSet | null
  readonly policy: EndpointPolicy
}

const FREE = podSets(null, null)

/** Of an endpoint that no policy can select. One whose namespace the runtime did not say may be of any. */
function withoutPolicies(settings: PolicySettings, { namespace }: Endpoint): PodSets {
  const namespaces = namespace === '' ? settings.defaultDeny : [namespace]
  const otherwise = namespaces.map((each) => otherwiseOf(settings, each)).find((each) => each !== 'allow')
  if (otherwise === undefined) return FREE
  const isolation = { policies: [], withAudited: [], otherwise }
  const closed = (direction: Direction): RuleSet => ruleSet(direction, isolation, [], new Map())
  return podSets(closed(PolicyDirection.EGRESS), closed(PolicyDirection.INGRESS))
}

function podSets(egress: RuleSet | null, ingress: RuleSet | null): PodSets {
  const policy = {
    egressSet: egress?.id ?? 0n,
    ingressSet: ingress?.id ?? 0n,
    egressLevels: egress === null ? 0 : levelsOf(egress),
    ingressLevels: ingress === null ? 0 : levelsOf(ingress),
  }
  return { egress, ingress, policy }
}

interface RuleReader {
  rules(policy: NetworkPolicy, direction: Direction): readonly Rule[] | null
  clusterRules(policy: ClusterNetworkPolicy, direction: Direction): readonly Rule[]
  ciliumRules(spec: CiliumSpec, direction: Direction): readonly Rule[]
}

/** rulesOf and its kin, once for each policy object and direction. */
function createRuleReader(settings: PolicySettings): RuleReader {
  return {
    rules: oncePerDirection((policy, direction) => rulesOf(configured(policy, settings), direction)),
    clusterRules: oncePerDirection((policy, direction) => clusterRulesOf(configured(policy, settings), direction)),
    ciliumRules: oncePerDirection((spec, direction) => ciliumRulesOf(configured(spec, settings), direction)),
  }
}

/** The policy as the configuration wants it. */
export function configured<P extends { readonly audited?: true }>(policy: P, settings: PolicySettings): P {
  return settings.auditAll ? { ...policy, audited: true } : policy
}

function oncePerDirection<P extends object, R>(
  read: (policy: P, direction: Direction) => R,
): (policy: P, direction: Direction) => R {
  const known = new WeakMap<P, ReadonlyMap<Direction, R>>()
  return (policy, direction) => {
    let rules = known.get(policy)
    if (rules === undefined) {
      rules = new Map(Object.values(PolicyDirection).map((each) => [each, read(policy, each)]))
      known.set(policy, rules)
    }
    return rules.get(direction)!
  }
}

/** What judges a pod. */
interface Selecting {
  readonly policies: readonly NetworkPolicy[]
  readonly cluster: readonly ClusterNetworkPolicy[]
  readonly cilium: readonly CiliumSpec[]
}

/** The sets of a pod, made anew only when other policies select it. */
function createSetFinder(reader: RuleReader, settings: PolicySettings): (world: WorldView, pod: Pod) => PodSets {
  const known = new WeakMap<Pod, { readonly selecting: Selecting; readonly sets: PodSets }>()

  function setOf(pod: Pod, { policies, cluster, cilium }: Selecting, direction: Direction): RuleSet | null {
    const isolating = policies.filter((policy) => reader.rules(policy, direction) !== null)
    const tier = (name: ClusterNetworkPolicy['tier']) =>
      cluster.filter((policy) => policy.tier === name).flatMap((policy) => reader.clusterRules(policy, direction))
    const names = isolatingOf(isolating, cilium, direction, settings)
    const rules = [
      ...tier('Admin'),
      ...isolating.flatMap((policy) => reader.rules(policy, direction)!),
      ...cilium.flatMap((spec) => reader.ciliumRules(spec, direction)),
      ...(names.policies.length > 0 ? [] : tier('Baseline')), // policies that isolate leave nothing for it to judge
    ]
    const otherwise = otherwiseOf(settings, pod.namespace)
    if (names.withAudited.length + rules.length === 0 && otherwise === 'allow') return null
    const portNames = new Set(direction === PolicyDirection.INGRESS ? rules.flatMap((rule) => rule.portNames) : [])
    return ruleSet(direction, { ...names, otherwise }, rules, resolveNamedPorts(pod, portNames))
  }

  return (world, pod) => {
    const selecting = {
      policies: policiesSelecting(world, pod),
      cluster: clusterPoliciesSelecting(world, pod),
      cilium: ciliumSpecsSelecting(world, pod),
    }
    const before = known.get(pod)
    if (before !== undefined && isSameSelection(before.selecting, selecting)) return before.sets
    const sets =
      selecting.policies.length + selecting.cluster.length + selecting.cilium.length === 0 &&
      otherwiseOf(settings, pod.namespace) === 'allow'
        ? FREE
        : podSets(setOf(pod, selecting, PolicyDirection.EGRESS), setOf(pod, selecting, PolicyDirection.INGRESS))
    known.set(pod, { selecting, sets })
    return sets
  }
}

function isSameSelection(a: Selecting, b: Selecting): boolean {
  return sameItems(a.policies, b.policies) && sameItems(a.cluster, b.cluster) && sameItems(a.cilium, b.cilium)
}

/** undefined: its pod is not known, so neither are its policies, and it stays isolated. null: no policy can select it,
 *  since it is nobody's pod, or since its namespace has none as far as the source could be asked last. */
function podOf(world: WorldView, endpoint: Endpoint, settings: PolicySettings): Pod | null | undefined {
  if (endpoint.name === '') return null
  const pod = world.podOf(endpoint)
  if (world.isLive()) return pod !== undefined && isSubjectClear(world, pod) ? pod : undefined
  if (pod !== undefined) return pod
  if (otherwiseOf(settings, endpoint.namespace) !== 'allow') return undefined
  const [policy] = world.policiesOfNamespace(endpoint.namespace)
  const [clusterPolicy] = [
    ...world.clusterPolicies(),
    ...world.ciliumPoliciesOf(''),
    ...world.ciliumPoliciesOf(endpoint.namespace),
  ]
  return policy === undefined && clusterPolicy === undefined ? null : undefined
}

/** False while labels of the pod's namespace are asked for that are not known: they may make it a policy's subject. */
function isSubjectClear(world: WorldView, pod: Pod): boolean {
  if (world.namespace(pod.namespace) !== undefined) return true
  const specs = [...world.ciliumPoliciesOf('')].flatMap((policy) => policy.specs)
  return [...world.clusterPolicies(), ...specs].every(
    ({ subject: { namespaceSelector } }) => namespaceSelector === null || isEmpty(namespaceSelector),
  )
}

/** In order of precedence within their tiers: by priority, then name. */
export function clusterPoliciesSelecting(world: WorldView, pod: Pod): readonly ClusterNetworkPolicy[] {
  const namespace = world.namespace(pod.namespace)
  return [...world.clusterPolicies()]
    .filter(({ subject: { namespaceSelector, podSelector } }) => {
      const inNamespace = isEmpty(namespaceSelector) || matches(namespaceSelector, namespace?.labels ?? {})
      return inNamespace && matches(podSelector, pod.labels)
    })
    .sort((a, b) => a.priority - b.priority || compareText(a.name, b.name))
}

/** By the policies' names, then as they are written. */
export function ciliumSpecsSelecting(world: WorldView, pod: Pod): readonly CiliumSpec[] {
  const namespace = world.namespace(pod.namespace)
  return [...world.ciliumPoliciesOf(''), ...world.ciliumPoliciesOf(pod.namespace)]
    .flatMap((policy) => policy.specs)
    .filter(({ subject: { namespaceSelector, podSelector } }) => {
      const inNamespace = namespaceSelector === null || matches(namespaceSelector, namespace?.labels ?? {})
      return inNamespace && matches(podSelector, pod.labels)
    })
    .sort((a, b) => compareText(a.policy, b.policy))
}

/** What isolates a pod in a direction: "namespace/name" of NetworkPolicies, then "Cilium:namespace/name". */
export function isolatingOf(
  policies: readonly NetworkPolicy[],
  specs: readonly CiliumSpec[],
  direction: Direction,
  settings: PolicySettings,
): Pick<RuleSet, 'policies' | 'withAudited'> {
  const namesOf = (counts: (policy: NetworkPolicy | CiliumSpec) => boolean) => [
    ...policies.filter(counts).map((policy) => objectName(policy.namespace, policy.name)),
    ...namesIsolating(specs.filter(counts), direction),
  ]
  return {
    policies: namesOf((policy) => configured(policy, settings).audited !== true),
    withAudited: namesOf(() => true),
  }
}

/** Each policy once. */
function namesIsolating(specs: readonly CiliumSpec[], direction: Direction): readonly string[] {
  const isolating = specs.filter(({ egress, ingress }) =>
    direction === PolicyDirection.EGRESS ? egress.isolates : ingress.isolates,
  )
  return [...new Set(isolating.map(ciliumPolicyName))]
}

/** By name. */
export function policiesSelecting(world: WorldView, pod: Pod): readonly NetworkPolicy[] {
  return [...world.policiesOfNamespace(pod.namespace)]
    .filter((policy) => matches(policy.podSelector, pod.labels))
    .sort((a, b) => compareText(a.name, b.name))
}

function questionsOf(sets: Iterable<RuleSet>): Questions {
  const rules = [...sets].flatMap((set) => set.rules.map((rule) => ({ set, rule })))
  const selectors = rules.flatMap(({ rule }) => rule.selectors)
  const isOutsideAsked = rules.some(({ rule }) => isAboutOutside(rule))
  const areSomeDenied = rules.some(({ set, rule }) => deniesPods(set, rule))
  return {
    selectors: [...new Map(selectors.map((selector) => [selector.text, selector])).values()].sort((a, b) =>
      compareText(a.text, b.text),
    ),
    asksForPods: isOutsideAsked || areSomeDenied || rules.some(({ rule }) => rule.realms.includes(Realm.POD)),
    deniesPods: areSomeDenied,
    asksForRanges: isOutsideAsked || areSomeDenied,
    portNames: new Set(rules.flatMap(({ set, rule }) => (dependsOnPeer(set, rule) ? rule.portNames : []))),
  }
}

/** Whether the rule tells what is outside the cluster from what is inside. */
function isAboutOutside({ realms, selectors }: Rule): boolean {
  return (
    realms.some((realm) => realm === Realm.WORLD || realm === Realm.POD_RANGE) ||
    selectors.some((selector) => selector.kind === 'block' && selector.isOutside)
  )
}

/** Compiles sets against classes; what a set says of a class is worked out once, for as long as both are in use. Only
 *  classes that a set's rules can tell from the levels above are tried on it. While the sets are the same map, only those are
 *  looked at that a class concerns which came into use or went out of it. */
function createSetCompiler(): (sets: ReadonlyMap<Id64, RuleSet>, classes: Classes) => ReadonlyMap<Id64, PolicySet> {
  interface CompiledSet {
    readonly compiled: PolicySet
    readonly shared: readonly PolicyTableEntry[]
    readonly ofClass: ReadonlyMap<Class, readonly PolicyTableEntry[]>
  }
  let known: ReadonlyMap<Id64, CompiledSet> = new Map()
  let concerns: Concerns | null = null

  function compileSet(set: RuleSet, concerned: ReadonlySet<Class>): CompiledSet {
    const before = known.get(set.id)
    if (before !== undefined && sameKeys(before.ofClass, concerned)) return before
    const shared = before?.shared ?? sharedEntries(set)
    const ofClass = new Map(
      Array.from(concerned, (each) => [each, before?.ofClass.get(each) ?? classEntries(set, each)] as const),
    )
    const entries = [...shared, ...[...ofClass.values()].flat()].sort(compareEntries)
    const { id, direction, policies, withAudited, otherwise } = set
    const compiled = { id, direction, policies, withAudited, otherwise, levels: levelsOf(set), entries }
    return { compiled, shared, ofClass }
  }

  return (sets, classes) => {
    if (concerns?.sets !== sets) concerns = createConcerns(sets)
    const { ofSet, note } = concerns
    const concerned = note(classes)
    known = mapValues(sets, (set) => (concerned.has(set) ? compileSet(set, ofSet.get(set)!) : known.get(set.id)!))
    return mapValues(known, ({ compiled }) => compiled)
  }
}

/** The classes in use that concern each set. */
interface Concerns {
  readonly sets: ReadonlyMap<Id64, RuleSet>
  readonly ofSet: ReadonlyMap<RuleSet, ReadonlySet<Class>>
  /** The sets that other classes concern than before; the first time all. */
  note(classes: Classes): ReadonlySet<RuleSet>
}

function createConcerns(sets: ReadonlyMap<Id64, RuleSet>): Concerns {
  const setsOf = setsByClass(sets)
  const ofSet = new Map(Array.from(sets.values(), (set) => [set, new Set<Class>()]))
  let isFirst = true
  return {
    sets,
    ofSet,
    note({ inUse, changed }) {
      const concerned = new Set(isFirst ? sets.values() : [])
      for (const each of isFirst ? inUse.keys() : changed.classes) {
        for (const set of setsOf(each)) {
          if (inUse.has(each)) ofSet.get(set)!.add(each)
          else ofSet.get(set)!.delete(each)
          concerned.add(set)
        }
      }
      isFirst = false
      return concerned
    },
  }
}

/** Whose rules can tell a class from the levels above. */
function setsByClass(sets: ReadonlyMap<Id64, RuleSet>): (each: Class) => ReadonlySet<RuleSet> {
  const all = [...sets.values()]
  const someRule = (holds: (set: RuleSet, rule: Rule) => boolean): readonly RuleSet[] =>
    all.filter((set) => set.rules.some((rule) => holds(set, rule)))
  const [byPorts, denying] = [someRule(dependsOnPeer), someRule(deniesPods)]
  const selecting = all.flatMap((set) =>
    set.rules.flatMap(({ selectors }) => selectors.map(({ text }) => ({ text, set }))),
  )
  const bySelector = Map.groupBy(selecting, ({ text }) => text)
  return ({ members, namedPorts, perhaps }) =>
    new Set([
      ...[...members].flatMap((member) => (bySelector.get(member) ?? []).map(({ set }) => set)),
      ...(namedPorts.size > 0 ? byPorts : []),
      ...(perhaps === ANY_POD || perhaps.size > 0 ? denying : []),
    ])
}

/** Broadest level first; then scope, protocol, port, length. */
function compareEntries({ key: a }: PolicyTableEntry, { key: b }: PolicyTableEntry): number {
  return (
    b.level - a.level ||
    (a.scope < b.scope ? -1 : a.scope > b.scope ? 1 : 0) ||
    a.protocol - b.protocol ||
    a.port - b.port ||
    a.prefixLength - b.prefixLength
  )
}

function mapValues<K, V, W>(map: ReadonlyMap<K, V>, change: (value: V) => W): ReadonlyMap<K, W> {
  const changed = new Map<K, W>()
  for (const [key, value] of map) changed.set(key, change(value))
  return changed
}

function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index])
}

function sameKeys<K>(a: ReadonlyMap<K, unknown>, b: ReadonlySetLike<K>): boolean {
  return a.size === b.size && [...a.keys()].every((key) => b.has(key))
}
