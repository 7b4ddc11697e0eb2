// SPDX-License-Identifier: Apache-2.0
// Takes from a stream of JSON only what a shape names, byte by byte and whatever the chunks are. What is not named is
// passed over without being stored: a megabyte of annotations costs a look at each byte and no memory.
//
// A stream is either lines, one value each (a watch), or one value with a list of frames in it (a page of a list).
// A newline inside a line's value cannot be JSON, so a garbled line ends where the next one begins.

import type { Shape } from '../api/shapes.ts'
import { Byte } from './json-bytes.ts'
import { createKeptText } from './kept-text.ts'
import { createValueEnd } from './value-end.ts'
import { fieldNamed, type Wanted, wantedAround, wantedOf } from './wanted.ts'

export interface SkimmerOptions {
  /** 'lines': frames are the lines and have this shape. 'list': one object, whose `items` are frames of this shape. */
  readonly stream: 'lines' | 'list'
  readonly shape: Shape
  /** Shape of what is around the frames of a list. */
  readonly around?: { readonly [field: string]: Shape }
  /** Largest frame, of what is kept of it. */
  readonly keptBytesMax: number
  /** A frame, parsed. */
  readonly onFrame: (value: unknown) => void
  /** A frame that is no JSON, with its beginning; or one of which more would be kept than keptBytesMax, without the
   *  contents of its lists where that is enough (kept-text.ts). */
  readonly onRefused: (reason: 'not JSON' | 'too large', kept: string) => void
}

export interface Skimmer {
  push(chunk: Uint8Array): void
  /** The stream has ended: what is around the frames of a list, parsed. Throws when it is incomplete. */
  end(): unknown
}

const DEPTH_MAX = 64
const KEY_BYTES_MAX = 64
const START_CHARACTERS = 1024

const At = {
  /** Before a value. */
  VALUE: 0,
  /** After "{": a key or the end. */
  FIRST_KEY: 1,
  /** After "," in an object. */
  KEY: 2,
  IN_KEY: 3,
  COLON: 4,
  /** After a value in an object or a list. */
  AFTER: 5,
  /** Inside a value that is passed over or copied whole. */
  WITHIN: 6,
  /** After the last value. */
  OVER: 7,
  /** After something that is no JSON, up to the next line. */
  GARBLED: 8,
  /** After "[": a value or the end. */
  FIRST_ITEM: 9,
} as const
type At = (typeof At)[keyof typeof At]

export function createSkimmer(options: SkimmerOptions): Skimmer {
  const isLines = options.stream === 'lines'
  const frame = wantedOf(options.shape)
  const top = isLines ? frame : wantedAround(options.around ?? {}, frame)

  let at: At = At.VALUE
  let wanted: Wanted | null = top // of the value that comes
  const containers: (Wanted | null)[] = [] // of what is open
  const lists: boolean[] = []
  const counts: number[] = [] // kept members so far
  let frameDepth = 0 // containers open around it

  const valueEnd = createValueEnd(isLines)
  let copying = false // the value that is taken whole, or passed over

  let escaped = false // in a key, after a backslash
  const key = new Uint8Array(KEY_BYTES_MAX)
  let keyLength = 0

  const kept = createKeptText(options.keptBytesMax)

  function reset(): void {
    at = At.VALUE
    wanted = top
    containers.length = 0
    lists.length = 0
    counts.length = 0
    kept.clear()
  }

  function garbled(): void {
    options.onRefused('not JSON', kept.frame().slice(0, START_CHARACTERS))
    at = At.GARBLED
  }

  /** A value was read to its end. */
  function complete(): void {
    const depth = containers.length
    if (depth === 0) {
      if (isLines) emit()
      at = At.OVER
      return
    }
    if (depth === frameDepth && containers[depth - 1]?.isFrames) {
      emit()
      kept.frameEnds()
    } else counts[depth - 1]!++
    at = At.AFTER
  }

  function emit(): void {
    if (kept.isCut) {
      options.onRefused('too large', kept.whatIsLeft())
      return
    }
    const text = kept.frame()
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      options.onRefused('not JSON', text.slice(0, START_CHARACTERS))
      return
    }
    options.onFrame(value)
  }

  /** The frame or member that begins now; a comma where one came before it. */
  function begin(): void {
    const depth = containers.length
    if (depth > 0 && lists[depth - 1]) {
      if (containers[depth - 1]!.isFrames) {
        kept.frameBegins()
        frameDepth = depth
      } else if (counts[depth - 1]! > 0) kept.writeByte(Byte.COMMA)
    }
  }

  function open(byte: number): void {
    if (containers.length === DEPTH_MAX) {
      garbled()
      return
    }
    kept.writeByte(byte)
    if (byte === Byte.OPEN_LIST && !wanted!.isFrames) kept.listOpened()
    containers.push(wanted)
    lists.push(byte === Byte.OPEN_LIST)
    counts.push(0)
    at = byte === Byte.OPEN_LIST ? At.FIRST_ITEM : At.FIRST_KEY
  }

  function close(byte: number): void {
    if (lists[lists.length - 1] !== (byte === Byte.CLOSE_LIST)) {
      garbled()
      return
    }
    const closed = containers.pop()
    lists.pop()
    counts.pop()
    if (closed?.isFrames) frameDepth = 0
    else if (byte === Byte.CLOSE_LIST) kept.listCloses()
    kept.writeByte(byte)
    complete()
  }

  function startValue(chunk: Uint8Array, i: number, byte: number): number {
    if (byte === Byte.CLOSE_OBJECT || byte === Byte.CLOSE_LIST || byte === Byte.COMMA || byte === Byte.COLON) {
      garbled()
      return i
    }
    if (wanted !== null) begin()
    if (wanted !== null && !wanted.all) {
      if (byte === Byte.OPEN_LIST || (byte === Byte.OPEN_OBJECT && !wanted.isFrames)) {
        open(byte)
        return i + 1
      }
    }
    copying = wanted !== null
    at = At.WITHIN
    valueEnd.begin(byte)
    if (copying) kept.writeByte(byte)
    return within(chunk, i + 1)
  }

  /** Passes over or copies up to the value's end; returns where to go on. */
  function within(chunk: Uint8Array, from: number): number {
    const i = valueEnd.scan(chunk, from)
    if (copying) kept.write(chunk, from, i)
    if (valueEnd.isReached) {
      if (wanted === null) at = At.AFTER
      else complete()
    } else if (i < chunk.length) garbled()
    return i
  }

  function inKey(chunk: Uint8Array, from: number): number {
    const end = chunk.length
    let i = from
    for (; i < end; i++) {
      const byte = chunk[i]!
      if (byte === Byte.NEWLINE) {
        garbled()
        return i
      }
      if (escaped) escaped = false
      else if (byte === Byte.BACKSLASH) escaped = true
      else if (byte === Byte.QUOTE) break
    }
    if (keyLength === 0 && i < end) {
      wanted = choose(chunk, from, i)
    } else {
      // Longer than any field of a shape or of the API: the copy may be cut, it matches nothing.
      for (let j = from; j < i; j++, keyLength++) if (keyLength < KEY_BYTES_MAX) key[keyLength] = chunk[j]!
      if (i < end) wanted = keyLength > KEY_BYTES_MAX ? null : choose(key, 0, keyLength)
    }
    if (i === end) return i
    at = At.COLON
    return i + 1
  }

  /** What is wanted of the field with this name; writes the name when anything is. */
  function choose(bytes: Uint8Array, from: number, to: number): Wanted | null {
    const depth = containers.length - 1
    const field = fieldNamed(containers[depth]!, bytes, from, to)
    if (field !== undefined) {
      if (counts[depth]! > 0) kept.writeByte(Byte.COMMA)
      kept.write(field.written, 0, field.written.length)
      return field.wanted
    }
    const { others } = containers[depth]!
    if (others !== null) {
      if (counts[depth]! > 0) kept.writeByte(Byte.COMMA)
      kept.writeByte(Byte.QUOTE)
      kept.write(bytes, from, to)
      kept.writeByte(Byte.QUOTE)
      kept.writeByte(Byte.COLON)
    }
    return others
  }

  return {
    push(chunk) {
      const end = chunk.length
      let i = 0
      while (i < end) {
        const byte = chunk[i]!
        if (at === At.WITHIN) {
          i = within(chunk, i)
          continue
        }
        if (at === At.IN_KEY) {
          i = inKey(chunk, i)
          continue
        }
        if (byte === Byte.NEWLINE && isLines) {
          if (at !== At.OVER && at !== At.GARBLED && (at !== At.VALUE || containers.length > 0)) garbled()
          reset()
          i++
          continue
        }
        if (byte <= Byte.SPACE || at === At.GARBLED) {
          i++
          continue
        }
        switch (at) {
          case At.FIRST_ITEM:
            if (byte === Byte.CLOSE_LIST) {
              close(byte)
              i++
              break
            }
            wanted = itemOf(containers[containers.length - 1]!, frame)
            i = startValue(chunk, i, byte)
            break
          case At.VALUE:
            i = startValue(chunk, i, byte)
            break
          case At.FIRST_KEY:
          case At.KEY:
            i++
            if (byte === Byte.QUOTE) {
              at = At.IN_KEY
              keyLength = 0
              escaped = false
            } else if (byte === Byte.CLOSE_OBJECT && at === At.FIRST_KEY) close(byte)
            else garbled()
            break
          case At.COLON:
            i++
            if (byte === Byte.COLON) at = At.VALUE
            else garbled()
            break
          case At.AFTER:
            i++
            if (byte === Byte.CLOSE_OBJECT || byte === Byte.CLOSE_LIST) close(byte)
            else if (byte !== Byte.COMMA) garbled()
            else if (lists[lists.length - 1]) {
              wanted = itemOf(containers[containers.length - 1]!, frame)
              at = At.VALUE
            } else at = At.KEY
            break
          default:
            garbled() // more after the value's end
        }
      }
    },
    end() {
      if (isLines) return undefined
      if (at !== At.OVER || kept.isCut) throw new Error('the list is not complete')
      return JSON.parse(kept.around())
    },
  }
}

function itemOf(container: Wanted, frame: Wanted): Wanted {
  return container.isFrames ? frame : container
}
