// SPDX-License-Identifier: Apache-2.0
// The first packet of a flow as a frame: what is needed to be judged, and no payload.

import { type Address, addressBytes, family } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'

export interface Probe {
  readonly source: Address
  /** Of the same family. */
  readonly destination: Address
  /** ICMP in IPv4, ICMPv6 in IPv6. */
  readonly protocol: Protocol
  /** Of the destination; of ICMP type << 8 | code. */
  readonly port: number
}

const ETHERNET_BYTES = 14
const TCP_SYN = 2
const HOP_LIMIT = 64

/** Ports of the source are 0, which no flow has: two probes are never each other's answer. Checksums are 0. */
export function probeFrame(probe: Probe): Uint8Array {
  const transport = transportHeader(probe)
  const header = family(probe.source) === 4 ? ipv4Header(probe, transport.length) : ipv6Header(probe, transport.length)
  const frame = new Uint8Array(ETHERNET_BYTES + header.length + transport.length)
  frame.set(family(probe.source) === 4 ? [0x08, 0x00] : [0x86, 0xdd], 12)
  frame.set(header, ETHERNET_BYTES)
  frame.set(transport, ETHERNET_BYTES + header.length)
  return frame
}

/** RFC 791 3.1. */
function ipv4Header({ source, destination, protocol }: Probe, payloadBytes: number): Uint8Array {
  const header = new Uint8Array(20)
  header[0] = 0x45
  new DataView(header.buffer).setUint16(2, header.length + payloadBytes)
  header[8] = HOP_LIMIT
  header[9] = protocol
  header.set(addressBytes(source).subarray(12), 12)
  header.set(addressBytes(destination).subarray(12), 16)
  return header
}

/** RFC 8200 3. */
function ipv6Header({ source, destination, protocol }: Probe, payloadBytes: number): Uint8Array {
  const header = new Uint8Array(40)
  header[0] = 0x60
  new DataView(header.buffer).setUint16(4, payloadBytes)
  header[6] = protocol
  header[7] = HOP_LIMIT
  header.set(addressBytes(source), 8)
  header.set(addressBytes(destination), 24)
  return header
}

function transportHeader({ protocol, port }: Probe): Uint8Array {
  const header = new Uint8Array(TRANSPORT_BYTES[protocol])
  const view = new DataView(header.buffer)
  if (protocol === Protocol.ICMP || protocol === Protocol.ICMPv6) {
    view.setUint16(0, port)
    view.setUint16(4, 1 + (port >> 8)) // an echo request and an echo reply are of different flows
    return header
  }
  view.setUint16(2, port)
  if (protocol === Protocol.TCP) {
    header[12] = (header.length / 4) << 4
    header[13] = TCP_SYN
  }
  if (protocol === Protocol.UDP) view.setUint16(4, header.length)
  return header
}

/** RFC 9293 3.1, RFC 768, RFC 9260 3.1, RFC 792 and RFC 4443 2.1 with identifier and number. */
const TRANSPORT_BYTES = {
  [Protocol.TCP]: 20,
  [Protocol.UDP]: 8,
  [Protocol.SCTP]: 12,
  [Protocol.ICMP]: 8,
  [Protocol.ICMPv6]: 8,
} as const
