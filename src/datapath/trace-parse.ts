// SPDX-License-Identifier: Apache-2.0
// `trace`: the tuple of a packet (bpf/lib/parse.h).

import { family } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import { DropReason, type FragmentKey, type Tuple } from '../generated/abi.ts'
import {
  EtherType,
  type FragmentHeader,
  IcmpType,
  Icmpv6Type,
  type IpPacket,
  icmpProtocol,
  type Packet,
} from './trace-packet.ts'
import { type FlowState, fragmentText } from './trace-tables.ts'
import { drop, type Verdict } from './trace-walk.ts'

const ROUTING_HEADER = 43
const EXTENSIONS_MAX = 4

/** The IP packet, or the verdict on what is none. */
export function parseNetwork(packet: Packet): IpPacket | Verdict {
  if (packet.kind === 'other') {
    const isIp = packet.etherType === EtherType.IPv4 || packet.etherType === EtherType.IPv6
    return drop(isIp ? DropReason.PARSE : DropReason.ETHERTYPE)
  }
  const mapped = packet.family === 6 && (family(packet.source) === 4 || family(packet.destination) === 4)
  if (mapped) return drop(DropReason.MAPPED_ADDRESS)
  const isRouted = packet.extensions.some(({ header }) => header === ROUTING_HEADER)
  const count = packet.extensions.length + (packet.fragment ? 1 : 0)
  if (isRouted || count > EXTENSIONS_MAX) return drop(DropReason.IP_OPTIONS)
  return packet
}

/** ICMP echo has (id, 0) in a request and (0, id) in a reply: one flow, oriented by type. */
export function ports(packet: IpPacket): { readonly sourcePort: number; readonly destinationPort: number } {
  const { transport } = packet
  switch (transport.kind) {
    case 'tcp':
    case 'udp':
    case 'sctp':
    case 'vxlan':
      return { sourcePort: transport.sourcePort, destinationPort: transport.destinationPort }
    case 'icmp': {
      const types = packet.family === 4 ? IcmpType : Icmpv6Type
      if (transport.type === types.EchoRequest) return { sourcePort: transport.identifier, destinationPort: 0 }
      if (transport.type === types.EchoReply) return { sourcePort: 0, destinationPort: transport.identifier }
      return { sourcePort: 0, destinationPort: (transport.type << 8) | transport.code }
    }
    case 'icmpError':
    case 'opaque':
      return { sourcePort: 0, destinationPort: 0 }
  }
}

/** The tuple; a later fragment finds the ports that its first has left. */
export function parseTransport(packet: IpPacket, state: FlowState): Tuple | Verdict {
  const { source, destination, protocol, fragment } = packet
  if (isCutShort(packet)) return drop(DropReason.PARSE)
  if (!fragment || fragment.offset === 0) return { source, destination, protocol, ...ports(packet) }
  const known = state.fragments.get(fragmentText(fragmentKey(packet, fragment)))?.[1]
  if (known === undefined || known.sorting === 1) return drop(DropReason.FRAGMENT)
  const { sourcePort, destinationPort } = known
  return { source, destination, protocol, sourcePort, destinationPort }
}

export function fragmentKey(
  { source, destination, protocol }: IpPacket,
  { identification }: FragmentHeader,
): FragmentKey {
  return { source, destination, protocol, identification }
}

/** A packet that ends within the header of a transport whose header is read. */
function isCutShort({ family, protocol, fragment, transport }: IpPacket): boolean {
  const readable: readonly number[] = [Protocol.TCP, Protocol.UDP, Protocol.SCTP, icmpProtocol(family)]
  return transport.kind === 'opaque' && readable.includes(protocol) && (fragment?.offset ?? 0) === 0
}

/** Type and code by which policy judges an ICMP packet; a later fragment is known to be an echo by its ports. */
export function icmpTypeAndCode(packet: IpPacket, tuple: Tuple): readonly [number, number] {
  const { transport } = packet
  if (transport.kind === 'icmp' || transport.kind === 'icmpError') return [transport.type, transport.code]
  const types = packet.family === 4 ? IcmpType : Icmpv6Type
  return [tuple.sourcePort === 0 ? types.EchoReply : types.EchoRequest, 0]
}
