// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest'
import type { Packet } from '../../src/datapath/trace-packet.ts'
import {
  echoReply,
  echoRequest,
  firstFragment,
  frame,
  icmpError,
  laterFragment,
  opaque,
  sctp,
  tcp,
  udp,
  vxlan,
} from '../support/packet.ts'
import { packetBytes, parsePacket } from '../support/packet-bytes.ts'

const hello = tcp('10.1.0.5:4000', '10.2.0.9:80', 'S')
const hello6 = tcp('[fd00:1::5]:4000', '[fd00:2::9]:80', 'SA', { trafficClass: 0x2, hopLimit: 9 })
const packets: readonly (readonly [string, Packet])[] = [
  ['TCP', hello],
  ['TCP over IPv6', hello6],
  ['UDP', udp('10.1.0.5:53', '10.2.0.9:5353', { payloadBytes: 1001, dontFragment: true })],
  ['UDP over IPv6', udp('[fd00:1::5]:53', '[fd00:2::9]:5353')],
  ['IPv4 options', tcp('10.1.0.5:4000', '10.2.0.9:80', 'A', { optionBytes: 8 })],
  [
    'IPv6 extension headers',
    udp('[fd00:1::5]:53', '[fd00:2::9]:5353', {
      extensions: [
        { header: 0, bytes: 8 },
        { header: 60, bytes: 16 },
      ],
    }),
  ],
  ['echo request', echoRequest('10.1.0.5', '10.2.0.9', 77)],
  ['IPv6 echo reply', echoReply('fd00:1::5', 'fd00:2::9', 77)],
  ['ICMP error', icmpError('port unreachable', '10.2.0.9', hello)],
  ['IPv6 ICMP error', icmpError('packet too big', 'fd00:2::9', hello6)],
  ['VXLAN', vxlan('192.168.0.1', '192.168.0.2', hello6, { vni: 7 })],
  ['VXLAN over IPv6', vxlan('fd00:f::1', 'fd00:f::2', hello)],
  ['first fragment', firstFragment(hello, 0x1234)],
  ['later fragment', laterFragment(hello, 0x1234)],
  ['IPv6 first fragment', firstFragment(hello6, 0x12345678)],
  ['IPv6 later fragment', laterFragment(hello6, 0x12345678)],
  ['another transport', opaque('10.1.0.5', '10.2.0.9', 47)],
  ['SCTP', sctp('10.1.0.5:4000', '10.2.0.9:80')],
  ['ARP', frame(0x0806)],
  ['an IPv4-mapped source in IPv6', udp('10.1.0.5:53', '[fd00:2::9]:5353', { family: 6 })],
]

test.each(packets)('%s survives bytes and back', (_, packet) => {
  expect(parsePacket(packetBytes(packet))).toEqual({ packet, problems: [] })
})

test.each(packets.filter(([, packet]) => packet.kind === 'ip'))(
  '%s: a flipped bit of the header is found',
  (_, packet) => {
    const bytes = packetBytes(packet)
    const lastOfDestination = packet.kind === 'ip' && packet.family === 4 ? 33 : 53
    bytes[lastOfDestination]! ^= 1
    const { problems } = parsePacket(bytes)
    const covered = packet.kind === 'ip' && (packet.family === 4 || packet.transport.kind !== 'opaque')
    expect(problems.length > 0).toBe(covered)
  },
)
