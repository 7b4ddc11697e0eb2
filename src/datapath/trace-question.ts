// SPDX-License-Identifier: Apache-2.0
// `heddle trace`: the first packet of a connection from one address to another, through the hooks of this node.

import { type Address, family } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import { DropReason, FrontendFlags, maps, RouteKind, TunnelMode } from '../generated/abi.ts'
import { trace } from './trace.ts'
import { admits } from './trace-nat.ts'
import { IcmpType, Icmpv6Type, type IpPacket, icmpProtocol, TcpFlag, type Transport } from './trace-packet.ts'
import { endpointOf } from './trace-route.ts'
import { newSlot } from './trace-service.ts'
import { emptyFlowState, longestPrefix, lookup, type Tables } from './trace-tables.ts'
import {
  type Audited,
  drop,
  isOwnAddress,
  type Step,
  type TraceConfig,
  type TraceInput,
  type Verdict,
} from './trace-walk.ts'

/** A client's port like any other, one that masquerading keeps. */
const CLIENT_PORT = 40000

export interface TraceQuestion {
  readonly tables: Tables
  readonly config: TraceConfig
  readonly from: Address
  /** Of the same family. */
  readonly to: Address
  /** Ignored for ICMP, which asks with an echo request. */
  readonly port: number
  readonly protocol: Protocol
  readonly mtuBytes: number
  readonly nameOf: (id: bigint) => string
}

export interface TraceAnswer {
  readonly verdict: Verdict
  readonly audited: Audited | null
  readonly steps: readonly Step[]
}

/** What a new flow would meet on this node; flows that exist are not asked, and of several backends the
 *  first is taken, but where the client's address decides. */
export function askTrace(question: TraceQuestion): TraceAnswer {
  const { tables, config, from, nameOf } = question
  const source = endpointOf(tables, from)
  if (source) {
    const start = { stage: 'endpoint', text: `${from} is ${nameOf(source.pod)}, interface ${source.ifindex}` }
    return walk(question, [start], {
      hook: 'from_pod',
      ifindex: source.ifindex,
      ingressIfindex: source.ifindex,
      packet: firstPacket(question),
    })
  }
  if (!isOwnAddress(config, from)) {
    const start = { stage: 'uplink', text: `${from} comes from the network` }
    return walk(question, [start], {
      hook: 'from_netdev',
      ifindex: config.uplink,
      ingressIfindex: config.uplink,
      packet: asItArrives(question),
    })
  }
  return askFromNode(question, [{ stage: 'host', text: `${from} is this node` }])
}

/** A process of the node speaks to a backend since its socket connected, but where its packets are dropped in silence. */
function askFromNode(question: TraceQuestion, start: readonly Step[]): TraceAnswer {
  const { tables, config, from, to, port, protocol, nameOf } = question
  const frontend = lookup(tables.frontends, { address: to, port, protocol })
  if (
    frontend &&
    admits(tables, frontend, from) &&
    !(frontend.count === 0 && frontend.flags & FrontendFlags.INTERNAL_DROPS)
  ) {
    const { backendList, count, service } = frontend
    const slot = count && newSlot(tables, frontend, { id: backendList, count }, from, () => 0)
    const backend = lookup(tables.backends, { backendList, slot })
    if (!backend) {
      const step = { stage: 'service', text: `${nameOf(service)} has no endpoints` }
      return { verdict: drop(DropReason.NO_BACKEND), audited: null, steps: [...start, step] }
    }
    const text = `${nameOf(service)}: backend ${backend.address} port ${backend.port}, of ${count}`
    const chosen = { ...question, to: backend.address, port: backend.port }
    return askFromNode(chosen, [...start, { stage: 'service', text }])
  }
  const target = endpointOf(tables, to)
  const packet = firstPacket(question)
  return target
    ? walk(question, start, { hook: 'to_pod', ifindex: target.ifindex, ingressIfindex: 0, packet })
    : walk(question, start, { hook: 'to_netdev', ifindex: config.uplink, ingressIfindex: 0, packet })
}

function walk(
  { tables, config, mtuBytes, nameOf }: TraceQuestion,
  start: readonly Step[],
  at: Pick<TraceInput, 'hook' | 'ifindex' | 'ingressIfindex' | 'packet'>,
): TraceAnswer {
  const { verdict, audited, steps } = trace({
    ...at,
    config,
    tables,
    mtuBytes,
    nameOf,
    state: emptyFlowState(),
    translationsMax: maps.translations.maxEntries,
    mark: 0,
    nowNs: 0n,
    hasRoute: true,
    choices: { backendSlot: () => 0, natPort: () => CLIENT_PORT, isAnswerLimited: () => false },
  })
  return { verdict, audited, steps: [...start, ...steps] }
}

function firstPacket({ from, to, port, protocol }: TraceQuestion): IpPacket {
  const ipFamily = family(from)
  return {
    kind: 'ip',
    family: ipFamily,
    source: from,
    destination: to,
    trafficClass: 0,
    dontFragment: false,
    hopLimit: 64,
    optionBytes: 0,
    extensions: [],
    fragment: null,
    protocol: protocol === Protocol.ICMP ? icmpProtocol(ipFamily) : protocol,
    transport: transportOf(protocol, port, ipFamily === 4 ? IcmpType.EchoRequest : Icmpv6Type.EchoRequest),
  }
}

function transportOf(protocol: Protocol, destinationPort: number, echoRequest: number): Transport {
  const ports = { sourcePort: CLIENT_PORT, destinationPort, payloadBytes: 0 }
  switch (protocol) {
    case Protocol.TCP:
      return { kind: 'tcp', flags: TcpFlag.SYN, ...ports }
    case Protocol.UDP:
      return { kind: 'udp', ...ports }
    case Protocol.SCTP:
      return { kind: 'sctp', ...ports }
    case Protocol.ICMP:
    case Protocol.ICMPv6:
      return { kind: 'icmp', type: echoRequest, code: 0, identifier: CLIENT_PORT, payloadBytes: 0 }
  }
}

/** Where pods travel in tunnels, what another node or its pods send arrives in that node's. */
function asItArrives(question: TraceQuestion): IpPacket {
  const { tables, config, from } = question
  const packet = firstPacket(question)
  const route = longestPrefix(tables.routes, from)
  const owner =
    lookup(tables.nodes, { address: from })?.node ?? (route?.kind === RouteKind.PODS ? route.node : undefined)
  const nexthop = owner && lookup(tables.nexthops, { node: owner, family: packet.family })
  if (config.tunnelMode !== TunnelMode.VXLAN || !nexthop) return packet
  return {
    ...packet,
    source: nexthop.tunnel,
    destination: packet.family === 4 ? config.ipv4 : config.ipv6,
    protocol: Protocol.UDP,
    transport: {
      kind: 'vxlan',
      sourcePort: 0,
      destinationPort: config.tunnelPort,
      vni: config.vni,
      inner: packet,
    },
  }
}
