// SPDX-License-Identifier: Apache-2.0

import { type ApiError, brokenAnswer, type Subject } from './api-error.ts'

/** More than Kubernetes is made for (150,000 pods). */
export const LIST_OBJECTS_MAX = 500_000

export interface ListBound {
  /** One more object of the list. Throws ApiError when there are too many. */
  count(): void
  /** Why the list is given up now; undefined: it may go on. */
  overdue(): ApiError | undefined
}

/** Tells a list without end from a long one, from now on. */
export function createListBound(subject: Subject, limits: { objectsMax: number; ms: number }): ListBound {
  const startMs = performance.now()
  let objects = 0
  const endless = (what: string): ApiError => brokenAnswer(subject, `the list does not end: ${what}`)
  return {
    count() {
      if (++objects > limits.objectsMax) throw endless(`more than ${limits.objectsMax} objects`)
    },
    overdue: () =>
      performance.now() - startMs < limits.ms ? undefined : endless(`${objects} objects in ${limits.ms / 1000} s`),
  }
}
