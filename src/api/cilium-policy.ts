// SPDX-License-Identifier: Apache-2.0
// cilium.io/v2 CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, as far as layers 3 and 4 go. Anything else that a
// policy says refuses it whole. Source: docs.cilium.io "Layer 3 Policies", "Deny Policies"; and pkg/policy/api where these
// leave a question.

import { objectName } from '../core/names.ts'
import type { CiliumDirection, CiliumPolicy, CiliumRule, CiliumSpec } from '../world/objects.ts'
import { supportedFields } from './cilium-fields.ts'
import { readPeers, readSubject } from './cilium-peers.ts'
import { readPorts } from './cilium-ports.ts'
import { BadField, bool, type Cursor, field, isMissing, list } from './cursor.ts'
import { fieldsOf, onlyFields, readAudited, readMetadata } from './fields.ts'
import { EVERY_POD, orElse } from './network-policy.ts'

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
    return isOfNodes ? null : readSubject(field(spec, 'endpointSelector'), scope.namespace)
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
    subject: readSubject(field(spec, 'endpointSelector'), scope.namespace),
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
  return { peers: readPeers(first.slice(side.length), items, scope.namespace), ports }
}
