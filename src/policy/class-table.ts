// SPDX-License-Identifier: Apache-2.0
// Which class each address and prefix has, and which classes are in use for that.

import type { Address, Prefix } from '../core/address.ts'
import type { PeerClass, Realm } from '../generated/abi.ts'
import type { NamedPorts } from './ports.ts'

/** Also the entry that its addresses have in the tables. */
export interface Class extends PeerClass {
  readonly realm: Realm
  /** Texts of the selectors that its addresses match. */
  readonly members: ReadonlySet<string>
  /** What egress rules' port names mean at these addresses. */
  readonly namedPorts: NamedPorts
  /** Texts of the pods' selectors that its addresses may match besides, for all that is known. */
  readonly perhaps: ReadonlySet<string> | typeof ANY_POD
  /** The class key: realm, selectors, named ports, and what it may match besides. */
  readonly text: string
}

/** Of an address whose pod nobody knows yet: it may match every selector of pods, and have every named port. */
export const ANY_POD = 'any pod'

/** Equal classes are one object. */
export interface Classes {
  /** Without those that have the class of their longest prefix. The same map as long as the table is. */
  readonly byAddress: ReadonlyMap<Address, Class>
  readonly byPrefix: ReadonlyMap<Prefix, Class>
  /** Those that some address or prefix has, with how many do. */
  readonly inUse: ReadonlyMap<Class, number>
  /** Since the last begin. */
  readonly changed: Changed
}

export interface Changed {
  /** Addresses whose class is another. */
  readonly addresses: ReadonlySet<Address>
  /** Classes that came into use or went out of it. */
  readonly classes: ReadonlySet<Class>
}

export interface ClassTable extends Classes {
  begin(): void
  /** undefined: it has that of its longest prefix. */
  assign(address: Address, found: Class | undefined): void
  /** In place of those that are there. */
  assignPrefixes(found: ReadonlyMap<Prefix, Class>): void
}

export function createClassTable(): ClassTable {
  const byAddress = new Map<Address, Class>()
  let byPrefix: ReadonlyMap<Prefix, Class> = new Map()
  const inUse = new Map<Class, number>()
  let addresses = new Set<Address>()
  let classes = new Set<Class>()

  function use(each: Class): void {
    const before = inUse.get(each) ?? 0
    if (before === 0) classes.add(each)
    inUse.set(each, before + 1)
  }

  function leave(each: Class): void {
    const before = inUse.get(each)!
    if (before > 1) inUse.set(each, before - 1)
    else {
      inUse.delete(each)
      classes.add(each)
    }
  }

  return {
    byAddress,
    get byPrefix() {
      return byPrefix
    },
    inUse,
    get changed() {
      return { addresses, classes }
    },
    begin() {
      addresses = new Set()
      classes = new Set()
    },
    assign(address, found) {
      const before = byAddress.get(address)
      if (before === found) return
      if (found === undefined) byAddress.delete(address)
      else {
        byAddress.set(address, found)
        use(found)
      }
      if (before !== undefined) leave(before)
      addresses.add(address)
    },
    assignPrefixes(found) {
      for (const each of found.values()) use(each)
      for (const each of byPrefix.values()) leave(each)
      byPrefix = found
    },
  }
}
