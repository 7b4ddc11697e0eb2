// SPDX-License-Identifier: Apache-2.0
// One agent on a node: the folder of its sockets and the one of its pinned tables are locked, since configurations may
// differ in either. A lock ends with its process, however that ends.

import { mkdirSync, readFileSync, type Stats, statSync } from 'node:fs'
import { join } from 'node:path'
import { CommandError } from '../core/command-error.ts'
import type { Addon, Fd } from '../kernel/addon.ts'
import { isCode } from '../kernel/kernel-error.ts'
import type { Config } from './config.ts'

/** Held until it is disposed of or the process ends. Throws a CommandError, with the holder's pid where it is visible
 *  from here, when another process has either lock. */
export function takeLock(addon: Addon, { runDir, bpffs }: Pick<Config, 'runDir' | 'bpffs'>): Disposable {
  const held = new DisposableStack()
  const hold = (path: string, take: (path: string) => Fd): void => {
    held.adopt(attempt(path, take), (fd) => addon.closeFd(fd))
  }
  try {
    mkdirSync(runDir, { recursive: true, mode: 0o755 })
    hold(join(runDir, 'lock'), addon.lockFile)
    const pins = join(bpffs, 'heddle')
    mkdirSync(pins, { recursive: true, mode: 0o700 })
    hold(pins, addon.lockDirectory)
    return held
  } catch (error) {
    held.dispose()
    throw error
  }
}

function attempt(path: string, take: (path: string) => Fd): Fd {
  try {
    return take(path)
  } catch (error) {
    if (!isCode(error, 'EWOULDBLOCK', 'EAGAIN')) throw error
    const pid = holderOf(statSync(path), readFileSync('/proc/locks', 'utf8'))
    throw new CommandError(`another agent${pid === null ? '' : ` (pid ${pid})`} holds ${path}: stop it first`)
  }
}

/** Pid of who holds the flock; null where it is not of this pid namespace. man 5 proc_locks: device and inode are
 *  major:minor:inode, of which the first two are hexadecimal; "->" stands before who waits. */
export function holderOf({ dev, ino }: Pick<Stats, 'dev' | 'ino'>, locks: string): number | null {
  const hex = (part: number): string => part.toString(16).padStart(2, '0')
  const file = `${hex((dev >>> 8) & 0xfff)}:${hex((dev & 0xff) | ((dev >>> 12) & 0xfff00))}:${ino}`
  const [, pid] = new RegExp(`^\\d+: FLOCK +\\S+ +\\S+ +(\\d+) ${file} `, 'm').exec(locks) ?? []
  return pid === undefined || pid === '0' ? null : Number(pid)
}
