// SPDX-License-Identifier: Apache-2.0
// The text that is kept of a stream, frame by frame (skim.ts writes it). A frame that outgrows its bound gives up what its
// outermost list holds, so that what is around the list can still be read: whom a policy selects, not what it allows.

const FIRST_BYTES = 4096
/** Beside lists a frame may be longer than its bound by this: what follows a list that just fitted. */
const SLACK_BYTES = 64 << 10
const START_BYTES = 1024

export interface KeptText {
  write(bytes: Uint8Array, from: number, to: number): void
  writeByte(byte: number): void
  frameBegins(): void
  /** Forgets the frame; what was written before it stays. */
  frameEnds(): void
  /** Of the frame: a list was opened, or closed (told before the bracket is written). */
  listOpened(): void
  listCloses(): void
  /** Something of the frame is missing. */
  readonly isCut: boolean
  frame(): string
  /** The frame, when all that is missing is the contents of lists; else how it began. */
  whatIsLeft(): string
  /** Everything written outside of frames. */
  around(): string
  clear(): void
}

export function createKeptText(frameBytesMax: number): KeptText {
  let output = Buffer.allocUnsafe(FIRST_BYTES)
  let length = 0
  let frameAt = 0
  let limit = 0 // of length; -1: nothing more is kept, until the list closes or the frame ends
  let listAt = 0 // where the contents of the outermost open list begin
  let listDepth = 0
  let isCut = false
  let isLost = false // more than the contents of lists is missing
  restart(0)

  function restart(at: number): void {
    frameAt = at
    length = at
    limit = at + frameBytesMax + SLACK_BYTES
    listDepth = 0
    isCut = false
    isLost = false
  }

  function reserve(bytes: number): boolean {
    if (length + bytes > limit) {
      giveUp()
      return false
    }
    if (length + bytes > output.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * output.length, length + bytes))
      output.copy(larger, 0, 0, length)
      output = larger
    }
    return true
  }

  function giveUp(): void {
    if (limit < 0) return
    limit = -1
    isCut = true
    if (listDepth > 0) length = listAt
    else isLost = true
  }

  return {
    write(bytes, from, to) {
      if (!reserve(to - from)) return
      if (to - from < 32) for (let i = from; i < to; i++) output[length++] = bytes[i]!
      else {
        output.set(bytes.subarray(from, to), length)
        length += to - from
      }
    },
    writeByte(byte) {
      if (reserve(1)) output[length++] = byte
    },
    frameBegins: () => restart(length),
    frameEnds() {
      restart(frameAt)
      frameAt = 0
    },
    listOpened() {
      if (listDepth++ > 0 || isLost) return
      listAt = length
      limit = frameAt + frameBytesMax
    },
    listCloses() {
      if (--listDepth === 0 && !isLost) limit = frameAt + frameBytesMax + SLACK_BYTES
    },
    get isCut() {
      return isCut
    },
    frame: () => output.toString('utf8', frameAt, length),
    whatIsLeft: () => output.toString('utf8', frameAt, isLost ? Math.min(length, frameAt + START_BYTES) : length),
    around: () => output.toString('utf8', 0, length),
    clear: () => restart(0),
  }
}
