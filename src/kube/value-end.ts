// SPDX-License-Identifier: Apache-2.0
// Where a JSON value ends that is taken or passed over whole: brackets and quotes are counted, nothing else is looked at.

import { Byte } from './json-bytes.ts'

export interface ValueEnd {
  /** A value begins with this byte, which need not be scanned. */
  begin(byte: number): void
  /** Looks at the chunk from there on; returns where it stopped: behind the value, at a byte that no value can have, or at
   *  the chunk's end. */
  scan(chunk: Uint8Array, from: number): number
  /** The value has ended where scan stopped. */
  readonly isReached: boolean
}

/** isLines: a value ends in its line. */
export function createValueEnd(isLines: boolean): ValueEnd {
  let nesting = 0 // brackets open
  let inString = false
  let escaped = false // after a backslash
  let isBare = false // a number or word
  let isReached = false

  function scanBare(chunk: Uint8Array, from: number): number {
    for (let i = from; i < chunk.length; i++) {
      const byte = chunk[i]!
      if (byte === Byte.COMMA || byte === Byte.CLOSE_OBJECT || byte === Byte.CLOSE_LIST || byte <= Byte.SPACE) {
        isReached = true
        return i
      }
    }
    return chunk.length
  }

  // Most bytes of a stream pass here: the state is in locals meanwhile.
  function scanNested(chunk: Uint8Array, from: number): number {
    const end = chunk.length
    let i = from
    let open = nesting
    let text = inString
    let after = escaped
    let isDone = false
    while (i < end && !isDone) {
      const byte = chunk[i]!
      if (text) {
        if (byte === Byte.NEWLINE) break
        if (after) after = false
        else if (byte === Byte.BACKSLASH) after = true
        else if (byte === Byte.QUOTE) {
          text = false
          isDone = open === 0
        }
      } else if (byte === Byte.QUOTE) text = true
      else if (byte === Byte.OPEN_OBJECT || byte === Byte.OPEN_LIST) open++
      else if (byte === Byte.CLOSE_OBJECT || byte === Byte.CLOSE_LIST) isDone = --open === 0
      else if (byte === Byte.NEWLINE && isLines) break
      i++
    }
    nesting = open
    inString = text
    escaped = after
    isReached = isDone
    return i
  }

  return {
    begin(byte) {
      nesting = byte === Byte.OPEN_OBJECT || byte === Byte.OPEN_LIST ? 1 : 0
      inString = byte === Byte.QUOTE
      escaped = false
      isBare = nesting === 0 && !inString
      isReached = false
    },
    scan: (chunk, from) => (isBare ? scanBare(chunk, from) : scanNested(chunk, from)),
    get isReached() {
      return isReached
    },
  }
}
