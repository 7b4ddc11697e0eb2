// SPDX-License-Identifier: Apache-2.0
// One command at a time changes a lab. The lock is a listening socket with an abstract name: the kernel gives it to one
// process of a network namespace and takes it back however that process ends, so a stale lock cannot exist.

import { createServer, type Server } from 'node:net'
import { CommandError } from '../core/command-error.ts'

/** Runs `work` while no other command changes the lab; gives up after a minute of waiting. */
export async function withLabLock<T>(lab: string, work: () => Promise<T>): Promise<T> {
  const end = Date.now() + 60_000
  let lock = await tryLock(lab)
  while (!lock) {
    if (Date.now() > end) throw new CommandError(`another command has been changing lab ${lab} for a minute; try again`)
    await new Promise((resolve) => setTimeout(resolve, 20))
    lock = await tryLock(lab)
  }
  try {
    return await work()
  } finally {
    lock.close()
  }
}

function tryLock(lab: string): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(null) : reject(error),
    )
    server.listen(`\0heddle-lab/${lab}`, () => {
      server.unref()
      resolve(server)
    })
  })
}
