// SPDX-License-Identifier: Apache-2.0
// `trace`: the answer to what a pod sends to a Service without endpoints (bpf/lib/refuse.h).

import { Protocol } from '../core/protocol.ts'
import { IcmpType, Icmpv6Type, type IpPacket, icmpProtocol, TcpFlag } from './trace-packet.ts'
import { isSyn } from './trace-walk.ts'

const HOP_LIMIT = 64
/** RFC 792, RFC 4443 3.1. */
const PORT_UNREACHABLE = { 4: 3, 6: 4 } as const

/** RST for a SYN, ICMP port unreachable for a datagram, from the Service; null: none. */
export function refusal(packet: IpPacket): IpPacket | null {
  const { family, source, destination, transport } = packet
  if (packet.fragment || packet.optionBytes > 0 || packet.extensions.length > 0) return null
  const answer = {
    kind: 'ip',
    family,
    source: destination,
    destination: source,
    trafficClass: 0,
    dontFragment: family === 4,
    hopLimit: HOP_LIMIT,
    optionBytes: 0,
    extensions: [],
    fragment: null,
  } as const
  if (transport.kind === 'tcp' && isSyn(packet)) {
    const { sourcePort: destinationPort, destinationPort: sourcePort } = transport
    const flags = TcpFlag.RST | TcpFlag.ACK
    return {
      ...answer,
      protocol: Protocol.TCP,
      transport: { kind: 'tcp', sourcePort, destinationPort, flags, payloadBytes: 0 },
    }
  }
  if (transport.kind !== 'udp') return null
  const type = family === 4 ? IcmpType.Unreachable : Icmpv6Type.Unreachable
  const quoted = { ...packet, transport: { ...transport, payloadBytes: 0 } }
  return {
    ...answer,
    protocol: icmpProtocol(family),
    transport: { kind: 'icmpError', type, code: PORT_UNREACHABLE[family], word: 0, quoted },
  }
}
