// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import { median, quantile, summarise, tableOf } from './statistics.ts'

describe('a benchmark figure is not moved by slow phases of the machine', () => {
  test('the 90th percentile of ten samples is the ninth', () => {
    expect(quantile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 0.9)).toBe(9)
    expect(quantile([5], 0.9)).toBe(5)
  })

  test('the median of an even number is the mean of the two in the middle', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5)
    expect(median([3, 1, 2])).toBe(2)
  })

  test('a block that ran at half speed has the same ratio as the others', () => {
    const baseline = [
      [100, 100],
      [50, 50],
      [100, 90],
    ]
    const cell = [
      [80, 70],
      [40, 40],
      [80, 80],
    ]
    expect(summarise(cell, baseline)).toEqual({ ratio: 0.8, blockRatios: [0.8, 0.8, 0.8], rate: 80, samples: 2 })
  })

  test('no sample is no figure', () => {
    expect(() => summarise([[]], [[1]])).toThrow('no samples')
  })
})

test('a row that only one test measures has no figure of another', () => {
  const summary = summarise([[1]], [[1]])
  const table = tableOf(
    new Map([
      ['TCP_RR', new Map([['direct', summary]])],
      [
        'TCP_CRR',
        new Map([
          ['direct', summary],
          ['NodePort', summary],
        ]),
      ],
    ]),
  )
  expect([...table].map(([row, byTest]) => [row, [...byTest.keys()]])).toEqual([
    ['direct', ['TCP_RR', 'TCP_CRR']],
    ['NodePort', ['TCP_CRR']],
  ])
})
