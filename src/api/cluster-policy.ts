// SPDX-License-Identifier: Apache-2.0
// policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy.

import type { Port } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import type {
  ClusterAction,
  ClusterNetworkPolicy,
  ClusterPeer,
  ClusterPolicyRule,
  ClusterTier,
  LabelSelector,
  PolicyPort,
} from '../world/objects.ts'
import {
  BadField,
  type Cursor,
  choice,
  field,
  integer,
  isMissing,
  list,
  pathOf,
  pathText,
  port,
  prefix,
  text,
} from './cursor.ts'
import { fieldsOf, onlyField, onlyFields, readAudited, readMetadata } from './fields.ts'
import { EVERY_POD, orElse, readPortName, readSelector } from './network-policy.ts'

const RULES_MAX = 25
const RULE_NAME_MAX = 100
const PRIORITY_MAX = 1000
const tiers = { Admin: 'Admin', Baseline: 'Baseline' } as const
const actions = { Accept: 'Accept', Deny: 'Deny', Pass: 'Pass' } as const
const protocols = { tcp: Protocol.TCP, udp: Protocol.UDP, sctp: Protocol.SCTP } as const
const EGRESS_ONLY = ['networks', 'nodes', 'domainNames']

export function readClusterNetworkPolicy(object: Cursor): ClusterNetworkPolicy {
  const spec = field(object, 'spec')
  onlyFields(spec, ['tier', 'priority', 'subject', 'ingress', 'egress'])
  return {
    kind: 'ClusterNetworkPolicy',
    name: readMetadata(object).name,
    tier: readTier(spec),
    priority: readPriority(spec),
    subject: readSubject(field(spec, 'subject')),
    ingress: list(field(spec, 'ingress'), RULES_MAX).map((rule) => readRule(rule, 'from')),
    egress: list(field(spec, 'egress'), RULES_MAX).map((rule) => readRule(rule, 'to')),
    ...readAudited(object),
  }
}

/** What stands for a policy that is refused and of which no good version is known. It fails closed as the API says of a
 *  rule that is not understood: rules that accept match nothing, one that denies or passes denies all. null: nobody can
 *  tell whom. Throws BadField where not even the name can be read. */
export function standInForClusterPolicy(object: Cursor): ClusterNetworkPolicy | null {
  const { name } = readMetadata(object)
  const spec = field(object, 'spec')
  const subject = orElse(null, () => readSubject(field(spec, 'subject')))
  if (subject === null) return null
  const closed = (direction: 'ingress' | 'egress'): ClusterPolicyRule[] =>
    orElse([DENY_ALL], () => (list(field(spec, direction)).every(accepts) ? [] : [DENY_ALL]))
  return {
    kind: 'ClusterNetworkPolicy',
    name,
    tier: orElse('Admin', () => readTier(spec)),
    priority: orElse(0, () => readPriority(spec)),
    subject,
    ingress: closed('ingress'),
    egress: closed('egress'),
    unreadable: true,
    ...readAudited(object),
  }
}

const DENY_ALL: ClusterPolicyRule = { name: '', action: 'Deny', peers: null, ports: null }

function accepts(rule: Cursor): boolean {
  return field(rule, 'action').value === 'Accept'
}

function readTier(spec: Cursor): ClusterTier {
  return choice(field(spec, 'tier'), tiers)
}

function readPriority(spec: Cursor): number {
  return integer(field(spec, 'priority'), 0, PRIORITY_MAX)
}

function readSubject(subject: Cursor): ClusterNetworkPolicy['subject'] {
  return onlyField(subject, ['namespaces', 'pods']) === 'pods'
    ? readPods(field(subject, 'pods'))
    : { namespaceSelector: readSelector(field(subject, 'namespaces')), podSelector: EVERY_POD }
}

function readPods(pods: Cursor): { readonly namespaceSelector: LabelSelector; readonly podSelector: LabelSelector } {
  onlyFields(pods, ['namespaceSelector', 'podSelector'])
  for (const name of ['namespaceSelector', 'podSelector']) {
    if (isMissing(field(pods, name))) throw new BadField(field(pods, name), 'missing')
  }
  return {
    namespaceSelector: readSelector(field(pods, 'namespaceSelector')),
    podSelector: readSelector(field(pods, 'podSelector')),
  }
}

function readRule(rule: Cursor, peersField: 'from' | 'to'): ClusterPolicyRule {
  onlyFields(rule, ['name', 'action', peersField, 'protocols'])
  const name = text(field(rule, 'name'), '')
  if (name.length > RULE_NAME_MAX) throw new BadField(field(rule, 'name'), `longer than ${RULE_NAME_MAX} characters`)
  const action = choice(field(rule, 'action'), actions)
  const peers = list(field(rule, peersField), RULES_MAX)
  if (peers.length === 0) throw new BadField(field(rule, peersField), 'needs at least one peer')
  const ports = readProtocols(field(rule, 'protocols'))
  const strange = peers.find((peer) => isOfUnknownKind(peer, peersField))
  if (strange !== undefined) return closedRule(name, action, strange)
  const read = peers.flatMap(readPeer)
  const named = ports?.some((each) => typeof each.port === 'string')
  if (named && read.some((peer) => 'ipBlock' in peer || 'nodeSelector' in peer)) {
    throw new BadField(field(rule, 'protocols'), 'networks and nodes have no named ports')
  }
  return { name, action, peers: read, ports }
}

/** "For Accept rules, fail closed means: treat the rule as matching no traffic. For Deny and Pass rules: treat the rule as
 *  a Deny all rule." Source: ClusterNetworkPolicyIngressPeer. */
function closedRule(name: string, action: ClusterAction, peer: Cursor): ClusterPolicyRule {
  const unknownField = pathText(pathOf(peer))
  if (action === 'Accept') return { name, action, peers: [], ports: null, unknownField }
  return { name, action: 'Deny', peers: null, ports: null, unknownField }
}

/** None of its fields is one that this version of the API has. */
function isOfUnknownKind(peer: Cursor, peersField: 'from' | 'to'): boolean {
  const known = ['namespaces', 'pods', ...(peersField === 'to' ? EGRESS_ONLY : [])]
  return !fieldsOf(peer).some((name) => known.includes(name))
}

function readPeer(peer: Cursor): readonly ClusterPeer[] {
  const kind = onlyField(peer, ['namespaces', 'pods', ...EGRESS_ONLY])
  const value = field(peer, kind)
  switch (kind) {
    case 'pods':
      return [readPods(value)]
    case 'namespaces':
      return [{ namespaceSelector: readSelector(value), podSelector: null }]
    case 'nodes':
      return [{ nodeSelector: readSelector(value) }]
    case 'networks':
      return readNetworks(value)
    default:
      throw new BadField(value, 'names of domains are not supported')
  }
}

function readNetworks(networks: Cursor): readonly ClusterPeer[] {
  const cidrs = list(networks, RULES_MAX)
  if (cidrs.length === 0) throw new BadField(networks, 'needs at least one CIDR')
  return cidrs.map((cidr) => ({ ipBlock: { cidr: prefix(cidr), except: [] } }))
}

/** null where the field is missing: all traffic. */
function readProtocols(written: Cursor): readonly PolicyPort[] | null {
  if (isMissing(written)) return null
  const items = list(written, RULES_MAX)
  if (items.length === 0) throw new BadField(written, 'needs at least one protocol')
  return items.flatMap(readProtocolMatch)
}

/** A port's name stands for whatever protocol the container's port of that name has. */
function readProtocolMatch(item: Cursor): readonly PolicyPort[] {
  const kind = onlyField(item, ['destinationNamedPort', ...Object.keys(protocols)])
  if (kind === 'destinationNamedPort') {
    const name = readPortName(field(item, kind))
    return Object.values(protocols).map((protocol) => ({ protocol, port: name, endPort: null }))
  }
  const match = field(item, kind)
  onlyField(match, ['destinationPort'])
  const [first, last] = readPorts(field(match, 'destinationPort'))
  return [{ protocol: protocols[kind as keyof typeof protocols], port: first, endPort: last }]
}

function readPorts(ports: Cursor): readonly [first: Port, last: Port | null] {
  if (onlyField(ports, ['number', 'range']) === 'number') return [port(field(ports, 'number')), null]
  const range = field(ports, 'range')
  onlyFields(range, ['start', 'end'])
  const [start, end] = [port(field(range, 'start')), port(field(range, 'end'))]
  if (start >= end) throw new BadField(field(range, 'end'), `${end} is not above ${start}`)
  return [start, end]
}
