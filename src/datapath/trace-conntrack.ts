// SPDX-License-Identifier: Apache-2.0
// `trace`: conntrack (bpf/lib/conntrack.h), without its fast path, which must make no difference.

import { compareAddresses } from '../core/address.ts'
import { type Flow, FlowFlags, type FlowKey, type FlowSide, TranslationFlags, type Tuple } from '../generated/abi.ts'
import { IcmpType, Icmpv6Type, type IpPacket, icmpProtocol } from './trace-packet.ts'
import { icmpTypeAndCode } from './trace-parse.ts'
import { judge } from './trace-policy.ts'
import { flowText, longestPrefix, lookup, tupleText } from './trace-tables.ts'
import { isSyn, isSynAck, isTcp, note, reverse, type Stage, type Walk } from './trace-walk.ts'

/** flow_side.ifindex_in of what this node's stack sends into a pod (bpf/lib/conntrack.h). */
export const FROM_STACK = 0x8000_0000

const SECOND_NS = 1_000_000_000n
const IDLE_TCP_OPENING_NS = 60n * SECOND_NS
const IDLE_TCP_NS = 6n * 3600n * SECOND_NS
const IDLE_OTHER_NS = 120n * SECOND_NS

type Side = 0 | 1

/** Canonical key, and the packet's direction: 0 from low to high. */
export function flowKeyOf(tuple: Tuple): { readonly key: FlowKey; readonly side: Side } {
  const { source, destination, sourcePort, destinationPort, protocol } = tuple
  const order = compareAddresses(source, destination) || sourcePort - destinationPort
  return order > 0
    ? {
        side: 1,
        key: { protocol, low: destination, lowPort: destinationPort, high: source, highPort: sourcePort },
      }
    : {
        side: 0,
        key: { protocol, low: source, lowPort: sourcePort, high: destination, highPort: destinationPort },
      }
}

/** Judges what is new, lets known flows and their answers pass, and enters what it learns. `ifindexIn`: where this
 *  direction was proven to enter. */
export function conntrack(walk: Walk, ifindexIn: number): Stage {
  const { input, tuple, packet } = walk
  if (walk.isRelated) return null
  if (packet.transport.kind === 'icmpError') return judge(walk, false)
  const { key, side } = flowKeyOf(tuple)
  const text = flowText(key)
  const { flows, flows_opening } = input.state
  const isOpening = !flows.has(text)
  const known = (flows.get(text) ?? flows_opening.get(text))?.[1]
  const isDirect = known && isDirectNow(known, walk, ifindexIn)
  if (!known || isSyn(packet) || isIdle(known, input.nowNs, isTcp(tuple), isOpening)) {
    const denied = openFlow(walk, ifindexIn)
    if (isDirect && !denied) abandonTranslation(walk)
    return denied
  }

  let flow = touched(known, input.nowNs)
  const isAnswer = (side === 1) !== ((flow.flags & FlowFlags.ORIGIN_HIGH) !== 0)
  const table = isOpening ? flows_opening : flows
  const epoch = currentEpoch(walk)
  note(
    walk,
    'conntrack',
    `${isOpening ? 'opening' : 'established'} flow, ${isAnswer ? 'answer' : 'original direction'}`,
  )
  if (flow.epoch !== epoch) {
    note(walk, 'conntrack', `policy epoch is ${epoch}, the flow's ${flow.epoch}: judged again`)
    const denied = judge(walk, isAnswer)
    if (denied) {
      table.set(text, [key, flow])
      return denied
    }
    const isJudged = walk.destination.kind !== 'nobody'
    flow = withSide(isJudged ? { ...flow, epoch } : flow, other(side), { ifindexIn: 0 })
  }
  if (isAnswer && flow.flags & FlowFlags.BY_STACK) walk.destination = { kind: 'stack' }
  if (isDirect) {
    flow = { ...flow, flags: flow.flags & ~FlowFlags.TRANSLATED }
    abandonTranslation(walk)
  }
  flow = noted(flow, walk, side, ifindexIn)
  if (isOpening && isAnswer) {
    flows_opening.delete(text)
    flows.set(text, [key, { ...flow, flags: flow.flags | FlowFlags.REPLIED }])
  } else {
    table.set(text, [key, flow])
  }
  return null
}

/** The client that a Service led here has come to the backend itself, from the same port: TCP says so by a SYN, of another
 *  protocol whoever forges an outside client's address could. */
function isDirectNow({ flags }: Flow, walk: Walk, ifindexIn: number): boolean {
  if (!(flags & FlowFlags.TRANSLATED) || walk.to || ifindexIn >= FROM_STACK) return false
  return isTcp(walk.tuple) ? isSyn(walk.packet) : isFromInside(walk)
}

/** A pod's or a node's address. */
export function isFromInside({ input: { tables }, tuple: { source } }: Walk): boolean {
  return lookup(tables.nodes, { address: source }) !== undefined || longestPrefix(tables.routes, source) !== undefined
}

/** The answers must be the backend's now; of a client outside the cluster the pod must have said that it
 *  has ended. */
function abandonTranslation(walk: Walk) {
  const { translations } = walk.input.state
  const answer = reverse(walk.tuple)
  const translation = translations.get(tupleText(answer))?.[1]
  if (!translation || !(translation.flags & TranslationFlags.REVERSE)) return
  if (!(translation.flags & TranslationFlags.CLOSING) && !isFromInside(walk)) return
  for (const key of [answer, reverse(translation.to)]) translations.delete(tupleText(key))
}

/** Whether the packet answers a flow that its destination has opened. */
export function answersFlow({ input, tuple, packet }: Walk): boolean {
  if (isSyn(packet)) return false
  const { key, side } = flowKeyOf(tuple)
  const text = flowText(key)
  const { flows, flows_opening } = input.state
  const known = (flows.get(text) ?? flows_opening.get(text))?.[1]
  if (!known || isIdle(known, input.nowNs, isTcp(tuple), !flows.has(text))) return false
  return (side === 1) !== ((known.flags & FlowFlags.ORIGIN_HIGH) !== 0)
}

/** Whether it is the SYN-ACK to a SYN that came in untranslated. */
export function isPlainSynAck({ input, tuple, packet }: Walk): boolean {
  if (!isSynAck(packet)) return false
  const { key, side } = flowKeyOf(tuple)
  const flags = input.state.flows_opening.get(flowText(key))?.[1].flags
  if (flags === undefined || flags & (FlowFlags.TRANSLATED | FlowFlags.BY_STACK)) return false
  return (side === 1) !== ((flags & FlowFlags.ORIGIN_HIGH) !== 0)
}

/** A packet of no flow: of TCP without SYN it may be an answer. An echo reply is judged by its type and opens nothing:
 *  the flow of its id runs the other way, and is the request's to open. Nor does what goes to nobody. */
function openFlow(walk: Walk, ifindexIn: number): Stage {
  const { packet, tuple } = walk
  const orientations = isTcp(tuple) && !isSyn(packet) ? [false, true] : [false]
  note(walk, 'conntrack', 'new flow')
  const verdicts = orientations.map((isAnswer) => ({
    isAnswer,
    denied: judge(walk, isAnswer),
    audited: walk.audited,
  }))
  const allowing = verdicts.filter(({ denied }) => denied === null)
  const allowed = allowing.find(({ audited }) => audited === null) ?? allowing[0]
  if (!allowed) return verdicts[0]!.denied
  walk.audited = allowed.audited
  if (isEchoReply(packet, tuple) || walk.destination.kind === 'nobody') return null
  const { key, side } = flowKeyOf(tuple)
  const fresh: Flow = {
    seenNs: walk.input.nowNs,
    epoch: currentEpoch(walk),
    flags: (side === 1) !== allowed.isAnswer ? FlowFlags.ORIGIN_HIGH : 0,
    side: [
      { ifindexIn: 0, ifindexOut: 0, node: 0n },
      { ifindexIn: 0, ifindexOut: 0, node: 0n },
    ],
  }
  const { flows, flows_opening } = walk.input.state
  flows_opening.set(flowText(key), [key, noted(fresh, walk, side, ifindexIn)])
  flows.delete(flowText(key))
  return null
}

/** What this packet tells about its flow. */
function noted(flow: Flow, { to, tunnelNode, destination, input }: Walk, side: Side, ifindexIn: number): Flow {
  let flags = flow.flags
  const isOriginal = (side === 1) === ((flags & FlowFlags.ORIGIN_HIGH) !== 0)
  const isOtherWay = isOriginal && ifindexIn >= FROM_STACK !== ((flags & FlowFlags.BY_STACK) !== 0)
  if (isOtherWay) flags ^= FlowFlags.BY_STACK
  if (to) flags |= FlowFlags.TRANSLATED
  const cameFrom = withSide(flow, other(side), {
    ...(tunnelNode !== 0n && { node: tunnelNode }),
    ...(isOtherWay && { ifindexIn: 0 }),
  })
  if (destination.kind === 'nobody') return { ...cameFrom, flags }
  return withSide({ ...cameFrom, flags }, side, {
    ifindexIn,
    ifindexOut:
      destination.kind === 'endpoint' ? destination.ifindex : destination.kind === 'node' ? input.config.uplink : 0,
    node: destination.kind === 'node' ? destination.node : 0n,
  })
}

/** Whether this is the tuple of a flow that is allowed now. */
export function hasFlow(walk: Walk, tuple: Tuple): boolean {
  const { flows, flows_opening } = walk.input.state
  const text = flowText(flowKeyOf(tuple).key)
  return (flows.get(text) ?? flows_opening.get(text))?.[1].epoch === currentEpoch(walk)
}

/** Entries note at most once a second that they are used. */
export function touched<T extends { readonly seenNs: bigint }>(entry: T, nowNs: bigint): T {
  return nowNs - entry.seenNs < SECOND_NS ? entry : { ...entry, seenNs: nowNs }
}

function isIdle(flow: Flow, nowNs: bigint, isTcpFlow: boolean, isOpening: boolean): boolean {
  const limit = !isTcpFlow ? IDLE_OTHER_NS : isOpening ? IDLE_TCP_OPENING_NS : IDLE_TCP_NS
  return nowNs - flow.seenNs > limit
}

function isEchoReply(packet: IpPacket, tuple: Tuple): boolean {
  if (packet.protocol !== icmpProtocol(packet.family)) return false
  return icmpTypeAndCode(packet, tuple)[0] === (packet.family === 4 ? IcmpType : Icmpv6Type).EchoReply
}

function currentEpoch({ input }: Walk): number {
  return input.tables.policy_epoch[0]?.[1].epoch ?? 0
}

function withSide(flow: Flow, side: Side, change: Partial<FlowSide>): Flow {
  const [low, high] = flow.side as readonly [FlowSide, FlowSide]
  return { ...flow, side: side === 0 ? [{ ...low, ...change }, high] : [low, { ...high, ...change }] }
}

function other(side: Side): Side {
  return side === 0 ? 1 : 0
}
