// SPDX-License-Identifier: Apache-2.0

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Addon } from '../kernel/addon.ts'

/** Gives memory back that a great piece of work has left as garbage; V8 and malloc by themselves keep it until they need room. Blocks for
 *  about 2 ms per MB in use, so it is for moments after which nothing more is to come. */
export function releaseMemory(addon: Addon): void {
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as (options: object) => void
  collectGarbage({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  addon.trimMemory()
}
