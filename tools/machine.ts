// SPDX-License-Identifier: Apache-2.0
// What a committed figure must say about where it comes from.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'

export interface Machine {
  readonly commit: string
  /** The checkout had changes that no commit has. */
  readonly modified: boolean
  readonly kernel: string
  readonly processor: string
  readonly processors: number
  readonly memoryBytes: number
  readonly system: string
}

export function machine(): Machine {
  const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim()
  return {
    commit: git('rev-parse', 'HEAD'),
    modified: git('status', '--porcelain') !== '',
    kernel: release(),
    processor: cpus()[0]?.model ?? 'unknown',
    processors: cpus().length,
    memoryBytes: totalmem(),
    system: /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
  }
}

/** Name for a file of figures that sorts by time: "2026-11-21T1007-ebe280a1b2". */
export function stampedName(date: Date, { commit }: Machine): string {
  return `${date.toISOString().slice(0, 16).replace(':', '')}-${commit.slice(0, 10)}`
}
