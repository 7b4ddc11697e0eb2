// SPDX-License-Identifier: Apache-2.0
// Rows that are compared: they take turns within each block, so that a slow phase of the machine falls on all of them.

import { measure, type Path, type Server, type Test } from './netperf.ts'
import { type Summary, summarise } from './statistics.ts'

export interface Row {
  readonly name: string
  readonly path: Path
  /** Name of the row among the same that its figure is a ratio to; absent: the first. */
  readonly against?: string
  /** Absent: every test. */
  readonly tests?: readonly Test[]
}

export interface Method {
  readonly blocks: number
  /** Turns of every row within one block. */
  readonly rounds: number
  /** Of one turn. */
  readonly seconds: number
}

export function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`)
}

/** Figure of every row, by name. */
export async function compare(
  rows: readonly Row[],
  test: Test,
  method: Method,
  servers: readonly Server[],
): Promise<ReadonlyMap<string, Summary>> {
  const samples = await runBlocks(rows, test, method, servers)
  return new Map(
    rows.map(({ name, against }) => [name, summarise(samples.get(name)!, samples.get(against ?? rows[0]!.name)!)]),
  )
}

/** Samples of every row, by block. A block starts with another row each time. */
async function runBlocks(
  rows: readonly Row[],
  test: Test,
  method: Method,
  servers: readonly Server[],
): Promise<ReadonlyMap<string, readonly number[][]>> {
  const samples = new Map(rows.map((row) => [row.name, Array.from({ length: method.blocks }, () => [] as number[])]))
  for (let block = 0; block < method.blocks; block++) {
    for (let round = 0; round < method.rounds; round++) {
      const first = (block * 3 + round) % rows.length
      for (const row of [...rows.slice(first), ...rows.slice(0, first)]) {
        samples.get(row.name)![block]!.push(...(await measure(row.path, test, method.seconds, servers)))
      }
    }
    say(`${test}: block ${block + 1} of ${method.blocks}`)
  }
  return samples
}
