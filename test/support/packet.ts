// SPDX-License-Identifier: Apache-2.0
// Readable constructors of packet descriptions: tcp('10.1.0.5:4000', '10.2.0.9:80', 'SA'), udp('[fd00::5]:53', ...).

import { type Address, type Family, isParseError, parseAddress } from '../../src/core/address.ts'
import { Protocol } from '../../src/core/protocol.ts'
import {
  type AskedService,
  type Extension,
  IcmpType,
  Icmpv6Type,
  type IpPacket,
  icmpProtocol,
  type OtherFrame,
  type Packet,
  TcpFlag,
  type Transport,
} from '../../src/datapath/trace-packet.ts'

export interface Header {
  readonly hopLimit?: number
  readonly trafficClass?: number
  readonly dontFragment?: boolean
  readonly optionBytes?: number
  readonly extensions?: readonly Extension[]
  readonly payloadBytes?: number
  /** For an IPv6 packet with an IPv4-mapped address. */
  readonly family?: Family
}

/** Flags are letters of FSRPAU. */
export function tcp(from: string, to: string, flags: string, header: Header = {}): IpPacket {
  const [source, sourcePort] = addressAndPort(from)
  const [destination, destinationPort] = addressAndPort(to)
  const payloadBytes = header.payloadBytes ?? 0
  return ip(source, destination, Protocol.TCP, header, {
    kind: 'tcp',
    sourcePort,
    destinationPort,
    flags: tcpFlags(flags),
    payloadBytes,
  })
}

export function udp(from: string, to: string, header: Header = {}): IpPacket {
  const [source, sourcePort] = addressAndPort(from)
  const [destination, destinationPort] = addressAndPort(to)
  const payloadBytes = header.payloadBytes ?? 12
  return ip(source, destination, Protocol.UDP, header, { kind: 'udp', sourcePort, destinationPort, payloadBytes })
}

export function sctp(from: string, to: string, header: Header = {}): IpPacket {
  const [source, sourcePort] = addressAndPort(from)
  const [destination, destinationPort] = addressAndPort(to)
  const payloadBytes = header.payloadBytes ?? 16
  return ip(source, destination, Protocol.SCTP, header, { kind: 'sctp', sourcePort, destinationPort, payloadBytes })
}

export function echoRequest(from: string, to: string, identifier: number, header: Header = {}): IpPacket {
  return echo(from, to, identifier, header, IcmpType.EchoRequest, Icmpv6Type.EchoRequest)
}

export function echoReply(from: string, to: string, identifier: number, header: Header = {}): IpPacket {
  return echo(from, to, identifier, header, IcmpType.EchoReply, Icmpv6Type.EchoReply)
}

/** Any other ICMP message that is no error, e.g. neighbour discovery. */
export function icmp(from: string, to: string, type: number, code: number, header: Header = {}): IpPacket {
  const source = address(from)
  return ip(source, address(to), icmpProtocol(familyOf(source, header)), header, {
    kind: 'icmp',
    type,
    code,
    identifier: 0,
    payloadBytes: header.payloadBytes ?? 16,
  })
}

export type IcmpProblem = 'port unreachable' | 'prohibited' | 'time exceeded' | 'packet too big'

/** An ICMP error about `quoted`, sent by `from` to the source that the quoted packet shows. */
export function icmpError(problem: IcmpProblem, from: string, quoted: IpPacket, header: Header = {}): IpPacket {
  const source = address(from)
  const family = familyOf(source, header)
  const [type, code] =
    family === 4
      ? { 'port unreachable': [3, 3], prohibited: [3, 13], 'time exceeded': [11, 0], 'packet too big': [3, 4] }[problem]
      : { 'port unreachable': [1, 4], prohibited: [1, 1], 'time exceeded': [3, 0], 'packet too big': [2, 0] }[problem]
  return ip(source, quoted.source, icmpProtocol(family), header, {
    kind: 'icmpError',
    type: type!,
    code: code!,
    word: problem === 'packet too big' ? 1280 : 0,
    quoted,
  })
}

export interface Tunnel {
  readonly vni?: number
  readonly port?: number
  readonly sourcePort?: number
  /** 'vip:80': what the client has asked for (bpf/lib/dsr.h). */
  readonly asked?: string
}

export function vxlan(from: string, to: string, inner: Packet, tunnel: Tunnel = {}, header: Header = {}): IpPacket {
  return ip(address(from), address(to), Protocol.UDP, header, {
    kind: 'vxlan',
    sourcePort: tunnel.sourcePort ?? 50000,
    destinationPort: tunnel.port ?? 8472,
    vni: tunnel.vni ?? 1,
    ...(tunnel.asked !== undefined && { asked: askedService(tunnel.asked) }),
    inner,
  })
}

function askedService(text: string): AskedService {
  const [address, port] = addressAndPort(text)
  return { address, port }
}

/** A packet of a transport that the data plane does not know, without ports. */
export function opaque(from: string, to: string, protocol: number, header: Header = {}): IpPacket {
  return ip(address(from), address(to), protocol, header, { kind: 'opaque', payloadBytes: header.payloadBytes ?? 16 })
}

export function frame(etherType: number): OtherFrame {
  return { kind: 'other', etherType, payloadBytes: 46 }
}

/** The first fragment of a packet: its transport header is whole. */
export function firstFragment(packet: IpPacket, identification: number): IpPacket {
  return { ...packet, dontFragment: false, fragment: { identification, offset: 0, more: true } }
}

/** A later fragment of the same packet: no transport header, `offset` bytes into the payload. */
export function laterFragment(packet: IpPacket, identification: number, offset = 64, more = false): IpPacket {
  return {
    ...packet,
    dontFragment: false,
    fragment: { identification, offset, more },
    transport: { kind: 'opaque', payloadBytes: 64 },
  }
}

function echo(
  from: string,
  to: string,
  identifier: number,
  header: Header,
  ipv4Type: number,
  ipv6Type: number,
): IpPacket {
  const source = address(from)
  const family = familyOf(source, header)
  return ip(source, address(to), icmpProtocol(family), header, {
    kind: 'icmp',
    type: family === 4 ? ipv4Type : ipv6Type,
    code: 0,
    identifier,
    payloadBytes: header.payloadBytes ?? 8,
  })
}

function ip(source: Address, destination: Address, protocol: number, header: Header, transport: Transport): IpPacket {
  return {
    kind: 'ip',
    family: familyOf(source, header),
    source,
    destination,
    trafficClass: header.trafficClass ?? 0,
    dontFragment: header.dontFragment ?? false,
    hopLimit: header.hopLimit ?? 64,
    optionBytes: header.optionBytes ?? 0,
    extensions: header.extensions ?? [],
    fragment: null,
    protocol,
    transport,
  }
}

function familyOf(source: Address, header: Header): Family {
  return header.family ?? (source.includes(':') ? 6 : 4)
}

export function tcpFlags(letters: string): number {
  const bits: Record<string, number> = {
    F: TcpFlag.FIN,
    S: TcpFlag.SYN,
    R: TcpFlag.RST,
    P: TcpFlag.PSH,
    A: TcpFlag.ACK,
    U: TcpFlag.URG,
  }
  return [...letters].reduce((flags, letter) => flags | bits[letter]!, 0)
}

/** '10.1.0.5:80' or '[fd00::5]:80'. */
export function addressAndPort(text: string): readonly [Address, number] {
  const colon = text.lastIndexOf(':')
  return [address(text.slice(0, colon).replace(/^\[|\]$/g, '')), Number(text.slice(colon + 1))]
}

export function address(text: string): Address {
  const parsed = parseAddress(text)
  if (isParseError(parsed)) throw new Error(`${text}: ${parsed.parseError}`)
  return parsed
}
