// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Held, loadJournal, openJournal } from './journal.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'heddle-journal-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function held(name: string): Held {
  return { file: 'f', object: { kind: 'Namespace', name, labels: {} }, keptSinceMs: null }
}

test('what the disk refused once is written with the next change: a restart without source forgets no policy', async () => {
  const path = join(folder, 'journal')
  const journal = openJournal(path, [held('a')])
  rmSync(path)
  mkdirSync(path) // nothing can be appended to a folder
  await expect(journal.record([held('b')], [], () => [held('a'), held('b')])).rejects.toMatchObject({ code: 'EISDIR' })
  rmdirSync(path)
  await journal.record([held('c')], [], () => [held('a'), held('b'), held('c')])
  await journal.record([held('d')], [], () => [])
  expect(loadJournal(path).held.map(({ object }) => object.name)).toEqual(['a', 'b', 'c', 'd'])
})
