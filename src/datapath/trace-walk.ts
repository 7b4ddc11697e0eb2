// SPDX-License-Identifier: Apache-2.0
// `trace`: what its stages tell one another about the packet on its way, as struct packet does in bpf/lib/packet.h.

import type { Address } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import type { DropReason, NodeConfig, PolicyDirection, Tuple } from '../generated/abi.ts'
import { type IpPacket, type Packet, TcpFlag } from './trace-packet.ts'
import type { FlowState, Tables } from './trace-tables.ts'

export type HookName = 'from_pod' | 'to_pod' | 'from_netdev' | 'to_netdev'

/** What the programs are told of the node, but for their secret. */
export type TraceConfig = Omit<NodeConfig, 'seed'>

export interface TraceInput {
  readonly config: TraceConfig
  readonly tables: Tables
  /** Changed as the programs would change it. */
  readonly state: FlowState
  readonly hook: HookName
  /** Device of the hook. */
  readonly ifindex: number
  /** Device that the packet came in by; 0: this node's stack sends it. */
  readonly ingressIfindex: number
  readonly packet: Packet
  readonly mark: number
  readonly nowNs: bigint
  /** Entries that `translations` holds at most. */
  readonly translationsMax: number
  /** Of the uplink. */
  readonly mtuBytes: number
  /** The frame went to a broadcast or multicast address of the link. */
  readonly isToMany?: boolean
  /** Whether the kernel's route for a packet to the world leads out of the uplink. */
  readonly hasRoute: boolean
  /** What the programs leave to chance; each must answer with something that they could have chosen. */
  readonly choices: Choices
  /** Text for an id of a rule, set, pod, node, class or service. */
  readonly nameOf: (id: bigint) => string
}

export interface Choices {
  /** A slot of 0..count-1 of a backend list. */
  backendSlot(tuple: Tuple, backendList: bigint, count: number): number
  /** A source port to masquerade with; taken(port) says that another flow has it. null: none was found. */
  natPort(tuple: Tuple, taken: (port: number) => boolean): number | null
  /** Whether an ICMP answer finds the CPU's bucket empty. */
  isAnswerLimited(): boolean
}

export type Verdict =
  | { readonly kind: 'stack' }
  | {
      readonly kind: 'drop'
      readonly reason: DropReason
      readonly rule: bigint
      readonly set: bigint
      /** What its sender gets at once; null: silence. */
      readonly answer: IpPacket | null
      /** It would be answered, were there not so many. */
      readonly isAnswerLimited?: true
    }
  /** Into the pod behind this host veth. */
  | { readonly kind: 'pod'; readonly ifindex: number }
  /** To the namespace that puts datagrams in order. */
  | { readonly kind: 'sorter' }
  /** Out of this device to a gateway on its link; null: the kernel's route decides. */
  | { readonly kind: 'nexthop'; readonly ifindex: number; readonly gateway: Address | null; readonly tunnel: boolean }

export type Destination =
  | { readonly kind: 'stack' }
  | { readonly kind: 'endpoint'; readonly ifindex: number }
  | { readonly kind: 'node'; readonly node: bigint }
  | { readonly kind: 'world' }
  | { readonly kind: 'nobody'; readonly reason: DropReason }

/** One packet's walk through one hook. A stage returns a verdict once it has decided, null to go on. */
export interface Walk {
  readonly input: TraceInput
  packet: IpPacket
  /** Conntrack's tuple: after DNAT, before SNAT. */
  tuple: Tuple
  /** The tuple before translation. */
  asked: Tuple
  /** What the headers become, where the packet is translated. */
  to: Tuple | null
  /** The translation is not in its table yet. */
  isNewTranslation: boolean
  /** Frontend's service of a new translation. */
  service: bigint
  /** An ICMP error about a flow that conntrack has. */
  isRelated: boolean
  /** This node's own stack sends it. */
  readonly isHost: boolean
  /** Translated, and the uplink has brought it. */
  isFromNetwork: boolean
  /** It travels with what the client has asked for: `asked` (bpf/lib/dsr.h). */
  isDsr: boolean
  /** Of the way on, where the packet is too large for it. */
  mtuBytes: number
  destination: Destination
  /** Node that sent the packet here in VXLAN; 0 for a bare one. */
  tunnelNode: bigint
  /** What would deny the packet if policies were enforced that are audited. */
  audited: Audited | null
  /** It comes back from the sorter. */
  isSorted: boolean
  mark: number
  readonly steps: Step[]
}

/** What an audited policy says; rule 0: the set's policies would isolate. */
export interface Audited {
  readonly direction: PolicyDirection
  readonly rule: bigint
  readonly set: bigint
}

export type Stage = Verdict | null

/** What was asked and what the answer was, for `heddle trace`. */
export interface Step {
  readonly stage: string
  readonly text: string
}

export const toStack: Verdict = { kind: 'stack' }

export function drop(reason: DropReason, rule = 0n, set = 0n): Verdict {
  return { kind: 'drop', reason, rule, set, answer: null }
}

export function note(walk: Walk, stage: string, text: string) {
  walk.steps.push({ stage, text })
}

/** A SYN without ACK: the one packet that always opens a flow. */
export function isSyn({ transport }: IpPacket): boolean {
  return transport.kind === 'tcp' && (transport.flags & (TcpFlag.SYN | TcpFlag.ACK)) === TcpFlag.SYN
}

export function isSynAck({ transport }: IpPacket): boolean {
  const both = TcpFlag.SYN | TcpFlag.ACK
  return transport.kind === 'tcp' && (transport.flags & both) === both
}

export function hasAck({ transport }: IpPacket): boolean {
  return transport.kind === 'tcp' && (transport.flags & TcpFlag.ACK) !== 0
}

export function endsFlow({ transport }: IpPacket): boolean {
  return transport.kind === 'tcp' && (transport.flags & (TcpFlag.FIN | TcpFlag.RST)) !== 0
}

export function isOwnAddress(config: TraceConfig, address: Address): boolean {
  return address !== '::' && (address === config.ipv4 || address === config.ipv6)
}

/** From the network to the network again: the other end must see this node. */
export function returns({ isFromNetwork, destination }: Walk): boolean {
  return isFromNetwork && (destination.kind === 'node' || destination.kind === 'world')
}

export function reverse(tuple: Tuple): Tuple {
  return {
    ...tuple,
    source: tuple.destination,
    destination: tuple.source,
    sourcePort: tuple.destinationPort,
    destinationPort: tuple.sourcePort,
  }
}

export function isTcp(tuple: Tuple): boolean {
  return tuple.protocol === Protocol.TCP
}
