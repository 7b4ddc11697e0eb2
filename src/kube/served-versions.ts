// SPDX-License-Identifier: Apache-2.0

import { isRecord } from '../api/cursor.ts'
import { isNotFound } from './api-error.ts'
import type { ApiClient } from './client.ts'

/** Whoever asks waits for it, and can do without. */
const ASK_MS = 5_000
const VERSION = /^[a-z0-9]{1,63}$/

/** Versions in which the server has kinds of this group: empty where it has no such group; undefined where it does not
 *  tell, which includes an account that may not ask. Never throws. Source: metav1.APIGroup. */
export async function servedVersions(
  client: Pick<ApiClient, 'readPath'>,
  group: string,
  signal: AbortSignal,
): Promise<readonly string[] | undefined> {
  try {
    const text = await client.readPath(`/apis/${group}`, AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]))
    const answer: unknown = JSON.parse(text)
    if (!isRecord(answer) || !Array.isArray(answer.versions)) return undefined
    return answer.versions.flatMap((each: unknown) => {
      const version = isRecord(each) ? each.version : undefined
      return typeof version === 'string' && VERSION.test(version) ? [version] : []
    })
  } catch (error) {
    return isNotFound(error) ? [] : undefined
  }
}
