// SPDX-License-Identifier: Apache-2.0
// The folder of manifests as a source of World: reads it, watches it, remembers what was good.
//
//   fs.watch, poll, sync() --> which files --> parse (parse.ts) --> settle (state.ts) --> journal --> onChange
//
// One run at a time; requests that arrive meanwhile are one more run.

import { type FSWatcher, readdirSync, readFileSync, type Stats, statSync, watch } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Journal, loadJournal, openJournal } from '../journal/journal.ts'
import type { Kind, KubeObject } from '../world/objects.ts'
import type { Source, SourceChange } from '../world/source.ts'
import { objectKey } from '../world/world.ts'
import { createImpliedNamespaces, type Difference } from './namespaces.ts'
import { createManifestParser } from './parse.ts'
import { type Change, createManifests } from './state.ts'

export interface ManifestSourceOptions {
  /** Remembers last good objects across restarts. */
  readonly journalPath: string
  /** Told of every change; the first call, made before watchManifests resolves, holds all objects. */
  readonly onChange: (change: SourceChange) => void
  /** A journal that cannot be written, a watch that failed: the source goes on. */
  readonly onError: (error: Error) => void
}

const NO_KINDS: ReadonlySet<Kind> = new Set()
const DEBOUNCE_MS = 30
/** A mounted ConfigMap changes by renaming this link; its files are links through it and say nothing. */
const CONFIG_MAP_SWAP = '..data'
/** Watching can miss what a network file system changes; looking at every file now and then does not. */
const POLL_MS = 30_000
/** inotify drops events beyond 16384 (fs.inotify.max_queued_events) and libuv does not say so. */
const EVENTS_MAX = 8192
const FILE_BYTES_MAX = 256 * 1024 * 1024
/** A file as young as this when it was read may change again within the clock's resolution. */
const SETTLED_MS = 100
/** Longest stretch of reading and parsing before other work gets a turn. */
const TURN_MS = 10

/** Reads the file or folder (with its subfolders: *.yaml, *.yml, *.json; hidden ones are skipped) and follows it. Throws
 *  when it is not there at the start; later a vanished folder is a problem, and its objects are kept. */
export async function watchManifests(given: string, options: ManifestSourceOptions): Promise<Source> {
  const path = resolve(given)
  const parser = createManifestParser()
  const manifests = createManifests()
  for (const held of loadJournal(options.journalPath).held) {
    // What another folder said, before the configuration named this one, is no longer anybody's word.
    if (held.file === path || held.file.startsWith(`${path}/`)) manifests.restore(held)
  }
  statSync(path)

  const seen = new Map<string, string>() // file -> signature of what was read
  const watchers = new Map<string, { readonly inode: number; readonly watcher: FSWatcher }>() // by folder
  const suspects = new Set<string>() // files that a watcher named
  const withImplied = createImpliedNamespaces()
  let journal: Journal | null = null
  let told = false
  let eventCount = 0 // since the last run
  let unwatched = false // some folder cannot be watched
  let scanning = false
  let timer: NodeJS.Timeout | null = null
  let running: Promise<void> | null = null
  let closed = false

  const poll = setInterval(() => void request(true).catch(report), POLL_MS)
  poll.unref()
  await request(true)

  return {
    async sync() {
      // What was written before is queued in inotify; it has been read after one whole turn of the event loop.
      await nextTurn()
      await nextTurn()
      await request(unwatched)
    },
    state: () => ({
      name: given,
      synchronised: true,
      parts: [],
      staleSinceMs: null,
      requestCount: 0,
      receivedBytes: 0,
    }),
    problems: manifests.problems,
    notices: manifests.notices,
    unseenKinds: () => NO_KINDS,
    failures: () => [],
    [Symbol.dispose]() {
      closed = true
      clearInterval(poll)
      if (timer !== null) clearTimeout(timer)
      for (const { watcher } of watchers.values()) watcher.close()
    },
  }

  /** Resolves after a run that began no earlier than now. */
  async function request(scan: boolean): Promise<void> {
    if (scan) scanning = true
    while (running !== null) await running.catch(() => {}) // reported to whoever started it
    if (closed || !(scanning || suspects.size > 0)) return
    running = run().finally(() => {
      running = null
    })
    await running
  }

  async function run(): Promise<void> {
    const startMs = performance.now()
    const files = scanning ? scan() : [...suspects]
    const forced = new Set(suspects)
    scanning = false
    eventCount = 0
    suspects.clear()
    const changes: Change[] = []
    const giveWay = createGiveWay()
    for (const file of files) {
      const change = await look(file, forced.has(file), giveWay)
      if (change !== null) changes.push(change)
      await giveWay()
    }
    await tell(changes, performance.now() - startMs)
  }

  async function tell(changes: readonly Change[], parseMs: number): Promise<void> {
    const first = !told
    told = true
    const held = changes.flatMap((each) => each.held)
    const dropped = changes.flatMap((each) => each.dropped)
    try {
      if (journal === null) journal = openJournal(options.journalPath, manifests.held())
      else await journal.record(held, dropped, manifests.held)
    } catch (error) {
      report(error)
    }
    const { put, deleted } = withImplied(first ? { put: [...manifests.objects()], deleted: [] } : net(changes))
    if (!closed && (first || put.length > 0 || deleted.length > 0)) options.onChange({ put, deleted, parseMs })
  }

  /** Every manifest file, with those that were there before: a vanished one must be looked at once more. */
  function scan(): readonly string[] {
    const found = new Set<string>(manifests.paths())
    const folders = new Set<string>()
    try {
      if (statSync(path).isDirectory()) {
        walk(path, found, folders)
      } else {
        found.add(path)
        folders.add(dirname(path))
      }
    } catch (error) {
      unwatched = true
      report(error)
      return []
    }
    follow(folders)
    return [...found].sort()
  }

  async function look(file: string, forced: boolean, giveWay: () => Promise<void>): Promise<Change | null> {
    try {
      return await read(file, forced, giveWay)
    } catch (error) {
      return manifests.fail(file, (error as Error).message, Date.now())
    }
  }

  /** Null: it has not changed. */
  async function read(file: string, forced: boolean, giveWay: () => Promise<void>): Promise<Change | null> {
    const stats = statOf(file)
    if (stats === null || !stats.isFile()) {
      seen.delete(file)
      parser.forget(file)
      return manifests.remove(file)
    }
    const signature = signatureOf(stats)
    if (!forced && seen.get(file) === signature) return null
    if (Date.now() - stats.mtimeMs > SETTLED_MS) seen.set(file, signature)
    else seen.delete(file)
    if (stats.size > FILE_BYTES_MAX) return manifests.fail(file, `larger than ${FILE_BYTES_MAX} bytes`, Date.now())
    const steps = parser.steps(file, readFileSync(file, 'utf8'))
    for (;;) {
      const step = steps.next()
      if (step.done) return manifests.update(step.value, Date.now())
      await giveWay()
    }
  }

  /** Watches exactly these; a folder that was removed and made again is another one. */
  function follow(folders: ReadonlySet<string>): void {
    unwatched = false
    for (const [folder, { inode }] of watchers) {
      if (!folders.has(folder) || statOf(folder)?.ino !== inode) unfollow(folder)
    }
    for (const folder of folders) {
      if (watchers.has(folder)) continue
      try {
        const inode = statSync(folder).ino
        const watcher = watch(folder, { persistent: false }, (_event, name) => suspect(folder, name))
        watcher.on('error', report)
        watchers.set(folder, { inode, watcher })
      } catch (error) {
        unwatched = true
        report(error)
      }
    }
  }

  function unfollow(folder: string): void {
    watchers.get(folder)?.watcher.close()
    watchers.delete(folder)
  }

  function suspect(folder: string, name: string | null): void {
    if (++eventCount > EVENTS_MAX) scanning = true
    // The folder itself went; another one may come in its place, even with its inode.
    if (name === basename(folder)) unfollow(folder)
    const file = name === null ? null : join(folder, name)
    if (file !== null && (file === path || isManifest(file))) suspects.add(file)
    else if (name === null || name === CONFIG_MAP_SWAP || !name.startsWith('.')) scanning = true
    else return
    timer ??= setTimeout(() => {
      timer = null
      request(false).catch(report)
    }, DEBOUNCE_MS)
  }

  function report(error: unknown): void {
    options.onError(error instanceof Error ? error : new Error(String(error)))
  }
}

/** Lets other work run when this one has held the thread for TURN_MS. */
function createGiveWay(): () => Promise<void> {
  let turnMs = performance.now()
  return async () => {
    if (performance.now() - turnMs < TURN_MS) return
    await nextTurn()
    turnMs = performance.now()
  }
}

/** One difference for several files: an object that moved from one to another was not deleted. */
function net(changes: readonly Change[]): Difference {
  const put = new Map<string, KubeObject>()
  const deleted = new Map<string, KubeObject>()
  for (const change of changes) {
    for (const object of change.deleted) {
      put.delete(objectKey(object))
      deleted.set(objectKey(object), object)
    }
    for (const object of change.put) {
      deleted.delete(objectKey(object))
      put.set(objectKey(object), object)
    }
  }
  return { put: [...put.values()], deleted: [...deleted.values()] }
}

export function walk(folder: string, files: Set<string>, folders: Set<string>): void {
  folders.add(folder)
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue
    const at = join(folder, entry.name)
    if (entry.isDirectory()) walk(at, files, folders)
    else if (isManifest(at)) files.add(at)
  }
}

export function isManifest(file: string): boolean {
  return /\/[^./][^/]*\.(yaml|yml|json)$/.test(file)
}

function statOf(file: string): Stats | null {
  try {
    return statSync(file)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return null
    throw error
  }
}

/** Joined, since a template of that length would keep its parts: 20,000 files make that 4 MB. */
function signatureOf(stats: Stats): string {
  return [stats.ino, stats.size, stats.mtimeMs, stats.ctimeMs].join(' ')
}
