// SPDX-License-Identifier: Apache-2.0
// Where this node's pod addresses come from.

import type { Prefix } from '../core/address.ts'
import type { Pool } from './allocator.ts'

export interface PoolSource {
  /** Asked at each allocation: they may come or change at any time. The first of each family is used. */
  readonly pools: () => readonly Pool[]
  /** Why pods must wait for addresses, one sentence each; empty: they need not. */
  readonly problems: () => readonly string[]
}

/** The node's share of the cluster's pod CIDRs, as routing has found it usable: an address is given only where packets to
 *  it already find their way. */
export function nodePools(
  routing: () => { readonly ownPodCIDRs: readonly Prefix[]; readonly ownProblems: readonly string[] },
): PoolSource {
  return {
    pools: () => routing().ownPodCIDRs.map((prefix) => ({ prefix, reserved: [] })),
    problems: () => routing().ownProblems,
  }
}
