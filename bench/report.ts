// SPDX-License-Identifier: Apache-2.0
// What a benchmark found: the table for people, the file for comparisons.

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Machine, stampedName } from '../tools/machine.ts'
import type { Method } from './blocks.ts'
import type { AddTimes } from './cni-add.ts'
import { type Bound, bareShare, boundOf, type Figures, type Finding, floors, serviceFloors } from './floors.ts'
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
    ...findings.filter(isBounded).slice(0, 1).map(legendOf),
    ...(table.size === 0 ? [] : ['', ...pathLines(table)]),
    ...(services.length === 0 ? [] : ['', ...serviceLines(services)]),
    ...(add === null ? [] : ['', addLine(add)]),
    '',
    ...findings.filter(({ holds }) => !holds).map(missText),
    verdictOf(findings),
  ]
  return `${lines.join('\n')}\n`
}

function verdictOf(findings: readonly Finding[]): string {
  if (findings.some(({ holds }) => !holds)) return 'figures miss their floors'
  const place = findings.some(isBounded) ? ' or the bound in its place' : ''
  const slack = findings.some(({ ratio, bound = 0 }) => ratio < bound) ? ', less the slack of a short run' : ''
  return `every figure reaches its floor${place}${slack}`
}

type Bounded = Finding & Bound

function isBounded(finding: Finding): finding is Bounded {
  return isFloorTooHigh(finding)
}

function isFloorTooHigh({ floor, bound }: Partial<Bound>): boolean {
  return floor !== undefined && bound !== undefined && bound < floor
}

function legendOf(bound: Bounded): string {
  const share = fraction(bareShare, 2)
  return `${bracket(bound)}: the floor is ${fraction(bound.floor, 2)}, but ${share} of the bare forwarder on this machine is ${fraction(bound.bound, 3)}`
}

function pathLines(table: Table): readonly string[] {
  const names = ['To node-to-node on a plain veth wire', ...table.keys()]
  const width = Math.max(...names.map((name) => name.length))
  const columns = tests.map((test) => pathColumn(table, test))
  return names.map((name, line) => [name.padEnd(width), ...columns.map((column) => column[line])].join(' ').trimEnd())
}

function pathColumn(table: Table, test: Test): readonly string[] {
  const brackets = [...table.keys()].map((row) => {
    const floor = floors[row]?.[test]
    return floor === undefined ? '' : bracket(boundOf(table, row, test, floor))
  })
  const width = Math.max(...brackets.map((text) => text.length))
  const cells = [...table.values()].map((byTest, index) =>
    cell(test, byTest.get(test), brackets[index]!.padEnd(width), index === 0),
  )
  return [test, ...cells].map((text) => text.padStart(Math.max(13, ...cells.map(({ length }) => length))))
}

function bracket(bound: Bound): string {
  const floor = fraction(bound.floor, 2)
  return isFloorTooHigh(bound) ? `[${fraction(bound.bound, 3)} of ${floor}]` : `[${floor}]`
}

function fraction(value: number, digits: number): string {
  return value.toFixed(digits).replace(/^0/, '')
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
      const text = floor === undefined ? '' : `[${fraction(floor, 2)}]`
      return [
        `${row} ${test}`,
        services.map(({ table }) => cell(test, table.get(row)?.get(test), text.padEnd(5), false)),
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
function cell(test: Test, summary: Summary | undefined, bracket: string, isBaseline: boolean): string {
  if (!summary) return '-'
  if (isBaseline) return `${Math.round(summary.rate)}${test === 'TCP_STREAM' ? ' Mb/s' : '/s'}`
  return `${summary.ratio.toFixed(3)} ${bracket}`
}

function missText({ name, ratio, atLeast, atMost }: Finding): string {
  const bound = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast.toFixed(2)}`
  return `MISSED ${name}: ${ratio.toFixed(3)}, must be ${bound}`
}
