// SPDX-License-Identifier: Apache-2.0
// The shim scans its configuration with a little C of its own. It runs here under sanitizers, against JSON.parse.

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'heddle-shim-'))
const driver = join(folder, 'driver')

beforeAll(() => {
  const flags = ['-std=gnu11', '-g', '-O1', '-Wall', '-Wextra', '-Werror', '-fsanitize=address,undefined']
  const sources = [
    join(import.meta.dirname, '../support/shim_json_driver.c'),
    join(import.meta.dirname, '../../native/cni-shim/json.c'),
  ]
  execFileSync('cc', [...flags, '-fno-sanitize-recover=all', '-o', driver, ...sources], { stdio: 'inherit' })
})
afterAll(() => rmSync(folder, { recursive: true }))

interface Scanned {
  /** '' when there is none. */
  readonly member: string
  readonly string: string
  readonly escaped: Buffer
}

function scan(texts: readonly Uint8Array[]): readonly Scanned[] {
  const { stdout, stderr, status } = spawnSync(driver, {
    input: Buffer.concat(texts.flatMap((text) => [uint32(text.length), text])),
    maxBuffer: 1 << 28,
    env: { ASAN_OPTIONS: 'detect_leaks=0' },
  })
  expect(stderr.toString()).toBe('')
  expect(status).toBe(0)
  let at = 0
  const next = () => {
    const length = stdout.readUInt32LE(at)
    at += 4 + length
    return stdout.subarray(at - length, at)
  }
  return texts.map(() => ({ member: next().toString(), string: next().toString(), escaped: next() }))
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

const encode = (text: string) => new TextEncoder().encode(text)

/** JSON as people write it: blanks everywhere. */
const spaced = fc.tuple(fc.json(), fc.constantFrom(undefined, 1, '\t', '\n ')).map(([json, space]) => {
  return JSON.stringify(JSON.parse(json), null, space)
})

test('the member found is the one that JSON.parse finds', () => {
  const object = fc
    .array(fc.tuple(fc.constantFrom('key', 'kez', 'keyy', 'ke', '', 'a"b', 'ü'), spaced), { maxLength: 6 })
    .map((members) => `{${members.map(([name, value]) => `${JSON.stringify(name)} : ${value}`).join(' ,\n')}}`)
  fc.assert(
    fc.property(fc.array(object, { minLength: 200, maxLength: 200 }), (objects) => {
      const scanned = scan(objects.map(encode))
      for (const [i, text] of objects.entries()) {
        const parsed = JSON.parse(text)
        const { member } = scanned[i]!
        expect(member === '' ? undefined : JSON.parse(member)).toEqual(parsed.key)
      }
    }),
    { numRuns: 10 },
  )
})

test.each([
  ['{"other":{"key":"inner"},"key":"outer"}', 'outer'],
  ['{"key":"first","key":"last"}', 'last'],
  ['{"key":"\\/run\\/x"}', '/run/x'],
  ['{"key":"fifteen bytes.."}', 'fifteen bytes..'],
  ['{"key":"sixteen bytes..."}', ''],
  ['{"key":"a\\u0062"}', ''],
  ['{"key":"a\\', ''],
  ['{"key":"a', ''],
  ['{"key":7}', ''],
  ['{"key"', ''],
  ['["key"]', ''],
  ['', ''],
])('the string of %s is "%s"', (text, expected) => {
  expect(scan([encode(text)])[0]!.string).toBe(expected)
})

test('any text becomes a JSON string that means it', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 200, maxLength: 200 }), (texts) => {
      const scanned = scan(texts.map(encode))
      for (const [i, text] of texts.entries()) {
        expect(JSON.parse(scanned[i]!.escaped.toString())).toBe(text.toWellFormed())
      }
    }),
    { numRuns: 10 },
  )
})

test('no bytes make it read or write beyond its buffers', () => {
  const noise = fc.array(fc.constantFrom(...encode('{}[]":,\\ key\n\u0000\u007f'), 0xff), { maxLength: 60 })
  const cut = fc.tuple(spaced, fc.nat(80)).map(([json, length]) => [...encode(`{"key":${json}`.slice(0, length))])
  fc.assert(
    fc.property(fc.array(fc.oneof(noise, cut), { minLength: 500, maxLength: 500 }), (texts) => {
      scan(texts.map((text) => Uint8Array.from(text)))
    }),
    { numRuns: 20 },
  )
})
