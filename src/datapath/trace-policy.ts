// SPDX-License-Identifier: Apache-2.0
// `trace`: what the policy tables say of a flow (bpf/lib/policy.h).

import type { Address } from '../core/address.ts'
import {
  DropReason,
  type PeerClass,
  POLICY_FIXED_BITS,
  POLICY_PROTOCOL_BITS,
  PolicyDirection,
  type PolicyEntry,
  PolicyFlags,
  type PolicyKey,
  PolicyLevels,
  PolicyVerdict,
} from '../generated/abi.ts'
import { IcmpType, Icmpv6Type, icmpProtocol } from './trace-packet.ts'
import { icmpTypeAndCode } from './trace-parse.ts'
import { endpointOf } from './trace-route.ts'
import { longestPrefix, lookup, type Tables } from './trace-tables.ts'
import { drop, isOwnAddress, note, type Stage, type Walk } from './trace-walk.ts'

interface Question {
  readonly direction: PolicyDirection
  readonly set: bigint
  readonly levels: number
  readonly peerClass: PeerClass | undefined
  readonly protocol: number
  readonly port: number
}

/** May the originator send to its target? Judged where either is a pod of this node, egress first. `answer`: the packet
 *  goes from the target to the originator. */
export function judge(walk: Walk, answer: boolean): Stage {
  const { source, destination } = walk.tuple
  const [originator, target] = answer ? [destination, source] : [source, destination]
  walk.audited = null
  return (
    judgeDirection(walk, answer, PolicyDirection.EGRESS, originator, target) ??
    judgeDirection(walk, answer, PolicyDirection.INGRESS, target, originator)
  )
}

function judgeDirection(walk: Walk, answer: boolean, direction: PolicyDirection, pod: Address, peer: Address): Stage {
  const { tables, config, nameOf } = walk.input
  const isEgress = direction === PolicyDirection.EGRESS
  const name = isEgress ? 'egress' : 'ingress'
  const endpoint = endpointOf(tables, pod)
  if (!endpoint) return null
  const allow = (why: string): Stage => {
    note(walk, 'policy', `${name} of ${nameOf(endpoint.pod)} allowed: ${why}`)
    return null
  }
  if (pod === peer) return allow('a pod may always reach itself')
  if (!isEgress && isOwnAddress(config, peer)) return allow('the own host may always reach its pods')
  if (endpoint.isolated) {
    note(walk, 'policy', `${name} of ${nameOf(endpoint.pod)} denied: its policy is not in force yet`)
    return drop(DropReason.NOT_READY)
  }
  const set = isEgress ? endpoint.egressSet : endpoint.ingressSet
  const levels = isEgress ? endpoint.egressLevels : endpoint.ingressLevels
  if (set === 0n) return allow('no policy isolates it')
  const peerClass = lookup(tables.classes, { address: peer }) ?? longestPrefix(tables.class_prefixes, peer)
  const { protocol } = walk.tuple
  const entry = decidingEntry(tables, { direction, set, levels, peerClass, protocol, port: policyPort(walk, answer) })
  const why = entry && entry.rule !== 0n ? `rule ${nameOf(entry.rule)}` : `no rule of ${nameOf(set)} matches`
  if (entry?.verdict === PolicyVerdict.ALLOW && entry.l7 === 0) {
    if ((entry.flags & PolicyFlags.AUDIT) === 0) return allow(why)
    walk.audited ??= { direction, rule: entry.rule, set }
    return allow(`audit, would be denied: ${why}`)
  }
  note(walk, 'policy', `${name} of ${nameOf(endpoint.pod)} denied: ${why}`)
  return drop(isEgress ? DropReason.POLICY_EGRESS : DropReason.POLICY_INGRESS, entry?.rule ?? 0n, set)
}

/** The first of class, realm and any that the set uses and that has a match. */
function decidingEntry(tables: Tables, question: Question): PolicyEntry | undefined {
  const { peerClass } = question
  return (
    (peerClass && entryOf(tables, question, PolicyLevels.CLASS, peerClass.classId)) ??
    (peerClass && entryOf(tables, question, PolicyLevels.REALM, BigInt(peerClass.realm))) ??
    entryOf(tables, question, PolicyLevels.ANY, 0n)
  )
}

function entryOf(tables: Tables, question: Question, level: number, scope: bigint): PolicyEntry | undefined {
  if ((question.levels & level) === 0) return undefined
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

/** The target's port as its originator means it; of ICMP type << 8 | code, and the answer to an echo is judged as one. */
function policyPort({ packet, tuple }: Walk, answer: boolean): number {
  if (tuple.protocol !== icmpProtocol(4) && tuple.protocol !== icmpProtocol(6)) {
    return answer ? tuple.sourcePort : tuple.destinationPort
  }
  const [type, code] = icmpTypeAndCode(packet, tuple)
  const types = packet.family === 4 ? IcmpType : Icmpv6Type
  return answer && type === types.EchoReply ? types.EchoRequest << 8 : (type << 8) | code
}
