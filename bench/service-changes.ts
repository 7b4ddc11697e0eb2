// SPDX-License-Identifier: Apache-2.0
// What one change costs an agent that has many Services: its time and the entries that it writes.

import { setTimeout as sleep } from 'node:timers/promises'
import type { HeddleLab } from './heddle.ts'
import { oneMore } from './service-crowd.ts'
import { median } from './statistics.ts'

export interface Change {
  readonly name: string
  /** Median, from the word to the agent until all is in force. */
  readonly milliseconds: number
  /** Map entries written or deleted. */
  readonly writes: number
}

const endpointCount = 4
/** Endpoints of the Service after each change. */
const changes = [
  ['Service added', endpointCount],
  ['endpoint added', endpointCount + 1],
  ['endpoint removed', endpointCount],
  ['Service removed', 0],
] as const
const repeats = 5
/** A pass is followed by a rest as long as it took, which is no part of the next change. */
const restMs = 200

/** A Service of two ports and four endpoints that comes, changes and goes. */
export async function timeChanges(lab: HeddleLab): Promise<readonly Change[]> {
  const replies = changes.map(() => [] as { milliseconds: number; stepCount: number }[])
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const [index, [, endpoints]] of changes.entries()) {
      await sleep(restMs)
      replies[index]!.push(await lab.announce('one-more', endpoints === 0 ? [] : oneMore(endpoints)))
    }
  }
  return changes.map(([name], index) => ({
    name,
    milliseconds: median(replies[index]!.map(({ milliseconds }) => milliseconds)),
    writes: median(replies[index]!.map(({ stepCount }) => stepCount)),
  }))
}
