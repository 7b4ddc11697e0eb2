// SPDX-License-Identifier: Apache-2.0
// One connection of the CNI socket: a frame comes, a frame goes. The descriptor is read and written directly, since a shim
// sends its whole request at once and takes the reply at once: a net.Socket costs an ADD .3 ms.

import { closeSync, readSync, writeSync } from 'node:fs'
import type { Sockets } from './interfaces.ts'

export const LENGTH_BYTES = 4
const READ_BYTES = 4 << 10

/** Owns the descriptor, which does not block. */
export class Connection {
  readonly #sockets: Sockets
  #fd: number | null
  /** Ends the wait for the descriptor. */
  #wake: () => void = () => {}

  constructor(fd: number, sockets: Sockets) {
    this.#fd = fd
    this.#sockets = sockets
  }

  /** The body of the frame; null when it is longer than that, undefined when the other side hung up or close() came.
   *  `late`: called whenever a part of it is not there yet. */
  async receive(lengthMax: number, late: () => void): Promise<Buffer | null | undefined> {
    let parts: Buffer[] = []
    let missing = LENGTH_BYTES
    let end: number | undefined
    for (;;) {
      const part = this.#try((fd) => read(fd))
      if (part === undefined || part?.length === 0) return undefined
      if (part === null) {
        late()
        await this.#ready('readable')
        continue
      }
      parts.push(part)
      missing -= part.length
      if (missing > 0) continue
      const bytes = parts.length === 1 ? part : Buffer.concat(parts)
      parts = [bytes]
      end ??= LENGTH_BYTES + bytes.readUInt32BE()
      if (end > LENGTH_BYTES + lengthMax) return null
      missing = end - bytes.length
      if (missing <= 0) return bytes.subarray(LENGTH_BYTES, end)
    }
  }

  /** Whether the kernel has taken all bytes for another side that is still there. */
  async send(bytes: Uint8Array): Promise<boolean> {
    for (let sent = 0; sent < bytes.length; ) {
      const written = this.#try((fd) => writeSync(fd, bytes, sent))
      if (written === undefined) return false
      if (written === null) await this.#ready('writable')
      else sent += written
    }
    return true
  }

  /** Idempotent. */
  close(): void {
    if (this.#fd === null) return
    this.#wake()
    closeSync(this.#fd)
    this.#fd = null
  }

  /** null: not now; undefined: never any more. */
  #try<T>(work: (fd: number) => T): T | null | undefined {
    if (this.#fd === null) return undefined
    try {
      return work(this.#fd)
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? null : undefined
    }
  }

  #ready(event: 'readable' | 'writable'): Promise<void> {
    return new Promise((resolve) => {
      const unwatch = this.#sockets.watch(this.#fd!, event, () => this.#wake())
      this.#wake = () => {
        this.#wake = () => {}
        unwatch()
        resolve()
      }
    })
  }
}

function read(fd: number): Buffer {
  const room = Buffer.allocUnsafe(READ_BYTES)
  return room.subarray(0, readSync(fd, room))
}
