// SPDX-License-Identifier: Apache-2.0
// Netlink messages as bytes: headers, attributes, nesting (RFC 3549; include/uapi/linux/netlink.h). Host byte order is
// little-endian, as on every target.
//
// What an ADD sends is built after the node has done other things for a while: each routine of the runtime that it meets is
// fetched from memory again, which costs more than what the routine does. So bytes are put one by one into plain lists, and
// DataView, TextEncoder and TypedArray.set are left to the answers (.35 -> .27 ms for all that a pod's wire takes, caches cold).

export const HEADER_BYTES = 16
const ATTRIBUTE_BYTES = 4
const ALIGNMENT = 4
const NESTED = 0x8000
const TYPE_MASK = 0x3fff

const encoder = new TextEncoder()

export const Flag = {
  ROOT_AND_MATCH: 0x300, // NLM_F_DUMP
  REPLACE: 0x100,
  EXCLUDE: 0x200,
  CREATE: 0x400,
} as const

/** What messages are put together of. */
export type Bytes = Readonly<ArrayLike<number>>

export interface Message {
  readonly type: number
  /** After the netlink header. */
  readonly body: Uint8Array
}

export type Attributes = ReadonlyMap<number, Uint8Array>

/** A whole message; sequence and port are the addon's to fill in. */
export function message(type: number, flags: number, body: Bytes, attributes: readonly Bytes[]): Uint8Array {
  const bytes = joined(HEADER_BYTES + body.length, attributes)
  putBytes(bytes, HEADER_BYTES, body)
  putU32(bytes, 0, bytes.length)
  putU16(bytes, 4, type)
  putU16(bytes, 6, flags)
  return bytes
}

export function parseMessage(bytes: Uint8Array): Message {
  return { type: viewOf(bytes).getUint16(4, true), body: bytes.subarray(HEADER_BYTES) }
}

/** Padded to 4 bytes, as each attribute must be. */
export function attribute(type: number, ...payload: readonly Bytes[]): Bytes {
  const bytes = [0, 0, type & 0xff, type >>> 8]
  for (const part of payload) for (let i = 0; i < part.length; i++) bytes.push(part[i]!)
  putU16(bytes, 0, bytes.length)
  while (bytes.length % ALIGNMENT !== 0) bytes.push(0)
  return bytes
}

export function nested(type: number, attributes: readonly Bytes[]): Bytes {
  return attribute(type | NESTED, ...attributes)
}

export function textAttribute(type: number, text: string): Bytes {
  return attribute(type, textBytes(text), [0])
}

export function u8Attribute(type: number, value: number): Bytes {
  return attribute(type, [value])
}

export function u32Attribute(type: number, value: number): Bytes {
  return attribute(type, [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24])
}

/** The first attribute of that type; undefined: there is none. */
export function findAttribute(body: Uint8Array, offset: number, type: number): Uint8Array | undefined {
  for (let at = offset; at + ATTRIBUTE_BYTES <= body.length; ) {
    const length = body[at]! | (body[at + 1]! << 8)
    if (length < ATTRIBUTE_BYTES || at + length > body.length) return undefined
    if (((body[at + 2]! | (body[at + 3]! << 8)) & TYPE_MASK) === type)
      return body.subarray(at + ATTRIBUTE_BYTES, at + length)
    at += align(length)
  }
  return undefined
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

export function concat(parts: readonly Bytes[]): Uint8Array {
  return joined(0, parts)
}

/** The parts back to back behind `room` bytes of zeros. */
function joined(room: number, parts: readonly Bytes[]): Uint8Array {
  let at = room
  for (const part of parts) at += part.length
  const bytes = new Uint8Array(at)
  at = room
  for (const part of parts) {
    putBytes(bytes, at, part)
    at += part.length
  }
  return bytes
}

function putBytes(bytes: Uint8Array, at: number, part: Bytes): void {
  for (let i = 0; i < part.length; i++) bytes[at + i] = part[i]!
}

function textBytes(text: string): Bytes {
  const bytes: number[] = []
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 0x7f) return encoder.encode(text)
    bytes.push(code)
  }
  return bytes
}

export function putU16(bytes: Uint8Array | number[], at: number, value: number): void {
  bytes[at] = value & 0xff
  bytes[at + 1] = (value >>> 8) & 0xff
}

export function putU32(bytes: Uint8Array, at: number, value: number): void {
  putU16(bytes, at, value)
  putU16(bytes, at + 2, value >>> 16)
}

function align(length: number): number {
  return (length + ALIGNMENT - 1) & -ALIGNMENT
}
