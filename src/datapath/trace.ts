// SPDX-License-Identifier: Apache-2.0
// The packet's path again: what the programs of bpf/hooks do with one packet, from the same tables, in words. Slow and
// plain where they are fast; test/packet runs every row through both, and they must agree.

import { family } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import { DropReason, PacketMark, TunnelMode } from '../generated/abi.ts'
import { conntrack } from './trace-conntrack.ts'
import { decapsulate, encapsulate, forward, nexthopOf } from './trace-forward.ts'
import type { IpPacket, Packet } from './trace-packet.ts'
import { parseNetwork, parseTransport } from './trace-parse.ts'
import { isTunnelPort, route, sourceOfNetdev, sourceOfPod } from './trace-route.ts'
import { lookup } from './trace-tables.ts'
import {
  drop,
  type HookName,
  isOwnAddress,
  note,
  type Stage,
  type TraceInput,
  toStack,
  type Verdict,
  type Walk,
} from './trace-walk.ts'

export interface Traced {
  readonly verdict: Verdict
  /** After rewriting; of a dropped packet as far as it came. */
  readonly packet: Packet
  readonly mark: number
  /** One line each: what was asked, and what the answer was. */
  readonly steps: readonly string[]
}

/** flow_side.ifindex_in of what this node's stack sends into a pod (bpf/lib/conntrack.h). */
const FROM_STACK = 0x8000_0000

const hooks: Record<HookName, (walk: Walk) => Verdict> = {
  from_pod: fromPod,
  to_pod: toPod,
  from_netdev: fromNetdev,
  to_netdev: toNetdev,
}

/** Runs one packet through one hook; input.state is left as the programs would leave it. */
export function trace(input: TraceInput): Traced {
  const { packet } = input
  if (input.hook === 'to_netdev' && input.mark === PacketMark.MARK) {
    return { verdict: toStack, packet, mark: input.mark, steps: ['mark: judged before'] }
  }
  const network = parseNetwork(packet)
  if (!isPacket(network)) {
    const verdict = isLeftToStack(input.hook, network) ? toStack : network
    return { verdict, packet, mark: input.mark, steps: [] }
  }
  const walk: Walk = {
    input,
    packet: network,
    tuple: {
      source: network.source,
      destination: network.destination,
      sourcePort: 0,
      destinationPort: 0,
      protocol: network.protocol,
    },
    to: null,
    destination: { kind: 'stack' },
    tunnelNode: 0n,
    mark: input.mark,
    steps: [],
  }
  const verdict = hooks[input.hook](walk)
  return { verdict, packet: walk.packet, mark: walk.mark, steps: walk.steps }
}

/** What a pod sends. */
function fromPod(walk: Walk): Verdict {
  const unparsed = parse(walk)
  if (unparsed) return unparsed
  if (isMulticast(walk.packet)) return drop(DropReason.MULTICAST)
  if (isNeighbourDiscovery(walk.packet)) return toStack
  return sourceOfPod(walk) ?? admit(walk) ?? forward(walk)
}

/** What the node's stack sends to a pod: of its own, or forwarded. */
function toPod(walk: Walk): Verdict {
  const unparsed = parse(walk)
  if (unparsed) return unparsed
  if (isMulticast(walk.packet)) return drop(DropReason.MULTICAST)
  const isOwn = isOwnAddress(walk.input.config, walk.tuple.source)
  return (isOwn ? null : sourceOfNetdev(walk)) ?? conntrack(walk, (walk.input.ifindex | FROM_STACK) >>> 0) ?? toStack
}

/** What the network sends: other nodes and the world. */
function fromNetdev(walk: Walk): Verdict {
  const { config } = walk.input
  const unparsed = parse(walk)
  if (unparsed) return unparsed
  if (isOwnAddress(config, walk.tuple.destination) && isTunnelPort(config, walk.tuple) && !walk.packet.fragment) {
    const refused = decapsulate(walk) ?? parse(walk)
    if (refused) return refused
  }
  if (isOwnAddress(config, walk.tuple.destination)) return sourceOfNetdev(walk) ?? toStack
  walk.destination = routeOf(walk)
  if (walk.destination.kind === 'nobody') return drop(walk.destination.reason)
  if (walk.destination.kind !== 'endpoint') return toStack
  return sourceOfNetdev(walk) ?? conntrack(walk, walk.input.ifindex) ?? forward(walk)
}

/** What the node's stack sends by the uplink. */
function toNetdev(walk: Walk): Verdict {
  const { config, tables } = walk.input
  const toNode = lookup(tables.nodes, { address: walk.packet.destination })
  if (isOwnAddress(config, walk.packet.source) && toNode) return toStack
  const destination = routeOf(walk)
  if (destination.kind !== 'node' || config.tunnelMode === TunnelMode.NONE) return toStack
  const nexthop = nexthopOf(walk, destination.node)
  if (!nexthop) return drop(DropReason.NO_NEXTHOP)
  encapsulate(walk, nexthop)
  return toStack
}

function admit(walk: Walk): Stage {
  walk.destination = routeOf(walk)
  return conntrack(walk, walk.input.ifindex)
}

function routeOf(walk: Walk): Walk['destination'] {
  const { tables, config, nameOf } = walk.input
  const destination = route(tables, config, walk.tuple)
  const { destination: address } = walk.tuple
  const words = {
    stack: 'this node',
    endpoint: `a pod here, interface ${destination.kind === 'endpoint' ? destination.ifindex : 0}`,
    node: `node ${destination.kind === 'node' ? nameOf(destination.node) : ''}`,
    world: 'beyond the cluster',
    nobody: 'nobody',
  }
  note(walk, 'route', `${address} is ${words[destination.kind]}`)
  return destination
}

/** Fills the tuple of the packet as it now is. */
function parse(walk: Walk): Stage {
  const network = parseNetwork(walk.packet)
  if (!isPacket(network)) return network
  const tuple = parseTransport(network, walk.input.state)
  if ('kind' in tuple) return tuple
  walk.tuple = tuple
  return null
}

function isPacket(parsed: IpPacket | Verdict): parsed is IpPacket {
  return parsed.kind === 'ip'
}

/** The uplink carries more than IP, and none of it is ours. */
function isLeftToStack(hook: HookName, verdict: Verdict): boolean {
  if (hook === 'to_netdev') return true
  const reason = verdict.kind === 'drop' ? verdict.reason : DropReason.NONE
  return hook === 'from_netdev' && (reason === DropReason.ETHERTYPE || reason === DropReason.PARSE)
}

/** Multicast of either family, and IPv4's limited broadcast. */
function isMulticast({ destination }: IpPacket): boolean {
  if (family(destination) === 6) return destination.startsWith('ff') && destination.indexOf(':') === 4
  const first = Number(destination.split('.')[0])
  return (first >= 224 && first < 240) || destination === '255.255.255.255'
}

/** The gateway of every pod is fe80::1, which nobody owns; what asks for it (RFC 4861) goes to the stack. */
function isNeighbourDiscovery({ protocol, transport, hopLimit, destination }: IpPacket): boolean {
  const isQuestion = protocol === Protocol.ICMPv6 && transport.kind === 'icmp' && [135, 136].includes(transport.type)
  return isQuestion && hopLimit === 255 && destination === 'fe80::1'
}
