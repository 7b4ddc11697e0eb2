// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import { serviceWith, sliceWith } from '../../test/support/services.ts'
import { createServiceSync } from './service-sync.ts'

const change = (...triggers: readonly number[]) => ({
  put: [serviceWith({}), ...triggers.map((triggeredMs) => sliceWith({ triggeredMs }))],
  deleted: [],
})

test('a proxy is healthy unless a change has waited for a minute, through all failures', () => {
  let nowMs = 1_000_000
  const sync = createServiceSync(() => nowMs)
  sync.queued(change())
  nowMs += 600_000
  expect(sync.health()).toEqual({ isHealthy: true, updatedMs: 0 }) // it is still starting
  sync.begins()
  sync.succeeded()
  const updatedMs = nowMs
  nowMs += 600_000
  expect(sync.health()).toEqual({ isHealthy: true, updatedMs })
  sync.queued(change())
  for (let i = 0; i < 6; i++) {
    expect(sync.health().isHealthy).toBe(true)
    sync.begins()
    nowMs += 10_000
    sync.failed()
    sync.queued(change())
  }
  expect(sync.health()).toEqual({ isHealthy: false, updatedMs })
  sync.begins()
  sync.succeeded()
  expect(sync.health()).toEqual({ isHealthy: true, updatedMs: nowMs })
})

test('what comes during a pass waits for the next one', () => {
  let nowMs = 1_000_000
  const sync = createServiceSync(() => nowMs)
  sync.queued(change(1_000_100))
  sync.begins()
  nowMs += 500
  sync.queued(change(1_000_400, 1_000_450))
  expect(sync.readings()).toMatchObject({ services: { pending: 2, total: 2 }, endpoints: { pending: 3, total: 3 } })
  expect(sync.succeeded()).toEqual([400])
  expect(sync.readings()).toMatchObject({ services: { pending: 1 }, endpoints: { pending: 2 }, queuedMs: 1_000_500 })
  sync.begins()
  sync.failed()
  sync.begins()
  nowMs += 500
  expect(sync.succeeded()).toEqual([600, 550])
  expect(sync.readings()).toMatchObject({ services: { pending: 0, total: 2 }, updatedMs: 1_001_000 })
})

test('what happened before the agent was there, and what no controller told, is not measured', () => {
  const sync = createServiceSync(() => 1_000_000)
  sync.queued(change(0, 999_000))
  sync.queued({ put: [], deleted: [] })
  sync.begins()
  expect(sync.succeeded()).toEqual([])
})
