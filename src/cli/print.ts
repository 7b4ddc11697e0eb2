// SPDX-License-Identifier: Apache-2.0
// Data on standard output: aligned tables for people, JSON or YAML with the reply's own fields for programs.

import { stringify } from 'yaml'
import type { Call } from './command.ts'

/** Prints data as `-o` asks; `text` makes the version for people. */
export function printData<T>(call: Call, data: T, text: (data: T) => string): void {
  if (call.output === 'json') call.print(`${JSON.stringify(data, null, 2)}\n`)
  else if (call.output === 'yaml') call.print(stringify(data))
  else call.print(text(data))
}

export type Cell = string | number | boolean | null | undefined | readonly string[]

/** A table with a heading, columns aligned by their widest cell; numbers to the right. Empty cells show as `-`. */
export function table(headings: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const cells = rows.map((row) => row.map(cellText))
  const numeric = headings.map((_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'))
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...cells.map((row) => row[column]?.length ?? 0)),
  )
  return [headings, ...cells]
    .map((row) =>
      row
        .map((cell, column) => (numeric[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('')
}

/** Label and value per line, values aligned. */
export function facts(rows: readonly (readonly [string, Cell])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length))
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${cellText(value)}\n`).join('')
}

function cellText(cell: Cell): string {
  if (cell === null || cell === undefined || cell === '') return '-'
  if (typeof cell === 'boolean') return cell ? 'yes' : 'no'
  if (typeof cell === 'object') return cell.length === 0 ? '-' : cell.join(', ')
  return String(cell)
}

/** 1536 -> '1.5 KiB'. */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const step = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10))
  const value = bytes / 1024 ** step
  return `${step === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[step]}`
}

/** 0.42 -> '0.4 ms', 1500 -> '1.5 s'. */
export function durationText(milliseconds: number): string {
  return milliseconds < 1_000 ? `${milliseconds.toFixed(1)} ms` : `${(milliseconds / 1_000).toFixed(1)} s`
}

const colours = { red: 31, green: 32, yellow: 33, bold: 1, dim: 2 } as const

export function paint(call: { readonly colour: boolean }, colour: keyof typeof colours, text: string): string {
  return call.colour ? `\u001b[${colours[colour]}m${text}\u001b[0m` : text
}

/** Text as a terminal may have it: control characters, which could move its cursor or change its title, and marks that
 *  reorder letters become \uXXXX. What a name or a message brings along is shown, never obeyed. Lines and the colours of
 *  `paint` stay; in JSON the escapes mean the same. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (found) =>
    found.length > 1 ? found : `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

const UNPRINTABLE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /\u001b\[\d{1,2}m|[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
