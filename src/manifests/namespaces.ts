// SPDX-License-Identifier: Apache-2.0
// A cluster has no pod without its Namespace; a folder of manifests may. The missing one is implied, with the label that
// the API server gives each, or selectors by namespace name would not find the pod.

import { namespaceNamed } from '../api/object.ts'
import type { KubeObject } from '../world/objects.ts'
import { keyOf } from '../world/world.ts'

export interface Difference {
  readonly put: readonly KubeObject[]
  readonly deleted: readonly KubeObject[]
}

/** Adds to each difference what it implies. Pure but for what it remembers of the differences before. */
export function createImpliedNamespaces(): (difference: Difference) => Difference {
  const pods = new Map<string, Set<string>>() // namespace -> its pods
  const written = new Set<string>()
  const implied = new Set<string>()

  return ({ put, deleted }) => {
    const touched = new Set<string>()
    for (const object of deleted) {
      if (object.kind === 'Namespace') written.delete(touch(object.name))
      else if (object.kind === 'Pod') pods.get(touch(object.namespace))?.delete(keyOf(object))
    }
    for (const object of put) {
      if (object.kind === 'Namespace') written.add(touch(object.name))
      else if (object.kind === 'Pod') podsIn(touch(object.namespace)).add(keyOf(object))
    }
    const morePut = [...put]
    const moreDeleted: KubeObject[] = deleted.filter((object) => object.kind !== 'Namespace')
    for (const name of touched) {
      const namespace = namespaceNamed(name, {})
      const was = implied.delete(name)
      if (written.has(name)) continue
      if (podsIn(name).size > 0) {
        implied.add(name)
        morePut.push(namespace)
      } else {
        pods.delete(name)
        if (was || deleted.some((object) => object.kind === 'Namespace' && object.name === name))
          moreDeleted.push(namespace)
      }
    }
    return { put: morePut, deleted: moreDeleted }

    function touch(name: string): string {
      touched.add(name)
      return name
    }
  }

  function podsIn(namespace: string): Set<string> {
    const known = pods.get(namespace) ?? new Set()
    pods.set(namespace, known)
    return known
  }
}
