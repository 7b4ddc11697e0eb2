// SPDX-License-Identifier: Apache-2.0
// What one stream of the API says, validated, with the last good version of what is refused. A list becomes a difference
// to what is held: whoever is told hears of changes only, however often the stream begins anew.

import { BadField, isRecord, pathText, root, type root as rootCursor } from '../api/cursor.ts'
import { readMetadata } from '../api/fields.ts'
import { objectName } from '../core/names.ts'
import type { Held } from '../journal/journal.ts'
import { sameValue } from '../world/equal.ts'
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
  readonly onPut: (object: KubeObject) => void
  readonly onDeleted: (object: KubeObject) => void
}

export interface Mirror {
  listBegins(): void
  /** What the list did not name is gone, unless something in it could not be read at all. */
  listEnds(): void
  seen(object: unknown): void
  deleted(object: unknown): void
  refused(reason: string, start: string): void
  /** Puts back what a journal remembers, without telling; before the first list. */
  restore(held: Held): void
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
  const { name: file, kind, namespaced } = options
  const held = new Map<ObjectName, KubeObject>()
  const refusedNames = new Map<ObjectName, HeldProblem>()
  let unseen: Set<ObjectName> | undefined // while a list runs: what is held and was not named yet
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

  function refuse(name: ObjectName | undefined, field: string, message: string): void {
    refusals++
    if (name === undefined) {
      isListUnclear = true
      return
    }
    unseen?.delete(name)
    const before = refusedNames.get(name)
    if (before === undefined && refusedNames.size >= PROBLEMS_MAX) return
    const keptSinceMs = held.has(name) ? (before?.keptSinceMs ?? Date.now()) : null
    refusedNames.set(name, { file, line: 1, document: 1, object: `${kind} ${name}`, field, message, keptSinceMs })
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
      unseen = new Set(held.keys())
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
        if (refusedNames.size > 0) refusedNames.delete(name)
        if (sameValue(held.get(name), object)) return
        held.set(name, object)
        options.onPut(object)
      } catch (error) {
        if (!(error instanceof BadField)) throw error
        refuse(nameOf(value), pathText(error.path), error.message)
      }
    },
    deleted(value) {
      const name = nameOf(value)
      if (name === undefined) refuse(name, '', 'deleted, without a name')
      else remove(name)
    },
    refused(reason, start) {
      const known = nameIn(start, namespaced)
      const isDeleted = reason === 'too large' && start.startsWith('{"type":"DELETED"')
      if (isDeleted && known !== undefined) return remove(known)
      refuse(known, '', reason === 'too large' ? 'too large: more than 1 MiB that would be read' : reason)
    },
    restore(entry) {
      if (isRecord(entry.object) && entry.object.kind === kind) held.set(keyOf(entry.object), entry.object)
    },
    get: (name) => held.get(name),
    objects: () => held.values(),
    get count() {
      return held.size
    },
    held: () =>
      [...held].map(([name, object]) => ({ file, object, keptSinceMs: refusedNames.get(name)?.keptSinceMs ?? null })),
    problems: () => [...refusedNames.values()],
    get refusals() {
      return refusals
    },
  }
}

/** Of an object whose end was not understood, what its metadata begins with; name and namespace come before the labels. */
function nameIn(start: string, namespaced: boolean): ObjectName | undefined {
  const metadata = start.slice(start.indexOf('"metadata":{'))
  const name = /"name":"([a-z0-9][-a-z0-9.]{0,252})"/.exec(metadata)?.[1]
  const namespace = /"namespace":"([a-z0-9][-a-z0-9]{0,62})"/.exec(metadata)?.[1]
  if (name === undefined || (namespaced && namespace === undefined)) return undefined
  return objectName(namespaced ? namespace! : '', name)
}
