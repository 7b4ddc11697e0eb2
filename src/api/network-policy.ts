// SPDX-License-Identifier: Apache-2.0
// networking.k8s.io/v1 NetworkPolicy with its defaults.

import { prefixCovers } from '../core/address.ts'
import type { KubeObject, LabelSelector, NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule } from '../world/objects.ts'
import {
  BadField,
  type Cursor,
  choice,
  field,
  isMissing,
  isRecord,
  labelKey,
  labels,
  labelValue,
  list,
  pathOf,
  pathText,
  port,
  prefix,
  text,
} from './cursor.ts'
import { readAudited, readMetadata, readProtocol } from './fields.ts'

export function readNetworkPolicy(object: Cursor): NetworkPolicy {
  const spec = field(object, 'spec')
  if (isMissing(spec)) throw new BadField(spec, 'missing')
  const unknown = unknownField(spec, policySpec)
  if (unknown !== null) throw new BadField(unknown, 'not a field that Heddle knows')
  const ingress = list(field(spec, 'ingress'))
  const egress = list(field(spec, 'egress'))
  const isolated = readDirections(spec, egress.length > 0)
  return {
    kind: 'NetworkPolicy',
    ...readMetadata(object),
    podSelector: readSelector(field(spec, 'podSelector')),
    ingress: isolated.ingress ? ingress.map((rule) => readRule(rule, 'from')) : null,
    egress: isolated.egress ? egress.map((rule) => readRule(rule, 'to')) : null,
    ...readAudited(object),
  }
}

/** What stands for a policy that readNetworkPolicy refuses and of which no good version is known: it isolates what the
 *  policy may select, in the directions that it may name. A pod selector that cannot be read selects the whole namespace,
 *  policyTypes that cannot be read are both. Throws BadField where not even the name can be read. */
export function standInForPolicy(object: Cursor): NetworkPolicy {
  const metadata = readMetadata(object)
  const spec = field(object, 'spec')
  const isolated = isMissing(spec) ? BOTH : orElse(BOTH, () => readDirections(spec, !isMissing(field(spec, 'egress'))))
  return {
    kind: 'NetworkPolicy',
    ...metadata,
    podSelector: orElse(EVERY_POD, () => readSelector(field(spec, 'podSelector'))),
    ingress: isolated.ingress ? [] : null,
    egress: isolated.egress ? [] : null,
    unreadable: true,
    ...readAudited(object),
  }
}

/** What of an object is not understood, so that its rule fails closed; one sentence for each rule. */
export function unreadRules(object: KubeObject): readonly string[] {
  if (object.kind === 'ClusterNetworkPolicy') {
    return [...object.ingress, ...object.egress]
      .filter(({ unknownField }) => unknownField !== undefined)
      .map(({ unknownField, action }) => {
        const effect = action === 'Accept' ? 'matches nothing' : 'denies all'
        return `${object.kind} ${object.name}: ${unknownField} is no kind of peer that Heddle knows; its rule ${effect}`
      })
  }
  if (object.kind !== 'NetworkPolicy') return []
  return [...(object.ingress ?? []), ...(object.egress ?? [])]
    .filter(({ unknownField }) => unknownField !== undefined)
    .map(
      ({ unknownField }) =>
        `NetworkPolicy ${object.namespace}/${object.name}: ${unknownField} is not a field that Heddle knows; its rule admits nobody`,
    )
}

export const EVERY_POD: LabelSelector = { matchLabels: {}, matchExpressions: [] }
const BOTH = { ingress: true, egress: true }

/** What is read, or `otherwise` where that is refused. */
export function orElse<T>(otherwise: T, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof BadField) return otherwise
    throw error
  }
}

/** policyTypes; without them ingress always, and egress if there are egress rules. */
function readDirections(spec: Cursor, hasEgress: boolean): { readonly ingress: boolean; readonly egress: boolean } {
  const types = list(field(spec, 'policyTypes'), 2).map((item) =>
    choice(item, { Ingress: 'Ingress', Egress: 'Egress' } as const),
  )
  if (types.length === 0) return { ingress: true, egress: hasEgress }
  return { ingress: types.includes('Ingress'), egress: types.includes('Egress') }
}

/** A field that is not known may narrow the rule, so the rule admits nobody: what an older Heddle does not understand is
 *  not open, and the rules beside it hold. */
function readRule(rule: Cursor, peersField: 'from' | 'to'): PolicyRule {
  const unknown = unknownField(rule, policyRule(peersField))
  if (unknown !== null) return { peers: [], ports: null, unknownField: pathText(pathOf(unknown)) }
  const peers = list(field(rule, peersField))
  const ports = list(field(rule, 'ports'))
  return {
    peers: peers.length === 0 ? null : peers.map(readPeer),
    ports: ports.length === 0 ? null : ports.map(readPort),
  }
}

/** Fields by name; null: what is below is not looked into. */
type Known = { readonly [field: string]: Known | null }

const selectorFields: Known = { matchLabels: null, matchExpressions: { key: null, operator: null, values: null } }

const policySpec: Known = { podSelector: null, policyTypes: null, ingress: null, egress: null }

function policyRule(peersField: 'from' | 'to'): Known {
  return {
    [peersField]: {
      podSelector: selectorFields,
      namespaceSelector: selectorFields,
      ipBlock: { cidr: null, except: null },
    },
    ports: { protocol: null, port: null, endPort: null },
  }
}

/** The first field that is neither known nor null. What is of another kind than it should be is for the readers. */
function unknownField(cursor: Cursor, known: Known): Cursor | null {
  const { value } = cursor
  if (Array.isArray(value)) return firstOf(list(cursor), (item) => unknownField(item, known))
  if (!isRecord(value)) return null
  return firstOf(Object.keys(value), (key) => {
    const at = field(cursor, key)
    if (isMissing(at)) return null
    const below = Object.hasOwn(known, key) ? known[key] : undefined
    return below === undefined ? at : below && unknownField(at, below)
  })
}

function firstOf<T, U>(items: Iterable<T>, find: (item: T) => U | null): U | null {
  for (const item of items) {
    const found = find(item)
    if (found !== null) return found
  }
  return null
}

function readPeer(peer: Cursor): PolicyPeer {
  const ipBlock = field(peer, 'ipBlock')
  const podSelector = field(peer, 'podSelector')
  const namespaceSelector = field(peer, 'namespaceSelector')
  if (isMissing(ipBlock)) {
    if (isMissing(podSelector) && isMissing(namespaceSelector)) {
      throw new BadField(peer, 'needs one of podSelector, namespaceSelector, ipBlock')
    }
    return {
      podSelector: isMissing(podSelector) ? null : readSelector(podSelector),
      namespaceSelector: isMissing(namespaceSelector) ? null : readSelector(namespaceSelector),
    }
  }
  if (!isMissing(podSelector) || !isMissing(namespaceSelector)) {
    throw new BadField(peer, 'ipBlock cannot stand beside a selector')
  }
  const cidr = prefix(field(ipBlock, 'cidr'))
  const except = list(field(ipBlock, 'except')).map((item) => {
    const excluded = prefix(item)
    if (excluded === cidr || !prefixCovers(cidr, excluded)) {
      throw new BadField(item, `"${excluded}" is no strict part of ${cidr}`)
    }
    return excluded
  })
  return { ipBlock: { cidr, except } }
}

function readPort(item: Cursor): PolicyPort {
  const written = field(item, 'port')
  const protocol = readProtocol(item)
  const endPort = isMissing(field(item, 'endPort')) ? null : port(field(item, 'endPort'))
  if (typeof written.value === 'string') {
    const name = readPortName(written)
    if (endPort !== null) throw new BadField(field(item, 'endPort'), 'needs a numeric port')
    return { protocol, port: name, endPort: null }
  }
  const first = isMissing(written) ? null : port(written)
  if (endPort !== null && (first === null || endPort < first)) {
    throw new BadField(field(item, 'endPort'), first === null ? 'needs a port' : `${endPort} is below port ${first}`)
  }
  return { protocol, port: first, endPort }
}

export function readPortName(written: Cursor): string {
  const name = text(written)
  if (name.length > 15 || !/^(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/.test(name)) {
    throw new BadField(written, 'not a port name (a-z, 0-9 and single "-", at most 15, at least one letter)')
  }
  return name
}

const operators = { In: 'In', NotIn: 'NotIn', Exists: 'Exists', DoesNotExist: 'DoesNotExist' } as const

/** A missing selector reads as the empty one, which selects everything; callers tell the two apart where it matters. */
export function readSelector(selector: Cursor): LabelSelector {
  const unknown = unknownField(selector, selectorFields)
  if (unknown !== null) throw new BadField(unknown, 'not a field that Heddle knows')
  return {
    matchLabels: labels(field(selector, 'matchLabels')),
    matchExpressions: list(field(selector, 'matchExpressions'), 1000).map((item) =>
      readRequirement(item, labelKey(field(item, 'key'), text(field(item, 'key')))),
    ),
  }
}

/** An item of matchExpressions, of the label `key`. */
export function readRequirement(item: Cursor, key: string): LabelSelector['matchExpressions'][number] {
  const operator = choice(field(item, 'operator'), operators)
  const values = list(field(item, 'values'), 1000).map(labelValue)
  const needsValues = operator === 'In' || operator === 'NotIn'
  if (needsValues !== values.length > 0) {
    throw new BadField(field(item, 'values'), needsValues ? `missing for ${operator}` : `not allowed for ${operator}`)
  }
  return { key, operator, values }
}
