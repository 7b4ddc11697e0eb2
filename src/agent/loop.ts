// SPDX-License-Identifier: Apache-2.0
// When work is done, apart from what it is: events wake the loop, it runs one pass at a time, and everything that
// happens during a pass is one batch for the next. The only retry policy of the agent is here.

import { type BrokenInvariant, isBrokenInvariant } from '../core/errors.ts'

const RETRY_MS_MIN = 100
const RETRY_MS_MAX = 30_000
/** A pass is followed by a rest as long as it took, at most this: changes that pour in cost half a core, not a whole. */
const REST_MS_MAX = 1_000

export interface LoopOptions {
  /** Brings everything up to what is known when it starts. Rejects when it must be tried again. */
  readonly pass: () => Promise<void>
  readonly onSuccess: () => void
  readonly onFailure: (error: unknown, retryMs: number) => void
  /** Called once, when a pass met a bug: the loop has ended, the process should. */
  readonly onBroken: (error: BrokenInvariant) => void
}

export interface Until {
  /** Asked after each pass that succeeded. */
  readonly isDone?: () => boolean
  /** Rejects with its reason when it aborts. */
  readonly signal?: AbortSignal
  /** true: rejects with the error of the first pass that fails. */
  readonly failFast?: boolean
}

export interface Loop {
  wake(): void
  /** Wakes; resolves after a pass that began no earlier than this call. Rejects when the loop has ended. */
  settled(until?: Until): Promise<void>
  /** Resolves when the pass that runs has ended; no further one begins. */
  stop(): Promise<void>
}

interface Waiter {
  readonly since: number
  readonly until: Until
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export function startLoop({ pass, onSuccess, onFailure, onBroken }: LoopOptions): Loop {
  let wakes = 0 // events so far
  let covered = 0 // events that a successful pass has seen
  let failures = 0 // in a row
  let ended: Error | undefined // why no pass begins any more
  let running: Promise<void> | undefined
  let notBefore = 0
  let timer: NodeJS.Timeout | undefined
  const waiters = new Set<Waiter>()

  function schedule(): void {
    if (ended !== undefined || running !== undefined || timer !== undefined || covered === wakes) return
    const delay = notBefore - performance.now()
    if (delay > 0.5) {
      timer = setTimeout(() => {
        timer = undefined
        run()
      }, delay)
    } else {
      run()
    }
  }

  function run(): void {
    running = runPass().finally(() => {
      running = undefined
      schedule()
    })
  }

  async function runPass(): Promise<void> {
    await null // events of one turn are one batch
    const seen = wakes
    const started = performance.now()
    try {
      await pass()
      failures = 0
      covered = seen
      onSuccess()
      notBefore = performance.now() + Math.min(performance.now() - started, REST_MS_MAX)
      settle((waiter) => waiter.since <= seen && (waiter.until.isDone?.() ?? true))
    } catch (error) {
      if (isBrokenInvariant(error)) {
        ended ??= error
        settle(() => true, error)
        return onBroken(error)
      }
      const retryMs = Math.min(RETRY_MS_MIN * 2 ** failures++, RETRY_MS_MAX)
      notBefore = performance.now() + retryMs
      onFailure(error, retryMs)
      settle((waiter) => waiter.until.failFast === true, error)
    }
  }

  function settle(isOver: (waiter: Waiter) => boolean, error?: unknown): void {
    for (const waiter of waiters) {
      if (!isOver(waiter)) continue
      waiters.delete(waiter)
      if (error === undefined) waiter.resolve()
      else waiter.reject(error)
    }
  }

  function wake(): void {
    wakes++
    schedule()
  }

  return {
    wake,
    settled(until = {}) {
      return new Promise<void>((resolve, reject) => {
        if (until.signal?.aborted) return reject(until.signal.reason)
        if (ended !== undefined) return reject(ended)
        wakes++
        const waiter: Waiter = { since: wakes, until, resolve, reject }
        waiters.add(waiter)
        until.signal?.addEventListener('abort', () => {
          if (waiters.delete(waiter)) reject(until.signal?.reason)
        })
        if (until.failFast) notBefore = 0 // someone waits for the answer: do not sit out the backoff
        clearTimeout(timer)
        timer = undefined
        schedule()
      })
    },
    async stop() {
      ended ??= new Error('the agent is stopping')
      clearTimeout(timer)
      await running
      settle(() => true, ended)
    },
  }
}
