// SPDX-License-Identifier: Apache-2.0
// Which pod an address belongs to. Several may claim it while one leaves and the next one starts.

import type { Address } from '../core/address.ts'
import { compareText } from '../core/names.ts'
import type { ObjectName } from './objects.ts'

/** One pod's claim to its addresses; claims are told apart by identity. */
export interface Claim {
  readonly pod: ObjectName
  /** '' where it is not known. */
  readonly uid: string
  /** Milliseconds; a local endpoint is wired here and now, so it outranks every pod of the API (Infinity). */
  readonly createdMs: number
}

export interface Owners {
  add(address: Address, claim: Claim): void
  remove(address: Address, claim: Claim): void
  of(address: Address): Claim | undefined
  addresses(): Iterable<Address>
}

export function createOwners(): Owners {
  const claims = new Map<Address, readonly Claim[]>() // the owner first
  return {
    add(address, claim) {
      const others = claims.get(address)
      claims.set(address, others === undefined ? [claim] : [...others, claim].sort(youngestFirst))
    },
    remove(address, claim) {
      const rest = (claims.get(address) ?? []).filter((other) => other !== claim)
      if (rest.length > 0) claims.set(address, rest)
      else claims.delete(address)
    },
    of: (address) => claims.get(address)?.[0],
    addresses: () => claims.keys(),
  }
}

function youngestFirst(a: Claim, b: Claim): number {
  if (a.createdMs !== b.createdMs) return a.createdMs > b.createdMs ? -1 : 1
  return compareText(b.pod, a.pod)
}
