// SPDX-License-Identifier: Apache-2.0

import { isRecord } from '../api/cursor.ts'
import { isNotFound } from './api-error.ts'
import type { ApiClient } from './client.ts'
import type { Resource } from './resources.ts'

/** Whoever asks waits for it, and can do without. */
const ASK_MS = 5_000
const VERSION = /^[a-z0-9]{1,63}$/
/** Of one group. */
const VERSIONS_MAX = 16

/** Versions of its group in which the server has this resource, the preferred one first: empty where it has it in none;
 *  undefined where it does not tell of one, which includes an account that may not ask. Never throws. Sources:
 *  metav1.APIGroup, metav1.APIResourceList. Cost: one request, and one for each version of the group. */
export async function servedVersions(
  client: Pick<ApiClient, 'readPath'>,
  { group, plural }: Pick<Resource, 'group' | 'plural'>,
  stopping: AbortSignal,
): Promise<readonly string[] | undefined> {
  const signal = AbortSignal.any([stopping, AbortSignal.timeout(ASK_MS)])
  const ask = async (path: string, key: string): Promise<readonly Readonly<Record<string, unknown>>[]> => {
    const answer: unknown = JSON.parse(await client.readPath(path, signal).catch(absentIs(`{"${key}":[]}`)))
    if (!isRecord(answer) || !Array.isArray(answer[key])) throw new Error(`${path} has no ${key}`)
    return answer[key].filter(isRecord)
  }
  try {
    const versions = (await ask(`/apis/${group}`, 'versions')).flatMap(({ version }) =>
      typeof version === 'string' && VERSION.test(version) ? [version] : [],
    )
    const served: string[] = []
    for (const version of versions.slice(0, VERSIONS_MAX)) {
      const kinds = await ask(`/apis/${group}/${version}`, 'resources')
      if (kinds.some(({ name }) => name === plural)) served.push(version)
    }
    return served
  } catch {
    return undefined
  }
}

/** What stands for an answer that is 404. */
function absentIs(answer: string): (error: unknown) => string {
  return (error) => {
    if (isNotFound(error)) return answer
    throw error
  }
}
