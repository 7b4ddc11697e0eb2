// SPDX-License-Identifier: Apache-2.0
// The tables of bpf/abi as `trace` reads them: plain lists, searched from one end to the other. Slow on purpose: this
// is what the programs' hash and longest-prefix lookups must agree with.

import { type Address, addressBytes, sameLeadingBits } from '../core/address.ts'
import type { Codec } from '../core/codec.ts'
import type {
  Affinity,
  AffinityKey,
  Flow,
  FlowKey,
  Fragment,
  FragmentKey,
  MapName,
  maps,
  Prefix,
  Translation,
  Tuple,
} from '../generated/abi.ts'

type Decoded<C> = C extends Codec<infer T> ? T : never
export type KeyOf<M extends MapName> = Decoded<(typeof maps)[M]['key']>
export type ValueOf<M extends MapName> = Decoded<(typeof maps)[M]['value']>
export type Entries<M extends MapName> = readonly (readonly [KeyOf<M>, ValueOf<M>])[]

/** What the agent writes. */
export const tableNames = [
  'endpoints',
  'classes',
  'class_prefixes',
  'policies',
  'policy_epoch',
  'routes',
  'nodes',
  'nexthops',
  'frontends',
  'backends',
  'slot_tables',
  'source_ranges',
] as const satisfies readonly MapName[]
export type TableName = (typeof tableNames)[number]
export type Tables = { readonly [M in TableName]: Entries<M> }

/** What the programs write; `trace` changes it as they would. Keys of the maps: flowText, tupleText, fragmentText,
 *  affinityText. */
export interface FlowState {
  readonly flows: Map<string, readonly [FlowKey, Flow]>
  readonly flows_opening: Map<string, readonly [FlowKey, Flow]>
  readonly translations: Map<string, readonly [Tuple, Translation]>
  /** The forward keys of half-open TCP connections, the oldest first (bpf/lib/openings.h). */
  readonly openings: Tuple[]
  readonly fragments: Map<string, readonly [FragmentKey, Fragment]>
  readonly affinity: Map<string, readonly [AffinityKey, Affinity]>
}

export function emptyFlowState(): FlowState {
  return {
    flows: new Map(),
    flows_opening: new Map(),
    translations: new Map(),
    openings: [],
    fragments: new Map(),
    affinity: new Map(),
  }
}

export function flowText(key: FlowKey): string {
  return `${key.protocol} ${key.low} ${key.lowPort} ${key.high} ${key.highPort}`
}

export function tupleText(key: Tuple): string {
  return `${key.protocol} ${key.source} ${key.sourcePort} ${key.destination} ${key.destinationPort}`
}

export function fragmentText(key: FragmentKey): string {
  return `${key.protocol} ${key.source} ${key.destination} ${key.identification}`
}

export function affinityText({ service, address, netnsCookie, family }: AffinityKey): string {
  return `${service} ${address} ${netnsCookie} ${family}`
}

/** The value of the entry whose fields all equal `key`'s. */
export function lookup<K extends object, V>(entries: readonly (readonly [K, V])[], key: K): V | undefined {
  const fields = Object.keys(key) as (keyof K)[]
  return entries.find(([candidate]) => fields.every((field) => candidate[field] === key[field]))?.[1]
}

/** The value of the longest prefix that holds the address; an IPv4 address is in ::/0 too (bpf/abi/address.h). */
export function longestPrefix<V>(entries: readonly (readonly [Prefix, V])[], address: Address): V | undefined {
  const bytes = addressBytes(address)
  return entries
    .filter(([prefix]) => sameLeadingBits(addressBytes(prefix.address), bytes, prefix.length))
    .toSorted(([a], [b]) => b.length - a.length)[0]?.[1]
}
