// SPDX-License-Identifier: Apache-2.0
// Netlink messages as bytes: headers, attributes, nesting (RFC 3549; include/uapi/linux/netlink.h). Host byte order is
// little-endian, as on every target.

export const HEADER_BYTES = 16
const ATTRIBUTE_BYTES = 4
const NESTED = 0x8000
const TYPE_MASK = 0x3fff

const encoder = new TextEncoder()

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
  const bytes = joined(HEADER_BYTES, [body, ...attributes])
  putU32(bytes, 0, bytes.length)
  putU16(bytes, 4, type)
  putU16(bytes, 6, flags)
  return bytes
}

export function parseMessage(bytes: Uint8Array): Message {
  return { type: viewOf(bytes).getUint16(4, true), body: bytes.subarray(HEADER_BYTES) }
}

/** Padded to 4 bytes, as each attribute must be. */
export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const bytes = attributeFor(type, payload.length)
  bytes.set(payload, ATTRIBUTE_BYTES)
  return bytes
}

export function nested(type: number, attributes: readonly Uint8Array[]): Uint8Array {
  return attribute(type | NESTED, concat(attributes))
}

export function textAttribute(type: number, text: string): Uint8Array {
  return attribute(type, encoder.encode(`${text}\0`))
}

export function u8Attribute(type: number, value: number): Uint8Array {
  const bytes = attributeFor(type, 1)
  bytes[ATTRIBUTE_BYTES] = value
  return bytes
}

export function u32Attribute(type: number, value: number): Uint8Array {
  const bytes = attributeFor(type, 4)
  putU32(bytes, ATTRIBUTE_BYTES, value)
  return bytes
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
  return joined(0, parts)
}

/** The parts back to back behind `room` bytes of zeros. */
function joined(room: number, parts: readonly Uint8Array[]): Uint8Array {
  let at = room
  for (const part of parts) at += part.length
  const bytes = new Uint8Array(at)
  at = room
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

function attributeFor(type: number, payloadLength: number): Uint8Array {
  const length = ATTRIBUTE_BYTES + payloadLength
  const bytes = new Uint8Array(align(length))
  putU16(bytes, 0, length)
  putU16(bytes, 2, type)
  return bytes
}

// Not by a DataView: a pod's wire has 100 of these fields, and a view costs more than the field.
function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  putU16(bytes, at, value)
  putU16(bytes, at + 2, value >>> 16)
}

function align(length: number): number {
  return (length + 3) & ~3
}
