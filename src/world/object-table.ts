// SPDX-License-Identifier: Apache-2.0
// Objects by name, kept by namespace: of 100,000 pods "namespace/name" alone would take 8 MB, and a namespace's are found.

import type { KubeObject, ObjectName } from './objects.ts'

export interface ObjectTable<T extends KubeObject> {
  get(name: ObjectName): T | undefined
  /** In place of the one that has its name. */
  put(object: T): void
  delete(name: ObjectName): void
  values(): Iterable<T>
  /** '': those that are in none. */
  ofNamespace(namespace: string): Iterable<T>
  readonly size: number
}

export function createObjectTable<T extends KubeObject = KubeObject>(): ObjectTable<T> {
  const byNamespace = new Map<string, Map<string, T>>()
  let size = 0

  function* values(): Iterable<T> {
    for (const objects of byNamespace.values()) yield* objects.values()
  }

  return {
    get(name) {
      const [namespace, own] = splitName(name)
      return byNamespace.get(namespace)?.get(own)
    },
    put(object) {
      const namespace = 'namespace' in object ? object.namespace : ''
      const objects = byNamespace.get(namespace) ?? new Map<string, T>()
      byNamespace.set(namespace, objects)
      if (!objects.has(object.name)) size++
      objects.set(object.name, object)
    },
    delete(name) {
      const [namespace, own] = splitName(name)
      const objects = byNamespace.get(namespace)
      if (!objects?.delete(own)) return
      size--
      if (objects.size === 0) byNamespace.delete(namespace)
    },
    values,
    ofNamespace: (namespace) => byNamespace.get(namespace)?.values() ?? [],
    get size() {
      return size
    },
  }
}

/** Inverse of objectName. */
function splitName(name: ObjectName): readonly [namespace: string, name: string] {
  const slash = name.indexOf('/')
  return [name.slice(0, Math.max(slash, 0)), name.slice(slash + 1)]
}
