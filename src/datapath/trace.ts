// SPDX-License-Identifier: Apache-2.0
// The packet's path again: what the programs of bpf/hooks do with one packet, from the same tables, in words. Slow and
// plain where they are fast; test/packet runs every row through both, and they must agree.

import { type Address, family, isIPv6Multicast } from '../core/address.ts'
import { hasPorts, Protocol } from '../core/protocol.ts'
import { DropReason, PacketMark, TunnelMode } from '../generated/abi.ts'
import { conntrack, FROM_STACK } from './trace-conntrack.ts'
import { enterDsr, isOfDsr } from './trace-dsr.ts'
import { decapsulate, encapsulate, forward, nexthopOf } from './trace-forward.ts'
import {
  enterTranslation,
  lookupTranslation,
  lookupTranslationOfPod,
  mayChoosePort,
  rewrite,
  translateSource,
} from './trace-nat.ts'
import { type IpPacket, type Packet, TcpFlag } from './trace-packet.ts'
import { parseNetwork, parseTransport, ports } from './trace-parse.ts'
import { withAnswer } from './trace-refuse.ts'
import { endpointOf, isTunnelPort, route, sourceOfNetdev, sourceOfPod, sourceOfStack } from './trace-route.ts'
import { cutAgain, maySort, returnSorted, sortEarly, sortFirst, wantsSorting } from './trace-sort.ts'
import { lookup, tupleText } from './trace-tables.ts'
import {
  type Audited,
  drop,
  type HookName,
  isOwnAddress,
  isSyn,
  note,
  reverse,
  type Stage,
  type Step,
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
  /** What was told: audited policies would deny it. */
  readonly audited: Audited | null
  readonly steps: readonly Step[]
}

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
    return { verdict: toStack, packet, mark: input.mark, audited: null, steps: [] }
  }
  const network = parseNetwork(packet)
  if (packet.kind !== 'ip')
    return { verdict: leftToStack(input.hook, network as Verdict), packet, mark: input.mark, audited: null, steps: [] }
  const tuple = {
    source: packet.source,
    destination: packet.destination,
    sourcePort: 0,
    destinationPort: 0,
    protocol: packet.protocol,
  }
  const walk: Walk = {
    input,
    packet,
    tuple,
    asked: tuple,
    to: null,
    isNewTranslation: false,
    service: 0n,
    isRelated: false,
    isHost: input.hook === 'to_netdev' && isOwnAddress(input.config, packet.source),
    isFromNetwork: false,
    isDsr: false,
    mtuBytes: 0,
    destination: { kind: 'stack' },
    tunnelNode: 0n,
    audited: null,
    isSorted: false,
    mark: input.mark,
    steps: [],
  }
  const verdict = isPacket(network) ? hooks[input.hook](walk) : leftToStack(input.hook, network, walk)
  return { verdict, packet: walk.packet, mark: walk.mark, audited: walk.audited, steps: walk.steps }
}

/** What a pod sends. */
function fromPod(walk: Walk): Verdict {
  returnSorted(walk)
  const refused = parse(walk)
  if (wantsSorting(walk, refused)) return sourceOfPod(walk) ?? sortEarly(walk)
  if (refused) return refused
  if (isMulticast(walk.packet)) return drop(DropReason.MULTICAST)
  if (isNeighbourDiscovery(walk.packet)) return toStack
  const verdict = proven(walk, sourceOfPod(walk)) ?? lookupTranslationOfPod(walk, 'pod') ?? admit(walk) ?? forward(walk)
  return withAnswer(walk, verdict)
}

function admit(walk: Walk): Stage {
  walk.destination = routeOf(walk)
  translateSource(walk)
  return judged(walk, conntrack(walk, walk.input.ifindex) ?? enterTranslation(walk))
}

/** What is dropped is not told as audited too. */
function judged(walk: Walk, refused: Stage): Stage {
  if (refused) walk.audited = null
  return refused
}

/** What the node's stack sends to a pod: of its own, or forwarded. */
function toPod(walk: Walk): Verdict {
  const refused = parse(walk)
  if (refused) return refused
  if (isMulticast(walk.packet)) return drop(DropReason.MULTICAST)
  const denied = judged(
    walk,
    proven(walk, sourceOfStack(walk)) ??
      lookupTranslation(walk, 'stack') ??
      conntrack(walk, (walk.input.ifindex | FROM_STACK) >>> 0),
  )
  return denied ?? rewrite(walk) ?? toStack
}

/** What the network sends: other nodes and the world, plain or in the tunnel. */
function fromNetdev(walk: Walk): Verdict {
  returnSorted(walk)
  const unparsed = parse(walk)
  const refused = unparsed ?? unwrap(walk) ?? (walk.isDsr ? enterTold(walk) : null)
  if (wantsSorting(walk, refused)) return sourceOfNetdev(walk) ?? sortEarly(walk)
  if (unparsed && walk.tunnelNode === 0n) return leftToStack('from_netdev', unparsed, walk)
  if (refused) return refused
  const verdict = cutAgain(walk, admitFromNetdev(walk) ?? forward(walk))
  const isRefusalOfOurs = verdict.kind === 'drop' && verdict.reason === DropReason.BARE_SOURCE
  return isRefusalOfOurs && walk.mark === PacketMark.MARK ? toStack : withAnswer(walk, verdict)
}

function admitFromNetdev(walk: Walk): Stage {
  if (isOwnAddress(walk.input.config, walk.packet.destination)) {
    const unproven = proven(walk, sourceOfNetdev(walk)) ?? lookupTranslation(walk, 'network')
    if (unproven) return unproven
    if (!walk.to) return toStack
  }
  let isProven = walk.to !== null
  walk.destination = routeOf(walk)
  const { destination } = walk
  const isUnallocated = destination.kind === 'nobody' && destination.reason === DropReason.NO_ENDPOINT
  if (!isProven && !isUnallocated && ['world', 'node', 'nobody'].includes(destination.kind)) {
    const decided = admitBeyond(walk)
    if (decided) return decided
    isProven = true
  }
  if (walk.destination.kind === 'nobody') return drop(walk.destination.reason)
  if (walk.destination.kind === 'endpoint' && !isProven) {
    const unproven = isOfDsr(walk)
      ? proven(walk, null)
      : (proven(walk, sourceOfNetdev(walk)) ?? lookupTranslationOfPod(walk, 'stack'))
    if (unproven) return unproven
  }
  walk.isFromNetwork = walk.to !== null
  translateSource(walk)
  const denied = walk.destination.kind === 'endpoint' ? conntrack(walk, walk.input.ifindex) : null
  return judged(walk, denied ?? enterTranslation(walk))
}

/** What another node has brought with what its client has asked for. */
function enterTold(walk: Walk): Stage {
  walk.destination = routeOf(walk)
  return enterDsr(walk)
}

/** For nobody's address here, which may be a Service's; otherwise the stack may forward it. Multicast stays here. */
function admitBeyond(walk: Walk): Stage {
  if (isMulticast(walk.packet)) return toStack
  const refused = proven(walk, sourceOfNetdev(walk)) ?? lookupTranslation(walk, 'network')
  if (refused) return refused
  if (!walk.to) return walk.destination.kind === 'nobody' ? drop(walk.destination.reason) : toStack
  walk.destination = routeOf(walk)
  return null
}

/** Passes on what was said of the source; where nothing was, the packet may leave its mark in `fragments`. */
function proven(walk: Walk, refused: Stage): Stage {
  const isFromStack = walk.input.hook === 'to_pod' || walk.input.hook === 'to_netdev'
  return refused ?? sortFirst(walk, !isFromStack && maySort(walk))
}

function unwrap(walk: Walk): Stage {
  const { config } = walk.input
  const isTunnel = isOwnAddress(config, walk.tuple.destination) && isTunnelPort(config, walk.tuple)
  return isTunnel && walk.tunnelNode === 0n && !walk.packet.fragment ? (decapsulate(walk) ?? parse(walk)) : null
}

/** What the node's stack sends by the uplink, its own and what it forwards for pods. Policy has no say here. */
function toNetdev(walk: Walk): Verdict {
  const { config, tables } = walk.input
  const isToNode = lookup(tables.nodes, { address: walk.tuple.destination }) !== undefined
  if (walk.isHost ? isToNode && !answersNode(walk) : !endpointOf(tables, walk.tuple.source)) return toStack
  const unparsed = proven(walk, parse(walk))
  if (unparsed) return walk.isHost ? toStack : unparsed
  const refused = lookupTranslation(walk, walk.isHost ? 'host' : 'stack')
  if (refused) return walk.isHost ? withAnswer(walk, refused) : refused
  walk.destination = routeOf(walk)
  if (walk.destination.kind === 'nobody') {
    const nobody = drop(walk.destination.reason)
    return walk.isHost ? withAnswer(walk, nobody) : nobody
  }
  if (walk.destination.kind === 'world' && walk.isHost && !walk.to) {
    if (!isWorthEntering(walk)) return toStack
    translateSource(walk)
    if (enterTranslation(walk)) return toStack
  } else {
    if (isHostPortTaken(walk)) {
      walk.to = walk.tuple
      walk.isNewTranslation = true
    }
    translateSource(walk)
    const full = enterTranslation(walk)
    if (full) return full
  }
  return rewrite(walk) ?? leave(walk, config.tunnelMode === TunnelMode.VXLAN)
}

/** A host's flow to the world is entered where masquerading could choose its port, but not the answer to a SYN from there:
 *  a flood of those would fill the table. */
function isWorthEntering(walk: Walk): boolean {
  const { tuple, packet, input } = walk
  const flags = packet.transport.kind === 'tcp' ? packet.transport.flags : 0
  const isAnswer = (flags & (TcpFlag.SYN | TcpFlag.ACK)) === (TcpFlag.SYN | TcpFlag.ACK)
  if (flags & TcpFlag.RST || isAnswer) return false
  if (!hasPorts(tuple.protocol)) return mayChoosePort(walk)
  return tuple.sourcePort >= input.config.natPortMin && tuple.sourcePort <= input.config.natPortMax
}

/** What this node says to another one is left alone, but for what belongs to a Service: whole TCP or UDP packets. */
function answersNode({ packet, input }: Walk): boolean {
  const isPlain = packet.protocol === Protocol.TCP || packet.protocol === Protocol.UDP
  if (!isPlain || packet.fragment || packet.optionBytes > 0 || packet.extensions.length > 0) return false
  const { source, destination, protocol } = packet
  return input.state.translations.has(tupleText({ source, destination, protocol, ...ports(packet) }))
}

/** Whether a client of the world reaches the pod elsewhere by the port that a socket of this node has taken since. */
function isHostPortTaken({ isHost, to, packet, tuple, destination, input }: Walk): boolean {
  if (!isHost || to || packet.transport.kind === 'icmpError' || destination.kind !== 'node') return false
  if (tuple.protocol === Protocol.TCP && !isSyn(packet)) return false
  return input.state.translations.has(tupleText(reverse(tuple)))
}

function leave(walk: Walk, tunnel: boolean): Verdict {
  const { destination, to, tuple } = walk
  if (destination.kind === 'node') {
    const nexthop = nexthopOf(walk, destination.node)
    if (!nexthop) return drop(DropReason.NO_NEXTHOP)
    if (tunnel) encapsulate(walk, nexthop)
    return to ? redirect(walk, nexthop.ifindex, nexthop.gateway, tunnel) : toStack
  }
  return destination.kind === 'endpoint' && to ? redirect(walk, destination.ifindex, tuple.destination, false) : toStack
}

function redirect(walk: Walk, ifindex: number, gateway: Address, tunnel: boolean): Verdict {
  walk.mark = PacketMark.MARK
  note(walk, 'nexthop', `${gateway} on interface ${ifindex}`)
  return { kind: 'nexthop', ifindex, gateway, tunnel }
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
  if ('kind' in tuple) {
    const { source, destination, protocol } = network
    walk.tuple = { source, destination, protocol, sourcePort: 0, destinationPort: 0 }
    return tuple
  }
  walk.tuple = tuple
  return null
}

function isPacket(parsed: IpPacket | Verdict): parsed is IpPacket {
  return parsed.kind === 'ip'
}

/** What could not be parsed: the uplink carries more than IP, and the node itself puts fragments together and reads headers
 *  that we do not, from a source that may be bare. Not a first fragment without its ports: the stack would complete it unproven. */
function leftToStack(hook: HookName, unparsed: Verdict, walk?: Walk): Verdict {
  if (hook === 'to_netdev') return toStack
  if (hook !== 'from_netdev' || unparsed.kind !== 'drop') return unparsed
  const { reason } = unparsed
  if (reason === DropReason.ETHERTYPE) return toStack
  const fragment = walk?.packet.fragment
  if (reason === DropReason.PARSE) return fragment?.more && fragment.offset === 0 ? unparsed : toStack
  if (walk === undefined || !isOwnAddress(walk.input.config, walk.packet.destination)) return unparsed
  if (reason === DropReason.FRAGMENT) return toStack
  return reason === DropReason.IP_OPTIONS ? (sourceOfNetdev(walk) ?? toStack) : unparsed
}

/** Multicast of either family, and IPv4's limited broadcast. */
function isMulticast({ destination }: IpPacket): boolean {
  if (family(destination) === 6) return isIPv6Multicast(destination)
  const first = Number(destination.split('.')[0])
  return (first >= 224 && first < 240) || destination === '255.255.255.255'
}

/** The gateway of every pod is fe80::1, which nobody owns; what asks for it (RFC 4861) goes to the stack. */
function isNeighbourDiscovery({ protocol, transport, hopLimit, destination }: IpPacket): boolean {
  const isQuestion = protocol === Protocol.ICMPv6 && transport.kind === 'icmp' && [135, 136].includes(transport.type)
  return isQuestion && hopLimit === 255 && destination === 'fe80::1'
}
