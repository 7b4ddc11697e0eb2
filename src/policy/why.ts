// SPDX-License-Identifier: Apache-2.0
// Why a pod may be reached and may reach others: the policies that select it, and what each of their rules admits now.

import { prefixContains } from '../core/address.ts'
import { compareText, objectName } from '../core/names.ts'
import { PolicyDirection } from '../generated/abi.ts'
import type { NetworkPolicy, Pod } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import { selectsNamespace } from './classes.ts'
import { policiesSelecting } from './compile.ts'
import { portText, resolveNamedPorts } from './ports.ts'
import { type Direction, type Rule, rulesOf, type Selector } from './rules.ts'
import { matches } from './selector.ts'

export interface PodPolicies {
  /** "namespace/name". */
  readonly pod: string
  readonly node: string
  readonly addresses: readonly string[]
  readonly ingress: DirectionPolicies
  readonly egress: DirectionPolicies
}

export interface DirectionPolicies {
  /** "namespace/name", sorted; empty: everything passes. */
  readonly isolatedBy: readonly string[]
  readonly rules: readonly AdmittingRule[]
}

export interface AdmittingRule {
  /** "namespace/name ingress[0]". */
  readonly rule: string
  /** 'everybody', 'every pod', selectors and blocks as in class names; empty: nobody. */
  readonly peers: readonly string[]
  /** 'all', "TCP/80-89", "http/TCP", with what the name means at this pod on ingress: "http/TCP=8080". */
  readonly ports: readonly string[]
  /** Pods that are among its peers now, sorted; null: everybody is. */
  readonly pods: readonly string[] | null
  /** A field that is not known, for which it admits nobody. */
  readonly unknownField: string | null
}

/** A finished pod and one on the host's network have no policies: nothing selects them. Cost: rules x pods. */
export function podPolicies(world: WorldView, pod: Pod): PodPolicies {
  const selecting = pod.hostNetwork || pod.finished ? [] : policiesSelecting(world, pod)
  const direction = (of: Direction) => directionPolicies(world, pod, selecting, of)
  return {
    pod: objectName(pod.namespace, pod.name),
    node: pod.nodeName,
    addresses: pod.podIPs,
    ingress: direction(PolicyDirection.INGRESS),
    egress: direction(PolicyDirection.EGRESS),
  }
}

function directionPolicies(
  world: WorldView,
  pod: Pod,
  selecting: readonly NetworkPolicy[],
  direction: Direction,
): DirectionPolicies {
  const isolating = selecting.filter((policy) => rulesOf(policy, direction) !== null)
  return {
    isolatedBy: isolating.map(({ namespace, name }) => objectName(namespace, name)),
    rules: isolating.flatMap((policy) => {
      const written = direction === PolicyDirection.EGRESS ? policy.egress! : policy.ingress!
      return rulesOf(policy, direction)!.map((rule, index) => ({
        rule: rule.name,
        peers: peerTexts(rule),
        ports: portTexts(rule, direction === PolicyDirection.INGRESS ? pod : null),
        pods: rule.everybody ? null : podsAmong(world, rule),
        unknownField: written[index]!.unknownField ?? null,
      }))
    }),
  }
}

function peerTexts({ everybody, everyPod, selectors }: Rule): readonly string[] {
  return [
    ...(everybody ? ['everybody'] : []),
    ...(everyPod ? ['every pod'] : []),
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
    .filter((pod) => rule.everyPod || rule.selectors.some((selector) => isAmong(world, pod, selector)))
    .map(({ namespace, name }) => objectName(namespace, name))
    .sort(compareText)
}

function isAmong(world: WorldView, pod: Pod, selector: Selector): boolean {
  if (selector.kind === 'block') {
    const { cidr, except } = selector
    return pod.podIPs.some((ip) => prefixContains(cidr, ip) && !except.some((each) => prefixContains(each, ip)))
  }
  const inNamespace = selectsNamespace(selector, pod.namespace, world.namespace(pod.namespace))
  return inNamespace && (selector.pods === null || matches(selector.pods, pod.labels))
}
