// SPDX-License-Identifier: Apache-2.0
// Fields that several kinds share.

import { Protocol } from '../core/protocol.ts'
import { type Cursor, choice, dnsName, field } from './cursor.ts'

const protocols: Readonly<Record<string, Protocol>> = { TCP: Protocol.TCP, UDP: Protocol.UDP, SCTP: Protocol.SCTP }

export function readMetadata(object: Cursor): { readonly namespace: string; readonly name: string } {
  const metadata = field(object, 'metadata')
  return { namespace: dnsName(field(metadata, 'namespace'), 'default'), name: dnsName(field(metadata, 'name')) }
}

/** The `protocol` of a port, TCP by default. */
export function readProtocol(port: Cursor): Protocol {
  return choice(field(port, 'protocol'), protocols, 'TCP')
}
