// SPDX-License-Identifier: Apache-2.0
// One agent on a node.

import { mkdirSync } from 'node:fs'
import { CommandError } from '../core/command-error.ts'
import type { Addon, Fd } from '../kernel/addon.ts'
import { isCode } from '../kernel/kernel-error.ts'

/** Held until it is closed or the process ends. Throws a CommandError when another process has it. */
export function takeLock(addon: Addon, runDir: string): Fd {
  mkdirSync(runDir, { recursive: true, mode: 0o755 })
  const path = `${runDir}/lock`
  try {
    return addon.lockFile(path)
  } catch (error) {
    if (isCode(error, 'EWOULDBLOCK', 'EAGAIN')) throw new CommandError(`another agent holds ${path}: stop it first`)
    throw error
  }
}
