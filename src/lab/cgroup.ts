// SPDX-License-Identifier: Apache-2.0
// cgroup2 folders of a lab. Every process of a lab is in one of them, which makes "end what is ours" exact: the kernel
// kills the members of a folder, no pid is ever guessed.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { CommandError } from '../core/command-error.ts'
import { waitUntil } from './process.ts'

/** The folder, made where it is missing. No controller is switched on in it. */
export function makeCgroup(path: string): string {
  mkdirSync(path, { recursive: true })
  return path
}

/** Processes in the folder itself, without those below. */
export function cgroupPids(path: string): number[] {
  try {
    return readFileSync(`${path}/cgroup.procs`, 'utf8').split('\n').filter(Boolean).map(Number)
  } catch {
    return []
  }
}

/** Ends every process in and below the folder, then removes it. Nothing to do is a success. */
export async function removeCgroup(path: string): Promise<void> {
  if (!existsSync(path)) return
  writeFileSync(`${path}/cgroup.kill`, '1')
  // A killed process stays a member until it has let go of its memory, so rmdir is refused for a moment.
  const gone = await waitUntil(() => removeTree(path), 20_000)
  if (!gone) throw new CommandError(`processes stay in ${path}: ${cgroupPids(path).join(' ')}`)
}

function removeTree(path: string): boolean {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true }))
      if (entry.isDirectory() && !removeTree(`${path}/${entry.name}`)) return false
    rmdirSync(path)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
  }
}
