// SPDX-License-Identifier: Apache-2.0
// What a benchmark found: the table for people, the file for comparisons.

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Machine, stampedName } from '../tools/machine.ts'
import type { AddTimes } from './cni-add.ts'
import { floors } from './floors.ts'
import { type Test, tests } from './netperf.ts'
import type { Summary } from './statistics.ts'

export interface Finding {
  readonly name: string
  readonly ratio: number
  readonly atLeast?: number
  readonly atMost?: number
  readonly holds: boolean
}

interface Report {
  /** Row -> test -> figure; the first row is the baseline. */
  readonly table: ReadonlyMap<string, ReadonlyMap<Test, Summary>>
  readonly add: AddTimes
  readonly clusterIP: Summary
  readonly findings: readonly Finding[]
  readonly method: { readonly blocks: number; readonly rounds: number; readonly seconds: number }
}

/** Writes the results beside the earlier ones; the file's path. */
export function saveResults(results: Report & { readonly machine: Machine; readonly isShort: boolean }): string {
  const date = new Date()
  const name = `${stampedName(date, results.machine)}${results.isShort ? '-short' : ''}.json`
  const path = fileURLToPath(new URL(`results/${name}`, import.meta.url))
  const table = Object.fromEntries([...results.table].map(([row, byTest]) => [row, Object.fromEntries(byTest)]))
  writeFileSync(path, `${JSON.stringify({ date, ...results, table }, null, 1)}\n`)
  return path
}

export function tableText(report: Report): string {
  const width = Math.max(...[...report.table.keys()].map((name) => name.length))
  const { blocks, rounds, seconds } = report.method
  const lines = [
    `Ratios to node-to-node on a plain veth wire: median of ${blocks} blocks of ${rounds} x ${seconds} s; floor in brackets`,
    [''.padEnd(width), ...tests.map((test) => test.padStart(13))].join(' '),
    ...[...report.table].map(([name, byTest], index) =>
      [name.padEnd(width), ...tests.map((test) => cell(name, test, byTest.get(test), index === 0))].join(' '),
    ),
    '',
    `CRR through a ClusterIP among 10,000 Services, of direct: ${report.clusterIP.ratio.toFixed(3)}`,
    `ADD, exec to exit: Heddle p50 ${report.add.heddleP50.toFixed(2)} ms, ptp + host-local ${report.add.ptpP50.toFixed(2)} ms: ${report.add.ratio.toFixed(3)}`,
    '',
    ...report.findings.filter(({ holds }) => !holds).map(missText),
    report.findings.every(({ holds }) => holds) ? 'every figure reaches its floor' : 'figures miss their floors',
  ]
  return `${lines.join('\n')}\n`
}

/** The baseline's cells are rates, all others ratios to them. */
function cell(row: string, test: Test, summary: Summary | undefined, isBaseline: boolean): string {
  if (!summary) return '-'.padStart(13)
  if (isBaseline) return `${Math.round(summary.rate)}${test === 'TCP_STREAM' ? ' Mb/s' : '/s'}`.padStart(13)
  const floor = floors[row]?.[test]
  const floorText = floor === undefined ? '      ' : ` [${floor.toFixed(2).slice(1)}]`
  return `${summary.ratio.toFixed(3)}${floorText}`.padStart(13)
}

function missText({ name, ratio, atLeast, atMost }: Finding): string {
  const bound = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast.toFixed(2)}`
  return `MISSED ${name}: ${ratio.toFixed(3)}, must be ${bound}`
}
