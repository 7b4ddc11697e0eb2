// SPDX-License-Identifier: Apache-2.0
// Keys and values of tables as text with one character (0..255) per byte: small, immutable, compared and hashed by the
// runtime itself, so that 50,000 entries cost a few megabytes.

import type { Codec } from '../core/codec.ts'

export type ByteText = string

export function toByteText(bytes: Uint8Array): ByteText {
  return String.fromCharCode(...bytes)
}

export function encodeText<T>(codec: Codec<T>, value: T): ByteText {
  const bytes = new Uint8Array(codec.size)
  codec.write(bytes, 0, value)
  return toByteText(bytes)
}

export function decodeText<T>(codec: Codec<T>, text: ByteText): T {
  return codec.read(toBytes([text], text.length), 0)
}

/** Texts of equal size back to back, as batch calls take them. */
export function toBytes(texts: readonly ByteText[], size: number): Uint8Array {
  const bytes = new Uint8Array(texts.length * size)
  let offset = 0
  for (const text of texts) {
    for (let i = 0; i < size; i++) bytes[offset + i] = text.charCodeAt(i)
    offset += size
  }
  return bytes
}
