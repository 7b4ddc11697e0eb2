// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import { holderOf } from './lock.ts'

describe('an operator who is refused must learn which process to stop', () => {
  const locks = `1: FLOCK  ADVISORY  WRITE 12886 fe:00:10363150 0 EOF
1: -> FLOCK  ADVISORY  WRITE 13053 fe:00:10363150 0 EOF
2: POSIX  ADVISORY  WRITE 99 00:2f:5 0 EOF
3: FLOCK  ADVISORY  WRITE 20280 00:2f:5 0 EOF
4: FLOCK  ADVISORY  WRITE 20281 00:2f:51 0 EOF
5: FLOCK  ADVISORY  WRITE 0 103:145:7 0 EOF
`
  test.each([
    ['on a disk', { dev: 0xfe00, ino: 10363150 }, 12886],
    ['on a file system without a device, beside a lock of another kind', { dev: 0x2f, ino: 5 }, 20280],
    ['of another pid namespace, on a device with long numbers', { dev: 0x110345, ino: 7 }, null],
    ['that is free', { dev: 0x2f, ino: 6 }, null],
  ])('a lock %s', (_, file, pid) => {
    expect(holderOf(file, locks)).toBe(pid)
  })
})
