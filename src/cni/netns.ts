// SPDX-License-Identifier: Apache-2.0
// Which network namespace a path means, and whether it still means that one.

import { stat, statfs } from 'node:fs/promises'
import type { NetnsIdentity } from '../ipam/attachment.ts'

/** include/uapi/linux/magic.h */
const NSFS_MAGIC = 0x6e736673

/** The namespace at that path; rejects when it cannot be a pod's. Whether it is one of the network kind is seen when it
 *  is entered. */
export async function identifyNetns(path: string, bootId: string): Promise<NetnsIdentity> {
  const inode = await namespaceInode(path)
  if (inode === null) throw new Error(`${path} is no network namespace`)
  if (inode === (await namespaceInode('/proc/self/ns/net')))
    throw new Error(`${path} is the node's own network namespace`)
  return { path, inode, bootId }
}

/** The path is gone, is a plain file again (after its unmounting), or is another namespace by now. */
export async function isNetnsGone({ path, inode, bootId }: NetnsIdentity, currentBootId: string): Promise<boolean> {
  return bootId !== currentBootId || (await namespaceInode(path)) !== inode
}

/** null: nothing there, or no namespace. Other failures reject: they must not look like a namespace that is gone. */
async function namespaceInode(path: string): Promise<number | null> {
  try {
    const [{ ino }, { type }] = await Promise.all([stat(path), statfs(path)])
    return type === NSFS_MAGIC ? ino : null
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ESRCH') return null
    throw error
  }
}
