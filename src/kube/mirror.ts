// SPDX-License-Identifier: Apache-2.0
// What one stream of the API says, validated, with the last good version of what is refused, or a stand-in. A list becomes a difference
// to what is held: whoever is told hears of changes only, however often the stream begins anew.

import { BadField, isRecord, pathText, root, type root as rootCursor } from '../api/cursor.ts'
import { readMetadata } from '../api/fields.ts'
import { isStandIn, refusalText, standIns } from '../api/object.ts'
import { objectName } from '../core/names.ts'
import type { Held } from '../journal/journal.ts'
import { sameValue } from '../world/equal.ts'
import { createObjectTable } from '../world/object-table.ts'
import type { Kind, KubeObject, ObjectName } from '../world/objects.ts'
import type { HeldProblem } from '../world/source.ts'
import { keyOf } from '../world/world.ts'

export interface MirrorOptions {
  /** For problems and the journal: the stream's name. */
  readonly name: string
  readonly kind: Kind
  readonly namespaced: boolean
  /** Throws BadField; null: an object that Heddle has no use for. */
  readonly reader: (object: ReturnType<typeof rootCursor>) => KubeObject | null
  /** Of further ones no room is made. */
  readonly objectsMax: number
  readonly onPut: (object: KubeObject) => void
  readonly onDeleted: (object: KubeObject) => void
}

export interface Mirror {
  listBegins(): void
  /** What the list did not name is gone, unless something in it could not be read at all. */
  listEnds(): void
  seen(object: unknown): void
  deleted(object: unknown): void
  /** `kept`: what the skimmer kept of it (skim.ts). */
  refused(reason: string, kept: string): void
  /** Puts back what a journal remembers, without telling; before the first list. */
  restore(held: Held): void
  /** Holds what no server said, until a list ends: it does not name it. */
  standIn(object: KubeObject): void
  get(name: ObjectName): KubeObject | undefined
  objects(): Iterable<KubeObject>
  readonly count: number
  /** For the journal. */
  held(): Held[]
  problems(): HeldProblem[]
  /** Events that could not be read so far, whether or not they could be named. */
  readonly refusals: number
}

const PROBLEMS_MAX = 1000

export function createMirror(options: MirrorOptions): Mirror {
  const { name: file, kind, namespaced, objectsMax } = options
  const held = createObjectTable()
  const refusedNames = new Map<ObjectName, HeldProblem>()
  let unseen: Set<ObjectName> | undefined // while a list runs: what is held or refused and was not named yet
  let isListUnclear = false
  let refusals = 0

  function nameOf(object: unknown): ObjectName | undefined {
    try {
      const { namespace, name } = readMetadata(root(object))
      return namespaced ? objectName(namespace, name) : name
    } catch {
      return undefined
    }
  }

  function refuse(value: unknown, field: string, message: string): void {
    refusals++
    const name = nameOf(value)
    if (name === undefined) {
      isListUnclear = true
      return
    }
    unseen?.delete(name)
    const isGood = isHeldGood(name)
    const standIn = isGood || isFullFor(name) ? null : (standIns[kind]?.(root(value)) ?? null)
    if (standIn !== null) hold(standIn)
    const before = refusedNames.get(name)
    if (before === undefined && refusedNames.size >= PROBLEMS_MAX) return
    const why = refusalText(message, standIn)
    const place = { file, line: 1, document: 1, object: `${kind} ${name}`, field, message: why }
    const keptSinceMs = isGood ? (before?.keptSinceMs ?? Date.now()) : null
    refusedNames.set(name, { ...place, keptSinceMs, isolates: standIn !== null })
  }

  function isHeldGood(name: ObjectName): boolean {
    const object = held.get(name)
    return object !== undefined && !isStandIn(object)
  }

  /** Lists are bounded by themselves, but those that break off add up: what the running one did not name yet gives way,
   *  so that in the end all of it is held. */
  function makeRoomFor(name: ObjectName): void {
    for (const stale of isFullFor(name) ? (unseen ?? []) : []) {
      if (held.get(stale) === undefined) continue
      remove(stale)
      return
    }
  }

  function isFullFor(name: ObjectName): boolean {
    return held.size >= objectsMax && held.get(name) === undefined
  }

  function hold(object: KubeObject): void {
    if (sameValue(held.get(keyOf(object)), object)) return
    held.put(object)
    options.onPut(object)
  }

  function remove(name: ObjectName): void {
    unseen?.delete(name)
    refusedNames.delete(name)
    const old = held.get(name)
    if (old === undefined) return
    held.delete(name)
    options.onDeleted(old)
  }

  return {
    listBegins() {
      unseen = new Set([...Array.from(held.values(), keyOf), ...refusedNames.keys()])
      isListUnclear = false
    },
    listEnds() {
      const gone = isListUnclear ? [] : [...(unseen ?? [])]
      unseen = undefined
      for (const name of gone) remove(name)
    },
    seen(value) {
      try {
        const object = options.reader(root(value))
        if (object === null) {
          const name = nameOf(value)
          if (name !== undefined) remove(name)
          return
        }
        const name = keyOf(object)
        unseen?.delete(name)
        makeRoomFor(name)
        if (isFullFor(name)) return refuse(value, '', `more than ${objectsMax} objects`)
        if (refusedNames.size > 0) refusedNames.delete(name)
        hold(object)
      } catch (error) {
        if (!(error instanceof BadField)) throw error
        refuse(value, pathText(error.path), error.message)
      }
    },
    deleted(value) {
      const name = nameOf(value)
      if (name === undefined) refuse(value, '', 'deleted, without a name')
      else remove(name)
    },
    refused(reason, kept) {
      const value = objectIn(kept, namespaced)
      const name = nameOf(value)
      const isDeleted = reason === 'too large' && kept.startsWith('{"type":"DELETED"')
      if (isDeleted && name !== undefined) return remove(name)
      refuse(value, '', reason === 'too large' ? 'too large: more than 1 MiB that would be read' : reason)
    },
    restore(entry) {
      if (isRecord(entry.object) && entry.object.kind === kind) held.put(entry.object)
    },
    standIn: hold,
    get: (name) => held.get(name),
    objects: () => held.values(),
    get count() {
      return held.size
    },
    held: () =>
      Array.from(held.values(), (object) => {
        const keptSinceMs = refusedNames.get(keyOf(object))?.keptSinceMs ?? null
        return { file, object, keptSinceMs }
      }),
    problems: () => [...refusedNames.values()],
    get refusals() {
      return refusals
    },
  }
}

/** What was kept of an object or of an event with it; where that breaks off, the name that its metadata begin with. */
function objectIn(kept: string, namespaced: boolean): unknown {
  try {
    const value: unknown = JSON.parse(kept)
    return isRecord(value) && 'type' in value ? value.object : value
  } catch {
    // Name and namespace come before the labels; a namespace that is not there was not understood.
    const start = kept.slice(kept.indexOf('"metadata":{'))
    const name = /"name":"([^"\\]*)"/.exec(start)?.[1]
    const namespace = /"namespace":"([^"\\]*)"/.exec(start)?.[1] ?? ''
    return { metadata: namespaced ? { name, namespace } : { name } }
  }
}
