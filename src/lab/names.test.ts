// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest'
import { checkLabName, isNetnsOf } from './names.ts'
import { expand } from './pods.ts'

test('taking lab `a` down does not touch lab `a-n1`', () => {
  expect(
    ['heddle-a-fabric', 'heddle-a-outside', 'heddle-a-n1', 'heddle-a-n1-3'].every((name) => isNetnsOf('a', name)),
  ).toBe(true)
  expect(
    ['heddle-a-n1-fabric', 'heddle-a-n1-n1', 'heddle-a-n1-n1-3', 'heddle-ab-n1', 'a-n1'].some((name) =>
      isNetnsOf('a', name),
    ),
  ).toBe(false)
})

test.each(['', '-a', 'a-', 'A', 'a/b', '..', 'a b', 'x'.repeat(31)])('%j is no name for a lab', (name) => {
  expect(() => checkLabName(name)).toThrow(/a lab's name/)
})

test('$(NAME) in a command is expanded as Kubernetes does', () => {
  expect(expand('$(A)-$$(A)-$(B)-$A', { A: '1' })).toBe('1-$(A)-$(B)-$A')
})
