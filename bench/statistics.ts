// SPDX-License-Identifier: Apache-2.0
// What a benchmark's samples say. The machine has slow phases, so only ratios within a block mean anything: the figure
// of a cell is the median, over blocks, of its 90th percentile divided by the baseline's in the same block.

import type { Test } from './netperf.ts'

/** Samples of one cell (rates, a sample each 0.1 s), one list per block. */
export type Blocks = readonly (readonly number[])[]

export interface Summary {
  /** Median over blocks of p90(cell) / p90(baseline). */
  readonly ratio: number
  /** Ratio of each block. */
  readonly blockRatios: readonly number[]
  /** Median over blocks of p90(cell); in the unit of the samples. */
  readonly rate: number
  /** Samples of the block that has fewest. */
  readonly samples: number
}

/** Row -> test -> figure, in the order of the rows. */
export type Table = ReadonlyMap<string, ReadonlyMap<Test, Summary>>

/** The same figures by row that were taken by test. */
export function tableOf(figures: ReadonlyMap<Test, ReadonlyMap<string, Summary>>): Table {
  const table = new Map<string, Map<Test, Summary>>()
  for (const [test, byRow] of figures) {
    for (const [row, summary] of byRow) table.set(row, (table.get(row) ?? new Map()).set(test, summary))
  }
  return table
}

/** The smallest sample that `fraction` of all samples do not exceed. */
export function quantile(samples: readonly number[], fraction: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  const value = sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(fraction * sorted.length) - 1))]
  if (value === undefined) throw new Error('no samples')
  return value
}

/** The middle value; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const half = Math.floor(sorted.length / 2)
  if (sorted.length === 0) throw new Error('no values')
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2
}

/** The figure of a cell against the baseline's samples of the same blocks. */
export function summarise(cell: Blocks, baseline: Blocks): Summary {
  const blockRatios = cell.map((samples, block) => quantile(samples, 0.9) / quantile(baseline[block] ?? [], 0.9))
  return {
    ratio: median(blockRatios),
    blockRatios,
    rate: median(cell.map((samples) => quantile(samples, 0.9))),
    samples: Math.min(...cell.map((samples) => samples.length)),
  }
}
