// SPDX-License-Identifier: Apache-2.0
// Policies + peers -> policy sets, peer classes, rules (DESIGN principle 8).
//
//   local endpoints --which policies select them--> sets --what their rules ask of peers--> classes --> entries
//
// Nothing here depends on the order of objects: equal worlds give equal tables, on every node and after every restart.

import type { Id64 } from '../core/id64.ts'
import { compareText, endpointKey, objectName } from '../core/names.ts'
import { type PeerClass, PolicyDirection } from '../generated/abi.ts'
import type { Endpoint, NetworkPolicy, Pod } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import { type Class, type Classes, classify, type Questions } from './classes.ts'
import { NO_PORTS, resolveNamedPorts } from './ports.ts'
import { type Direction, type Rule, rulesOf } from './rules.ts'
import { matches } from './selector.ts'
import { classEntries, dependsOnPeer, levelsOf, type RuleSet, ruleSet, sharedEntries } from './sets.ts'
import type { CompiledPolicies, EndpointPolicy, PolicySet, PolicyTableEntry } from './tables.ts'

/** What the node's endpoints need to enforce their policies. Cost: endpoints x policies of their namespaces, pods of the
 *  cluster x selectors in use, and the entries. Source: networking.k8s.io/v1 NetworkPolicySpec. */
export function compilePolicies(world: WorldView, nodeName: string): CompiledPolicies {
  const rules = new Map<NetworkPolicy, { readonly [D in Direction]: readonly Rule[] | null }>()
  const sets = new Map<Id64, RuleSet>()
  const endpoints = new Map<string, EndpointPolicy>()

  const rulesOfPolicy = (policy: NetworkPolicy, direction: Direction): readonly Rule[] | null => {
    let known = rules.get(policy)
    if (known === undefined) {
      known = {
        [PolicyDirection.EGRESS]: rulesOf(policy, PolicyDirection.EGRESS),
        [PolicyDirection.INGRESS]: rulesOf(policy, PolicyDirection.INGRESS),
      }
      rules.set(policy, known)
    }
    return known[direction]
  }

  /** null: no policy isolates that direction. */
  const setOf = (pod: Pod, selecting: readonly NetworkPolicy[], direction: Direction): RuleSet | null => {
    const isolating = selecting.filter((policy) => rulesOfPolicy(policy, direction) !== null)
    if (isolating.length === 0) return null
    const names = isolating.map((policy) => objectName(policy.namespace, policy.name))
    const all = isolating.flatMap((policy) => rulesOfPolicy(policy, direction)!)
    const asked = new Set(direction === PolicyDirection.INGRESS ? all.flatMap((rule) => rule.portNames) : [])
    const set = ruleSet(direction, names, all, asked.size === 0 ? NO_PORTS : resolveNamedPorts(pod, asked))
    sets.set(set.id, set)
    return set
  }

  for (const endpoint of world.endpoints()) {
    const pod = podOf(world, endpoint)
    if (pod === undefined) continue
    const selecting = pod === null ? [] : policiesSelecting(world, pod)
    const egress = pod === null ? null : setOf(pod, selecting, PolicyDirection.EGRESS)
    const ingress = pod === null ? null : setOf(pod, selecting, PolicyDirection.INGRESS)
    endpoints.set(endpointKey(endpoint), {
      egressSet: egress?.id ?? 0n,
      ingressSet: ingress?.id ?? 0n,
      egressLevels: egress === null ? 0 : levelsOf(egress),
      ingressLevels: ingress === null ? 0 : levelsOf(ingress),
    })
  }

  const classes = classify(world, nodeName, questionsOf(sets.values()))
  const peerClasses = mapValues(classes.all, ({ id, realm }): PeerClass => ({ classId: id, realm }))
  return {
    endpoints,
    sets: compileSets(sets, classes),
    classes: mapValues(classes.byAddress, ({ id }) => peerClasses.get(id)!),
    classPrefixes: mapValues(classes.byPrefix, ({ id }) => peerClasses.get(id)!),
    classNames: mapValues(classes.all, (each) => each.text),
    rules: new Map([...sets.values()].flatMap((set) => set.rules.map((rule) => [rule.id, rule.name] as const))),
  }
}

/** undefined: its pod is not known yet, so neither are its policies. null: nobody's pod, which no policy can select. */
function podOf(world: WorldView, endpoint: Endpoint): Pod | null | undefined {
  return endpoint.name === '' ? null : world.pod(objectName(endpoint.namespace, endpoint.name))
}

function policiesSelecting(world: WorldView, pod: Pod): readonly NetworkPolicy[] {
  return [...world.policiesOfNamespace(pod.namespace)]
    .filter((policy) => matches(policy.podSelector, pod.labels))
    .sort((a, b) => compareText(a.name, b.name))
}

function questionsOf(sets: Iterable<RuleSet>): Questions {
  const rules = [...sets].flatMap((set) => set.rules.map((rule) => ({ set, rule })))
  const selectors = rules.flatMap(({ rule }) => rule.selectors)
  return {
    selectors: [...new Map(selectors.map((selector) => [selector.text, selector])).values()],
    asksForPods: rules.some(({ rule }) => rule.everyPod),
    portNames: new Set(rules.flatMap(({ set, rule }) => (dependsOnPeer(set, rule) ? rule.portNames : []))),
  }
}

/** Only classes that a set's rules can tell from the levels above are tried on it. */
function compileSets(sets: ReadonlyMap<Id64, RuleSet>, classes: Classes): ReadonlyMap<Id64, PolicySet> {
  const bySelector = new Map<string, Class[]>()
  const withPorts: Class[] = []
  for (const each of classes.all.values()) {
    for (const member of each.members) {
      const having = bySelector.get(member)
      if (having === undefined) bySelector.set(member, [each])
      else having.push(each)
    }
    if (each.namedPorts.size > 0) withPorts.push(each)
  }
  return mapValues(sets, (set) => {
    const concerned = new Set(
      set.rules.flatMap((rule) => [
        ...rule.selectors.flatMap((selector) => bySelector.get(selector.text) ?? []),
        ...(dependsOnPeer(set, rule) ? withPorts : []),
      ]),
    )
    const entries = [...sharedEntries(set), ...[...concerned].flatMap((each) => classEntries(set, each))]
    return {
      id: set.id,
      direction: set.direction,
      levels: levelsOf(set),
      policies: set.policies,
      entries: entries.sort(compareEntries),
    }
  })
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
  return new Map([...map].map(([key, value]) => [key, change(value)]))
}
