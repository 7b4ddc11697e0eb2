// SPDX-License-Identifier: Apache-2.0
// Fields that several kinds share.

import { Protocol } from '../core/protocol.ts'
import type { Labels } from '../world/objects.ts'
import { type Cursor, choice, dnsName, field } from './cursor.ts'

const protocols: Readonly<Record<string, Protocol>> = { TCP: Protocol.TCP, UDP: Protocol.UDP, SCTP: Protocol.SCTP }

export function readMetadata(object: Cursor): { readonly namespace: string; readonly name: string } {
  const metadata = field(object, 'metadata')
  return { namespace: dnsName(field(metadata, 'namespace'), 'default'), name: dnsName(field(metadata, 'name')) }
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
