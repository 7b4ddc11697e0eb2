// SPDX-License-Identifier: Apache-2.0
// Fields that several kinds share.

import { Protocol } from '../core/protocol.ts'
import type { Labels } from '../world/objects.ts'
import { BadField, type Cursor, choice, dnsName, field, isMissing, isRecord } from './cursor.ts'

const protocols: Readonly<Record<string, Protocol>> = { TCP: Protocol.TCP, UDP: Protocol.UDP, SCTP: Protocol.SCTP }

export function readMetadata(object: Cursor): { readonly namespace: string; readonly name: string } {
  const metadata = field(object, 'metadata')
  return { namespace: dnsName(field(metadata, 'namespace'), 'default'), name: dnsName(field(metadata, 'name')) }
}

export const AUDIT_ANNOTATION = 'heddle.network/audit'

/** Any text but "true" leaves a policy enforced. */
export function readAudited(policy: Cursor): { readonly audited?: true } {
  const annotation = field(field(field(policy, 'metadata'), 'annotations'), AUDIT_ANNOTATION)
  return annotation.value === 'true' ? { audited: true } : {}
}

/** Labels of a Service or slice that is another proxy's, or that needs none. Source: kube-proxy's own selectors. */
export const NOT_SERVED_LABELS = ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless'] as const

export function isAnothersToServe(labels: Labels): boolean {
  return NOT_SERVED_LABELS.some((label) => Object.hasOwn(labels, label))
}

/** The `protocol` of a port, TCP by default. */
export function readProtocol(port: Cursor): Protocol {
  return choice(field(port, 'protocol'), protocols, 'TCP')
}

/** The one field that is set, of those that may be. Throws BadField for any other, for none and for several. */
export function onlyField(object: Cursor, names: readonly string[]): string {
  onlyFields(object, names)
  const [first, second] = fieldsOf(object)
  if (first === undefined) throw new BadField(object, `needs one of ${names.join(', ')}`)
  if (second !== undefined) throw new BadField(field(object, second), `cannot stand beside ${first}`)
  return first
}

/** Throws BadField for a field that is not among these and is not null. */
export function onlyFields(object: Cursor, names: readonly string[]): void {
  const other = fieldsOf(object).find((name) => !names.includes(name))
  if (other !== undefined) throw new BadField(field(object, other), 'not a field that Heddle knows')
}

/** Names of the fields that are not null. */
export function fieldsOf(object: Cursor): readonly string[] {
  if (isMissing(object)) throw new BadField(object, 'missing')
  if (!isRecord(object.value)) throw new BadField(object, 'not an object')
  return Object.keys(object.value).filter((name) => !isMissing(field(object, name)))
}
