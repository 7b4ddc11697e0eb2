// SPDX-License-Identifier: Apache-2.0
// The journal of one node's attachments: facts are appended as they happen, and now and then the file is replaced by one
// that holds only the present state. The only file of this room that does I/O.

import { closeSync, fdatasync, openSync, writeSync } from 'node:fs'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import type { Fact } from './allocator.ts'
import { encodeFacts } from './records.ts'

/** Below this a file is not worth replacing. */
const COMPACT_BYTES_MIN = 256 * 1024
/** A file is replaced when it is this many times what the present state needs. */
const COMPACT_RATIO = 4

/** The file underneath; the crash tests bring their own. */
export interface JournalFile {
  /** Empty when there is none yet. */
  read(): Promise<Uint8Array>
  /** At once: the page cache takes a record in a few microseconds. Throws; a part may then be written. */
  append(bytes: Uint8Array): void
  sync(): Promise<void>
  /** Atomic and durable: a crash leaves the old contents or the new ones. */
  replace(bytes: Uint8Array): Promise<void>
  close(): void
}

export interface Journal {
  /** `bytes`: of encodeFacts. When it resolves they have reached the file, in the order of the calls: they survive the
   *  death of this process. They are there when the call returns, but for the few that meet a replacement of the file:
   *  that holds what `present` gives instead. */
  append(bytes: Uint8Array): Promise<void>
  /** Resolves when all that was appended before is on the disk. Callers at one time share one fsync. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** Begins with a file that holds the present state and nothing else. `present` gives the facts that make that state,
 *  everything handed to `append` so far included. */
export async function openJournal(
  file: JournalFile,
  present: () => readonly Fact[],
  compactBytesMin = COMPACT_BYTES_MIN,
): Promise<Journal> {
  let fileBytes = 0
  let compactAt = 0
  let unsynced = false
  /** What a failed write or fsync left in the file is unknown, and a second one would not say. */
  let unknown = false
  let replacing: Promise<void> | null = null
  let syncing: Promise<void> | null = null

  async function replace(): Promise<void> {
    // Each fact twice: no single damaged place can lose an attachment.
    const bytes = encodeFacts(present(), 2)
    unknown = true
    await syncing?.catch(() => {})
    await file.replace(bytes)
    unknown = false
    unsynced = false
    fileBytes = bytes.length
    compactAt = Math.max(compactBytesMin, bytes.length * COMPACT_RATIO)
  }

  function startReplacing(): Promise<void> {
    replacing = replace().finally(() => {
      replacing = null
    })
    return replacing
  }

  async function append(bytes: Uint8Array): Promise<void> {
    while (replacing !== null) await replacing.catch(() => {})
    if (unknown || fileBytes > compactAt) return startReplacing()
    unknown = true
    file.append(bytes)
    unknown = false
    unsynced = true
    fileBytes += bytes.length
  }

  async function syncFile(): Promise<void> {
    unsynced = false
    try {
      await file.sync()
    } catch (error) {
      unknown = true
      throw error
    }
  }

  async function sync(): Promise<void> {
    // A running fsync may have begun before the caller's last record.
    if (syncing !== null) await syncing.catch(() => {})
    while (replacing !== null) await replacing.catch(() => {})
    if (unknown) return startReplacing()
    if (syncing !== null) return syncing
    if (!unsynced) return
    syncing = syncFile().finally(() => {
      syncing = null
    })
    return syncing
  }

  await startReplacing()
  return {
    append,
    sync,
    async close() {
      await Promise.allSettled([replacing, syncing])
      file.close()
    },
  }
}

/** A file on the disk, 0600; its folder is made when missing. */
export function diskFile(path: string): JournalFile {
  let fd: number | null = null
  const close = () => {
    if (fd !== null) closeSync(fd)
    fd = null
  }

  return {
    async read() {
      try {
        return await readFile(path)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Uint8Array()
        throw error
      }
    },
    append(bytes) {
      for (let done = 0; done < bytes.length; ) done += writeSync(fd!, bytes, done)
    },
    sync: () => promisify(fdatasync)(fd!),
    async replace(bytes) {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      await writeDurably(`${path}.next`, bytes)
      await rename(`${path}.next`, path)
      await syncFolder(dirname(path))
      close()
      fd = openSync(path, 'a')
    },
    close,
  }
}

async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, 'w', 0o600)
  try {
    await handle.writeFile(bytes)
    await handle.datasync()
  } finally {
    await handle.close()
  }
}

/** A rename is durable when its folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Differs after each boot. */
export async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
}
