// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isRecord } from '../api/cursor.ts'
import { KEEP, OTHERS, type Shape } from '../api/shapes.ts'
import { createSkimmer } from './skim.ts'

/** What the skimmer should keep, said plainly. */
function keep(value: unknown, shape: Shape): unknown {
  if (shape === KEEP) return value
  if (Array.isArray(value)) return value.map((item) => keep(item, shape))
  if (!isRecord(value)) return value
  const inner = (key: string) => (Object.hasOwn(shape, key) ? shape[key] : shape[OTHERS])
  const kept = Object.keys(value).filter((key) => inner(key) !== undefined)
  return Object.fromEntries(kept.map((key) => [key, keep(value[key], inner(key)!)]))
}

interface Skimmed {
  readonly frames: unknown[]
  readonly refused: string[]
}

function skimLines(text: string | Buffer, shape: Shape, cuts: readonly number[] = [], keptBytesMax = 1 << 20): Skimmed {
  const frames: unknown[] = []
  const refused: string[] = []
  const skimmer = createSkimmer({
    stream: 'lines',
    shape,
    keptBytesMax,
    onFrame: (value) => frames.push(value),
    onRefused: (reason) => refused.push(reason),
  })
  for (const chunk of cut(text, cuts)) skimmer.push(chunk)
  return { frames, refused }
}

/** Cut at these places, in the middle of characters too. */
function cut(text: string | Buffer, cuts: readonly number[]): Buffer[] {
  const bytes = Buffer.from(text)
  const at = [0, ...cuts.map((each) => each % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end))
}

const keys = fc.constantFrom('a', 'b', 'cc', 'metadata', 'quote"d', 'back\\slash', 'ünï', '')
const { value: json } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false, 0, -1.5, 1e300),
    fc.string({ unit: 'binary', maxLength: 12 }),
    fc.constantFrom('}', '{"a":', '\\"', 'x\n', '[,]'),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(keys, tie('value'), { maxKeys: 5 }),
  ),
}))
const { shape } = fc.letrec<{ shape: Shape }>((tie) => ({
  shape: fc.oneof(
    { maxDepth: 3 },
    fc.constant(KEEP as Shape),
    fc.dictionary(fc.constantFrom('a', 'b', 'cc', 'metadata', OTHERS), tie('shape')) as fc.Arbitrary<Shape>,
  ),
}))
const cuts = fc.array(fc.nat(), { maxLength: 8 })

describe('only what is read of a stream is kept', () => {
  test('lines, cut anywhere, come out as if each had been parsed and trimmed', () => {
    fc.assert(
      fc.property(fc.array(json, { maxLength: 5 }), shape, cuts, (values, shape, cuts) => {
        const text = values.map((value) => `${JSON.stringify(value)}\n`).join('')
        expect(skimLines(text, shape, cuts)).toEqual({
          frames: JSON.parse(JSON.stringify(values.map((value) => keep(value, shape)))),
          refused: [],
        })
      }),
      { numRuns: 2000 },
    )
  })

  test('the items of a list, cut anywhere, and what is around them', () => {
    const around = { kind: KEEP, metadata: { continue: KEEP, resourceVersion: KEEP } } as const
    fc.assert(
      fc.property(fc.array(json), shape, cuts, fc.boolean(), fc.nat(2), (items, shape, cuts, pretty, indent) => {
        const rest = { kind: 'PodList', metadata: { resourceVersion: '7', continue: 'c', more: [1] } }
        const list = pretty ? { items, ...rest } : { ...rest, items }
        const frames: unknown[] = []
        const skimmer = createSkimmer({
          stream: 'list',
          shape,
          around,
          keptBytesMax: 1 << 20,
          onFrame: (value) => frames.push(value),
          onRefused: (reason) => expect.fail(reason),
        })
        for (const chunk of cut(JSON.stringify(list, null, indent), cuts)) skimmer.push(chunk)
        expect(skimmer.end()).toEqual({ items: [], kind: 'PodList', metadata: { resourceVersion: '7', continue: 'c' } })
        expect(frames).toEqual(JSON.parse(JSON.stringify(items.map((item) => keep(item, shape)))))
      }),
      { numRuns: 1000 },
    )
  })

  test('garbage of any kind costs its own line and no other', () => {
    const good = '{"a":{"b":1},"c":"}\\""}'
    const garbage = fc.oneof(
      fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\n', ' ')),
      fc.nat(good.length - 1).map((length) => good.slice(0, length)),
      fc.constantFrom('{"a":1', '"', '{"a":tru}', '}', '{]', '['.repeat(10_000), '{"a":"\u0000"', '{"a" 1}'),
    )
    fc.assert(
      fc.property(fc.array(garbage), cuts, (lines, cuts) => {
        const text = lines
          .flatMap((line) => [good, line])
          .concat(good, '')
          .join('\n')
        const { frames } = skimLines(text, { a: { b: KEEP } }, cuts)
        const own = frames.filter((value) => JSON.stringify(value) === '{"a":{"b":1}}')
        expect(own.length).toBeGreaterThanOrEqual(lines.length + 1)
      }),
      { numRuns: 1000 },
    )
  })

  test('a garbled line is told once', () => {
    expect(skimLines('{"a":1}\n{"a":,,,}\n{"a":2}\n', { a: KEEP })).toEqual({
      frames: [{ a: 1 }, { a: 2 }],
      refused: ['not JSON'],
    })
  })

  test('of what is too large, all but the contents of its lists is told, wherever they stand and however it is cut', () => {
    const shape = { name: KEEP, from: { x: KEEP }, types: KEEP } as const
    const many = (count: number) => Array.from({ length: count }, (_, x) => ({ x, list: [[x]] }))
    const wrap = {
      lines: (text: string) => text,
      list: (text: string) => `{"items":[${text.replaceAll('\n', ',')}{}]}`,
    }
    fc.assert(
      fc.property(fc.nat(200), fc.nat(200), fc.constantFrom('lines', 'list'), cuts, (first, second, stream, cuts) => {
        const value = { name: 'n', from: [{ x: many(first) }, ...many(second)], more: [1], types: ['a', 'b'] }
        const keptBytesMax = 1000
        const kept: string[] = []
        const frames: unknown[] = []
        const skimmer = createSkimmer({
          stream: stream as 'lines' | 'list',
          shape,
          keptBytesMax,
          onFrame: (frame) => frames.push(frame),
          onRefused: (reason, text) => kept.push(`${reason} ${text}`),
        })
        const line = `${JSON.stringify(value)}\n`
        for (const chunk of cut(wrap[stream as 'lines' | 'list'](line + line), cuts)) skimmer.push(chunk)
        const whole = keep(value, shape) as typeof value
        const isTooLarge = JSON.stringify({ name: 'n', from: whole.from }).length - 2 > keptBytesMax
        const left = 'too large {"name":"n","from":[],"types":["a","b"]}'
        expect(kept).toEqual(isTooLarge ? [left, left] : [])
        expect(frames.filter((frame) => Object.keys(frame as object).length > 0)).toEqual(
          isTooLarge ? [] : [whole, whole],
        )
      }),
    )
  })

  test('megabytes that nobody reads pass; what would be kept beyond the bound is refused', () => {
    const big = 'x'.repeat(3_000_000)
    const lines = [{ a: 1, annotations: { big } }, { a: big }, { a: [big], annotations: 1 }, { a: 2 }]
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    const { frames, refused } = skimLines(text, { a: KEEP }, [1_000_000, 3_000_100, 3_000_200], 100_000)
    expect(frames).toEqual([{ a: 1 }, { a: 2 }])
    expect(refused).toHaveLength(2)
  })
})
