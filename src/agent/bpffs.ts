// SPDX-License-Identifier: Apache-2.0

import { CommandError } from '../core/command-error.ts'
import { loadAddon } from '../kernel/load-addon.ts'
import { isBpffs } from './preflight.ts'

/** A bpf file system is at `path` from now on; false: it was there before. Throws a CommandError. */
export function mountBpffs(path: string): boolean {
  if (isBpffs(path)) return false
  try {
    loadAddon().mountBpffs(path)
  } catch (error) {
    throw new CommandError(`no bpf file system can be mounted: ${(error as Error).message}`, 1)
  }
  return true
}
