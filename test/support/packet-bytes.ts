// SPDX-License-Identifier: Apache-2.0
// Packet descriptions to bytes and back, with real checksums. Payload bytes count up from 0; a first fragment carries
// the checksum of its own bytes, which an incremental rewrite keeps consistent as it would that of the whole.

import { type Address, addressBytes, addressFromBytes } from '../../src/core/address.ts'
import { Protocol } from '../../src/core/protocol.ts'
import {
  ASKED_SERVICE_BYTES,
  type AskedService,
  EtherType,
  type Extension,
  type FragmentHeader,
  type IpPacket,
  icmpProtocol,
  isIcmpErrorType,
  type Packet,
  type Sctp,
  type Transport,
} from '../../src/datapath/trace-packet.ts'
import { crc32c } from './crc32c.ts'

const ETHERNET_BYTES = 14
const VXLAN_PORT = 8472
/** Hop-by-hop, routing, destination options. */
const IPV6_EXTENSIONS: readonly number[] = [0, 43, 60]
const IPV6_FRAGMENT = 44

export interface Parsed {
  readonly packet: Packet
  /** Wrong checksums and lengths; empty for a sound packet. */
  readonly problems: readonly string[]
}

/** An Ethernet frame with locally administered addresses. */
export function packetBytes(packet: Packet): Uint8Array {
  const destination = [2, 0, 0, 0, 0, 1]
  const source = [2, 0, 0, 0, 0, 2]
  const etherType = packet.kind === 'other' ? packet.etherType : packet.family === 4 ? EtherType.IPv4 : EtherType.IPv6
  const payload = packet.kind === 'other' ? payloadBytes(packet.payloadBytes) : ipBytes(packet)
  return concat([...destination, ...source], be16(etherType), payload)
}

/** Throws when the bytes are too short for the headers that they announce. */
export function parsePacket(frame: Uint8Array): Parsed {
  const problems: string[] = []
  return { packet: parseFrame(frame, problems), problems }
}

function parseFrame(frame: Uint8Array, problems: string[]): Packet {
  const etherType = read16(frame, 12)
  const body = frame.subarray(ETHERNET_BYTES)
  if (etherType === EtherType.IPv4) return parseIpv4(body, problems)
  if (etherType === EtherType.IPv6) return parseIpv6(body, problems)
  return { kind: 'other', etherType, payloadBytes: body.length }
}

// -- IP ------------------------------------------------------------------------------------------------------------

function ipBytes(packet: IpPacket): Uint8Array {
  const body = transportBytes(packet)
  return packet.family === 4 ? ipv4Bytes(packet, body) : ipv6Bytes(packet, body)
}

function ipv4Bytes(packet: IpPacket, body: Uint8Array): Uint8Array {
  const headerBytes = 20 + packet.optionBytes
  const header = new Uint8Array(headerBytes)
  header[0] = 0x40 | (headerBytes / 4)
  header[1] = packet.trafficClass
  write16(header, 2, headerBytes + body.length)
  write16(header, 4, packet.fragment?.identification ?? 0)
  const fragment = packet.fragment ? (packet.fragment.more ? 0x2000 : 0) | (packet.fragment.offset / 8) : 0
  write16(header, 6, (packet.dontFragment ? 0x4000 : 0) | fragment)
  header[8] = packet.hopLimit
  header[9] = packet.protocol
  header.set(addressBytes(packet.source).subarray(12), 12)
  header.set(addressBytes(packet.destination).subarray(12), 16)
  header.fill(1, 20) // no operation
  write16(header, 10, checksum(header))
  return concat(header, body)
}

function ipv6Bytes(packet: IpPacket, body: Uint8Array): Uint8Array {
  const extensions: Uint8Array[] = []
  let next = packet.protocol
  if (packet.fragment) {
    const { identification, offset, more } = packet.fragment
    extensions.unshift(concat([next, 0], be16(offset | (more ? 1 : 0)), be32(identification)))
    next = IPV6_FRAGMENT
  }
  for (const { header, bytes } of packet.extensions.toReversed()) {
    const extension = new Uint8Array(bytes) // Pad1
    extension[0] = next
    extension[1] = bytes / 8 - 1
    extensions.unshift(extension)
    next = header
  }
  const payload = concat(...extensions, body)
  const header = concat(
    be32((6 << 28) | (packet.trafficClass << 20)),
    be16(payload.length),
    [next, packet.hopLimit],
    addressBytes(packet.source),
    addressBytes(packet.destination),
  )
  return concat(header, payload)
}

function parseIpv4(bytes: Uint8Array, problems: string[]): IpPacket {
  const headerBytes = (bytes[0]! & 0xf) * 4
  if (checksum(bytes.subarray(0, headerBytes)) !== 0) problems.push('IPv4 header checksum')
  const length = read16(bytes, 2)
  if (length !== bytes.length) problems.push(`IPv4 total length ${length}, but ${bytes.length} bytes`)
  const fragmentField = read16(bytes, 6)
  const offset = (fragmentField & 0x1fff) * 8
  const more = (fragmentField & 0x2000) !== 0
  const identification = read16(bytes, 4)
  const header = {
    kind: 'ip' as const,
    family: 4 as const,
    source: mappedAddress(bytes.subarray(12, 16)),
    destination: mappedAddress(bytes.subarray(16, 20)),
    trafficClass: bytes[1]!,
    dontFragment: (fragmentField & 0x4000) !== 0,
    hopLimit: bytes[8]!,
    optionBytes: headerBytes - 20,
    extensions: [],
    fragment: offset > 0 || more ? { identification, offset, more } : null,
    protocol: bytes[9]!,
  }
  return { ...header, transport: parseTransport(header, bytes.subarray(headerBytes), problems) }
}

function parseIpv6(bytes: Uint8Array, problems: string[]): IpPacket {
  const length = read16(bytes, 4) + 40
  if (length !== bytes.length) problems.push(`IPv6 length ${length}, but ${bytes.length} bytes`)
  let next = bytes[6]!
  let rest = bytes.subarray(40)
  const extensions: Extension[] = []
  let fragment: FragmentHeader | null = null
  while (IPV6_EXTENSIONS.includes(next)) {
    const bytes = (rest[1]! + 1) * 8
    extensions.push({ header: next, bytes })
    next = rest[0]!
    rest = rest.subarray(bytes)
  }
  if (next === IPV6_FRAGMENT) {
    next = rest[0]!
    const field = read16(rest, 2)
    fragment = { identification: read32(rest, 4), offset: field & 0xfff8, more: (field & 1) !== 0 }
    rest = rest.subarray(8)
  }
  const header = {
    kind: 'ip' as const,
    family: 6 as const,
    source: addressFromBytes(bytes.subarray(8, 24)),
    destination: addressFromBytes(bytes.subarray(24, 40)),
    trafficClass: (read16(bytes, 0) >> 4) & 0xff,
    dontFragment: false,
    hopLimit: bytes[7]!,
    optionBytes: 0,
    extensions,
    fragment,
    protocol: next,
  }
  return { ...header, transport: parseTransport(header, rest, problems) }
}

// -- Transport -----------------------------------------------------------------------------------------------------

function transportBytes(packet: IpPacket): Uint8Array {
  const { transport } = packet
  switch (transport.kind) {
    case 'tcp': {
      const header = new Uint8Array(20)
      write16(header, 0, transport.sourcePort)
      write16(header, 2, transport.destinationPort)
      write32(header, 4, 1000)
      header[12] = 5 << 4
      header[13] = transport.flags
      write16(header, 14, 65535)
      return checksummed(packet, concat(header, payloadBytes(transport.payloadBytes)), 16)
    }
    case 'udp':
      return udpBytes(packet, transport.sourcePort, transport.destinationPort, payloadBytes(transport.payloadBytes))
    case 'sctp':
      return sctpBytes(transport)
    case 'vxlan': {
      const header = concat([0x08, 0, 0, 0], be32(transport.vni << 8))
      const body = concat(
        header,
        transport.asked ? askedBytes(transport.asked, transport.inner) : packetBytes(transport.inner),
      )
      return udpBytes(packet, transport.sourcePort, transport.destinationPort, body)
    }
    case 'icmp': {
      const header = concat([transport.type, transport.code, 0, 0], be16(transport.identifier), be16(1))
      return checksummed(packet, concat(header, payloadBytes(transport.payloadBytes)), 2)
    }
    case 'icmpError': {
      const header = concat([transport.type, transport.code, 0, 0], be32(transport.word))
      return checksummed(packet, concat(header, ipBytes(transport.quoted)), 2)
    }
    case 'opaque':
      return payloadBytes(transport.payloadBytes)
  }
}

/** The checksum of a packet that a device is to complete is 0. */
function sctpBytes({ sourcePort, destinationPort, payloadBytes: length, isPartial }: Sctp): Uint8Array {
  const bytes = concat(be16(sourcePort), be16(destinationPort), new Uint8Array(8), payloadBytes(length))
  if (!isPartial) new DataView(bytes.buffer).setUint32(8, crc32c(bytes), true)
  return bytes
}

/** Of a first fragment nothing can be verified. */
function parseSctp({ fragment }: Omit<IpPacket, 'transport'>, bytes: Uint8Array, problems: string[]): Transport {
  const view = new DataView(bytes.slice().buffer)
  const found = view.getUint32(8, true)
  view.setUint32(8, 0)
  if (found !== 0 && !fragment && found !== crc32c(new Uint8Array(view.buffer))) problems.push('SCTP checksum')
  const [sourcePort, destinationPort] = [read16(bytes, 0), read16(bytes, 2)]
  const isPartial = found === 0 ? { isPartial: true as const } : {}
  return { kind: 'sctp', sourcePort, destinationPort, payloadBytes: bytes.length - 12, ...isPartial }
}

function udpBytes(packet: IpPacket, sourcePort: number, destinationPort: number, body: Uint8Array): Uint8Array {
  const header = concat(be16(sourcePort), be16(destinationPort), be16(8 + body.length), [0, 0])
  return checksummed(packet, concat(header, body), 6)
}

function parseTransport(header: Omit<IpPacket, 'transport'>, bytes: Uint8Array, problems: string[]): Transport {
  if (header.fragment && header.fragment.offset > 0) return { kind: 'opaque', payloadBytes: bytes.length }
  if (header.protocol === Protocol.TCP) {
    verifyChecksum(header, bytes, problems)
    return {
      kind: 'tcp',
      sourcePort: read16(bytes, 0),
      destinationPort: read16(bytes, 2),
      flags: bytes[13]!,
      payloadBytes: bytes.length - 20,
    }
  }
  if (header.protocol === Protocol.SCTP) return parseSctp(header, bytes, problems)
  if (header.protocol === Protocol.UDP) return parseUdp(header, bytes, problems)
  if (header.protocol === icmpProtocol(header.family)) {
    verifyChecksum(header, bytes, problems)
    const [type, code] = [bytes[0]!, bytes[1]!]
    if (!isIcmpErrorType(header.family, type)) {
      return { kind: 'icmp', type, code, identifier: read16(bytes, 4), payloadBytes: bytes.length - 8 }
    }
    const body = bytes.subarray(8)
    // What is quoted may be cut (RFC 792, RFC 4443 3.1); what lies beyond cannot be checked then.
    const total = header.family === 4 ? read16(body, 2) : read16(body, 4) + 40
    const quotedProblems = total > body.length ? [] : problems
    const quoted = header.family === 4 ? parseIpv4(body, quotedProblems) : parseIpv6(body, quotedProblems)
    return { kind: 'icmpError', type, code, word: read32(bytes, 4), quoted }
  }
  return { kind: 'opaque', payloadBytes: bytes.length }
}

function parseUdp(header: Omit<IpPacket, 'transport'>, bytes: Uint8Array, problems: string[]): Transport {
  const [sourcePort, destinationPort] = [read16(bytes, 0), read16(bytes, 2)]
  const tunnel = destinationPort === VXLAN_PORT && bytes.length >= 16 + ETHERNET_BYTES && bytes[8] === 0x08
  if (read16(bytes, 4) !== bytes.length) problems.push(`UDP length ${read16(bytes, 4)}, but ${bytes.length} bytes`)
  // Zero means no checksum: always in IPv4, in IPv6 only for tunnels (RFC 6935 5).
  if (read16(bytes, 6) !== 0 || (header.family === 6 && !tunnel)) verifyChecksum(header, bytes, problems)
  if (!tunnel) return { kind: 'udp', sourcePort, destinationPort, payloadBytes: bytes.length - 8 }
  const frame = bytes.subarray(16)
  const tunnelled = { kind: 'vxlan', sourcePort, destinationPort, vni: read32(bytes, 12) >>> 8 } as const
  if (read16(frame, 12) !== EtherType.DSR) return { ...tunnelled, inner: parseFrame(frame, problems) }
  const asked = frame.subarray(ETHERNET_BYTES, ETHERNET_BYTES + ASKED_SERVICE_BYTES)
  return {
    ...tunnelled,
    asked: { address: addressFromBytes(asked.subarray(0, 16)), port: read16(asked, 16) },
    inner: parseFrame(withoutAsked(frame), problems),
  }
}

/** The frame of `inner` with what was asked between its headers (bpf/lib/dsr.h). */
function askedBytes({ address, port }: AskedService, inner: Packet): Uint8Array {
  const frame = packetBytes(inner)
  const type = frame.subarray(12, ETHERNET_BYTES)
  return concat(
    frame.subarray(0, 12),
    be16(EtherType.DSR),
    addressBytes(address),
    be16(port),
    type,
    [0, 0, 0, 0],
    frame.subarray(ETHERNET_BYTES),
  )
}

function withoutAsked(frame: Uint8Array): Uint8Array {
  const type = frame.subarray(ETHERNET_BYTES + 18, ETHERNET_BYTES + 20)
  return concat(frame.subarray(0, 12), type, frame.subarray(ETHERNET_BYTES + ASKED_SERVICE_BYTES))
}

// -- Checksums (RFC 1071) ------------------------------------------------------------------------------------------

function checksummed(header: Omit<IpPacket, 'transport'>, body: Uint8Array, at: number): Uint8Array {
  const sum = checksum(concat(pseudoHeader(header, body.length), body))
  write16(body, at, sum === 0 && header.protocol === Protocol.UDP ? 0xffff : sum)
  return body
}

function verifyChecksum(header: Omit<IpPacket, 'transport'>, body: Uint8Array, problems: string[]) {
  const sum = checksum(concat(pseudoHeader(header, body.length), body))
  if (sum !== 0) problems.push(`checksum of protocol ${header.protocol}, ${header.source} -> ${header.destination}`)
}

// The mapped form of an IPv4 address adds 0xffff to the sum, which is zero in ones' complement.
function pseudoHeader(header: Omit<IpPacket, 'transport'>, length: number): Uint8Array {
  if (header.protocol === Protocol.ICMP) return new Uint8Array(0)
  return concat(addressBytes(header.source), addressBytes(header.destination), be32(length), be32(header.protocol))
}

function checksum(bytes: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000)
  return 0xffff ^ sum
}

// -- Bytes ---------------------------------------------------------------------------------------------------------

function mappedAddress(ipv4: Uint8Array): Address {
  return addressFromBytes(concat(new Uint8Array(10), [0xff, 0xff], ipv4))
}

function payloadBytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i & 0xff)
}

function concat(...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]))
}

function be16(value: number): readonly number[] {
  return [value >> 8, value & 0xff]
}

function be32(value: number): readonly number[] {
  return [value >>> 24, (value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff]
}

function read16(bytes: Uint8Array, at: number): number {
  if (at + 2 > bytes.length) throw new RangeError(`packet of ${bytes.length} bytes ends before ${at + 2}`)
  return (bytes[at]! << 8) | bytes[at + 1]!
}

function read32(bytes: Uint8Array, at: number): number {
  return read16(bytes, at) * 0x10000 + read16(bytes, at + 2)
}

function write16(bytes: Uint8Array, at: number, value: number) {
  bytes.set(be16(value), at)
}

function write32(bytes: Uint8Array, at: number, value: number) {
  bytes.set(be32(value), at)
}
