// SPDX-License-Identifier: Apache-2.0
// The rules of policies, with their peers as realms and as selectors that have a name: equal selectors are one, whoever
// uses them.

import type { Prefix } from '../core/address.ts'
import { type Id64, id64 } from '../core/id64.ts'
import { objectName } from '../core/names.ts'
import { PolicyDirection, Realm } from '../generated/abi.ts'
import type {
  CiliumEntity,
  CiliumPeer,
  CiliumSpec,
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
  /** Of what is outside the cluster only: pods and nodes are not among it. */
  readonly isOutside: boolean
}

export interface NodePeer {
  readonly kind: 'nodes'
  readonly text: string
  readonly nodes: LabelSelector
}

/** The API servers, wherever they are. */
export interface ServerPeer {
  readonly kind: 'servers'
  readonly text: string
}

/** What a class is made of: its members and its text, which is its name in class keys. */
export type Selector = PodPeer | BlockPeer | NodePeer | ServerPeer

export const SERVERS: ServerPeer = { kind: 'servers', text: 'kube-apiserver' }

export interface Rule {
  readonly id: Id64
  /** "namespace/name ingress[0]", "Cilium:namespace/name egressDeny[0]", "Admin:name egress[1]", with the name that a rule may
   *  have of its own in quotes. */
  readonly name: string
  readonly tier: ClusterTier | 'NetworkPolicy'
  /** Of a NetworkPolicy Accept; Cilium's policies, which stand in its tier, deny too. */
  readonly action: ClusterAction
  /** Its policy is audited: it opens and closes nothing. */
  readonly audited: boolean
  /** It has no list of peers. */
  readonly everybody: boolean
  /** Those of which everybody is among its peers, sorted: every pod of every namespace, all that is outside ... */
  readonly realms: readonly Realm[]
  /** The rest of its peers; empty where everybody is one. */
  readonly selectors: readonly Selector[]
  /** null: everything, ICMP too. */
  readonly ports: readonly PolicyPort[] | null
  /** namedPort of the ports that go by name. */
  readonly portNames: readonly string[]
  /** Canonical: equal text, equal meaning. */
  readonly text: string
  /** Id of the text. */
  readonly meaning: Id64
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
    const audited = policy.audited === true
    return namedRule({ name, tier: 'NetworkPolicy', action: 'Accept', audited, peers, ports }, policy.namespace)
  })
}

/** The rules of one policy of a tier and direction, in order. */
export function clusterRulesOf(policy: ClusterNetworkPolicy, direction: Direction): readonly Rule[] {
  const rules = direction === PolicyDirection.EGRESS ? policy.egress : policy.ingress
  return rules.map(({ name: own, action, peers, ports }, index) => {
    const place = `${clusterPolicyName(policy)} ${directionText(direction)}[${index}]`
    const name = own === '' ? place : `${place} ${JSON.stringify(own)}`
    return namedRule({ name, tier: policy.tier, action, audited: policy.audited === true, peers, ports }, '')
  })
}

/** "Admin:name": no namespace is written like this. */
export function clusterPolicyName({ tier, name }: ClusterNetworkPolicy): string {
  return `${tier}:${name}`
}

/** The rules of one spec of Cilium's and direction, in order. */
export function ciliumRulesOf(spec: CiliumSpec, direction: Direction): readonly Rule[] {
  const { rules } = direction === PolicyDirection.EGRESS ? spec.egress : spec.ingress
  const audited = spec.audited === true
  return rules.map(({ place, action, peers, ports }) => {
    const name = `${ciliumPolicyName(spec)} ${place}`
    return namedRule({ name, tier: 'NetworkPolicy', action, audited, peers, ports }, spec.namespace)
  })
}

/** "Cilium:namespace/name", "Cilium:name". */
export function ciliumPolicyName({ policy }: CiliumSpec): string {
  return `Cilium:${policy}`
}

type Peer = ClusterPeer | CiliumPeer

interface WrittenRule extends Pick<Rule, 'name' | 'tier' | 'action' | 'audited' | 'ports'> {
  readonly peers: readonly Peer[] | null
}

function namedRule(rule: WrittenRule, ownNamespace: string): Rule {
  const { name, tier, action, audited, ports } = rule
  const everybody = rule.peers === null
  const peers = rule.peers ?? []
  const realms = [...new Set(peers.flatMap(realmsOf))].sort((a, b) => a - b)
  const selectors = unique(
    peers.filter((peer) => realmsOf(peer).length === 0).map((peer) => selectorOf(peer, ownNamespace)),
  )
  const portTexts = (ports ?? [null]).map(portText).sort()
  const realmTexts = realms.map((realm) => realmPeers[realm])
  const peerTexts = [...(everybody ? ['everybody'] : []), ...realmTexts, ...selectors.keys()].sort()
  const isPlain = tier === 'NetworkPolicy' && action === 'Accept'
  const text = `${audited ? 'audit ' : ''}${isPlain ? '' : `${action} `}${name}: ${peerTexts.join(' | ')}: ${portTexts.join(' ')}`
  return {
    id: id64(`rule ${name}`),
    name,
    tier,
    action,
    audited,
    everybody,
    realms,
    selectors: [...selectors.values()],
    ports,
    portNames: (ports ?? []).filter((port) => typeof port.port === 'string').map(namedPort),
    text,
    meaning: id64(`rule text ${text}`),
  }
}

/** A realm as a peer: everybody who is in it. */
export const realmPeers: Readonly<Record<Realm, string>> = {
  [Realm.WORLD]: 'outside the cluster',
  [Realm.POD]: 'every pod',
  [Realm.NODE]: 'other nodes',
  [Realm.OWN_HOST]: 'own host',
  [Realm.POD_RANGE]: 'pod ranges',
}

const realmsOfEntity: Readonly<Record<CiliumEntity, readonly Realm[]>> = {
  world: [Realm.WORLD],
  cluster: [Realm.POD, Realm.NODE, Realm.OWN_HOST, Realm.POD_RANGE],
  host: [Realm.OWN_HOST],
  'remote-node': [Realm.NODE],
  'kube-apiserver': [],
}

/** Every pod is namespaceSelector: {} without or with an empty podSelector. Empty: selectorOf tells who it is. */
function realmsOf(peer: Peer): readonly Realm[] {
  if ('entity' in peer) return realmsOfEntity[peer.entity]
  if (!('namespaceSelector' in peer) || peer.namespaceSelector === null || !isEmpty(peer.namespaceSelector)) return []
  return peer.podSelector === null || isEmpty(peer.podSelector) ? [Realm.POD] : []
}

function selectorOf(peer: Peer, ownNamespace: string): Selector {
  if ('entity' in peer) return SERVERS
  if ('ipBlock' in peer) return blockPeer(peer.ipBlock, false)
  if ('outsideBlock' in peer) return blockPeer(peer.outsideBlock, true)
  if ('nodeSelector' in peer) {
    return { kind: 'nodes', text: `nodes(${selectorText(peer.nodeSelector)})`, nodes: peer.nodeSelector }
  }
  const { podSelector: pods, namespaceSelector: namespaces } = peer
  const podText = `pods(${pods === null ? '' : selectorText(pods)})`
  return namespaces === null
    ? { kind: 'pods', text: `${podText} in ${ownNamespace}`, namespace: ownNamespace, namespaces: null, pods }
    : { kind: 'pods', text: `${podText} in namespaces(${selectorText(namespaces)})`, namespace: null, namespaces, pods }
}

function blockPeer({ cidr, except }: Pick<BlockPeer, 'cidr' | 'except'>, isOutside: boolean): BlockPeer {
  const excepts = except.length === 0 ? '' : ` except ${except.toSorted().join(',')}`
  return { kind: 'block', text: `${cidr}${excepts}${isOutside ? ' outside' : ''}`, cidr, except, isOutside }
}

function unique(selectors: readonly Selector[]): ReadonlyMap<string, Selector> {
  return new Map(selectors.map((selector) => [selector.text, selector]))
}
