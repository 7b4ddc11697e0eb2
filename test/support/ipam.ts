// SPDX-License-Identifier: Apache-2.0
// For the tests of src/ipam: attachments, and a file in memory that crashes where it is told to.

import type { Address } from '../../src/core/address.ts'
import type { Attachment, NetnsIdentity } from '../../src/ipam/attachment.ts'
import type { AllocationRequest } from '../../src/ipam/ipam.ts'
import type { JournalFile } from '../../src/ipam/journal.ts'

export function allocationRequest(containerId: string, netns?: NetnsIdentity): AllocationRequest {
  return {
    containerId,
    ifname: 'eth0',
    network: 'heddle',
    netns: netns ?? { path: `/run/netns/${containerId}`, inode: 4026532000, bootId: 'boot' },
    pod: { namespace: 'shop', name: containerId, uid: 'f00d' },
    hostIfname: `hd${containerId}`,
  }
}

export function attachment(containerId: string, addresses: readonly Address[]): Attachment {
  return { ...allocationRequest(containerId), addresses, wired: null, answered: false }
}

/** Message of the errors of a file whose process died. */
export const DEATH = 'the process is dead'

export interface MemoryFile extends JournalFile {
  /** Bytes that may still be written before the process dies; what was written until then stays in the file. */
  diesAfter: number
  /** The disk refuses every write and fsync, after half of it was done. */
  full: boolean
  contents: Uint8Array
  /** How much of the contents survives when the machine loses power. */
  syncedLength: number
}

/** What the disk and the death of the process leave: bytes in order, the last write perhaps in part. */
export function memoryFile(contents: Uint8Array = new Uint8Array()): MemoryFile {
  function write(file: MemoryFile, bytes: Uint8Array): Uint8Array {
    const granted = Math.min(bytes.length, file.diesAfter, file.full ? bytes.length >> 1 : Number.POSITIVE_INFINITY)
    file.diesAfter -= granted
    return bytes.subarray(0, granted)
  }
  function check(file: MemoryFile): void {
    if (file.diesAfter <= 0) throw new Error(DEATH)
    if (file.full) throw new Error('ENOSPC')
  }
  /** A file is replaced while nothing else is done to it. */
  let busy = false
  async function alone(work: () => void): Promise<void> {
    if (busy) throw new Error('two at once on the file')
    busy = true
    await new Promise((resolve) => setImmediate(resolve))
    busy = false
    work()
  }
  return {
    diesAfter: Number.POSITIVE_INFINITY,
    full: false,
    contents,
    syncedLength: contents.length,
    async read() {
      return this.contents
    },
    append(bytes) {
      this.contents = Buffer.concat([this.contents, write(this, bytes)])
      check(this)
    },
    async sync() {
      const length = this.contents.length
      await alone(() => {
        check(this)
        this.syncedLength = length
      })
    },
    async replace(bytes) {
      await alone(() => {
        write(this, bytes)
        check(this)
        this.contents = Uint8Array.from(bytes)
        this.syncedLength = bytes.length
      })
    },
    close() {},
  }
}
