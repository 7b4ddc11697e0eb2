// SPDX-License-Identifier: Apache-2.0
// Netlink messages as bytes: headers, attributes, nesting (RFC 3549; include/uapi/linux/netlink.h). Host byte order is
// little-endian, as on every target.

export const HEADER_BYTES = 16
const ATTRIBUTE_BYTES = 4
const NESTED = 0x8000
const TYPE_MASK = 0x3fff

export const Flag = {
  ROOT_AND_MATCH: 0x300, // NLM_F_DUMP
  REPLACE: 0x100,
  EXCLUDE: 0x200,
  CREATE: 0x400,
} as const

export interface Message {
  readonly type: number
  /** After the netlink header. */
  readonly body: Uint8Array
}

export type Attributes = ReadonlyMap<number, Uint8Array>

/** A whole message; sequence and port are the addon's to fill in. */
export function message(type: number, flags: number, body: Uint8Array, attributes: readonly Uint8Array[]): Uint8Array {
  const bytes = concat([new Uint8Array(HEADER_BYTES), body, ...attributes])
  const view = viewOf(bytes)
  view.setUint32(0, bytes.length, true)
  view.setUint16(4, type, true)
  view.setUint16(6, flags, true)
  return bytes
}

export function parseMessage(bytes: Uint8Array): Message {
  return { type: viewOf(bytes).getUint16(4, true), body: bytes.subarray(HEADER_BYTES) }
}

/** Padded to 4 bytes, as each attribute must be. */
export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const length = ATTRIBUTE_BYTES + payload.length
  const bytes = new Uint8Array(align(length))
  const view = viewOf(bytes)
  view.setUint16(0, length, true)
  view.setUint16(2, type, true)
  bytes.set(payload, ATTRIBUTE_BYTES)
  return bytes
}

export function nested(type: number, attributes: readonly Uint8Array[]): Uint8Array {
  return attribute(type | NESTED, concat(attributes))
}

export function textAttribute(type: number, text: string): Uint8Array {
  return attribute(type, new TextEncoder().encode(`${text}\0`))
}

export function u8Attribute(type: number, value: number): Uint8Array {
  return attribute(type, Uint8Array.of(value))
}

export function u32Attribute(type: number, value: number): Uint8Array {
  return attribute(type, u32Bytes(value))
}

/** Attributes of a body that begin at `offset`; of a repeated type the last. A truncated one ends the list. */
export function parseAttributes(body: Uint8Array, offset: number): Attributes {
  const view = viewOf(body)
  const attributes = new Map<number, Uint8Array>()
  for (let at = offset; at + ATTRIBUTE_BYTES <= body.length; ) {
    const length = view.getUint16(at, true)
    if (length < ATTRIBUTE_BYTES || at + length > body.length) break
    attributes.set(view.getUint16(at + 2, true) & TYPE_MASK, body.subarray(at + ATTRIBUTE_BYTES, at + length))
    at += align(length)
  }
  return attributes
}

export function textOf(payload: Uint8Array | undefined): string {
  return payload === undefined ? '' : new TextDecoder().decode(payload).replace(/\0.*$/, '')
}

/** undefined when the attribute is absent. */
export function u32Of(payload: Uint8Array | undefined): number | undefined {
  return payload === undefined ? undefined : viewOf(payload).getUint32(0, true)
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

function u32Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  viewOf(bytes).setUint32(0, value, true)
  return bytes
}

function align(length: number): number {
  return (length + 3) & ~3
}
