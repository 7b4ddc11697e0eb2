// SPDX-License-Identifier: Apache-2.0
// Entries of flows and translations that a row finds: what packets some time ago would have left.

import { flowKeyOf } from '../../src/datapath/trace-conntrack.ts'
import type { IpPacket } from '../../src/datapath/trace-packet.ts'
import { ports } from '../../src/datapath/trace-parse.ts'
import { emptyFlowState, type FlowState, flowText, tupleText } from '../../src/datapath/trace-tables.ts'
import { reverse } from '../../src/datapath/trace-walk.ts'
import { FlowFlags, TranslationFlags, type Tuple } from '../../src/generated/abi.ts'
import type { InFamily } from './vocabulary.ts'

/** The flow that `packet` opened, in `table`, last seen `ageSeconds` ago; nothing is known of how it leaves. */
export function flowOf(
  table: 'flows' | 'flows_opening',
  packet: InFamily<IpPacket>,
  ageSeconds: number,
): InFamily<FlowState> {
  return (family) => {
    const { key, side } = flowKeyOf(tupleOf(packet(family)))
    const nothing = { ifindexIn: 0, ifindexOut: 0, node: 0n }
    const flow = {
      seenNs: secondsAgo(ageSeconds),
      epoch: 7,
      flags: (side === 1 ? FlowFlags.ORIGIN_HIGH : 0) | (table === 'flows' ? FlowFlags.REPLIED : 0),
      side: [nothing, nothing] as const,
    }
    const state = emptyFlowState()
    state[table].set(flowText(key), [key, flow])
    return state
  }
}

/** The two entries of a translation that made `to` of `asked`; `flags` are those of the forward one. */
export function translationOf(
  asked: InFamily<IpPacket>,
  to: InFamily<IpPacket>,
  ageSeconds: number,
  flags: number,
): InFamily<FlowState> {
  return (family) => {
    const [from, becomes] = [tupleOf(asked(family)), tupleOf(to(family))]
    const answer = reverse(becomes)
    const seen = { seenNs: secondsAgo(ageSeconds), service: 0n }
    const state = emptyFlowState()
    state.translations.set(tupleText(from), [from, { ...seen, to: becomes, flags }])
    state.translations.set(tupleText(answer), [answer, { ...seen, to: reverse(from), flags: TranslationFlags.REVERSE }])
    return state
  }
}

function tupleOf(packet: IpPacket): Tuple {
  const { source, destination, protocol } = packet
  return { source, destination, protocol, ...ports(packet) }
}

function secondsAgo(seconds: number): bigint {
  return process.hrtime.bigint() - BigInt(seconds) * 1_000_000_000n
}
