// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import type { HeldProblem, Source } from '../world/source.ts'
import { createProgress, notReady, notServing, type Progress } from './progress.ts'

function progressWith(problems: readonly HeldProblem[]): Progress {
  const progress = createProgress('')
  progress.source = { problems: () => problems } as Source
  return progress
}

const problem = { file: 'policies', line: 1, document: 1, object: '', field: '', message: 'why', keptSinceMs: null }

test('no pods are sent to a node whose pods are all isolated for a kind of policies; those that come are served', () => {
  const progress = progressWith([{ ...problem, isolates: true }])
  expect(notReady(progress)).toEqual(['why'])
  expect(notServing(progress)).toEqual([])
})

test('one policy that isolates its pods, and a kind in another version, keep no node from being ready', () => {
  const own = { ...problem, object: 'NetworkPolicy a/p', isolates: true }
  expect(notReady(progressWith([own, { ...problem, isolates: false }]))).toEqual([])
})
