// SPDX-License-Identifier: Apache-2.0
// Which pod an address belongs to. Several may claim it while one leaves and the next one starts.

import type { Address } from '../core/address.ts'
import { compareText, objectName } from '../core/names.ts'
import type { Endpoint, Pod } from './objects.ts'

/** Told apart by identity. A local endpoint is wired here and now, so it outranks every pod of the API. */
export type Owner = Pod | Endpoint

export interface Owners {
  add(address: Address, owner: Owner): void
  remove(address: Address, owner: Owner): void
  of(address: Address): Owner | undefined
  addresses(): Iterable<Address>
}

export function createOwners(): Owners {
  // The owner first; almost always there is one, which is kept without a list around it: of 100,000 that saves 6 MB.
  const claims = new Map<Address, Owner | readonly Owner[]>()
  const claimsOf = (address: Address): readonly Owner[] => {
    const found = claims.get(address)
    if (found === undefined) return []
    return isList(found) ? found : [found]
  }
  return {
    add(address, owner) {
      const others = claimsOf(address)
      claims.set(address, others.length === 0 ? owner : [...others, owner].sort(youngestFirst))
    },
    remove(address, owner) {
      const rest = claimsOf(address).filter((other) => other !== owner)
      if (rest.length === 0) claims.delete(address)
      else claims.set(address, rest.length === 1 ? rest[0]! : rest)
    },
    of(address) {
      const found = claims.get(address)
      return found !== undefined && isList(found) ? found[0] : found
    },
    addresses: () => claims.keys(),
  }
}

function isList(claims: Owner | readonly Owner[]): claims is readonly Owner[] {
  return Array.isArray(claims)
}

export function isEndpoint(owner: Owner): owner is Endpoint {
  return 'containerId' in owner
}

function youngestFirst(a: Owner, b: Owner): number {
  return bornMs(b) - bornMs(a) || compareText(nameOf(b), nameOf(a))
}

function bornMs(owner: Owner): number {
  return isEndpoint(owner) ? Number.MAX_SAFE_INTEGER : owner.createdMs
}

function nameOf({ namespace, name }: Owner): string {
  return objectName(namespace, name)
}
