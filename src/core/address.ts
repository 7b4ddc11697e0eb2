// SPDX-License-Identifier: Apache-2.0
// Addresses, prefixes and ports as branded values. Text is canonical (RFC 5952 for IPv6; an IPv4-mapped address is
// written as IPv4), so equal values are equal strings and serve as map keys. Bytes are always 16, network order.

import { BrokenInvariant } from './errors.ts'

export type Address = string & { readonly brand: 'Address' }
export type Prefix = string & { readonly brand: 'Prefix' }
export type Port = number & { readonly brand: 'Port' }
export type Family = 4 | 6

/** Bad input at the edge, as a value: which text, and what is wrong with it. */
export interface ParseError {
  readonly parseError: string
  readonly text: string
}

/** Key of a longest-prefix table (bpf/abi/address.h struct prefix): an IPv4 /24 has length 120. */
export interface PrefixKey {
  readonly length: number
  readonly address: Address
}

/** All bits zero; in the tables it stands for "none". */
export const UNSPECIFIED = '::' as Address
/** Every IPv6 address; never an IPv4 one, although its bits would cover the mapped addresses. */
export const ALL_IPV6 = '::/0' as Prefix
/** Every IPv4 address, ::ffff:0:0/96 in the tables. */
export const ALL_IPV4 = '0.0.0.0/0' as Prefix

const ADDRESS_TEXT_MAX = 45
const MAPPED_BITS = 96

export function isParseError(value: unknown): value is ParseError {
  return typeof value === 'object' && value !== null && 'parseError' in value
}

export function parseAddress(text: string): Address | ParseError {
  const bytes = new Uint8Array(16)
  if (!parseBytes(text, bytes, 0)) return { parseError: 'not an IP address', text }
  const canonical = readAddress(bytes, 0)
  // What was put together of pieces takes 72 bytes, what came in one takes 40, and there are 100,000 of them.
  return canonical === text ? (text as Address) : canonical
}

/** Host bits are cleared, as the Kubernetes API does; ::ffff:a.b.c.d/n from /96 on is the IPv4 prefix. */
export function parsePrefix(text: string): Prefix | ParseError {
  const slash = text.indexOf('/')
  const bytes = new Uint8Array(16)
  if (slash < 0 || !parseBytes(text.slice(0, slash), bytes, 0)) {
    return { parseError: 'not a prefix (address/length)', text }
  }
  const dotted = !text.includes(':')
  const digits = text.slice(slash + 1)
  const given = /^(0|[1-9][0-9]{0,2})$/.test(digits) ? Number(digits) : Number.NaN
  const length = dotted ? given + MAPPED_BITS : given
  if (!(length <= 128)) return { parseError: `prefix length not in 0..${dotted ? 32 : 128}`, text }
  return prefixFromKey({ length, address: readAddress(maskBytes(bytes, length), 0) })
}

export function parsePort(value: unknown): Port | ParseError {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535) return value as Port
  return { parseError: 'not a port (1..65535)', text: String(value).slice(0, 64) }
}

export function family(value: Address | Prefix): Family {
  return value.includes(':') ? 6 : 4
}

/** RFC 4291 2.7. */
export function isIPv6Multicast(address: Address): boolean {
  return address.startsWith('ff') && address.indexOf(':') === 4
}

export function addressBytes(address: Address): Uint8Array {
  const bytes = new Uint8Array(16)
  writeAddress(bytes, 0, address)
  return bytes
}

export function addressFromBytes(bytes: Uint8Array): Address {
  return readAddress(bytes, 0)
}

/** Writes 16 bytes. Throws on text that no parse function made: a broken invariant. */
export function writeAddress(bytes: Uint8Array, offset: number, address: Address): void {
  if (!parseBytes(address, bytes, offset)) throw new BrokenInvariant(`${address} is not an address`)
}

/** Canonical text of the 16 bytes at offset. */
export function readAddress(bytes: Uint8Array, offset: number): Address {
  return (isMapped(bytes, offset) ? ipv4Text(bytes, offset + 12) : ipv6Text(bytes, offset)) as Address
}

/** Order of the 16 bytes, as the data plane compares addresses (bpf/abi/conntrack.h). */
export function compareAddresses(a: Address, b: Address): number {
  if (a === b) return 0
  const bytes = new Uint8Array(32)
  writeAddress(bytes, 0, a)
  writeAddress(bytes, 16, b)
  for (let i = 0; i < 16; i++) {
    const difference = bytes[i]! - bytes[16 + i]!
    if (difference !== 0) return difference
  }
  return 0
}

/** Network address and length as written: 24 for an IPv4 /24. */
export function splitPrefix(prefix: Prefix): { readonly address: Address; readonly length: number } {
  const slash = prefix.indexOf('/')
  return { address: prefix.slice(0, slash) as Address, length: Number(prefix.slice(slash + 1)) }
}

/** The prefix that holds this address alone. */
export function hostPrefix(address: Address): Prefix {
  return `${address}/${family(address) === 4 ? 32 : 128}` as Prefix
}

export function prefixToKey(prefix: Prefix): PrefixKey {
  const { address, length } = splitPrefix(prefix)
  return { length: family(address) === 4 ? length + MAPPED_BITS : length, address }
}

/** Inverse of prefixToKey. The address has no bits beyond the length, so a mapped one has at least 96. */
export function prefixFromKey({ length, address }: PrefixKey): Prefix {
  return `${address}/${family(address) === 4 ? length - MAPPED_BITS : length}` as Prefix
}

/** Same family and the prefix's leading bits: ::/0 holds no IPv4 address. */
export function prefixContains(prefix: Prefix, address: Address): boolean {
  return prefixCovers(prefix, hostPrefix(address))
}

/** Every address of inner is in outer; the families are the same. */
export function prefixCovers(outer: Prefix, inner: Prefix): boolean {
  if (family(outer) !== family(inner)) return false
  const outerKey = prefixToKey(outer)
  const innerKey = prefixToKey(inner)
  return (
    innerKey.length >= outerKey.length &&
    sameLeadingBits(addressBytes(outerKey.address), addressBytes(innerKey.address), outerKey.length)
  )
}

export type SpecialAddress = 'unspecified' | 'loopback' | 'link-local' | 'multicast'

/** Why no packet can be sent to the address through a Service; null: one can. */
export function specialAddress(address: Address): SpecialAddress | null {
  if (address === '0.0.0.0' || address === UNSPECIFIED) return 'unspecified'
  if (address === '::1' || address.startsWith('127.')) return 'loopback'
  if (address.startsWith('169.254.') || /^fe[89ab][0-9a-f]:/.test(address)) return 'link-local'
  return /^(22[4-9]|23\d)\.|^ff[0-9a-f]{2}:/.test(address) ? 'multicast' : null
}

/** Whether an IPv6 prefix holds the IPv4-mapped addresses (::ffff:0:0/96), as ::/0 does: as a route it would take all
 *  IPv4 along. */
export function coversMapped(prefix: Prefix): boolean {
  const { length, address } = prefixToKey(prefix)
  if (family(prefix) === 4) return false
  return length <= MAPPED_BITS && sameLeadingBits(addressBytes(address), addressBytes('0.0.0.0' as Address), length)
}

/** Whether the first `length` bits of two 16-byte addresses are equal. */
export function sameLeadingBits(a: Uint8Array, b: Uint8Array, length: number): boolean {
  const whole = length >> 3
  for (let i = 0; i < whole; i++) {
    if (a[i] !== b[i]) return false
  }
  const rest = length & 7
  return rest === 0 || (a[whole]! ^ b[whole]!) >> (8 - rest) === 0
}

function maskBytes(bytes: Uint8Array, length: number): Uint8Array {
  for (let i = 0; i < 16; i++) {
    const kept = Math.min(8, Math.max(0, length - i * 8))
    bytes[i] = bytes[i]! & (0xff00 >> kept)
  }
  return bytes
}

function isMapped(bytes: Uint8Array, offset: number): boolean {
  if (bytes[offset + 10] !== 0xff || bytes[offset + 11] !== 0xff) return false
  for (let i = 0; i < 10; i++) {
    if (bytes[offset + i] !== 0) return false
  }
  return true
}

function ipv4Text(bytes: Uint8Array, offset: number): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`
}

/** RFC 5952: lower case, no leading zeros, '::' for the first longest run of at least two zero groups. */
function ipv6Text(bytes: Uint8Array, offset: number): string {
  const groups: number[] = []
  for (let i = 0; i < 16; i += 2) groups.push((bytes[offset + i]! << 8) | bytes[offset + i + 1]!)
  let runStart = -1
  let runLength = 1
  for (let i = 0; i < 8; i++) {
    let end = i
    while (end < 8 && groups[end] === 0) end++
    if (end - i > runLength) {
      runStart = i
      runLength = end - i
    }
    i = Math.max(i, end - 1)
  }
  if (runStart < 0) return hex(groups, 0, 8)
  return `${hex(groups, 0, runStart)}::${hex(groups, runStart + runLength, 8)}`
}

function hex(groups: readonly number[], from: number, to: number): string {
  let text = ''
  for (let i = from; i < to; i++) text += (i > from ? ':' : '') + groups[i]!.toString(16)
  return text
}

/** False when text is no address; the bytes are then undefined. Zones (%eth0) are refused. */
function parseBytes(text: string, bytes: Uint8Array, offset: number): boolean {
  if (text.length > ADDRESS_TEXT_MAX) return false
  if (text.includes(':')) return parseIpv6(text, bytes, offset)
  bytes.fill(0, offset, offset + 10)
  bytes[offset + 10] = 0xff
  bytes[offset + 11] = 0xff
  return parseIpv4(text, 0, bytes, offset + 12)
}

/** Four decimal bytes without leading zeros, from `at` to the end of the text. */
function parseIpv4(text: string, at: number, bytes: Uint8Array, offset: number): boolean {
  let value = -1
  let dots = 0
  for (let i = at; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit === -2 && value >= 0 && dots < 3) {
      bytes[offset + dots++] = value
      value = -1
    } else if (digit >= 0 && digit <= 9 && value !== 0) {
      value = value < 0 ? digit : value * 10 + digit
      if (value > 255) return false
    } else {
      return false
    }
  }
  if (dots !== 3 || value < 0) return false
  bytes[offset + 3] = value
  return true
}

function parseIpv6(text: string, bytes: Uint8Array, offset: number): boolean {
  let at = 0 // in text
  let filled = 0 // bytes written so far
  let gap = -1 // bytes written before '::'
  if (text.startsWith('::')) {
    gap = 0
    at = 2
  }
  while (at < text.length) {
    let end = at
    let group = 0
    for (let digit = hexDigit(text, end); digit >= 0; digit = hexDigit(text, end)) {
      group = (group << 4) | digit
      if (++end - at > 4) return false
    }
    if (text[end] === '.') {
      if (filled > 12 || !parseIpv4(text, at, bytes, offset + filled)) return false
      filled += 4
      break
    }
    if (end === at || filled > 14) return false
    bytes[offset + filled++] = group >> 8
    bytes[offset + filled++] = group & 0xff
    at = end
    if (at === text.length) break
    if (text[at] !== ':' || ++at === text.length) return false
    if (text[at] === ':') {
      if (gap >= 0) return false
      gap = filled
      at++
    }
  }
  if (gap < 0) return filled === 16
  if (filled > 14) return false
  bytes.copyWithin(offset + gap + 16 - filled, offset + gap, offset + filled)
  bytes.fill(0, offset + gap, offset + gap + 16 - filled)
  return true
}

function hexDigit(text: string, at: number): number {
  const code = text.charCodeAt(at)
  if (code >= 48 && code <= 57) return code - 48
  if (code >= 97 && code <= 102) return code - 87
  if (code >= 65 && code <= 70) return code - 55
  return -1
}
