// SPDX-License-Identifier: Apache-2.0

import { readdirSync, rmdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { isCode } from './kernel-error.ts'

/** Unpins everything below <bpffs>/heddle: programs are detached and tables end, unless a process still holds them.
 *  Idempotent. Filters of clsact stay (Links.detachFilter). */
export function removePins(bpffs: string): void {
  const folder = join(bpffs, 'heddle')
  for (const each of [join(folder, 'links'), folder]) {
    try {
      for (const file of readdirSync(each)) unlinkSync(join(each, file))
      rmdirSync(each)
    } catch (error) {
      if (!isCode(error, 'ENOENT')) throw error
    }
  }
}
