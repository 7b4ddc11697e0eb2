// SPDX-License-Identifier: Apache-2.0
// What a benchmark found: the table for people, the file for comparisons.

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Machine, stampedName } from '../tools/machine.ts'
import type { Method } from './blocks.ts'
import type { AddTimes } from './cni-add.ts'
import { type Figures, type Finding, floors, serviceFloors } from './floors.ts'
import { type Test, tests } from './netperf.ts'
import type { ServiceFigures } from './services.ts'
import type { Summary, Table } from './statistics.ts'

interface Report extends Figures {
  readonly findings: readonly Finding[]
  readonly method: Method
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

export function tableText({ table, add, services, findings, method }: Report): string {
  const { blocks, rounds, seconds } = method
  const lines = [
    `Ratios, each the median of ${blocks} blocks of ${rounds} x ${seconds} s; floor in brackets`,
    ...(table.size === 0 ? [] : ['', ...pathLines(table)]),
    ...(services.length === 0 ? [] : ['', ...serviceLines(services)]),
    ...(add === null ? [] : ['', addLine(add)]),
    '',
    ...findings.filter(({ holds }) => !holds).map(missText),
    findings.every(({ holds }) => holds) ? 'every figure reaches its floor' : 'figures miss their floors',
  ]
  return `${lines.join('\n')}\n`
}

function pathLines(table: Table): readonly string[] {
  const width = Math.max(...[...table.keys()].map((name) => name.length))
  return [
    ['To node-to-node on a plain veth wire'.padEnd(width), ...tests.map((test) => test.padStart(13))].join(' '),
    ...[...table].map(([name, byTest], index) => {
      const cells = tests.map((test) => cell(test, byTest.get(test), floors[name]?.[test], index === 0))
      return [name.padEnd(width), ...cells].join(' ')
    }),
  ]
}

/** A column for each number of Services; an empty cell was not measured. */
function serviceLines(services: readonly ServiceFigures[]): readonly string[] {
  const names = [...services[0]!.table].flatMap(([row, byTest]) =>
    [...byTest.keys()].map((test) => [row, test] as const),
  )
  const lines = [
    ['To the same way without a Service, among Services:', services.map((each) => String(each.services))] as const,
    ...names.map(([row, test]) => {
      const floor = serviceFloors[row]?.[test]
      return [
        `${row} ${test}`,
        services.map(({ table }) => cell(test, table.get(row)?.get(test), floor, false)),
      ] as const
    }),
    ...changeLines(services),
  ]
  const width = Math.max(...lines.map(([title]) => title.length))
  return lines.map(([title, cells]) =>
    [title.padEnd(width), ...cells.map((text) => text.padStart(13))].join(' ').trimEnd(),
  )
}

function changeLines(services: readonly ServiceFigures[]): readonly (readonly [string, readonly string[]])[] {
  return services[0]!.changes.map(({ name }, index) => [
    `${name}: ms until in force / map writes`,
    services.map(({ changes }) => `${changes[index]!.milliseconds.toFixed(1)} / ${changes[index]!.writes}`),
  ])
}

function addLine({ heddleP50, ptpP50, ratio }: AddTimes): string {
  return `ADD, exec to exit: Heddle p50 ${heddleP50.toFixed(2)} ms, ptp + host-local ${ptpP50.toFixed(2)} ms: ${ratio.toFixed(3)}`
}

/** The baseline's cells are rates, all others ratios to them. */
function cell(test: Test, summary: Summary | undefined, floor: number | undefined, isBaseline: boolean): string {
  if (!summary) return '-'.padStart(13)
  if (isBaseline) return `${Math.round(summary.rate)}${test === 'TCP_STREAM' ? ' Mb/s' : '/s'}`.padStart(13)
  const floorText = floor === undefined ? '      ' : ` [${floor.toFixed(2).slice(1)}]`
  return `${summary.ratio.toFixed(3)}${floorText}`.padStart(13)
}

function missText({ name, ratio, atLeast, atMost }: Finding): string {
  const bound = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast.toFixed(2)}`
  return `MISSED ${name}: ${ratio.toFixed(3)}, must be ${bound}`
}
