// SPDX-License-Identifier: Apache-2.0
// Flow entries that a row finds: what packets some time ago would have left.

import { flowKeyOf } from '../../src/datapath/trace-conntrack.ts'
import type { IpPacket } from '../../src/datapath/trace-packet.ts'
import { ports } from '../../src/datapath/trace-parse.ts'
import { emptyFlowState, type FlowState, flowText } from '../../src/datapath/trace-tables.ts'
import { FlowFlags } from '../../src/generated/abi.ts'
import type { InFamily } from './vocabulary.ts'

/** The flow that `packet` opened, in `table`, last seen `ageSeconds` ago; nothing is known of how it leaves. */
export function flowOf(
  table: 'flows' | 'flows_opening',
  packet: InFamily<IpPacket>,
  ageSeconds: number,
): InFamily<FlowState> {
  return (family) => {
    const { source, destination, protocol, ...rest } = packet(family)
    const tuple = { source, destination, protocol, ...ports({ source, destination, protocol, ...rest }) }
    const { key, side } = flowKeyOf(tuple)
    const nothing = { ifindexIn: 0, ifindexOut: 0, node: 0n }
    const flow = {
      seenNs: process.hrtime.bigint() - BigInt(ageSeconds) * 1_000_000_000n,
      epoch: 7,
      flags: (side === 1 ? FlowFlags.ORIGIN_HIGH : 0) | (table === 'flows' ? FlowFlags.REPLIED : 0),
      side: [nothing, nothing] as const,
    }
    const state = emptyFlowState()
    state[table].set(flowText(key), [key, flow])
    return state
  }
}
