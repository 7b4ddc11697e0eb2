// SPDX-License-Identifier: Apache-2.0
// `trace`: translation of addresses and ports (bpf/lib/nat.h, icmp.h, rewrite.h). One rule finds conntrack's tuple in
// both directions: the packet's source, and the destination that the translation gives it.

import { type Address, addressBytes, sameLeadingBits } from '../core/address.ts'
import { hasPorts, Protocol } from '../core/protocol.ts'
import {
  type Backend,
  DropReason,
  DsrTransports,
  type Frontend,
  FrontendFlags,
  RouteFlags,
  RouteKind,
  SOURCE_RANGE_FIXED_BITS,
  type Translation,
  TranslationFlags,
  type Tuple,
} from '../generated/abi.ts'
import { answersFlow, hasFlow, isFromInside, isPlainSynAck, touched } from './trace-conntrack.ts'
import { endOwner, giveUpOldest, mayEndOwner } from './trace-openings.ts'
import { IcmpType, Icmpv6Type, type IpPacket, icmpProtocol, type Transport } from './trace-packet.ts'
import { icmpTypeAndCode, ports } from './trace-parse.ts'
import { type List, newSlot } from './trace-service.ts'
import { affinityText, longestPrefix, lookup, type Tables, tupleText } from './trace-tables.ts'
import {
  drop,
  endsFlow,
  hasAck,
  isOwnAddress,
  isSyn,
  isTcp,
  note,
  returns,
  reverse,
  type Stage,
  type Walk,
} from './trace-walk.ts'

/** Who asks; the stack for a pod is given no Service. */
export type Asker = 'stack' | 'pod' | 'host' | 'network'

/** A translation that exists, or a frontend's backend, chosen but not entered. An ICMP error takes the translation of the
 *  packet that it quotes, and is related where conntrack has that packet's flow. */
export function lookupTranslation(walk: Walk, asker: Asker): Stage {
  if (walk.packet.transport.kind === 'icmpError') {
    lookupQuoted(walk, walk.packet.transport.quoted)
    return null
  }
  walk.asked = walk.tuple
  const { translations } = walk.input.state
  const known = translations.get(tupleText(walk.tuple))
  if (known && asker !== 'stack' && isNextConnection(walk, known[1])) {
    note(walk, 'translation', 'known, but its connection has ended')
    translations.delete(tupleText(walk.tuple))
    translations.delete(tupleText(reverse(known[1].to)))
  } else if (known) {
    const [key, translation] = known
    translations.set(tupleText(key), [key, used(translation, walk)])
    if (isSyn(walk.packet) && !(translation.flags & TranslationFlags.REVERSE)) reopen(walk, translation)
    if (isSyn(walk.packet) && translation.flags & TranslationFlags.DSR) walk.isDsr = true
    note(walk, 'translation', `known, becomes ${tupleWords(translation.to)}`)
    take(walk, translation.to)
    return null
  }
  return mayAsk(walk, asker) ? askFrontend(walk, asker) : null
}

/** The same for what a pod sends or is sent: nothing translates the SYN-ACK to what came in untranslated. */
export function lookupTranslationOfPod(walk: Walk, asker: 'pod' | 'stack'): Stage {
  if (!isPlainSynAck(walk)) return lookupTranslation(walk, asker)
  walk.asked = walk.tuple
  return null
}

/** A TCP connection from the network to this node's own address is a frontend's from its SYN on, or the stack's. */
function mayAsk({ tuple, packet, input }: Walk, asker: Asker): boolean {
  if (asker !== 'network' || tuple.protocol !== Protocol.TCP || isSyn(packet)) return asker !== 'stack'
  return !isOwnAddress(input.config, tuple.destination)
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

function askFrontend(walk: Walk, asker: Asker): Stage {
  const { tables, nameOf } = walk.input
  const { source, destination: address, destinationPort: port, protocol } = walk.tuple
  const frontend = lookup(tables.frontends, { address, port, protocol })
  if (!frontend) return null
  const isForOutside = (frontend.flags & FrontendFlags.EXTERNAL) !== 0
  const isOfPod = longestPrefix(tables.routes, source)?.kind === RouteKind.PODS
  const isOutside = asker === 'network' && (isForOutside || !isOfPod)
  if (isOutside && !isForOutside) return null
  const name = nameOf(frontend.service)
  if (!admits(tables, frontend, source)) {
    note(walk, 'service', `${name} does not serve ${source}`)
    return drop(DropReason.SOURCE_RANGE)
  }
  const list = isOutside
    ? { id: frontend.externalList, count: frontend.externalCount }
    : { id: frontend.backendList, count: frontend.count }
  const backend = chooseBackend(walk, frontend, list)
  if (!backend) {
    const isLocal = frontend.flags & (isOutside ? FrontendFlags.EXTERNAL_DROPS : FrontendFlags.INTERNAL_DROPS)
    note(walk, 'service', `${name} has no endpoints${isLocal ? ' here' : ''}`)
    return drop(isLocal ? DropReason.NO_LOCAL_BACKEND : DropReason.NO_BACKEND)
  }
  note(walk, 'service', `${name}: backend ${backend.address} port ${backend.port}, of ${list.count}`)
  walk.service = frontend.service
  walk.isNewTranslation = true
  take(walk, { ...walk.tuple, destination: backend.address, destinationPort: backend.port })
  return null
}

/** Whether the frontend serves the client at all. */
export function admits(tables: Tables, { flags, service }: Frontend, client: Address): boolean {
  if (!(flags & FrontendFlags.SOURCE_RANGES)) return true
  const bytes = addressBytes(client)
  return tables.source_ranges.some(
    ([key]) =>
      key.service === service &&
      sameLeadingBits(addressBytes(key.address), bytes, key.prefixLength - SOURCE_RANGE_FIXED_BITS),
  )
}

/** The client's own, where the Service has affinity and the list that backend; else a new one. */
function chooseBackend(walk: Walk, frontend: Frontend, list: List): Backend | undefined {
  const { input, tuple, packet } = walk
  const { tables, state, choices, nowNs } = input
  if (list.count === 0) return undefined
  const slotOf = (slot: number) => lookup(tables.backends, { backendList: list.id, slot })
  const isKept = frontend.affinitySeconds > 0
  const key = { service: frontend.service, address: tuple.source, netnsCookie: 0n, family: packet.family }
  const known = isKept ? state.affinity.get(affinityText(key))?.[1] : undefined
  const isInTime = known && nowNs - known.seenNs <= BigInt(frontend.affinitySeconds) * 1_000_000_000n
  const kept = isInTime
    ? Array.from({ length: list.count }, (_, slot) => slot).find((slot) => {
        const candidate = slotOf(slot)
        return candidate?.address === known.address && candidate.port === known.port
      })
    : undefined
  if (kept !== undefined) note(walk, 'service', 'the client has been there before')
  const byChoice = () => choices.backendSlot(tuple, list.id, list.count)
  const slot = kept ?? newSlot(tables, frontend, list, tuple.source, byChoice)
  const backend = slotOf(slot)
  if (isKept && backend) state.affinity.set(affinityText(key), [key, { ...backend, slot, seenNs: nowNs }])
  return backend
}

function take(walk: Walk, to: Tuple) {
  walk.to = to
  walk.tuple = { ...walk.tuple, destination: to.destination, destinationPort: to.destinationPort }
}

/** Towards the world the source becomes the node's, but for answers to what came in untranslated, as does that of what the
 *  network sends to a backend elsewhere, unless that answers itself; a pod that is its own backend sees the Service as its client. */
export function translateSource(walk: Walk) {
  const { config } = walk.input
  const isKnown = walk.to !== null && !walk.isNewTranslation
  if (isKnown || walk.packet.transport.kind === 'icmpError') return
  const { source, destination } = walk.tuple
  if (walk.to && source === destination) walk.to = { ...walk.to, source: walk.asked.destination }
  const nodeAddress = nodeAddressFor(walk)
  const isMasqueraded = returns(walk) || (walk.destination.kind === 'world' && config.masquerade !== 0)
  if (!isMasqueraded || nodeAddress === '::') return
  if (!walk.to && !walk.isHost && answersFlow(walk)) return
  if (mayBeDsr(walk)) {
    walk.isDsr = true
    return
  }
  walk.to = { ...(walk.to ?? walk.tuple), source: nodeAddress }
  walk.isNewTranslation = true
}

/** Whether the backend's node sends the answers of this new connection: not to pods and nodes, nor those of processes, nor from an
 *  address that is the cluster's. */
function mayBeDsr(walk: Walk): boolean {
  const { input, tuple, packet } = walk
  if (!(input.config.dsr & DsrTransports.TCP) || !returns(walk) || !walk.isNewTranslation) return false
  if (!isTcp(tuple) || !isSyn(packet) || packet.fragment || isFromInside(walk)) return false
  if (longestPrefix(input.tables.routes, walk.asked.destination)) return false
  const route = longestPrefix(input.tables.routes, tuple.destination)
  return route?.kind === RouteKind.PODS && (route.flags & RouteFlags.DSR) !== 0
}

/** Enters a new translation, both ways. Where the client speaks to that backend from that port already, by another Service,
 *  this node is its client instead. */
export function enterTranslation(walk: Walk): Stage {
  if (!walk.isNewTranslation || walk.destination.kind === 'nobody') return null
  const refused = claimTranslation(walk)
  const isTaken = refused?.kind === 'drop' && refused.reason === DropReason.NAT_PORTS
  if (!isTaken || !walk.isDsr || !returns(walk)) return refused
  walk.isDsr = false
  walk.to = { ...walk.to!, source: nodeAddressFor(walk) }
  return claimTranslation(walk)
}

/** The source port stays where it may and nobody else has it. A pod that is its own backend on its very source port would be
 *  its own answer: refused. */
function claimTranslation(walk: Walk): Stage {
  const to = walk.to!
  const withPort = (sourcePort: number): Tuple => ({ ...to, sourcePort })
  const ownerOf = (port: number) => {
    const owner = walk.input.state.translations.get(tupleText(reverse(withPort(port))))?.[1]
    return owner && tupleText(owner.to) !== tupleText(reverse(walk.asked)) ? owner : undefined
  }
  const isTaken = (port: number) => {
    const owner = ownerOf(port)
    return owner !== undefined && !(mayChoosePort(walk) && mayEndOwner(walk, owner))
  }
  let port: number | null = to.sourcePort
  if (mayChoosePort(walk) && (!mayKeepPort(walk, port) || ownerOf(port))) {
    port = walk.input.choices.natPort(walk.asked, isTaken)
  }
  if (port === null || isTaken(port)) return drop(DropReason.NAT_PORTS)
  walk.to = withPort(port)
  const owner = ownerOf(port)
  if (owner) endOwner(walk, owner)
  if (tupleText(reverse(walk.to)) === tupleText(walk.asked)) return drop(DropReason.NAT_PORTS)
  const isEntered = insert(walk, walk.to) || (giveUpOldest(walk) && insert(walk, walk.to))
  if (!isEntered) return drop(DropReason.TRANSLATIONS_FULL)
  note(walk, 'translation', `new, becomes ${tupleWords(walk.to)}`)
  return null
}

/** Both entries, or none where the table is full. */
function insert({ input, packet, asked, isHost, isDsr, service }: Walk, to: Tuple): boolean {
  const { translations, openings } = input.state
  const kind = (isHost ? TranslationFlags.HOST : 0) | (isDsr ? TranslationFlags.DSR : 0)
  const fresh = { seenNs: input.nowNs, service }
  const answer = reverse(to)
  const missing = translations.has(tupleText(answer)) ? 1 : 2
  if (translations.size + missing > input.translationsMax) return false
  if (missing === 2) {
    const back = { ...fresh, to: reverse(asked), flags: TranslationFlags.REVERSE | kind }
    translations.set(tupleText(answer), [answer, back])
  }
  const opening = isSyn(packet) ? TranslationFlags.OPENING : 0
  translations.set(tupleText(asked), [asked, { ...fresh, to, flags: kind | opening }])
  if (opening) openings.push(asked)
  return true
}

/** Only masquerading chooses, and only where there is something to choose. */
export function mayChoosePort({ packet, tuple, destination, isFromNetwork, isHost, isDsr }: Walk): boolean {
  if (isDsr) return false // two nodes must agree on it
  const isHostToNode = isHost && destination.kind === 'node'
  if (destination.kind !== 'world' && !isHostToNode && !isFromNetwork) return false
  if (hasPorts(tuple.protocol)) return true
  const types = packet.family === 4 ? IcmpType : Icmpv6Type
  return tuple.protocol === icmpProtocol(packet.family) && icmpTypeAndCode(packet, tuple)[0] === types.EchoRequest
}

function mayKeepPort({ tuple, to, isHost, input: { config } }: Walk, port: number): boolean {
  return (
    isHost ||
    !hasPorts(tuple.protocol) ||
    to?.source === tuple.source ||
    (port >= config.natPortMin && port <= config.natPortMax)
  )
}

/** The SYN after a connection to a Service that has ended, from the same port: it gets a backend that is listed now. */
function isNextConnection({ packet, input }: Walk, { flags, service, to }: Translation): boolean {
  if (!isSyn(packet) || service === 0n || flags & TranslationFlags.REVERSE) return false
  const answer = input.state.translations.get(tupleText(reverse(to)))
  return ((flags | (answer?.[1].flags ?? 0)) & TranslationFlags.CLOSING) !== 0
}

/** The connection after one that has ended: FIN or RST may have been seen on its way back. */
export function reopen({ input: { state } }: Walk, { to }: Translation) {
  const text = tupleText(reverse(to))
  const back = state.translations.get(text)
  if (!back) return
  const [key, value] = back
  state.translations.set(text, [key, { ...value, flags: value.flags & ~TranslationFlags.CLOSING }])
}

export function used(translation: Translation, { packet, input }: Walk): Translation {
  let { flags } = translation
  if (flags & TranslationFlags.REVERSE) flags |= TranslationFlags.REPLIED
  if (endsFlow(packet)) flags |= TranslationFlags.CLOSING
  if (isSyn(packet)) flags &= ~TranslationFlags.CLOSING
  if (hasAck(packet)) flags &= ~TranslationFlags.OPENING
  return touched({ ...translation, flags }, input.nowNs)
}

// -- Headers -------------------------------------------------------------------------------------------------------

/** Makes the headers what the translation says; refuses SCTP in fragments, whose checksum changes by the length of the whole. */
export function rewrite(walk: Walk): Stage {
  const { packet, to, asked } = walk
  if (!to) return null
  const { transport, fragment } = packet
  const changes =
    transport.kind === 'sctp' && (asked.sourcePort !== to.sourcePort || asked.destinationPort !== to.destinationPort)
  if (changes && fragment?.offset === 0) return drop(DropReason.HEADER_WRITE)
  walk.packet = packet.transport.kind === 'icmpError' ? rewrittenError(walk, to) : rewritten(packet, to)
  return null
}

function rewritten(packet: IpPacket, to: Tuple): IpPacket {
  const { source, destination } = to
  return { ...packet, source, destination, transport: withPorts(packet.transport, to) }
}

/** `to` is what the error's own direction becomes: the quoted packet, which went the other way, becomes its reverse. */
function rewrittenError(walk: Walk, to: Tuple): IpPacket {
  const { packet, isFromNetwork, input, destination } = walk
  const { transport } = packet
  if (transport.kind !== 'icmpError') return packet
  const becomesOurs = isFromNetwork && isOwnAddress(input.config, to.source)
  const isFromReceiver = packet.source === transport.quoted.destination || becomesOurs
  return {
    ...packet,
    source:
      returns(walk) && destination.kind === 'node' ? nodeAddressFor(walk) : isFromReceiver ? to.source : packet.source,
    destination: to.destination,
    transport: { ...transport, quoted: rewritten(transport.quoted, reverse(to)) },
  }
}

function withPorts(transport: Transport, { sourcePort, destinationPort }: Tuple): Transport {
  switch (transport.kind) {
    case 'tcp':
    case 'udp':
    case 'sctp':
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

function nodeAddressFor({ packet, input: { config } }: Walk): Address {
  return packet.family === 4 ? config.ipv4 : config.ipv6
}

function tupleWords({ source, sourcePort, destination, destinationPort }: Tuple): string {
  return `${source} port ${sourcePort} to ${destination} port ${destinationPort}`
}
