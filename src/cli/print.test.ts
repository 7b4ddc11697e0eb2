// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import { paint, printable } from './print.ts'

test('what a name brings along does not move the cursor, set a title or turn letters round', () => {
  expect(printable('a\u001b[2J\u001b]0;title\u0007b\r\u009b31m\u202ec')).toBe(
    'a\\u001b[2J\\u001b]0;title\\u0007b\\u000d\\u009b31m\\u202ec',
  )
})

test('lines, tabs, other alphabets and our own colours stay', () => {
  const text = `${paint({ colour: true }, 'red', 'Zürich')}\tλ 日本\n`
  expect(printable(text)).toBe(text)
})

test('JSON keeps its meaning', () => {
  const data = { name: 'a\u007f\u2028\u001bb' }
  expect(JSON.parse(printable(JSON.stringify(data)))).toEqual(data)
})
