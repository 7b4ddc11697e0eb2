// SPDX-License-Identifier: Apache-2.0
// `trace`: sends an allowed packet where its route leads (bpf/lib/forward.h, tunnel.h).

import { Protocol } from '../core/protocol.ts'
import { DropReason, type Nexthop, PacketMark, TunnelMode } from '../generated/abi.ts'
import { rewrite } from './trace-nat.ts'
import { ASKED_SERVICE_BYTES, type AskedService, type IpPacket, ipBytes } from './trace-packet.ts'
import { lookup } from './trace-tables.ts'
import { drop, note, returns, type Stage, toStack, type Verdict, type Walk } from './trace-walk.ts'

const TUNNEL_HOP_LIMIT = 64
const ECN_MASK = 3
const ECN_CE = 3

/** Decides. To the stack where the hop limit is used up or the packet is larger than the way allows: it answers, but what
 *  returns to the network it would take for its own. */
export function forward(walk: Walk): Verdict {
  const { destination } = walk
  if (destination.kind === 'nobody') return drop(destination.reason)
  if (returns(walk) && isLastHop(walk)) return drop(DropReason.HOP_LIMIT)
  if (destination.kind === 'world') return forwardToWorld(walk)
  if (destination.kind === 'stack' || isLastHop(walk)) return rewrite(walk) ?? toStack
  if (destination.kind === 'node') return forwardToNode(walk, destination.node)
  const refused = rewrite(walk)
  if (refused) return refused
  spendHop(walk)
  note(walk, 'forward', `into the pod behind interface ${destination.ifindex}`)
  return { kind: 'pod', ifindex: destination.ifindex }
}

/** A packet that is not translated is the stack's to route; so is one that the stack must answer, as the pod sent it. */
function forwardToWorld(walk: Walk): Verdict {
  const { input, to } = walk
  if (!returns(walk) && (!to || isLastHop(walk) || !input.hasRoute || isTooLarge(walk, 0))) return toStack
  const refused = rewrite(walk)
  if (refused) return refused
  spendHop(walk)
  walk.mark = PacketMark.MARK
  note(walk, 'forward', `to the world by interface ${input.config.uplink}`)
  return { kind: 'nexthop', ifindex: input.config.uplink, gateway: null, tunnel: false }
}

function isLastHop(walk: Walk): boolean {
  if (walk.packet.hopLimit > 1) return false
  note(walk, 'forward', 'hop limit used up')
  return true
}

function isTooLarge(walk: Walk, overhead: number): boolean {
  const bytes = ipBytes(walk.packet) + overhead
  if (bytes <= walk.input.mtuBytes) return false
  walk.mtuBytes = walk.input.mtuBytes - overhead
  note(walk, 'forward', `${bytes} bytes are more than the path's ${walk.input.mtuBytes}`)
  return true
}

function spendHop(walk: Walk) {
  walk.packet = { ...walk.packet, hopLimit: walk.packet.hopLimit - 1 }
}

function forwardToNode(walk: Walk, node: bigint): Verdict {
  const { packet, input } = walk
  const nexthop = nexthopOf(walk, node)
  if (!nexthop) return drop(DropReason.NO_NEXTHOP)
  const tunnel = walk.isDsr || input.config.tunnelMode === TunnelMode.VXLAN
  const isLarge = isTooLarge(walk, (tunnel ? tunnelOverhead(packet) : 0) + (walk.isDsr ? ASKED_SERVICE_BYTES : 0))
  if (isLarge && returns(walk)) return drop(DropReason.TOO_LARGE)
  const refused = rewrite(walk)
  if (refused) return refused
  if (isLarge) return toStack
  spendHop(walk)
  if (tunnel) encapsulate(walk, nexthop)
  walk.mark = PacketMark.MARK
  const withAsked = walk.isDsr ? `, which answers as ${walk.asked.destination} port ${walk.asked.destinationPort},` : ''
  const how = tunnel ? `VXLAN to ${nexthop.tunnel}${withAsked} by` : 'plain by'
  note(walk, 'nexthop', `node ${input.nameOf(node)}, ${how} ${nexthop.gateway} on interface ${nexthop.ifindex}`)
  return { kind: 'nexthop', ifindex: nexthop.ifindex, gateway: nexthop.gateway, tunnel }
}

export function nexthopOf({ packet, input }: Walk, node: bigint): Nexthop | undefined {
  return lookup(input.tables.nexthops, { node, family: packet.family })
}

export function tunnelOverhead({ family }: IpPacket): number {
  return (family === 4 ? 20 : 40) + 8 + 8 + 14
}

/** The outer source port, a hash of the inner flow, is 0 here. ECN as RFC 6040 4.1, normal mode. */
export function encapsulate(walk: Walk, nexthop: Nexthop) {
  const { destination: address, destinationPort: port } = walk.asked
  walk.packet = inTunnel(walk, walk.packet, nexthop, walk.isDsr ? { address, port } : undefined)
}

export function inTunnel({ input }: Walk, packet: IpPacket, nexthop: Nexthop, asked?: AskedService): IpPacket {
  return {
    kind: 'ip',
    family: packet.family,
    source: packet.family === 4 ? input.config.ipv4 : input.config.ipv6,
    destination: nexthop.tunnel,
    trafficClass: packet.trafficClass & ECN_MASK,
    dontFragment: packet.family === 4,
    hopLimit: TUNNEL_HOP_LIMIT,
    optionBytes: 0,
    extensions: [],
    fragment: null,
    protocol: Protocol.UDP,
    transport: {
      kind: 'vxlan',
      sourcePort: 0,
      destinationPort: input.config.tunnelPort,
      vni: input.config.vni,
      ...(asked && { asked }),
      inner: packet,
    },
  }
}

/** Puts the inner packet in the outer one's place. The outer source must be a known node, and not this one. What a client
 *  has asked for is taken only where backends answer themselves; in native mode nothing else is. */
export function decapsulate(walk: Walk): Stage {
  const { packet, input } = walk
  const node = lookup(input.tables.nodes, { address: packet.source })
  if (!node || node.node === input.config.node) return drop(DropReason.TUNNEL_SOURCE)
  const { transport } = packet
  const isOurs =
    transport.kind === 'vxlan' &&
    transport.vni === input.config.vni &&
    transport.inner.kind === 'ip' &&
    transport.inner.family === packet.family &&
    (transport.asked ? input.config.dsr !== 0 : input.config.tunnelMode === TunnelMode.VXLAN)
  if (!isOurs) return drop(DropReason.PARSE)
  const inner = transport.inner as IpPacket
  note(walk, 'tunnel', `VXLAN of node ${input.nameOf(node.node)}`)
  walk.tunnelNode = node.node
  walk.packet = inner
  takeAsked(walk, transport.asked)
  if ((packet.trafficClass & ECN_MASK) !== ECN_CE) return null
  if ((inner.trafficClass & ECN_MASK) === 0) return drop(DropReason.TUNNEL_ECN)
  walk.packet = { ...inner, trafficClass: inner.trafficClass | ECN_CE }
  return null
}

function takeAsked(walk: Walk, asked: AskedService | undefined) {
  if (!asked) return
  walk.isDsr = true
  walk.asked = { ...walk.asked, destination: asked.address, destinationPort: asked.port }
}
