// SPDX-License-Identifier: Apache-2.0
// A question about policy, as `heddle policy verdict` takes it.

import type { Address, Family } from '../core/address.ts'
import type { Protocol } from '../core/protocol.ts'

/** pod: "namespace/name". */
export type Place = { readonly pod: string } | { readonly ip: Address } | { readonly node: string }

export interface PolicyQuery {
  readonly from: Place
  readonly to: Place
  /** ICMP: that of the family. */
  readonly protocol: Protocol
  /** Destination port; of ICMP type << 8 | code. */
  readonly port: number
  /** null: the first that both ends have. */
  readonly family: Family | null
}
