// SPDX-License-Identifier: Apache-2.0
// cilium.io/v2 CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, as far as layers 3 and 4 go. Anything else that a
// policy says refuses it whole. Source: docs.cilium.io "Layer 3 Policies", "Layer 4 Policies", "Deny Policies", "Using
// Kubernetes Constructs In Policy"; and pkg/policy/api, pkg/k8s/apis/cilium.io/utils where these leave a question.

import { type Port, type Prefix, parseAddress, parsePrefix, prefixCovers } from '../core/address.ts'
import { objectName } from '../core/names.ts'
import { Protocol } from '../core/protocol.ts'
import type {
  CiliumDirection,
  CiliumEntity,
  CiliumPeer,
  CiliumPolicy,
  CiliumRule,
  CiliumSpec,
  LabelSelector,
  PolicyPort,
} from '../world/objects.ts'
import {
  BadField,
  bool,
  type Cursor,
  choice,
  field,
  integer,
  isMissing,
  labelKey,
  labelValue,
  list,
  parsed,
  port,
  prefix,
  text,
} from './cursor.ts'
import { fieldsOf, onlyFields, readAudited, readMetadata } from './fields.ts'
import { ICMP_TYPES, ICMPV6_TYPES } from './icmp-types.ts'
import { EVERY_POD, orElse, readPortName, readRequirement } from './network-policy.ts'

type DirectionName = 'ingress' | 'egress'

/** namespace '': a clusterwide one. */
interface Scope {
  readonly namespace: string
  readonly policy: string
  readonly audited?: true
}

export function readCiliumNetworkPolicy(object: Cursor): CiliumPolicy {
  return readPolicy('CiliumNetworkPolicy', object)
}

export function readCiliumClusterwideNetworkPolicy(object: Cursor): CiliumPolicy {
  return readPolicy('CiliumClusterwideNetworkPolicy', object)
}

function readPolicy(kind: CiliumPolicy['kind'], object: Cursor): CiliumPolicy {
  const { namespace, name } = namesOf(kind, object)
  const scope = { namespace, policy: objectName(namespace, name), ...readAudited(object) }
  return { kind, namespace, name, specs: specsOf(object).map(({ spec, place }) => readSpec(spec, place, scope)) }
}

/** What stands for a policy that is refused and of which no good version is known: it isolates what the policy may select,
 *  in the directions of which it speaks, and where it denies something there it denies all. */
export function standInForCiliumNetworkPolicy(object: Cursor): CiliumPolicy | null {
  return standIn('CiliumNetworkPolicy', object)
}

/** As above; null: whom it selects cannot be read, and that may be anybody. */
export function standInForCiliumClusterwideNetworkPolicy(object: Cursor): CiliumPolicy | null {
  return standIn('CiliumClusterwideNetworkPolicy', object)
}

function standIn(kind: CiliumPolicy['kind'], object: Cursor): CiliumPolicy | null {
  const { namespace, name } = namesOf(kind, object)
  const scope = { namespace, policy: objectName(namespace, name), ...readAudited(object) }
  const unreadable = [{ spec: { value: false, parent: object, key: 'spec' }, place: '' }]
  const read = orElse(unreadable, () => specsOf(object)).map(({ spec, place }) => ({
    name: place === '' ? 'spec' : place.slice(0, -1),
    closed: closedSpec(spec, place, scope),
  }))
  const specs = read.flatMap(({ closed }) => closed ?? [])
  if (specs.length === 0) return null
  const unselective = read.filter(({ closed }) => closed === null).map((each) => each.name)
  return { kind, namespace, name, specs, unreadable: true, ...(unselective.length > 0 && { unselective }) }
}

/** null: it selects no pod, or nobody can tell which. */
function closedSpec(spec: Cursor, place: string, scope: Scope): CiliumSpec | null {
  const wholeNamespace = scope.namespace === '' ? null : { namespaceSelector: null, podSelector: EVERY_POD }
  const subject = orElse(wholeNamespace, () => {
    const isOfNodes = isMissing(field(spec, 'endpointSelector')) && !isMissing(field(spec, 'nodeSelector'))
    return isOfNodes ? null : readSubject(field(spec, 'endpointSelector'), scope)
  })
  if (subject === null) return null
  const closed = (direction: DirectionName): CiliumDirection => {
    const [allows, denies] = [direction, `${direction}Deny`]
    const isDenying = orElse(true, () => list(field(spec, denies)).length > 0)
    const isSpoken = orElse(true, () => isDenying || list(field(spec, allows)).length > 0)
    const denial: CiliumRule = { place: `${place}${denies}`, action: 'Deny', peers: null, ports: null }
    return {
      isolates: orElse(true, () => readIsolation(spec, direction, isSpoken)),
      rules: isDenying ? [denial] : [],
    }
  }
  return { ...scope, subject, ingress: closed('ingress'), egress: closed('egress') }
}

function namesOf(kind: CiliumPolicy['kind'], object: Cursor): ReturnType<typeof readMetadata> {
  const { namespace, name } = readMetadata(object)
  return { namespace: kind === 'CiliumNetworkPolicy' ? namespace : '', name }
}

/** `spec`, `specs`, or both. */
function specsOf(object: Cursor): readonly { readonly spec: Cursor; readonly place: string }[] {
  const spec = field(object, 'spec')
  const more = list(field(object, 'specs')).map((each, index) => ({ spec: each, place: `specs[${index}].` }))
  if (isMissing(spec) && more.length === 0) throw new BadField(spec, 'missing')
  return isMissing(spec) ? more : [{ spec, place: '' }, ...more]
}

function readSpec(spec: Cursor, place: string, scope: Scope): CiliumSpec {
  supportedFields(spec, [
    'endpointSelector',
    'ingress',
    'ingressDeny',
    'egress',
    'egressDeny',
    'enableDefaultDeny',
    'labels',
    'description',
  ])
  const direction = (name: DirectionName): CiliumDirection => {
    const rules = (['Accept', 'Deny'] as const).flatMap((action) => {
      const key = action === 'Deny' ? `${name}Deny` : name
      return list(field(spec, key)).map((rule, index) => ({
        place: `${place}${key}[${index}]`,
        action,
        ...readRule(rule, name, scope),
      }))
    })
    return { isolates: readIsolation(spec, name, rules.length > 0), rules }
  }
  return {
    ...scope,
    subject: readSubject(field(spec, 'endpointSelector'), scope),
    ingress: direction('ingress'),
    egress: direction('egress'),
  }
}

/** enableDefaultDeny: "the default is true for each traffic direction that has rules". */
function readIsolation(spec: Cursor, direction: DirectionName, hasRules: boolean): boolean {
  const written = field(spec, 'enableDefaultDeny')
  if (isMissing(written)) return hasRules
  onlyFields(written, ['ingress', 'egress'])
  return bool(field(written, direction), hasRules)
}

// -- Endpoints -----------------------------------------------------------------------------------------------------

interface Endpoints {
  /** null: the policy's own namespace. */
  readonly namespaceSelector: LabelSelector | null
  readonly podSelector: LabelSelector
}

const NAMESPACE_NAME = 'kubernetes.io/metadata.name'
const POD_NAMESPACE = 'io.kubernetes.pod.namespace'
const NAMESPACE_LABELS = 'io.cilium.k8s.namespace.labels.'
const CILIUM_LABELS = 'io.cilium.k8s.'

/** "The endpointSelector always applies to pods in the namespace associated with the CiliumNetworkPolicy resource." */
function readSubject(selector: Cursor, { namespace }: Scope): Endpoints {
  if (isMissing(selector)) throw new BadField(selector, 'missing')
  const { namespaceSelector, podSelector } = readEndpoints(selector, namespace)
  if (namespace === '' || namespaceSelector === null) return { namespaceSelector, podSelector }
  const { matchLabels, matchExpressions } = namespaceSelector
  const isOwn = Object.keys(matchLabels).length === 1 && matchLabels[NAMESPACE_NAME] === namespace
  if (!isOwn || matchExpressions.length > 0) {
    throw new BadField(selector, 'a policy with a namespace selects pods of that namespace only')
  }
  return { namespaceSelector: null, podSelector }
}

/** "If omitted, we limit the scope to the namespace the policy lives in": unless a namespace, or labels of one, are named. */
function readEndpoints(selector: Cursor, ownNamespace: string): Endpoints {
  onlyFields(selector, ['matchLabels', 'matchExpressions'])
  const [pods, namespaces] = [createTerms(), createTerms()]
  const labels = field(selector, 'matchLabels')
  for (const name of isMissing(labels) ? [] : fieldsOf(labels)) {
    const at = field(labels, name)
    const { isOfNamespace, key } = readKey(at, name)
    const target = isOfNamespace ? namespaces : pods
    target.equals(key, labelValue(at))
  }
  for (const item of list(field(selector, 'matchExpressions'), 1000)) {
    onlyFields(item, ['key', 'operator', 'values'])
    const at = field(item, 'key')
    const { isOfNamespace, key } = readKey(at, text(at))
    const target = isOfNamespace ? namespaces : pods
    target.expressions.push(readRequirement(item, key))
  }
  const isAnywhere = ownNamespace === '' || !namespaces.isEmpty()
  return { namespaceSelector: isAnywhere ? namespaces.selector() : null, podSelector: pods.selector() }
}

/** A label as Cilium writes it: "app", "k8s:app", "any:app"; of the pod, or of its namespace. */
function readKey(at: Cursor, written: string): { readonly isOfNamespace: boolean; readonly key: string } {
  const colon = written.indexOf(':')
  const source = written.slice(0, Math.max(colon, 0))
  const key = written.slice(colon + 1)
  if (colon >= 0 && source !== 'k8s' && source !== 'any') {
    throw new BadField(at, `labels of the source "${source.slice(0, 64)}" are not supported`)
  }
  if (key === POD_NAMESPACE) return { isOfNamespace: true, key: NAMESPACE_NAME }
  if (key.startsWith(NAMESPACE_LABELS)) {
    return { isOfNamespace: true, key: labelKey(at, key.slice(NAMESPACE_LABELS.length)) }
  }
  if (key.startsWith(CILIUM_LABELS)) throw new BadField(at, `the label ${key.slice(0, 64)} is not supported`)
  return { isOfNamespace: false, key: labelKey(at, key) }
}

interface Terms {
  readonly expressions: LabelSelector['matchExpressions'][number][]
  equals(key: string, value: string): void
  isEmpty(): boolean
  selector(): LabelSelector
}

/** "app" and "k8s:app" are one label, which both must match. */
function createTerms(): Terms {
  const equal = new Map<string, string>()
  const expressions: LabelSelector['matchExpressions'][number][] = []
  return {
    expressions,
    equals(key, value) {
      if (equal.has(key)) expressions.push({ key, operator: 'In', values: [value] })
      else equal.set(key, value)
    },
    isEmpty: () => equal.size + expressions.length === 0,
    selector: () => ({ matchLabels: Object.fromEntries(equal), matchExpressions: expressions }),
  }
}

// -- Rules ---------------------------------------------------------------------------------------------------------

/** Fields that Cilium has and Heddle does not, each with what it would need. */
const unsupported: Readonly<Record<string, string>> = {
  nodeSelector: 'policies for nodes are not supported',
  fromNodes: 'nodes by labels are not supported',
  toNodes: 'nodes by labels are not supported',
  fromGroups: 'groups of other providers are not supported',
  toGroups: 'groups of other providers are not supported',
  fromRequires: 'requirements are not supported',
  toRequires: 'requirements are not supported',
  toFQDNs: 'names of domains are not supported',
  toServices: 'Services as peers are not supported',
  authentication: 'authentication is not supported',
  rules: 'rules of layer 7 are not supported',
  listener: 'listeners are not supported',
  serverNames: 'names of TLS servers are not supported',
  terminatingTLS: 'TLS is not supported',
  originatingTLS: 'TLS is not supported',
  cidrGroupRef: 'groups of CIDRs are not supported',
  cidrGroupSelector: 'groups of CIDRs are not supported',
}

function supportedFields(object: Cursor, names: readonly string[]): void {
  const other = fieldsOf(object).find((name) => !names.includes(name) && Object.hasOwn(unsupported, name))
  if (other !== undefined) throw new BadField(field(object, other), unsupported[other]!)
  onlyFields(object, names)
}

/** A rule without any field, which Cilium's documentation uses to isolate, matches nobody; one with ports only, anybody. */
function readRule(rule: Cursor, direction: DirectionName, scope: Scope): Pick<CiliumRule, 'peers' | 'ports'> {
  const side = direction === 'ingress' ? 'from' : 'to'
  const members = ['Endpoints', 'CIDR', 'CIDRSet', 'Entities'].map((name) => `${side}${name}`)
  supportedFields(rule, [...members, 'toPorts', 'icmps'])
  const ports = readPorts(rule)
  const [first, second] = fieldsOf(rule).filter((name) => members.includes(name))
  if (first === undefined) return { peers: ports === null ? [] : null, ports }
  if (second !== undefined) throw new BadField(field(rule, second), `cannot stand beside ${first}`)
  const items = list(field(rule, first))
  if (items.length === 0) throw new BadField(field(rule, first), 'an empty list: name whom it means, or leave it out')
  return { peers: readPeers(first.slice(side.length), items, scope), ports }
}

const entities: Readonly<Record<string, CiliumEntity | 'all'>> = {
  world: 'world',
  cluster: 'cluster',
  host: 'host',
  'remote-node': 'remote-node',
  'kube-apiserver': 'kube-apiserver',
  all: 'all',
}

function readPeers(member: string, items: readonly Cursor[], { namespace }: Scope): readonly CiliumPeer[] | null {
  switch (member) {
    case 'Endpoints':
      return items.map((item) => readEndpoints(item, namespace))
    case 'CIDR':
      return items.map((item) => ({ outsideBlock: { cidr: readCidr(item), except: [] } }))
    case 'CIDRSet':
      return items.map((item) => ({ outsideBlock: readCidrRule(item) }))
    default: {
      const read = items.map((item) => choice(item, entities))
      return read.includes('all') ? null : read.filter((each) => each !== 'all').map((entity) => ({ entity }))
    }
  }
}

/** A prefix, or an address alone. */
function readCidr(item: Cursor): Prefix {
  const written = text(item)
  if (written.includes('/')) return prefix(item)
  const alone = parsed(item, parseAddress(written))
  return parsed(item, parsePrefix(`${alone}/${alone.includes(':') ? 128 : 32}`))
}

function readCidrRule(item: Cursor): { readonly cidr: Prefix; readonly except: readonly Prefix[] } {
  supportedFields(item, ['cidr', 'except'])
  const cidr = prefix(field(item, 'cidr'))
  const except = list(field(item, 'except')).map((each) => {
    const excluded = prefix(each)
    if (!prefixCovers(cidr, excluded)) throw new BadField(each, `"${excluded}" is no part of ${cidr}`)
    return excluded
  })
  return { cidr, except }
}

// -- Ports ---------------------------------------------------------------------------------------------------------

/** null: every port. Source: "The ICMPs block may only be present without ToPorts" (rule_validation.go). */
function readPorts(rule: Cursor): readonly PolicyPort[] | null {
  const [toPorts, icmps] = [list(field(rule, 'toPorts')), list(field(rule, 'icmps'))]
  if (toPorts.length > 0 && icmps.length > 0) throw new BadField(field(rule, 'icmps'), 'cannot stand beside toPorts')
  if (toPorts.length + icmps.length === 0) return null
  return [
    ...toPorts.flatMap((item) => itemsOf(item, 'ports').flatMap(readPort)),
    ...icmps.flatMap((item) => itemsOf(item, 'fields').map(readIcmp)),
  ]
}

function itemsOf(item: Cursor, key: string): readonly Cursor[] {
  supportedFields(item, [key])
  const items = list(field(item, key))
  if (items.length === 0) throw new BadField(field(item, key), 'needs at least one item')
  return items
}

const ANY_PROTOCOL = [Protocol.TCP, Protocol.UDP, Protocol.SCTP] as const
const protocols: Readonly<Record<string, readonly Protocol[]>> = {
  TCP: [Protocol.TCP],
  UDP: [Protocol.UDP],
  SCTP: [Protocol.SCTP],
  ANY: ANY_PROTOCOL,
  '': ANY_PROTOCOL,
}

/** "Port can be an L4 port number, or a name"; "EndPort is ignored if Port is a named port"; "if ANY, omitted or empty, any
 *  protocols with transport ports (TCP, UDP, SCTP) match". Port 0 is every port. */
function readPort(item: Cursor): readonly PolicyPort[] {
  onlyFields(item, ['port', 'endPort', 'protocol'])
  const of = choice(field(item, 'protocol'), protocols, 'ANY')
  const [first, last] = readPortRange(item, of)
  return of.map((protocol) => ({ protocol, port: first, endPort: last }))
}

function readPortRange(item: Cursor, of: readonly Protocol[]): readonly [Port | string | null, Port | null] {
  const at = field(item, 'port')
  const written = text(at)
  const end = isMissing(field(item, 'endPort')) ? 0 : integer(field(item, 'endPort'), 0, 65_535)
  if (!/^[0-9]+$/.test(written)) return [readPortName({ ...at, value: written.toLowerCase() }), null]
  if (Number(written) === 0) {
    if (of.length > 1) throw new BadField(at, '0 is every port of a protocol, which must be named')
    if (end !== 0) throw new BadField(field(item, 'endPort'), 'cannot stand beside port 0')
    return [null, null]
  }
  const first = port({ ...at, value: Number(written) })
  if (end === 0) return [first, null]
  if (end < first) throw new BadField(field(item, 'endPort'), `${end} is below port ${first}`)
  return [first, end as Port]
}

const families = {
  IPv4: { protocol: Protocol.ICMP, types: ICMP_TYPES },
  IPv6: { protocol: Protocol.ICMPv6, types: ICMPV6_TYPES },
} as const

/** A type with every code. */
function readIcmp(item: Cursor): PolicyPort {
  onlyFields(item, ['family', 'type'])
  const { protocol, types } = choice(field(item, 'family'), families, 'IPv4')
  const at = field(item, 'type')
  const isName = typeof at.value === 'string' && !/^[0-9]{1,3}$/.test(at.value)
  const type = isName ? choice(at, types) : integer({ ...at, value: numberOf(at.value) }, 0, 255)
  return { protocol, port: (type << 8) as Port, endPort: ((type << 8) | 255) as Port }
}

function numberOf(value: unknown): unknown {
  return typeof value === 'string' ? Number(value) : value
}
