// SPDX-License-Identifier: Apache-2.0
// What the files of a folder say together, with the last good version of whatever is refused now. Pure: the result
// depends on what the files say and on what was good before, not on the order in which they were read.
//
//   ParsedFile --settle--> held objects of that file --first file by name wins--> objects in force

import { isStandIn, refusalText } from '../api/object.ts'
import type { Dropped, Held } from '../journal/journal.ts'
import { sameValue } from '../world/equal.ts'
import type { KubeObject } from '../world/objects.ts'
import type { HeldProblem, SourceProblem } from '../world/source.ts'
import { objectKey } from '../world/world.ts'
import type { ParsedFile } from './parse.ts'

/** `held` and `dropped` are for the journal: what came or changed in a file, and what went. */
export interface Change {
  readonly put: readonly KubeObject[]
  readonly deleted: readonly KubeObject[]
  readonly held: readonly Held[]
  readonly dropped: readonly Dropped[]
}

export interface Manifests {
  /** Takes a file's new text; objects that it refuses keep their last good version. */
  update(parsed: ParsedFile, nowMs: number): Change
  /** The file is gone: so are its objects, the kept ones too. */
  remove(path: string): Change
  /** The file is there but cannot be read: all its objects are kept. */
  fail(path: string, message: string, nowMs: number): Change
  /** Puts back what a journal remembers; before the first update. */
  restore(held: Held): void
  paths(): Iterable<string>
  objects(): Iterable<KubeObject>
  held(): readonly Held[]
  problems(): readonly HeldProblem[]
  notices(): readonly string[]
}

interface FileState {
  readonly held: ReadonlyMap<string, Held>
  readonly problems: readonly SourceProblem[]
  readonly notices: readonly string[]
}

const EMPTY: FileState = { held: new Map(), problems: [], notices: [] }

export function createManifests(): Manifests {
  const files = new Map<string, FileState>()
  const holders = new Map<string, readonly Held[]>() // by object; the first is in force

  function replace(path: string, next: FileState | null): Change {
    const before = files.get(path)?.held ?? EMPTY.held
    const after = next?.held ?? EMPTY.held
    if (next === null) files.delete(path)
    else files.set(path, next)
    const touched = [...before.keys(), ...after.keys()].filter((key) => before.get(key) !== after.get(key))
    const put: KubeObject[] = []
    const deleted: KubeObject[] = []
    for (const key of new Set(touched)) {
      const was = holders.get(key)?.[0]?.object
      const others = (holders.get(key) ?? []).filter((held) => held.file !== path)
      const own = after.get(key)
      const now = (own === undefined ? others : [...others, own]).sort((a, b) => (a.file < b.file ? -1 : 1))
      if (now.length > 0) holders.set(key, now)
      else holders.delete(key)
      const is = now[0]?.object
      if (is === was) continue
      if (is !== undefined) put.push(is)
      else if (was !== undefined) deleted.push(was)
    }
    return {
      put,
      deleted,
      held: [...after.values()].filter((held) => before.get(objectKey(held.object)) !== held),
      dropped: [...before.keys()].filter((key) => !after.has(key)).map((key) => ({ file: path, key })),
    }
  }

  return {
    update: (parsed, nowMs) => replace(parsed.path, settle(files.get(parsed.path) ?? EMPTY, parsed, nowMs)),
    remove: (path) => replace(path, null),
    fail(path, message, nowMs) {
      const problem = { file: path, line: 1, document: 1, object: '', field: '', message }
      const parsed = { path, objects: new Map(), problems: [problem], standIns: new Map(), notices: [] }
      return replace(path, settle(files.get(path) ?? EMPTY, parsed, nowMs))
    },
    restore(held) {
      const key = objectKey(held.object)
      const state = files.get(held.file) ?? EMPTY
      replace(held.file, { ...state, held: new Map(state.held).set(key, held) })
    },
    paths: () => files.keys(),
    *objects() {
      for (const [first] of holders.values()) yield first!.object
    },
    held: () => [...files.values()].flatMap((state) => [...state.held.values()]),
    problems: () => [...allProblems(files, holders)],
    notices: () => [...files.values()].flatMap((state) => state.notices),
  }
}

/** A file's state after it says `parsed`. A refused object stays as it was; where a whole document is unreadable, nobody
 *  knows whom it described, so whatever the file no longer shows stays. */
function settle(before: FileState, parsed: ParsedFile, nowMs: number): FileState {
  const held = new Map<string, Held>()
  const refused = new Set(parsed.problems.map((problem) => problem.object))
  for (const [key, object] of parsed.objects) {
    const same = before.held.get(key)
    const unchanged = same !== undefined && same.keptSinceMs === null && sameValue(same.object, object)
    held.set(key, unchanged ? same : { file: parsed.path, object, keptSinceMs: null })
  }
  for (const [key, old] of before.held) {
    if (held.has(key) || !(refused.has(key) || refused.has(''))) continue
    held.set(key, old.keptSinceMs === null && !isStandIn(old.object) ? { ...old, keptSinceMs: nowMs } : old)
  }
  for (const [key, object] of parsed.standIns) {
    const kept = held.get(key)?.object
    if (kept !== undefined && (!isStandIn(kept) || sameValue(kept, object))) continue
    held.set(key, { file: parsed.path, object, keptSinceMs: null })
  }
  const { problems, notices } = parsed
  return {
    held,
    problems: problems.length === 0 ? EMPTY.problems : problems,
    notices: notices.length === 0 ? EMPTY.notices : notices,
  }
}

function* allProblems(
  files: ReadonlyMap<string, FileState>,
  holders: ReadonlyMap<string, readonly Held[]>,
): Iterable<HeldProblem> {
  for (const state of files.values()) {
    for (const problem of state.problems) {
      const held = state.held.get(problem.object)
      const standIn = held !== undefined && isStandIn(held.object) ? held.object : null
      yield {
        ...problem,
        message: refusalText(problem.message, standIn),
        keptSinceMs: held?.keptSinceMs ?? null,
        isolates: standIn !== null,
      }
    }
  }
  for (const [key, [first, ...others]] of holders) {
    for (const other of others) {
      if (sameValue(first!.object, other.object)) continue
      const message = `also defined in ${first!.file}, which counts`
      const place = { file: other.file, line: 1, document: 1, object: key, field: '', message }
      yield { ...place, keptSinceMs: other.keptSinceMs, isolates: false }
    }
  }
}
