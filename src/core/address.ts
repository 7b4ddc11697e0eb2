// SPDX-License-Identifier: Apache-2.0
// Addresses, prefixes and ports as branded values. Text is canonical (RFC 5952 for IPv6, an IPv4-mapped address is
// written as IPv4), so equal values are equal strings and serve as map keys.
// Implementation notes for the owner of this room: bytes are always 16, network order.

export type Address = string & { readonly brand: 'Address' }
export type Prefix = string & { readonly brand: 'Prefix' }
export type Port = number & { readonly brand: 'Port' }
export type IfIndex = number & { readonly brand: 'IfIndex' }
export type Family = 4 | 6

/** Bad input at the edge, as a value: which text, and what is wrong with it. */
export interface ParseError {
  readonly parseError: string
  readonly text: string
}
