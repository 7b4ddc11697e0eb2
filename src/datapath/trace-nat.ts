// SPDX-License-Identifier: Apache-2.0
// `trace`: translation of addresses and ports (bpf/lib/nat.h, icmp.h, rewrite.h). One rule finds conntrack's tuple in
// both directions: the packet's source, and the destination that the translation gives it.

import { Protocol } from '../core/protocol.ts'
import { DropReason, type Translation, TranslationFlags, type Tuple } from '../generated/abi.ts'
import { answersFlow, hasFlow, touched } from './trace-conntrack.ts'
import { IcmpType, Icmpv6Type, type IpPacket, icmpProtocol, type Transport } from './trace-packet.ts'
import { icmpTypeAndCode, ports } from './trace-parse.ts'
import { lookup, tupleText } from './trace-tables.ts'
import { drop, endsFlow, isSyn, note, reverse, type Stage, type Walk } from './trace-walk.ts'

/** A translation that exists, or a frontend's backend, chosen but not entered. An ICMP error takes the translation of the
 *  packet that it quotes, and is related where conntrack has that packet's flow. */
export function lookupTranslation(walk: Walk, services: boolean): Stage {
  if (walk.packet.transport.kind === 'icmpError') {
    lookupQuoted(walk, walk.packet.transport.quoted)
    return null
  }
  walk.asked = walk.tuple
  const { translations } = walk.input.state
  const known = translations.get(tupleText(walk.tuple))
  if (known && services && isNextConnection(walk, known[1])) {
    note(walk, 'translation', 'known, but its connection has ended')
    translations.delete(tupleText(walk.tuple))
    translations.delete(tupleText(reverse(known[1].to)))
  } else if (known) {
    const [key, translation] = known
    translations.set(tupleText(key), [key, used(translation, walk)])
    note(walk, 'translation', `known, becomes ${tupleWords(translation.to)}`)
    take(walk, translation.to)
    return null
  }
  return services ? chooseBackend(walk) : null
}

/** The quoted packet went against the error, so its answer's tuple is the error's. */
function lookupQuoted(walk: Walk, quoted: IpPacket) {
  const { source, destination, protocol } = quoted
  if (source !== walk.tuple.destination) return
  // Routers on the way report what was for others; a pod is no router.
  if (walk.input.hook === 'from_pod' && destination !== walk.tuple.source) return
  let answer = reverse({ source, destination, protocol, ...ports(quoted) })
  const translation = walk.input.state.translations.get(tupleText(answer))?.[1]
  if (translation) {
    const { to } = translation
    walk.to = to
    walk.tuple = { ...walk.tuple, destination: to.destination }
    answer = { ...answer, destination: to.destination, destinationPort: to.destinationPort }
  }
  walk.isRelated = hasFlow(walk, answer)
  note(walk, 'icmp', walk.isRelated ? 'error about a flow that is allowed' : 'error about no flow')
}

function chooseBackend(walk: Walk): Stage {
  const { tables, choices, nameOf } = walk.input
  const { destination: address, destinationPort: port, protocol } = walk.tuple
  const frontend = lookup(tables.frontends, { address, port, protocol })
  if (!frontend) return null
  const { backendList, count } = frontend
  const slot = count === 0 ? 0 : choices.backendSlot(walk.tuple, count)
  const backend = count === 0 ? undefined : lookup(tables.backends, { backendList, slot })
  if (!backend) {
    note(walk, 'service', `${nameOf(frontend.service)} has no endpoints`)
    return drop(DropReason.NO_BACKEND)
  }
  note(walk, 'service', `${nameOf(frontend.service)}: backend ${backend.address} port ${backend.port}, of ${count}`)
  walk.service = frontend.service
  walk.isNewTranslation = true
  take(walk, { ...walk.tuple, destination: backend.address, destinationPort: backend.port })
  return null
}

function take(walk: Walk, to: Tuple) {
  walk.to = to
  walk.tuple = { ...walk.tuple, destination: to.destination, destinationPort: to.destinationPort }
}

/** Towards the world the source becomes the node's, but for answers to what came in untranslated; a pod that is its own
 *  backend sees the Service as its client. */
export function translateSource(walk: Walk) {
  const { config } = walk.input
  const isKnown = walk.to !== null && !walk.isNewTranslation
  if (isKnown || walk.packet.transport.kind === 'icmpError') return
  const { source, destination } = walk.tuple
  if (walk.to && source === destination) walk.to = { ...walk.to, source: walk.asked.destination }
  const nodeAddress = walk.packet.family === 4 ? config.ipv4 : config.ipv6
  if (walk.destination.kind !== 'world' || !config.masquerade || nodeAddress === '::') return
  if (!walk.to && !walk.isHost && answersFlow(walk)) return
  walk.to = { ...(walk.to ?? walk.tuple), source: nodeAddress }
  walk.isNewTranslation = true
}

/** Enters a new translation, both ways; the source port stays where it may and nobody else has it. A pod that is its own
 *  backend on its very source port would be its own answer: refused. */
export function enterTranslation(walk: Walk): Stage {
  if (!walk.isNewTranslation || walk.destination.kind === 'nobody') return null
  const to = walk.to!
  const withPort = (sourcePort: number): Tuple => ({ ...to, sourcePort })
  const isTaken = (port: number) => {
    const owner = walk.input.state.translations.get(tupleText(reverse(withPort(port))))
    return owner !== undefined && tupleText(owner[1].to) !== tupleText(reverse(walk.asked))
  }
  let port: number | null = to.sourcePort
  if (mayChoosePort(walk) && (!mayKeepPort(walk, port) || isTaken(port))) {
    port = walk.input.choices.natPort(walk.asked, isTaken)
  }
  if (port === null || isTaken(port)) return drop(DropReason.NAT_PORTS)
  walk.to = withPort(port)
  if (tupleText(reverse(walk.to)) === tupleText(walk.asked)) return drop(DropReason.NAT_PORTS)
  if (!insert(walk, walk.to)) return drop(DropReason.TRANSLATIONS_FULL)
  note(walk, 'translation', `new, becomes ${tupleWords(walk.to)}`)
  return null
}

/** Both entries, or none where the table is full. */
function insert({ input, asked, isHost, service }: Walk, to: Tuple): boolean {
  const { translations } = input.state
  const host = isHost ? TranslationFlags.HOST : 0
  const fresh = { seenNs: input.nowNs, service }
  const answer = reverse(to)
  const missing = translations.has(tupleText(answer)) ? 1 : 2
  if (translations.size + missing > input.translationsMax) return false
  if (missing === 2) {
    const back = { ...fresh, to: reverse(asked), flags: TranslationFlags.REVERSE | host }
    translations.set(tupleText(answer), [answer, back])
  }
  translations.set(tupleText(asked), [asked, { ...fresh, to, flags: host }])
  return true
}

/** Only masquerading chooses, and only where there is something to choose. */
export function mayChoosePort({ packet, tuple, destination }: Walk): boolean {
  if (destination.kind !== 'world') return false
  if (tuple.protocol === Protocol.TCP || tuple.protocol === Protocol.UDP) return true
  const types = packet.family === 4 ? IcmpType : Icmpv6Type
  return tuple.protocol === icmpProtocol(packet.family) && icmpTypeAndCode(packet, tuple)[0] === types.EchoRequest
}

function mayKeepPort({ tuple, isHost, input: { config } }: Walk, port: number): boolean {
  const hasPorts = tuple.protocol === Protocol.TCP || tuple.protocol === Protocol.UDP
  return isHost || !hasPorts || (port >= config.natPortMin && port <= config.natPortMax)
}

/** The SYN after a connection to a Service that has ended, from the same port: it gets a backend that is listed now. */
function isNextConnection({ packet, input }: Walk, { flags, service, to }: Translation): boolean {
  if (!isSyn(packet) || service === 0n || flags & TranslationFlags.REVERSE) return false
  const answer = input.state.translations.get(tupleText(reverse(to)))
  return ((flags | (answer?.[1].flags ?? 0)) & TranslationFlags.CLOSING) !== 0
}

function used(translation: Translation, { packet, input }: Walk): Translation {
  let { flags } = translation
  if (flags & TranslationFlags.REVERSE) flags |= TranslationFlags.REPLIED
  if (endsFlow(packet)) flags |= TranslationFlags.CLOSING
  if (isSyn(packet)) flags &= ~TranslationFlags.CLOSING
  return touched({ ...translation, flags }, input.nowNs)
}

// -- Headers -------------------------------------------------------------------------------------------------------

/** Makes the headers what the translation says. */
export function rewrite(walk: Walk) {
  const { packet, to } = walk
  if (!to) return
  walk.packet = packet.transport.kind === 'icmpError' ? rewrittenError(packet, to) : rewritten(packet, to)
}

function rewritten(packet: IpPacket, to: Tuple): IpPacket {
  const { source, destination } = to
  return { ...packet, source, destination, transport: withPorts(packet.transport, to) }
}

/** `to` is what the error's own direction becomes: the quoted packet, which went the other way, becomes its reverse. */
function rewrittenError(packet: IpPacket, to: Tuple): IpPacket {
  const { transport } = packet
  if (transport.kind !== 'icmpError') return packet
  const isFromReceiver = packet.source === transport.quoted.destination
  return {
    ...packet,
    source: isFromReceiver ? to.source : packet.source,
    destination: to.destination,
    transport: { ...transport, quoted: rewritten(transport.quoted, reverse(to)) },
  }
}

function withPorts(transport: Transport, { sourcePort, destinationPort }: Tuple): Transport {
  switch (transport.kind) {
    case 'tcp':
    case 'udp':
    case 'vxlan':
      return { ...transport, sourcePort, destinationPort }
    case 'icmp': {
      const isEcho = transport.identifier !== 0
      return isEcho ? { ...transport, identifier: sourcePort | destinationPort } : transport
    }
    default:
      return transport
  }
}

function tupleWords({ source, sourcePort, destination, destinationPort }: Tuple): string {
  return `${source} port ${sourcePort} to ${destination} port ${destinationPort}`
}
