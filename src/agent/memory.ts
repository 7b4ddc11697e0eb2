// SPDX-License-Identifier: Apache-2.0

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Gives memory back that a great piece of work has left as garbage; V8 by itself keeps it until it needs room. Blocks for
 *  about 2 ms per MB in use, so it is for moments after which nothing more is to come. */
export function releaseMemory(): void {
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as (options: object) => void
  collectGarbage({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}
