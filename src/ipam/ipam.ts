// SPDX-License-Identifier: Apache-2.0
// The node's addresses and attachments: the allocator's state, made durable by the journal.

import type { Address, Prefix } from '../core/address.ts'
import type { Attachment, AttachmentId, Wired } from './attachment.ts'

/** One of the node's podCIDRs. */
export interface Pool {
  readonly prefix: Prefix
  /** Never given away, e.g. an address of the node inside the prefix. */
  readonly reserved: readonly Address[]
}

export interface PoolStatus {
  readonly prefix: Prefix
  /** Addresses that can be given away; a bigint because of IPv6. */
  readonly capacity: bigint
  readonly used: number
  readonly resting: number
}

/** Bad luck as a value: the pool that has no address left. */
export interface Exhausted {
  readonly exhausted: PoolStatus
}

export interface Ipam {
  readonly attachments: () => readonly Attachment[]
  readonly get: (id: AttachmentId) => Attachment | undefined
  /** Takes one address of each pool and records the attachment; it has reached the file when this resolves, the disk
   *  after sync. */
  readonly allocate: (request: Omit<Attachment, 'addresses' | 'wired' | 'answered'>) => Promise<Attachment | Exhausted>
  readonly setWired: (id: AttachmentId, wired: Wired) => Promise<Attachment>
  readonly setAnswered: (id: AttachmentId) => Promise<void>
  /** Idempotent; the addresses rest 30 s. */
  readonly release: (id: AttachmentId) => Promise<void>
  /** Resolves when everything recorded so far is on the disk. */
  readonly sync: () => Promise<void>
  readonly status: () => readonly PoolStatus[]
  readonly close: () => Promise<void>
}

export interface IpamOptions {
  /** Absolute; made 0600 when missing. */
  readonly journalPath: string
  /** Asked at each allocation: the node's podCIDRs may come or change later. At most one of each family is used. */
  readonly pools: () => readonly Pool[]
}
