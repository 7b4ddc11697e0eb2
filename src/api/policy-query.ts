// SPDX-License-Identifier: Apache-2.0
// A line of `heddle policy verdict --queries`.

import type { Family } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import type { Place, PolicyQuery } from '../world/query.ts'
import { address, BadField, type Cursor, choice, field, integer, isMissing, port, text } from './cursor.ts'

const protocols = { TCP: Protocol.TCP, UDP: Protocol.UDP, SCTP: Protocol.SCTP, ICMP: Protocol.ICMP } as const
const families = { IPv4: 4, IPv6: 6 } as const

/** Throws BadField. */
export function readPolicyQuery(query: Cursor): PolicyQuery {
  const protocol = choice(field(query, 'protocol'), protocols, 'TCP')
  const family = field(query, 'family')
  return {
    from: readPlace(field(query, 'from')),
    to: readPlace(field(query, 'to')),
    protocol,
    port: protocol === Protocol.ICMP ? integer(field(query, 'type'), 0, 255) << 8 : port(field(query, 'port')),
    family: isMissing(family) ? null : choice<Family>(family, families),
  }
}

function readPlace(place: Cursor): Place {
  const [pod, ip, node] = [field(place, 'pod'), field(place, 'ip'), field(place, 'node')]
  if ([pod, ip, node].filter((each) => !isMissing(each)).length !== 1) {
    throw new BadField(place, 'needs one of pod, ip, node')
  }
  if (!isMissing(ip)) return { ip: address(ip) }
  if (!isMissing(node)) return { node: text(node) }
  const name = text(pod)
  if (!/^[^/]+\/[^/]+$/.test(name)) throw new BadField(pod, 'a pod is "namespace/name"')
  return { pod: name }
}
