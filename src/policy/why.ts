// SPDX-License-Identifier: Apache-2.0
// Why a pod may be reached and may reach others: the policies that select it, and what each of their rules admits now.

import { prefixContains } from '../core/address.ts'
import { compareText, objectName } from '../core/names.ts'
import { PolicyDirection, Realm } from '../generated/abi.ts'
import type { CiliumSpec, ClusterAction, ClusterNetworkPolicy, NetworkPolicy, Pod } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import { selectsNamespace, serverAddresses } from './classes.ts'
import {
  BY_POLICY,
  ciliumSpecsSelecting,
  clusterPoliciesSelecting,
  configured,
  isolatingOf,
  otherwiseOf,
  policiesSelecting,
} from './compile.ts'
import { portText, resolveNamedPorts } from './ports.ts'
import {
  ciliumRulesOf,
  clusterRulesOf,
  type Direction,
  type Rule,
  realmPeers,
  rulesOf,
  type Selector,
} from './rules.ts'
import { matches } from './selector.ts'
import type { Otherwise } from './sets.ts'

export interface PodPolicies {
  /** "namespace/name". */
  readonly pod: string
  readonly node: string
  readonly addresses: readonly string[]
  readonly ingress: DirectionPolicies
  readonly egress: DirectionPolicies
}

export interface DirectionPolicies {
  /** "namespace/name" of NetworkPolicies, then "Cilium:namespace/name"; empty: `otherwise` holds for what no rule judges. */
  readonly isolatedBy: readonly string[]
  /** Those that would isolate if they were not audited. */
  readonly auditedBy: readonly string[]
  /** What becomes of what neither decides. */
  readonly otherwise: Otherwise
  /** In order of precedence: Admin, Cilium's denials, NetworkPolicy, the rest of Cilium's, Baseline. Policies that isolate
   *  leave Baseline out. */
  readonly rules: readonly PodRule[]
}

export interface PodRule {
  /** "namespace/name ingress[0]", "Cilium:namespace/name ingressDeny[0]", "Admin:name ingress[0]". */
  readonly rule: string
  readonly action: ClusterAction
  readonly audited: boolean
  /** 'everybody', 'every pod' and other realms, selectors and blocks as in class names; empty: nobody. */
  readonly peers: readonly string[]
  /** 'all', "TCP/80-89", "http/TCP", with what the name means at this pod on ingress: "http/TCP=8080". */
  readonly ports: readonly string[]
  /** Pods that are among its peers now, sorted; null: everybody is. */
  readonly pods: readonly string[] | null
  /** A field that is not known: the rule fails closed. */
  readonly unknownField: string | null
}

/** A finished pod and one on the host's network have no policies: nothing selects them. Cost: rules x pods. */
export function podPolicies(world: WorldView, pod: Pod, settings = BY_POLICY): PodPolicies {
  const isNobody = pod.hostNetwork || pod.finished
  const as = <P extends { readonly audited?: true }>(policies: readonly P[]): readonly P[] =>
    isNobody ? [] : policies.map((policy) => configured(policy, settings))
  const selecting = {
    policies: as(policiesSelecting(world, pod)),
    cluster: as(clusterPoliciesSelecting(world, pod)),
    cilium: as(ciliumSpecsSelecting(world, pod)),
  }
  const otherwise = isNobody ? 'allow' : otherwiseOf(settings, pod.namespace)
  const direction = (of: Direction) => directionPolicies(world, pod, selecting, of, otherwise)
  return {
    pod: objectName(pod.namespace, pod.name),
    node: pod.nodeName,
    addresses: pod.podIPs,
    ingress: direction(PolicyDirection.INGRESS),
    egress: direction(PolicyDirection.EGRESS),
  }
}

interface Selecting {
  readonly policies: readonly NetworkPolicy[]
  readonly cluster: readonly ClusterNetworkPolicy[]
  readonly cilium: readonly CiliumSpec[]
}

function directionPolicies(
  world: WorldView,
  pod: Pod,
  { policies, cluster, cilium }: Selecting,
  direction: Direction,
  otherwise: Otherwise,
): DirectionPolicies {
  const isEgress = direction === PolicyDirection.EGRESS
  const isolating = policies.filter((policy) => rulesOf(policy, direction) !== null)
  const described = (rules: readonly Rule[], written: readonly { readonly unknownField?: string }[] = []): PodRule[] =>
    rules.map((rule, index) => ({
      rule: rule.name,
      action: rule.action,
      audited: rule.audited,
      peers: peerTexts(rule),
      ports: portTexts(rule, isEgress ? null : pod),
      pods: rule.everybody ? null : podsAmong(world, rule),
      unknownField: written[index]?.unknownField ?? null,
    }))
  const ofTier = (tier: ClusterNetworkPolicy['tier']) =>
    cluster
      .filter((policy) => policy.tier === tier)
      .flatMap((policy) => described(clusterRulesOf(policy, direction), isEgress ? policy.egress : policy.ingress))
  const admitting = isolating.flatMap((policy) =>
    described(rulesOf(policy, direction)!, (isEgress ? policy.egress : policy.ingress)!),
  )
  const ofCilium = Map.groupBy(
    described(cilium.flatMap((spec) => ciliumRulesOf(spec, direction))),
    ({ action }) => action,
  )
  const names = isolatingOf(isolating, cilium, direction, BY_POLICY)
  return {
    isolatedBy: names.policies,
    auditedBy: names.withAudited.filter((name) => !names.policies.includes(name)),
    otherwise,
    rules: [
      ...ofTier('Admin'),
      ...(ofCilium.get('Deny') ?? []),
      ...admitting,
      ...(ofCilium.get('Accept') ?? []),
      ...(names.policies.length > 0 ? [] : ofTier('Baseline')),
    ],
  }
}

function peerTexts({ everybody, realms, selectors }: Rule): readonly string[] {
  return [
    ...(everybody ? ['everybody'] : []),
    ...realms.map((realm) => realmPeers[realm]),
    ...selectors.map((selector) => selector.text).sort(),
  ]
}

/** destination: whose names count; null: that of each peer. */
function portTexts({ ports, portNames }: Rule, destination: Pod | null): readonly string[] {
  const named = destination === null ? null : resolveNamedPorts(destination, new Set(portNames))
  return (ports ?? [null]).map((port) => {
    const text = portText(port)
    if (named === null || typeof port?.port !== 'string') return text
    return `${text}=${named.get(text)?.join(',') ?? 'none'}`
  })
}

function podsAmong(world: WorldView, rule: Rule): readonly string[] {
  return [...world.pods()]
    .filter((pod) => !pod.hostNetwork && !pod.finished)
    .filter(
      (pod) => rule.realms.includes(Realm.POD) || rule.selectors.some((selector) => isAmong(world, pod, selector)),
    )
    .map(({ namespace, name }) => objectName(namespace, name))
    .sort(compareText)
}

function isAmong(world: WorldView, pod: Pod, selector: Selector): boolean {
  if (selector.kind === 'nodes') return false
  if (selector.kind === 'servers') return pod.podIPs.some((ip) => serverAddresses(world).has(ip))
  if (selector.kind === 'block') {
    const { cidr, except, isOutside } = selector
    if (isOutside) return false
    return pod.podIPs.some((ip) => prefixContains(cidr, ip) && !except.some((each) => prefixContains(each, ip)))
  }
  const inNamespace = selectsNamespace(selector, pod.namespace, world.namespace(pod.namespace))
  return inNamespace && (selector.pods === null || matches(selector.pods, pod.labels))
}
