// SPDX-License-Identifier: Apache-2.0
// What the programs scatter flows by (bpf/lib/seen.h): a secret of this node, the same for every start, so that programs
// of two starts agree while the new ones take over.

import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import type { NodeConfig } from '../generated/abi.ts'

const BYTES = 32

/** Odd factors. What the file does not hold whole is made anew. */
export function openSeed(path: string): NodeConfig['seed'] {
  const bytes = readSeed(path) ?? makeSeed(path)
  const factor = (word: number): bigint => bytes.readBigUInt64LE(word * 8) | 1n
  return [factor(0), factor(1), factor(2), factor(3)]
}

function readSeed(path: string): Buffer | null {
  try {
    const bytes = readFileSync(path)
    return bytes.length === BYTES ? bytes : null
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

function makeSeed(path: string): Buffer {
  const bytes = randomBytes(BYTES)
  writeFileSync(`${path}.next`, bytes, { mode: 0o600, flush: true })
  renameSync(`${path}.next`, path)
  return bytes
}
