// SPDX-License-Identifier: Apache-2.0
// A packet as the data plane sees it: its headers decoded, its payload only by length. `trace` takes and returns these;
// test/support turns them into bytes and back.

import type { Address, Family } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'

export const EtherType = { IPv4: 0x0800, ARP: 0x0806, IPv6: 0x86dd, DSR: 0x88b5 } as const

/** TCP flag bits, RFC 9293 3.1. */
export const TcpFlag = { FIN: 0x01, SYN: 0x02, RST: 0x04, PSH: 0x08, ACK: 0x10, URG: 0x20 } as const

export const IcmpType = {
  EchoReply: 0,
  Unreachable: 3,
  EchoRequest: 8,
  TimeExceeded: 11,
  ParameterProblem: 12,
} as const
export const Icmpv6Type = {
  Unreachable: 1,
  TooLarge: 2,
  TimeExceeded: 3,
  EchoRequest: 128,
  EchoReply: 129,
  NeighbourSolicitation: 135,
  NeighbourAdvertisement: 136,
} as const

export interface Tcp {
  readonly kind: 'tcp'
  readonly sourcePort: number
  readonly destinationPort: number
  readonly flags: number
  readonly payloadBytes: number
}

export interface Udp {
  readonly kind: 'udp'
  readonly sourcePort: number
  readonly destinationPort: number
  readonly payloadBytes: number
}

/** RFC 9260 3.1. */
export interface Sctp {
  readonly kind: 'sctp'
  readonly sourcePort: number
  readonly destinationPort: number
  readonly payloadBytes: number
  /** Its checksum is 0, for a device to compute. */
  readonly isPartial?: true
}

/** What a client has asked for, before the packet in the tunnel (bpf/lib/dsr.h). */
export interface AskedService {
  readonly address: Address
  readonly port: number
}
export const ASKED_SERVICE_BYTES = 24

/** A UDP packet whose payload is VXLAN (RFC 7348) around an Ethernet frame with `inner`. */
export interface Vxlan {
  readonly kind: 'vxlan'
  readonly sourcePort: number
  readonly destinationPort: number
  readonly vni: number
  readonly asked?: AskedService
  readonly inner: Packet
}

/** Echo, and every ICMP message that is no error; identifier is 0 where the type has none. */
export interface Icmp {
  readonly kind: 'icmp'
  readonly type: number
  readonly code: number
  readonly identifier: number
  readonly payloadBytes: number
}

/** An ICMP error and the packet that it quotes. */
export interface IcmpError {
  readonly kind: 'icmpError'
  readonly type: number
  readonly code: number
  /** The second word of the header: the MTU where the type carries one. */
  readonly word: number
  readonly quoted: IpPacket
}

/** A transport without ports, or what follows the first fragment. */
export interface Opaque {
  readonly kind: 'opaque'
  readonly payloadBytes: number
}

export type Transport = Tcp | Udp | Sctp | Vxlan | Icmp | IcmpError | Opaque

export interface FragmentHeader {
  readonly identification: number
  /** Bytes, a multiple of 8; 0 is the first. */
  readonly offset: number
  readonly more: boolean
}

/** An IPv6 extension header (RFC 8200 4): its number, and its length, a multiple of 8. */
export interface Extension {
  readonly header: number
  readonly bytes: number
}

export interface IpPacket {
  readonly kind: 'ip'
  readonly family: Family
  readonly source: Address
  readonly destination: Address
  /** DSCP and ECN. */
  readonly trafficClass: number
  /** IPv4 only. */
  readonly dontFragment: boolean
  readonly hopLimit: number
  /** IPv4 only, a multiple of 4. */
  readonly optionBytes: number
  /** IPv6 only, in order, before the fragment header. */
  readonly extensions: readonly Extension[]
  readonly fragment: FragmentHeader | null
  /** Of the transport. */
  readonly protocol: number
  readonly transport: Transport
}

/** A frame that is not IP, or whose IP header cannot be read. */
export interface OtherFrame {
  readonly kind: 'other'
  readonly etherType: number
  readonly payloadBytes: number
}

export type Packet = IpPacket | OtherFrame

/** Whether an ICMP type of this family reports an error about a packet that it quotes (RFC 792, RFC 4443). */
export function isIcmpErrorType(family: Family, type: number): boolean {
  return family === 6 ? type >= 1 && type <= 4 : type === 3 || type === 4 || type === 11 || type === 12
}

export function icmpProtocol(family: Family): number {
  return family === 4 ? Protocol.ICMP : Protocol.ICMPv6
}

/** Bytes of the packet without its link header. */
export function ipBytes(packet: IpPacket): number {
  const extensions = packet.extensions.reduce((bytes, extension) => bytes + extension.bytes, 0)
  const header = packet.family === 4 ? 20 + packet.optionBytes : 40 + extensions + (packet.fragment ? 8 : 0)
  return header + transportBytes(packet.transport)
}

function transportBytes(transport: Transport): number {
  switch (transport.kind) {
    case 'tcp':
      return 20 + transport.payloadBytes
    case 'sctp':
      return 12 + transport.payloadBytes
    case 'udp':
    case 'icmp':
      return 8 + transport.payloadBytes
    case 'vxlan':
      return (
        8 +
        8 +
        14 +
        (transport.asked ? ASKED_SERVICE_BYTES : 0) +
        (transport.inner.kind === 'ip' ? ipBytes(transport.inner) : transport.inner.payloadBytes)
      )
    case 'icmpError':
      return 8 + ipBytes(transport.quoted)
    case 'opaque':
      return transport.payloadBytes
  }
}
