// SPDX-License-Identifier: Apache-2.0
// Which network namespace a path means, and whether it still means that one.

import { type Stats, statSync } from 'node:fs'
import type { NetnsIdentity } from '../ipam/attachment.ts'

let own: Stats | undefined

/** The process's own network namespace: the same for its whole life. */
function ownNetns(): Stats {
  own ??= statSync('/proc/self/ns/net')
  return own
}

/** The namespace at that path; throws when it cannot be a pod's. Whether it is one of the network kind is seen when it is
 *  entered. */
export function identifyNetns(path: string, bootId: string): NetnsIdentity {
  const inode = namespaceInode(path)
  if (inode === null) throw new Error(`${path} is no network namespace`)
  if (inode === ownNetns().ino) throw new Error(`${path} is the node's own network namespace`)
  return { path, inode, bootId }
}

/** The path is gone, is a plain file again (after its unmounting), or is another namespace by now. */
export function isNetnsGone({ path, inode, bootId }: NetnsIdentity, currentBootId: string): boolean {
  return bootId !== currentBootId || namespaceInode(path) !== inode
}

/** null: nothing there, or no namespace. Other failures throw: they must not look like a namespace that is gone. Not
 *  asynchronous: these paths are in memory, and a trip to the thread pool costs an ADD ten times as much. */
function namespaceInode(path: string): number | null {
  try {
    const { dev, ino } = statSync(path)
    return dev === ownNetns().dev ? ino : null // all namespaces are in one file system
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ESRCH') return null
    throw error
  }
}
