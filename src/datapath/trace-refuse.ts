// SPDX-License-Identifier: Apache-2.0
// `trace`: the answer to what was dropped (bpf/lib/refuse.h).

import { Protocol } from '../core/protocol.ts'
import { DropReason, TunnelMode } from '../generated/abi.ts'
import { inTunnel, nexthopOf } from './trace-forward.ts'
import { IcmpType, Icmpv6Type, type IpPacket, icmpProtocol, TcpFlag } from './trace-packet.ts'
import { isNoHost } from './trace-sort.ts'
import { isSyn, type Verdict, type Walk } from './trace-walk.ts'

const HOP_LIMIT = 64
/** Type and code by family: RFC 792, RFC 1191, RFC 4443. */
const messages: Partial<Record<DropReason, Record<4 | 6, readonly [type: number, code: number]>>> = {
  [DropReason.NO_BACKEND]: { 4: [IcmpType.Unreachable, 3], 6: [Icmpv6Type.Unreachable, 4] },
  [DropReason.NO_PORT]: { 4: [IcmpType.Unreachable, 3], 6: [Icmpv6Type.Unreachable, 4] },
  [DropReason.POLICY_EGRESS]: { 4: [IcmpType.Unreachable, 13], 6: [Icmpv6Type.Unreachable, 1] },
  [DropReason.POLICY_INGRESS]: { 4: [IcmpType.Unreachable, 13], 6: [Icmpv6Type.Unreachable, 1] },
  [DropReason.TOO_LARGE]: { 4: [IcmpType.Unreachable, 4], 6: [Icmpv6Type.TooLarge, 0] },
  [DropReason.HOP_LIMIT]: { 4: [IcmpType.TimeExceeded, 0], 6: [Icmpv6Type.TimeExceeded, 0] },
}

/** The verdict with what its sender gets: RST or ICMP, from what the packet asked for. */
export function withAnswer(walk: Walk, verdict: Verdict): Verdict {
  if (verdict.kind !== 'drop') return verdict
  const { input, packet } = walk
  const isToMany = input.isToMany === true || isNoHost(packet.source)
  const answer = isToMany ? null : answerTo(walk, verdict.reason)
  const mayBeLimited = answer?.transport.kind === 'icmpError' && verdict.reason !== DropReason.TOO_LARGE
  if (mayBeLimited && input.choices.isAnswerLimited()) {
    return { ...verdict, answer: null, isAnswerLimited: true }
  }
  // One that another node has led here is answered as its backend would.
  if (answer === null || walk.tunnelNode === 0n || walk.isDsr) return { ...verdict, answer }
  const nexthop = nexthopOf(walk, walk.tunnelNode)
  const isTunnelled = walk.input.config.tunnelMode === TunnelMode.VXLAN
  return { ...verdict, answer: nexthop && isTunnelled ? inTunnel(walk, answer, nexthop) : null }
}

function answerTo({ input, packet, asked, mtuBytes }: Walk, reason: DropReason): IpPacket | null {
  const isByPolicy = reason === DropReason.POLICY_EGRESS || reason === DropReason.POLICY_INGRESS
  if (isByPolicy && input.config.refuseDenied === 0) return null
  const message = messages[reason]?.[packet.family]
  if (message === undefined || packet.fragment || packet.optionBytes > 0 || packet.extensions.length > 0) return null
  const { family, source, transport } = packet
  const answer = {
    kind: 'ip',
    family,
    source: asked.destination,
    destination: source,
    trafficClass: 0,
    dontFragment: family === 4,
    hopLimit: HOP_LIMIT,
    optionBytes: 0,
    extensions: [],
    fragment: null,
  } as const
  const isTooLongAWay = reason === DropReason.TOO_LARGE || reason === DropReason.HOP_LIMIT
  if (transport.kind === 'tcp' && !isTooLongAWay) {
    const belongs = isByPolicy && (transport.flags & (TcpFlag.RST | TcpFlag.ACK)) === TcpFlag.ACK
    if (!isSyn(packet) && !belongs) return null
    const { sourcePort: destinationPort } = transport
    const { destinationPort: sourcePort } = asked
    const flags = isSyn(packet) ? TcpFlag.RST | TcpFlag.ACK : TcpFlag.RST
    return {
      ...answer,
      protocol: Protocol.TCP,
      transport: { kind: 'tcp', sourcePort, destinationPort, flags, payloadBytes: 0 },
    }
  }
  if (transport.kind !== 'udp' && transport.kind !== 'tcp') return null
  const [type, code] = message
  const word = reason === DropReason.TOO_LARGE ? mtuBytes : 0
  const quoted = { ...packet, transport: { ...transport, payloadBytes: 0 } }
  return { ...answer, protocol: icmpProtocol(family), transport: { kind: 'icmpError', type, code, word, quoted } }
}
