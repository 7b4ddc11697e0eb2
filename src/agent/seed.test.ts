// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openSeed } from './seed.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'heddle-seed-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

test('a seed that changed with the agent, or that a pod could read or guess, would let it aim at others', () => {
  const path = join(folder, 'seed')
  const seed = openSeed(path)
  expect(seed).toHaveLength(4)
  expect(new Set(seed).size).toBe(4)
  expect(seed.every((word) => word % 2n === 1n)).toBe(true)
  expect(openSeed(path)).toEqual(seed)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(openSeed(join(folder, 'other'))).not.toEqual(seed)
})

test('a file that a crash has cut is no seed', () => {
  const path = join(folder, 'seed')
  writeFileSync(path, 'short')
  expect(openSeed(path)).toEqual(openSeed(path))
})
