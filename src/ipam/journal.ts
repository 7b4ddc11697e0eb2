// SPDX-License-Identifier: Apache-2.0
// The journal of one node's attachments: facts are appended as they happen, and now and then the file is replaced by one
// that holds only the present state. The only file of this room that does I/O.

import { type FileHandle, mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
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
  /** A failure may leave a part written. */
  append(bytes: Uint8Array): Promise<void>
  sync(): Promise<void>
  /** Atomic and durable: a crash leaves the old contents or the new ones. */
  replace(bytes: Uint8Array): Promise<void>
  close(): Promise<void>
}

export interface Journal {
  /** Resolves when the facts have reached the file, in the order of the calls: they survive the death of this process. */
  append(facts: readonly Fact[]): Promise<void>
  /** Resolves when all that was appended before is on the disk. Callers at one time share one fsync. */
  sync(): Promise<void>
  close(): Promise<void>
}

interface Waiting {
  readonly facts: readonly Fact[]
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Begins with a file that holds the present state and nothing else. `present` gives the facts that make that state,
 *  everything handed to `append` so far included. */
export async function openJournal(file: JournalFile, present: () => readonly Fact[]): Promise<Journal> {
  let fileBytes = 0
  let compactAt = 0
  let unsynced = false
  /** What a failed write or fsync left in the file is unknown, and a second one would not say. */
  let unknown = false
  let appends: Waiting[] = []
  let syncs: Waiting[] = []
  let running: Promise<void> | null = null

  async function replace(): Promise<void> {
    // Each fact twice: no single damaged place can lose an attachment.
    const facts = present()
    const bytes = encodeFacts([...facts, ...facts])
    unknown = true
    await file.replace(bytes)
    unknown = false
    unsynced = false
    fileBytes = bytes.length
    compactAt = Math.max(COMPACT_BYTES_MIN, bytes.length * COMPACT_RATIO)
  }

  async function append(facts: readonly Fact[]): Promise<void> {
    if (unknown || fileBytes > compactAt) return replace()
    const bytes = encodeFacts(facts)
    unknown = true
    await file.append(bytes)
    unknown = false
    unsynced = true
    fileBytes += bytes.length
  }

  async function sync(): Promise<void> {
    if (unknown) return replace()
    if (!unsynced) return
    unknown = true
    await file.sync()
    unknown = false
    unsynced = false
  }

  async function run(): Promise<void> {
    while (appends.length > 0 || syncs.length > 0) {
      const [appending, syncing] = [appends, syncs]
      appends = []
      syncs = []
      if (appending.length > 0) await settle(appending, () => append(appending.flatMap(({ facts }) => facts)))
      if (syncing.length > 0) await settle(syncing, sync)
    }
    running = null
  }

  function enqueue(queue: Waiting[], facts: readonly Fact[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    queue.push({ facts, resolve, reject })
    running ??= run()
    return promise
  }

  await replace()
  return {
    append: (facts) => enqueue(appends, facts),
    sync: () => enqueue(syncs, []),
    async close() {
      await running
      await file.close()
    },
  }
}

async function settle(waiting: readonly Waiting[], work: () => Promise<void>): Promise<void> {
  try {
    await work()
    for (const { resolve } of waiting) resolve()
  } catch (error) {
    for (const { reject } of waiting) reject(error)
  }
}

/** A file on the disk, 0600; its folder is made when missing. */
export function diskFile(path: string): JournalFile {
  let handle: FileHandle | null = null

  return {
    async read() {
      try {
        return await readFile(path)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Uint8Array()
        throw error
      }
    },
    async append(bytes) {
      await writeAll(handle!, bytes)
    },
    async sync() {
      await handle!.datasync()
    },
    async replace(bytes) {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      const next = await open(`${path}.next`, 'w', 0o600)
      try {
        await writeAll(next, bytes)
        await next.datasync()
        await rename(`${path}.next`, path)
        await syncFolder(dirname(path))
      } catch (error) {
        await next.close()
        throw error
      }
      await handle?.close()
      handle = next
    },
    async close() {
      await handle?.close()
      handle = null
    },
  }
}

/** Node's FileHandle.write may write less than it was given. */
async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done)
    done += bytesWritten
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
