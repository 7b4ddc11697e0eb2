// SPDX-License-Identifier: Apache-2.0
// toPorts and icmps of Cilium's rules. Source: docs.cilium.io "Layer 4 Policies".

import type { Port } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import type { PolicyPort } from '../world/objects.ts'
import { supportedFields } from './cilium-fields.ts'
import { BadField, type Cursor, choice, field, integer, isMissing, list, port, text } from './cursor.ts'
import { onlyFields } from './fields.ts'
import { ICMP_TYPES, ICMPV6_TYPES } from './icmp-types.ts'
import { readPortName } from './network-policy.ts'

/** null: every port. Source: "The ICMPs block may only be present without ToPorts" (rule_validation.go). */
export function readPorts(rule: Cursor): readonly PolicyPort[] | null {
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
