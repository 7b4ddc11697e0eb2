// SPDX-License-Identifier: Apache-2.0

import { isRecord } from '../api/cursor.ts'
import { brokenAnswer, type Subject } from './api-error.ts'

export interface Pager {
  /** Works in the metadata of a page. Throws ApiError when the pages do not end. */
  read(metadata: unknown): void
  /** Token of the page to ask for; undefined: of the first one, or there is no other. */
  readonly next: string | undefined
  /** Of the list, as the last page says it; '' when it does not. */
  readonly resourceVersion: string
}

/** At 250 objects each, more than Kubernetes is made for (150,000 pods). Pages may be empty, so that a bound on objects does
 *  not tell a list without end from a long one. */
const PAGES_MAX = 1_000

/** Follows a list from page to page. Source: metav1.ListMeta. */
export function createPager(subject: Subject): Pager {
  let pageCount = 0
  let next: string | undefined
  let version = ''
  return {
    read(metadata) {
      const { continue: token, resourceVersion } = isRecord(metadata) ? metadata : {}
      const before = next
      next = typeof token === 'string' && token !== '' ? token : undefined
      version = typeof resourceVersion === 'string' ? resourceVersion : ''
      pageCount++
      if (next === undefined) return
      if (next === before) throw brokenAnswer(subject, `the list does not end: page ${pageCount} comes after itself`)
      if (pageCount === PAGES_MAX) throw brokenAnswer(subject, `the list does not end: ${pageCount} pages were read`)
    },
    get next() {
      return next
    },
    get resourceVersion() {
      return version
    },
  }
}
