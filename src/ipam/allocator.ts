// SPDX-License-Identifier: Apache-2.0
// Which address is whose: a state machine without clock or I/O. Every change is a Fact, so the journal's facts in their
// order give the same state again.
//
//   free --put--> used --drop--> resting --30 s, or its pool has nothing else--> free
//
// A pool gives its addresses in turn (behind the last one it gave), so that an address comes back as late as possible:
// stale clients then meet nobody rather than somebody else. Cost of a choice: the run of used addresses behind the last
// one; prefixes are never materialised, an IPv6 /64 costs no more than a /24.

import {
  type Address,
  addressBytes,
  addressFromBytes,
  type Family,
  family,
  type Prefix,
  splitPrefix,
} from '../core/address.ts'
import { type Attachment, type AttachmentId, attachmentKey } from './attachment.ts'

export const REST_MS = 30_000

/** A point in time that a restart understands: milliseconds of a clock that only runs forward within one boot. */
export interface Moment {
  readonly bootId: string
  readonly ms: number
}

export type Fact =
  /** The attachment is now this; it owns its addresses. */
  | { readonly fact: 'put'; readonly attachment: Attachment }
  /** It is gone; its addresses rest from then on. */
  | { readonly fact: 'drop'; readonly id: AttachmentId; readonly addresses: readonly Address[]; readonly at: Moment }
  /** The address a pool of that family gave last. */
  | { readonly fact: 'last'; readonly address: Address }

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

/** Owned and changed by one caller; `record` is the only way in. */
export interface AllocatorState {
  readonly attachments: Map<string, Attachment>
  readonly owners: Map<Address, string>
  /** In the order of release. */
  readonly resting: Map<Address, Moment>
  readonly last: Map<Family, Address>
}

export function emptyState(): AllocatorState {
  return { attachments: new Map(), owners: new Map(), resting: new Map(), last: new Map() }
}

/** Facts are idempotent, and a later one wins: an address put for another attachment proves that the earlier one was
 *  dropped, even where the journal lost that record. */
export function record(state: AllocatorState, fact: Fact): void {
  switch (fact.fact) {
    case 'put':
      put(state, fact.attachment)
      break
    case 'drop':
      drop(state, fact)
      break
    case 'last':
      state.last.set(family(fact.address), fact.address)
  }
}

function put(state: AllocatorState, attachment: Attachment): void {
  const key = attachmentKey(attachment)
  forget(state, key)
  for (const address of attachment.addresses) {
    const before = state.owners.get(address)
    if (before !== undefined) forget(state, before)
    state.owners.set(address, key)
    state.resting.delete(address)
    state.last.set(family(address), address)
  }
  state.attachments.set(key, attachment)
}

function drop(state: AllocatorState, { id, addresses, at }: Extract<Fact, { fact: 'drop' }>): void {
  forget(state, attachmentKey(id))
  for (const address of addresses) {
    if (state.owners.has(address)) continue
    state.resting.delete(address)
    state.resting.set(address, at)
  }
}

function forget(state: AllocatorState, key: string): void {
  for (const address of state.attachments.get(key)?.addresses ?? []) state.owners.delete(address)
  state.attachments.delete(key)
}

/** The facts that give this state from an empty one. */
export function snapshot(state: AllocatorState): readonly Fact[] {
  const nobody: AttachmentId = { containerId: '', ifname: '' }
  return [
    ...[...state.attachments.values()].map((attachment): Fact => ({ fact: 'put', attachment })),
    ...[...state.resting].map(([address, at]): Fact => ({ fact: 'drop', id: nobody, addresses: [address], at })),
    ...[...state.last.values()].map((address): Fact => ({ fact: 'last', address })),
  ]
}

/** The address that the pool gives next, null when every one is used. Rested addresses become free on the way; among
 *  those that still rest, the one released first is taken when nothing else is left. */
export function chooseAddress(state: AllocatorState, pool: Pool, now: Moment): Address | null {
  endRests(state, now)
  const range = usableRange(pool.prefix)
  const last = state.last.get(range.family)
  const start = last === undefined ? range.first : clampInto(range, addressToNumber(last) + 1n)
  const reserved = new Set(pool.reserved)
  const taken = (address: Address) => state.owners.has(address) || reserved.has(address)
  // One more candidate than there can be taken ones is enough to meet a free one.
  const tries = smaller(range.size, BigInt(state.owners.size + state.resting.size + reserved.size) + 1n)
  for (let i = 0n; i < tries; i++) {
    const candidate = numberToAddress(range.first + ((start - range.first + i) % range.size))
    if (!taken(candidate) && !state.resting.has(candidate)) return candidate
  }
  for (const address of state.resting.keys()) {
    if (inRange(range, address) && !taken(address)) return address
  }
  return null
}

export function poolStatus(state: AllocatorState, pool: Pool, now: Moment): PoolStatus {
  endRests(state, now)
  const range = usableRange(pool.prefix)
  const within = (addresses: Iterable<Address>) => [...addresses].filter((address) => inRange(range, address)).length
  return {
    prefix: pool.prefix,
    capacity: range.size - BigInt(within(new Set(pool.reserved))),
    used: within(state.owners.keys()),
    resting: within(state.resting.keys()),
  }
}

/** A rest from another boot, or from a later time than now, is one whose beginning is unknown: it begins now. */
function endRests(state: AllocatorState, now: Moment): void {
  for (const [address, at] of state.resting) {
    if (at.bootId !== now.bootId || at.ms > now.ms) state.resting.set(address, now)
    else if (now.ms - at.ms >= REST_MS) state.resting.delete(address)
  }
}

interface Range {
  readonly family: Family
  readonly first: bigint
  readonly size: bigint
}

/** Without network and broadcast address (IPv4 up to /30) and without the subnet-router anycast address (IPv6 up to
 *  /126, RFC 4291 2.6.1). The pods' gateway is link-local, so none is kept for it. */
function usableRange(prefix: Prefix): Range {
  const { address, length } = splitPrefix(prefix)
  const isIpv4 = family(prefix) === 4
  const hostBits = BigInt((isIpv4 ? 32 : 128) - length)
  const network = addressToNumber(address)
  const all = 1n << hostBits
  if (hostBits < 2n) return { family: family(prefix), first: network, size: all }
  return { family: family(prefix), first: network + 1n, size: all - (isIpv4 ? 2n : 1n) }
}

function inRange(range: Range, address: Address): boolean {
  if (family(address) !== range.family) return false
  const offset = addressToNumber(address) - range.first
  return offset >= 0n && offset < range.size
}

function clampInto(range: Range, value: bigint): bigint {
  const offset = value - range.first
  return offset >= 0n && offset < range.size ? value : range.first
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

/** The 128 bits (an IPv4 address is mapped) as a number. */
function addressToNumber(address: Address): bigint {
  const view = new DataView(addressBytes(address).buffer)
  return (view.getBigUint64(0) << 64n) | view.getBigUint64(8)
}

function numberToAddress(value: bigint): Address {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, value >> 64n)
  view.setBigUint64(8, value & 0xffff_ffff_ffff_ffffn)
  return addressFromBytes(bytes)
}
