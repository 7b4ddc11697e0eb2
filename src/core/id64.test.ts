// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { id64 } from './id64.ts'

test('an id is the head of SHA-256, whatever the length of the text', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.nat(300).map((length) => 'é'.repeat(length)),
  )
  fc.assert(
    fc.property(text, (of) => {
      expect(id64(of)).toBe(createHash('sha256').update(of).digest().readBigUInt64BE(0))
    }),
    { numRuns: 1000 },
  )
})
