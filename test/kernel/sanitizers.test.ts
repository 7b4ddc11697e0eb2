// SPDX-License-Identifier: Apache-2.0
// The addon built with AddressSanitizer and UndefinedBehaviorSanitizer (`make asan`).
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')
const BUILD_SECONDS = 180

beforeAll(() => {
  execFileSync('make', ['asan'], { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] })
}, BUILD_SECONDS * 1000)

/** Node itself is not sanitized: the library is loaded before it, and its own allocations are no leaks. */
function exercise(...args: readonly string[]) {
  const library = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim()
  const worker = [process.execPath, join(import.meta.dirname, 'exercise.ts'), ...args]
  return spawnSync('unshare', ['--net', 'env', `LD_PRELOAD=${library}`, ...worker], {
    encoding: 'utf8',
    env: {
      ...process.env,
      ASAN_OPTIONS: 'detect_leaks=0:exitcode=99',
      UBSAN_OPTIONS: 'halt_on_error=1:exitcode=98',
      HEDDLE_ADDON: join(ROOT, 'build/asan/heddle.node'),
    },
  })
}

test('every function of the addon runs without a memory error or undefined behaviour', () => {
  const { status, stdout, stderr } = exercise()
  expect(stderr).not.toMatch(/Sanitizer|runtime error/)
  expect({ status, stdout }, stderr).toEqual({ status: 0, stdout: 'done\n' })
})

test('the lane sees: one byte written past an allocation ends the process', () => {
  const { status, stderr } = exercise('overflow')
  expect(stderr).toMatch(/AddressSanitizer: heap-buffer-overflow/)
  expect(status).toBe(99)
})
