// SPDX-License-Identifier: Apache-2.0
// One holder at a time for each key, in the order of asking.

export type Unlock = () => void

export interface Locks {
  readonly acquire: (key: string) => Promise<Unlock>
  /** null: somebody holds it. */
  readonly tryAcquire: (key: string) => Unlock | null
}

export function createLocks(): Locks {
  /** By key: who waits; a key that is here is held. */
  const queues = new Map<string, (() => void)[]>()

  function unlock(key: string): void {
    const next = queues.get(key)!.shift()
    if (next === undefined) queues.delete(key)
    else next()
  }

  return {
    async acquire(key) {
      const waiting = queues.get(key)
      if (waiting === undefined) queues.set(key, [])
      else await new Promise<void>((resolve) => waiting.push(resolve))
      return () => unlock(key)
    },
    tryAcquire(key) {
      if (queues.has(key)) return null
      queues.set(key, [])
      return () => unlock(key)
    },
  }
}
