// SPDX-License-Identifier: Apache-2.0
// The journal of last good objects of a source: one JSON line per object that came, changed or went, so that a change costs what
// changed; rewritten whole (new file, rename) when most lines are old. A torn or corrupt line is skipped: what it said is
// read from the source again, unless it is refused just then.

import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isRecord } from '../api/cursor.ts'
import type { KubeObject } from '../world/objects.ts'
import { objectKey } from '../world/world.ts'

/** An object that was good, and the file (or the resource of the API) that it comes from. */
export interface Held {
  readonly file: string
  readonly object: KubeObject
  /** Since when the source's own version is refused and this older one kept, milliseconds since 1970; null: it is current. */
  readonly keptSinceMs: number | null
}

/** An object that a file no longer holds. */
export interface Dropped {
  readonly file: string
  readonly key: string
}

/** 2: a Pod has a uid. */
const HEADER = { journal: 'heddle last good objects', version: 2 }
/** Lines beyond twice the live ones that make a rewrite worth it. */
const SLACK_LINES = 1000

export interface Journal {
  /** Appends; resolves when the kernel has it. `all` is what is held after the change; it is all written after a call that
   *  failed. Calls are serialised by the caller. */
  record(held: readonly Held[], dropped: readonly Dropped[], all: () => readonly Held[]): Promise<void>
}

export interface Remembered {
  /** Oldest first. */
  readonly held: readonly Held[]
  /** Files that had been read whole: what is not held of one of them was not there. */
  readonly files: ReadonlySet<string>
}

/** What the journal remembers. A missing journal, or one of another version, remembers nothing. */
export function loadJournal(path: string): Remembered {
  const held = new Map<string, Held>()
  let header: Readonly<Record<string, unknown>> | undefined
  for (const line of readLines(path)) {
    const entry = parseLine(line)
    if (header === undefined) {
      if (entry?.version !== HEADER.version) break
      header = entry
    } else if (typeof entry?.file === 'string' && typeof entry.key === 'string') {
      const id = `${entry.file}\n${entry.key}`
      if (isRecord(entry.object)) held.set(id, entry as unknown as Held)
      else held.delete(id)
    }
  }
  return {
    held: [...held.values()].map(({ file, object, keptSinceMs }) => ({ file, object, keptSinceMs })),
    files: new Set(Array.isArray(header?.files) ? header.files : []),
  }
}

/** Rewrites the journal to hold exactly these, and keeps it from then on. `files`: which have been read whole. */
export function openJournal(path: string, initial: readonly Held[], files: readonly string[] = []): Journal {
  let lines = rewrite(path, initial, files)
  let rewriteAt = 2 * lines + SLACK_LINES
  let isTorn = false // an append failed: half of a line may be there, and what it was to say is missing
  return {
    async record(held, dropped, all) {
      lines += held.length + dropped.length
      if (isTorn || lines > rewriteAt) {
        lines = rewrite(path, all(), files)
        rewriteAt = 2 * lines + SLACK_LINES
        isTorn = false
        return
      }
      const gone = dropped.map((entry) => `${JSON.stringify({ ...entry, object: null })}\n`)
      const text = [...gone, ...held.map(lineOf)].join('')
      isTorn = true
      if (text !== '') await appendFile(path, text, { mode: 0o600 })
      isTorn = false
    },
  }
}

function rewrite(path: string, all: readonly Held[], files: readonly string[]): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const fresh = `${path}.new`
  const fd = openSync(fresh, 'w', 0o600)
  try {
    writeSync(fd, `${JSON.stringify({ ...HEADER, files })}\n`)
    for (const held of all) writeSync(fd, lineOf(held))
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(fresh, path)
  return all.length
}

function lineOf(held: Held): string {
  return `${JSON.stringify({ ...held, key: objectKey(held.object) })}\n`
}

function readLines(path: string): readonly string[] {
  try {
    return readFileSync(path, 'utf8').split('\n')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function parseLine(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}
