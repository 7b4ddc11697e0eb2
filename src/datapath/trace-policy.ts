// SPDX-License-Identifier: Apache-2.0
// `trace`: what the policy tables say of a new flow in one direction (bpf/lib/policy.h).

import type { Address } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import {
  type PeerClass,
  POLICY_FIXED_BITS,
  POLICY_PROTOCOL_BITS,
  type PolicyDirection,
  type PolicyEntry,
  type PolicyKey,
  PolicyLevels,
  PolicyVerdict,
  Realm,
} from '../generated/abi.ts'
import { type IpPacket, icmpProtocol } from './trace-packet.ts'
import { longestPrefix, lookup, type Tables } from './trace-tables.ts'

export interface Judgement {
  readonly allowed: boolean
  /** 0: no rule matched, the set's policies isolate; also 0 where no set isolates. */
  readonly rule: bigint
  readonly set: bigint
  readonly peerClass: PeerClass
  /** The level whose entry decided; null where none did. */
  readonly level: 'class' | 'realm' | 'any' | null
}

export interface Question {
  readonly direction: PolicyDirection
  readonly set: bigint
  /** Levels that the set uses. */
  readonly levels: number
  readonly peer: Address
  readonly protocol: number
  /** Destination port in host order; of ICMP type << 8 | code. */
  readonly port: number
}

const NO_CLASS: PeerClass = { classId: 0n, realm: Realm.WORLD }

/** The first of class, realm and any that has a match decides; without a match the set isolates. */
export function judge(tables: Tables, question: Question): Judgement {
  const { set } = question
  const peerClass = classOf(tables, question.peer)
  if (set === 0n) return { allowed: true, rule: 0n, set, peerClass, level: null }
  for (const [level, bit, scope] of [
    ['class', PolicyLevels.CLASS, peerClass.classId],
    ['realm', PolicyLevels.REALM, BigInt(peerClass.realm)],
    ['any', PolicyLevels.ANY, 0n],
  ] as const) {
    const entry = question.levels & bit ? policyEntry(tables, question, bit, scope) : undefined
    if (!entry) continue
    const allowed = entry.verdict === PolicyVerdict.ALLOW && entry.l7 === 0
    return { allowed, rule: entry.rule, set, peerClass, level }
  }
  return { allowed: false, rule: 0n, set, peerClass, level: null }
}

export function classOf(tables: Tables, address: Address): PeerClass {
  return lookup(tables.classes, { address }) ?? longestPrefix(tables.class_prefixes, address) ?? NO_CLASS
}

/** The port by which policy judges this packet. */
export function policyPort(packet: IpPacket): number {
  const { transport } = packet
  if (packet.protocol === icmpProtocol(packet.family)) {
    return transport.kind === 'icmp' || transport.kind === 'icmpError' ? (transport.type << 8) | transport.code : 0
  }
  const hasPorts = packet.protocol === Protocol.TCP || packet.protocol === Protocol.UDP
  return hasPorts && 'destinationPort' in transport ? transport.destinationPort : 0
}

function policyEntry(tables: Tables, question: Question, level: number, scope: bigint): PolicyEntry | undefined {
  return tables.policies
    .filter(
      ([key]) =>
        key.direction === question.direction &&
        key.level === level &&
        key.set === question.set &&
        key.scope === scope &&
        holds(key, question),
    )
    .toSorted(([a], [b]) => b.prefixLength - a.prefixLength)[0]?.[1]
}

function holds(key: PolicyKey, { protocol, port }: Question): boolean {
  if (key.prefixLength === POLICY_FIXED_BITS) return true
  const portBits = key.prefixLength - POLICY_FIXED_BITS - POLICY_PROTOCOL_BITS
  return key.protocol === protocol && key.port >> (16 - portBits) === port >> (16 - portBits)
}
