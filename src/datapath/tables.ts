// SPDX-License-Identifier: Apache-2.0
// The tables that the agent writes, what refers to what, and an entry as a line of text.

import { prefixFromKey, UNSPECIFIED } from '../core/address.ts'
import type { Codec } from '../core/codec.ts'
import { id64 } from '../core/id64.ts'
import {
  FrontendFlags,
  type MapName,
  maps,
  NodeFlags,
  POLICY_FIXED_BITS,
  POLICY_PROTOCOL_BITS,
  PolicyDirection,
  type PolicyEntry,
  PolicyFlags,
  type PolicyKey,
  PolicyLevels,
  PolicyVerdict,
  Realm,
  RouteFlags,
  RouteKind,
  SOURCE_RANGE_FIXED_BITS,
} from '../generated/abi.ts'
import { type ByteText, decodeText, encodeText } from './bytes.ts'

/** Referents before those that refer to them:
 *
 *    backends <- slot_tables, source_ranges <- frontends          nexthops <- nodes <- routes
 *    policies <- class_prefixes <- classes <- endpoints <- endpoint_cookie
 *
 *  Policies come before classes, so that an address never has a class that a live set does not know yet. */
export const tableNames = [
  'backends',
  'slot_tables',
  'source_ranges',
  'frontends',
  'nexthops',
  'nodes',
  'routes',
  'policies',
  'class_prefixes',
  'classes',
  'endpoints',
  'endpoint_cookie',
] as const satisfies readonly MapName[]
export type TableName = (typeof tableNames)[number]

/** Tables that refer only to each other: one of these that does not fit does not hold up the others. */
export const tableGroups = [
  ['backends', 'slot_tables', 'source_ranges', 'frontends'],
  ['nexthops', 'nodes', 'routes'],
  ['policies', 'class_prefixes', 'classes', 'endpoints', 'endpoint_cookie'],
] as const satisfies readonly (readonly TableName[])[]

type Decoded<C> = C extends Codec<infer T> ? T : never
export type KeyOf<M extends TableName> = Decoded<(typeof maps)[M]['key']>
export type ValueOf<M extends TableName> = Decoded<(typeof maps)[M]['value']>

export interface TableEntry {
  readonly key: ByteText
  readonly value: ByteText
}

export function tableEntry<M extends TableName>(table: M, key: KeyOf<M>, value: ValueOf<M>): TableEntry {
  const { key: keyCodec, value: valueCodec } = maps[table]
  return {
    key: encodeText(keyCodec as Codec<KeyOf<M>>, key),
    value: encodeText(valueCodec as Codec<ValueOf<M>>, value),
  }
}

export function readKey<M extends TableName>(table: M, key: ByteText): KeyOf<M> {
  return decodeText(maps[table].key as Codec<KeyOf<M>>, key)
}

export function readValue<M extends TableName>(table: M, value: ByteText): ValueOf<M> {
  return decodeText(maps[table].value as Codec<ValueOf<M>>, value)
}

/** Bits of the key that count, for longest-prefix tables; 0 for the others. */
export function prefixLength(table: TableName, key: ByteText): number {
  switch (table) {
    case 'routes':
    case 'class_prefixes':
      return readKey(table, key).length
    case 'policies':
    case 'source_ranges':
      return readKey(table, key).prefixLength
    default:
      return 0
  }
}

/** Id as everywhere in text: 16 hex digits. */
export function idText(id: bigint): string {
  return id.toString(16).padStart(16, '0')
}

export function keyText(table: TableName, key: ByteText): string {
  return keyTexts[table](key)
}

export function valueText(table: TableName, value: ByteText): string {
  return valueTexts[table](value)
}

const keyTexts: { readonly [M in TableName]: (key: ByteText) => string } = {
  backends: (key) => {
    const { backendList, slot } = readKey('backends', key)
    return `${idText(backendList)}[${slot}]`
  },
  frontends: (key) => {
    const { address, port, protocol } = readKey('frontends', key)
    return `${socketText(address, port)}/${protocolText(protocol)}`
  },
  slot_tables: (key) => {
    const { backendList, chunk } = readKey('slot_tables', key)
    return `${idText(backendList)} chunk ${chunk}`
  },
  source_ranges: (key) => {
    const { prefixLength, service, address } = readKey('source_ranges', key)
    const range = prefixFromKey({ length: prefixLength - SOURCE_RANGE_FIXED_BITS, address })
    return `${idText(service)} ${range}`
  },
  nexthops: (key) => {
    const { node, family } = readKey('nexthops', key)
    return `${idText(node)} IPv${family}`
  },
  nodes: (key) => readKey('nodes', key).address,
  routes: (key) => prefixFromKey(readKey('routes', key)),
  policies: (key) => {
    const policy = readKey('policies', key)
    return `${idText(policy.set)} ${directionText(policy.direction)} ${levelText(policy)} ${portsText(policy)}`
  },
  class_prefixes: (key) => prefixFromKey(readKey('class_prefixes', key)),
  classes: (key) => readKey('classes', key).address,
  endpoints: (key) => readKey('endpoints', key).address,
  endpoint_cookie: (key) => `netns ${readKey('endpoint_cookie', key).netnsCookie}`,
}

const valueTexts: { readonly [M in TableName]: (value: ByteText) => string } = {
  backends: (value) => {
    const { address, port } = readValue('backends', value)
    return socketText(address, port)
  },
  frontends: (value) => {
    return frontendText(readValue('frontends', value))
  },
  slot_tables: (value) => `slots ${idText(id64(value))}`, // what they are: 964 numbers
  source_ranges: (value) => (readValue('source_ranges', value).allowed === 1 ? 'allowed' : 'unknown'),
  nexthops: (value) => {
    const { gateway, tunnel, ifindex } = readValue('nexthops', value)
    return `via ${gateway} on ifindex ${ifindex}, tunnel ${tunnel}`
  },
  nodes: (value) => {
    const { node, flags } = readValue('nodes', value)
    return `node ${idText(node)}${flags & NodeFlags.OWN ? ' (this one)' : ''}`
  },
  routes: (value) => {
    const { kind, flags, node } = readValue('routes', value)
    if (kind === RouteKind.SERVICES) return 'services'
    const dsr = flags & RouteFlags.DSR ? ', which answers clients itself' : ''
    return `${kind === RouteKind.OWN_PODS ? 'own pods' : 'pods'} of ${idText(node)}${dsr}`
  },
  policies: (value) => {
    const entry = readValue('policies', value)
    return `${verdictText(entry)} by ${idText(entry.rule)}`
  },
  class_prefixes: classText,
  classes: classText,
  endpoints: (value) => {
    const entry = readValue('endpoints', value)
    const sets = `ingress ${setText(entry.ingressSet)}, egress ${setText(entry.egressSet)}`
    return `ifindex ${entry.ifindex}, pod ${idText(entry.pod)}, ${entry.isolated ? 'isolated' : sets}`
  },
  endpoint_cookie: (value) => {
    const { ipv4, ipv6 } = readValue('endpoint_cookie', value)
    return [ipv4, ipv6].filter((address) => address !== UNSPECIFIED).join(', ')
  },
}

function frontendText(frontend: ValueOf<'frontends'>): string {
  const { backendList, count, flags, service, externalList, externalCount, affinitySeconds } = frontend
  const [drops, externalDrops] = [flags & FrontendFlags.INTERNAL_DROPS, flags & FrontendFlags.EXTERNAL_DROPS].map(
    (bit) => (bit ? ' or drop' : ''),
  )
  return [
    `list ${idText(backendList)} of ${count}${drops}`,
    ...(flags & FrontendFlags.EXTERNAL ? [`outside ${idText(externalList)} of ${externalCount}${externalDrops}`] : []),
    ...(flags & FrontendFlags.SOURCE_RANGES ? ['source ranges'] : []),
    ...(flags & FrontendFlags.BY_SOURCE ? ['by source'] : []),
    ...(flags & FrontendFlags.IN_TURN ? ['in turn'] : []),
    ...(flags & FrontendFlags.BY_LOAD ? ['by load'] : []),
    ...(flags & FrontendFlags.SLOT_TABLE ? ['by table'] : []),
    ...(affinitySeconds > 0 ? [`affinity ${affinitySeconds} s`] : []),
    `service ${idText(service)}`,
  ].join(', ')
}

function classText(value: ByteText): string {
  const { classId, realm } = readValue('classes', value)
  return `class ${idText(classId)}, realm ${realmText(realm)}`
}

function setText(set: bigint): string {
  return set === 0n ? 'open' : `set ${idText(set)}`
}

export function socketText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

export function protocolText(protocol: number): string {
  return { 1: 'ICMP', 6: 'TCP', 17: 'UDP', 58: 'ICMPv6', 132: 'SCTP' }[protocol] ?? String(protocol)
}

export function directionText(direction: number): 'egress' | 'ingress' {
  return direction === PolicyDirection.EGRESS ? 'egress' : 'ingress'
}

/** audit: allowed, but audited policies would deny it. */
export function verdictText({ verdict, flags }: PolicyEntry): 'allow' | 'deny' | 'audit' {
  if (verdict !== PolicyVerdict.ALLOW) return 'deny'
  return flags & PolicyFlags.AUDIT ? 'audit' : 'allow'
}

export function realmText(realm: number): string {
  return (
    {
      [Realm.WORLD]: 'world',
      [Realm.POD]: 'pod',
      [Realm.NODE]: 'node',
      [Realm.OWN_HOST]: 'own host',
      [Realm.POD_RANGE]: 'pod range',
    }[realm] ?? '?'
  )
}

/** "class 0123456789abcdef", "realm pod" or "any". */
export function levelText({ level, scope }: PolicyKey): string {
  if (level === PolicyLevels.CLASS) return `class ${idText(scope)}`
  return level === PolicyLevels.REALM ? `realm ${realmText(Number(scope))}` : 'any'
}

/** "any", "TCP", "TCP 80", or "TCP 80/14": the ports that share the first 14 bits. */
export function portsText({ prefixLength, protocol, port }: PolicyKey): string {
  if (prefixLength <= POLICY_FIXED_BITS) return 'any'
  const bits = prefixLength - POLICY_FIXED_BITS - POLICY_PROTOCOL_BITS
  if (bits <= 0) return protocolText(protocol)
  return `${protocolText(protocol)} ${port}${bits < 16 ? `/${bits}` : ''}`
}
