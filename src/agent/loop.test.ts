// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import { BrokenInvariant } from '../core/errors.ts'
import { type Loop, startLoop } from './loop.ts'

/** A loop whose passes end when the test says so. */
function controlled(): {
  loop: Loop
  passes: PromiseWithResolvers<void>[]
  failures: unknown[]
  broken: unknown[]
  next: () => Promise<void>
} {
  const passes: PromiseWithResolvers<void>[] = []
  const failures: unknown[] = []
  const broken: unknown[] = []
  let begun = Promise.withResolvers<void>()
  const loop = startLoop({
    pass() {
      const pass = Promise.withResolvers<void>()
      passes.push(pass)
      begun.resolve()
      return pass.promise
    },
    onSuccess() {},
    onFailure: (error) => failures.push(error),
    onBroken: (error) => broken.push(error),
  })
  const next = async (): Promise<void> => {
    await begun.promise
    begun = Promise.withResolvers<void>()
  }
  return { loop, passes, failures, broken, next }
}

describe('who waits for a change must not be told before it is in force', () => {
  test('a pass that began before the call does not count; everything that came during it is one more pass', async () => {
    const { loop, passes, next } = controlled()
    loop.wake()
    await next()
    const told: string[] = []
    const first = loop.settled().then(() => told.push('first'))
    const second = loop.settled().then(() => told.push('second'))
    passes[0]!.resolve()
    await next()
    expect(told).toEqual([])
    passes[1]!.resolve()
    await Promise.all([first, second])
    expect(passes).toHaveLength(2)
  })

  test('a condition that does not hold yet is asked again after every pass', async () => {
    const { loop, passes, next } = controlled()
    let isDone = false
    const settled = loop.settled({ isDone: () => isDone })
    await next()
    passes[0]!.resolve()
    await passes[0]!.promise
    isDone = true
    loop.wake()
    await next()
    passes[1]!.resolve()
    await settled
  })
})

describe('a failure must be tried again, and told to who cannot wait', () => {
  test('a failed pass is repeated by itself; the impatient are rejected, the patient wait', async () => {
    const { loop, passes, failures, next } = controlled()
    const patient = loop.settled()
    const impatient = loop.settled({ failFast: true })
    await next()
    passes[0]!.reject(new Error('full'))
    await expect(impatient).rejects.toThrow('full')
    await next()
    passes[1]!.resolve()
    await patient
    expect(failures).toHaveLength(1)
  })

  test('an aborted wait ends at once and leaves the loop alone', async () => {
    const { loop, passes, next } = controlled()
    const leaving = new AbortController()
    const settled = loop.settled({ signal: leaving.signal })
    leaving.abort(new Error('late'))
    await expect(settled).rejects.toThrow('late')
    await next()
    passes[0]!.resolve()
    await loop.stop()
  })

  test('stopping waits for the pass that runs and rejects who still waits', async () => {
    const { loop, passes, next } = controlled()
    const settled = loop.settled({ isDone: () => false })
    await next()
    let isStopped = false
    const stopped = loop.stop().then(() => {
      isStopped = true
    })
    await Promise.resolve()
    expect(isStopped).toBe(false)
    passes[0]!.resolve()
    await stopped
    await expect(settled).rejects.toThrow('stopping')
  })
})

describe('a bug here must end the process: a next pass would succeed without what the broken one has lost', () => {
  test('a broken invariant is told once and ends the loop; who waits, and who asks later, is rejected', async () => {
    const { loop, passes, failures, broken, next } = controlled()
    const patient = loop.settled()
    await next()
    loop.wake()
    const bug = new BrokenInvariant('no claim of shop/web')
    passes[0]!.reject(bug)
    await expect(patient).rejects.toBe(bug)
    await expect(loop.settled()).rejects.toBe(bug)
    loop.wake()
    await loop.stop()
    expect([broken, failures, passes.length]).toEqual([[bug], [], 1])
  })

  test('a wait that begins after the loop has stopped is rejected', async () => {
    const { loop } = controlled()
    await loop.stop()
    await expect(loop.settled()).rejects.toThrow('stopping')
  })
})
