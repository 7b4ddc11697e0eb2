// SPDX-License-Identifier: Apache-2.0
// Whom Cilium's policies are about: pods by labels, blocks of addresses, entities. Source: docs.cilium.io "Layer 3 Policies",
// "Using Kubernetes Constructs In Policy"; pkg/k8s/apis/cilium.io/utils where they leave a question.

import { type Prefix, parseAddress, parsePrefix, prefixCovers } from '../core/address.ts'
import type { CiliumEntity, CiliumPeer, LabelSelector } from '../world/objects.ts'
import { supportedFields } from './cilium-fields.ts'
import {
  BadField,
  type Cursor,
  choice,
  field,
  isMissing,
  labelKey,
  labelValue,
  list,
  parsed,
  prefix,
  text,
} from './cursor.ts'
import { fieldsOf, onlyFields } from './fields.ts'
import { readRequirement } from './network-policy.ts'

interface Endpoints {
  /** null: the policy's own namespace. */
  readonly namespaceSelector: LabelSelector | null
  readonly podSelector: LabelSelector
}

const NAMESPACE_NAME = 'kubernetes.io/metadata.name'
const POD_NAMESPACE = 'io.kubernetes.pod.namespace'
const NAMESPACE_LABELS = 'io.cilium.k8s.namespace.labels.'
const CILIUM_LABELS = 'io.cilium.k8s.'
const SERVICE_ACCOUNT = 'io.cilium.k8s.policy.serviceaccount'

/** "The endpointSelector always applies to pods in the namespace associated with the CiliumNetworkPolicy resource." */
export function readSubject(selector: Cursor, namespace: string): Endpoints {
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
  if (key === SERVICE_ACCOUNT) throw new BadField(at, `${key} is not supported: service accounts of pods are not read`)
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

type Known = CiliumEntity | 'all' | 'nobody'

/** Heddle has no health endpoints, which are Cilium's to test its nodes with: a rule about them is about nobody. */
const entities: Readonly<Record<string, Known>> = {
  world: 'world',
  cluster: 'cluster',
  host: 'host',
  'remote-node': 'remote-node',
  'kube-apiserver': 'kube-apiserver',
  health: 'nobody',
  all: 'all',
}

/** Entities that are not told from others, and why. */
const unknowable: Readonly<Record<string, string>> = {
  init: 'no pod is wired before its labels are known, and what has no Pod has none',
  unmanaged: 'pods that another plugin has wired are not told from others',
  ingress: 'there is no ingress proxy of its own: select the pods of the controller',
}

/** Whom an entity or a label of the source "reserved" names. */
function readEntity(at: Cursor, name: string): Known {
  if (Object.hasOwn(unknowable, name)) throw new BadField(at, `"${name}" is not supported: ${unknowable[name]}`)
  return choice({ ...at, value: name }, entities)
}

function entityPeer(entity: Exclude<Known, 'all'>): readonly CiliumPeer[] {
  return entity === 'nobody' ? [] : [{ entity }]
}

const RESERVED = 'reserved:'

/** `reserved:host: ""` and its kin, which Cilium gives to what is no pod: the entity of that name, in no namespace. null: the
 *  selector is about pods. */
function readReserved(selector: Cursor): readonly CiliumPeer[] | null {
  onlyFields(selector, ['matchLabels', 'matchExpressions'])
  const labels = field(selector, 'matchLabels')
  const names = isMissing(labels) ? [] : fieldsOf(labels)
  const name = names.find((each) => each.startsWith(RESERVED))
  if (name === undefined) return null
  const at = field(labels, name)
  if (names.length > 1 || list(field(selector, 'matchExpressions')).length > 0) {
    throw new BadField(at, 'cannot stand beside other labels')
  }
  if (labelValue(at) !== '') throw new BadField(at, 'has no value')
  const entity = readEntity(at, name.slice(RESERVED.length))
  if (entity === 'all' || entity === 'cluster') throw new BadField(at, `nothing has the label ${name}`)
  return entityPeer(entity)
}

/** null: everybody. */
export function readPeers(
  member: string,
  items: readonly Cursor[],
  ownNamespace: string,
): readonly CiliumPeer[] | null {
  switch (member) {
    case 'Endpoints':
      return items.flatMap((item) => readReserved(item) ?? [readEndpoints(item, ownNamespace)])
    case 'CIDR':
      return items.map((item) => ({ outsideBlock: { cidr: readCidr(item), except: [] } }))
    case 'CIDRSet':
      return items.map((item) => ({ outsideBlock: readCidrRule(item) }))
    default: {
      const read = items.map((item) => readEntity(item, text(item)))
      return read.includes('all') ? null : read.filter((each) => each !== 'all').flatMap(entityPeer)
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
