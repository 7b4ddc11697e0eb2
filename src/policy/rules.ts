// SPDX-License-Identifier: Apache-2.0
// The rules of policies, with their peers as selectors that have a name: equal selectors are one, whoever uses them.

import type { Prefix } from '../core/address.ts'
import { type Id64, id64 } from '../core/id64.ts'
import { objectName } from '../core/names.ts'
import { PolicyDirection } from '../generated/abi.ts'
import type {
  ClusterAction,
  ClusterNetworkPolicy,
  ClusterPeer,
  ClusterTier,
  LabelSelector,
  NetworkPolicy,
  PolicyPort,
} from '../world/objects.ts'
import { namedPort, portText } from './ports.ts'
import { isEmpty, selectorText } from './selector.ts'

/** Pods by labels of their own and of their namespace; namespace null: by namespaces' labels. */
export interface PodPeer {
  readonly kind: 'pods'
  readonly text: string
  readonly namespace: string | null
  readonly namespaces: LabelSelector | null
  readonly pods: LabelSelector | null
}

export interface BlockPeer {
  readonly kind: 'block'
  readonly text: string
  readonly cidr: Prefix
  readonly except: readonly Prefix[]
}

export interface NodePeer {
  readonly kind: 'nodes'
  readonly text: string
  readonly nodes: LabelSelector
}

/** What a class is made of: its members and its text, which is its name in class keys. */
export type Selector = PodPeer | BlockPeer | NodePeer

export interface Rule {
  readonly id: Id64
  /** "namespace/name ingress[0]", "Admin:name egress[1]", with the name that a rule may have of its own in quotes. */
  readonly name: string
  readonly tier: ClusterTier | 'NetworkPolicy'
  /** Of a NetworkPolicy Accept. */
  readonly action: ClusterAction
  /** It has no list of peers. */
  readonly everybody: boolean
  /** One of its peers is every pod of every namespace. */
  readonly everyPod: boolean
  /** The rest of its peers; empty where everybody is one. */
  readonly selectors: readonly Selector[]
  /** null: everything, ICMP too. */
  readonly ports: readonly PolicyPort[] | null
  /** namedPort of the ports that go by name. */
  readonly portNames: readonly string[]
  /** Canonical: equal text, equal meaning. */
  readonly text: string
}

export type Direction = (typeof PolicyDirection)[keyof typeof PolicyDirection]

export function directionText(direction: Direction): 'egress' | 'ingress' {
  return direction === PolicyDirection.EGRESS ? 'egress' : 'ingress'
}

/** The rules of one policy and direction, in order; null when it does not isolate that direction. */
export function rulesOf(policy: NetworkPolicy, direction: Direction): readonly Rule[] | null {
  const rules = direction === PolicyDirection.EGRESS ? policy.egress : policy.ingress
  if (rules === null) return null
  return rules.map(({ peers, ports }, index) => {
    const name = `${objectName(policy.namespace, policy.name)} ${directionText(direction)}[${index}]`
    return namedRule({ name, tier: 'NetworkPolicy', action: 'Accept', peers, ports }, policy.namespace)
  })
}

/** The rules of one policy of a tier and direction, in order. */
export function clusterRulesOf(policy: ClusterNetworkPolicy, direction: Direction): readonly Rule[] {
  const rules = direction === PolicyDirection.EGRESS ? policy.egress : policy.ingress
  return rules.map(({ name: own, action, peers, ports }, index) => {
    const place = `${clusterPolicyName(policy)} ${directionText(direction)}[${index}]`
    const name = own === '' ? place : `${place} ${JSON.stringify(own)}`
    return namedRule({ name, tier: policy.tier, action, peers, ports }, '')
  })
}

/** "Admin:name": no namespace is written like this. */
export function clusterPolicyName({ tier, name }: ClusterNetworkPolicy): string {
  return `${tier}:${name}`
}

interface WrittenRule extends Pick<Rule, 'name' | 'tier' | 'action' | 'ports'> {
  readonly peers: readonly ClusterPeer[] | null
}

function namedRule(rule: WrittenRule, ownNamespace: string): Rule {
  const { name, tier, action, ports } = rule
  const everybody = rule.peers === null
  const everyPod = !everybody && rule.peers.some(isEveryPod)
  const peers = (rule.peers ?? []).filter((peer) => !isEveryPod(peer))
  const selectors = unique(peers.map((peer) => selectorOf(peer, ownNamespace)))
  const portTexts = (ports ?? [null]).map(portText).sort()
  const peerTexts = [...(everybody ? ['everybody'] : []), ...(everyPod ? ['pods'] : []), ...selectors.keys()].sort()
  return {
    id: id64(`rule ${name}`),
    name,
    tier,
    action,
    everybody,
    everyPod,
    selectors: [...selectors.values()],
    ports,
    portNames: (ports ?? []).filter((port) => typeof port.port === 'string').map(namedPort),
    text: `${tier === 'NetworkPolicy' ? '' : `${action} `}${name}: ${peerTexts.join(' | ')}: ${portTexts.join(' ')}`,
  }
}

/** namespaceSelector: {} without or with an empty podSelector. */
function isEveryPod(peer: ClusterPeer): boolean {
  if ('ipBlock' in peer || 'nodeSelector' in peer || peer.namespaceSelector === null) return false
  return isEmpty(peer.namespaceSelector) && (peer.podSelector === null || isEmpty(peer.podSelector))
}

function selectorOf(peer: ClusterPeer, ownNamespace: string): Selector {
  if ('ipBlock' in peer) {
    const { cidr, except } = peer.ipBlock
    const excepts = except.length === 0 ? '' : ` except ${except.toSorted().join(',')}`
    return { kind: 'block', text: `${cidr}${excepts}`, cidr, except }
  }
  if ('nodeSelector' in peer) {
    return { kind: 'nodes', text: `nodes(${selectorText(peer.nodeSelector)})`, nodes: peer.nodeSelector }
  }
  const { podSelector: pods, namespaceSelector: namespaces } = peer
  const podText = `pods(${pods === null ? '' : selectorText(pods)})`
  return namespaces === null
    ? { kind: 'pods', text: `${podText} in ${ownNamespace}`, namespace: ownNamespace, namespaces: null, pods }
    : { kind: 'pods', text: `${podText} in namespaces(${selectorText(namespaces)})`, namespace: null, namespaces, pods }
}

function unique(selectors: readonly Selector[]): ReadonlyMap<string, Selector> {
  return new Map(selectors.map((selector) => [selector.text, selector]))
}
