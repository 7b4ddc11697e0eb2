// SPDX-License-Identifier: Apache-2.0
// Reading untrusted API JSON: a cursor knows where it stands, so that a refusal names the field.

import {
  type Address,
  coversMapped,
  isParseError,
  type ParseError,
  type Port,
  type Prefix,
  parseAddress,
  parsePort,
  parsePrefix,
} from '../core/address.ts'
import type { Labels } from '../world/objects.ts'

export interface Cursor {
  readonly value: unknown
  readonly parent: Cursor | null
  /** Field name or list index under the parent. */
  readonly key: string | number
}

/** Thrown by every reader below and caught once per object (object.ts): it becomes a Problem, a value. */
export class BadField extends Error {
  readonly path: readonly (string | number)[]

  constructor(cursor: Cursor, message: string) {
    super(message)
    this.path = pathOf(cursor)
  }
}

const TEXT_MAX = 1024
/** Longest list that is read; the API's own bounds are far below, but for a List's items. */
export const LIST_MAX = 1_000_000

export function root(value: unknown): Cursor {
  return { value, parent: null, key: '' }
}

/** The field, whose value is undefined when it is missing or null. */
export function field(cursor: Cursor, key: string): Cursor {
  const record = cursor.value
  if (record === undefined) return { value: undefined, parent: cursor, key }
  if (!isRecord(record)) throw new BadField(cursor, `expected a mapping, found ${describe(record)}`)
  return { value: Object.hasOwn(record, key) ? (record[key] ?? undefined) : undefined, parent: cursor, key }
}

export function isMissing(cursor: Cursor): boolean {
  return cursor.value === undefined
}

/** Missing reads as the empty list. */
export function list(cursor: Cursor, max = 10_000): readonly Cursor[] {
  if (cursor.value === undefined) return []
  if (!Array.isArray(cursor.value)) throw new BadField(cursor, `expected a list, found ${describe(cursor.value)}`)
  if (cursor.value.length > max) throw new BadField(cursor, `${cursor.value.length} items, at most ${max} are read`)
  return cursor.value.map((value, key) => ({ value: value ?? undefined, parent: cursor, key }))
}

export function text(cursor: Cursor, initial?: string): string {
  if (cursor.value === undefined && initial !== undefined) return initial
  if (typeof cursor.value !== 'string') throw new BadField(cursor, `expected a text, found ${describe(cursor.value)}`)
  if (cursor.value.length > TEXT_MAX) throw new BadField(cursor, `longer than ${TEXT_MAX} characters`)
  return cursor.value
}

export function bool(cursor: Cursor, initial: boolean): boolean {
  if (cursor.value === undefined) return initial
  if (typeof cursor.value !== 'boolean')
    throw new BadField(cursor, `expected true or false, found ${describe(cursor.value)}`)
  return cursor.value
}

/** One of the choices' values, by its key. */
export function choice<T>(cursor: Cursor, choices: Readonly<Record<string, T>>, initial?: string): T {
  const chosen = text(cursor, initial)
  if (!Object.hasOwn(choices, chosen)) {
    throw new BadField(cursor, `"${clip(chosen)}" is none of ${Object.keys(choices).join(', ')}`)
  }
  return choices[chosen]!
}

export function integer(cursor: Cursor, min: number, max: number): number {
  const { value } = cursor
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  throw new BadField(cursor, `expected a whole number from ${min} to ${max}, found ${describe(value)}`)
}

export function port(cursor: Cursor): Port {
  return parsed(cursor, parsePort(cursor.value))
}

export function address(cursor: Cursor): Address {
  return parsed(cursor, parseAddress(text(cursor)))
}

export function prefix(cursor: Cursor): Prefix {
  return parsed(cursor, parsePrefix(text(cursor)))
}

/** A prefix that becomes a route. */
export function routePrefix(cursor: Cursor): Prefix {
  const value = prefix(cursor)
  if (coversMapped(value)) throw new BadField(cursor, `${value} would take all IPv4 addresses along`)
  return value
}

/** DNS-1123 subdomain (RFC 1123): what the API takes as a name. */
export function dnsName(cursor: Cursor, initial?: string): string {
  const name = text(cursor, initial)
  if (name.length > 253 || !/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name)) {
    throw new BadField(cursor, `"${clip(name)}" is not a name (a-z, 0-9, '-' and '.', at most 253)`)
  }
  return name
}

/** Milliseconds since 1970 of an RFC 3339 time; missing reads as 0. */
export function timeMs(cursor: Cursor): number {
  if (cursor.value === undefined) return 0
  const written = text(cursor)
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/.test(written) ? Date.parse(written) : Number.NaN
  if (Number.isNaN(ms)) throw new BadField(cursor, `"${clip(written)}" is not an RFC 3339 time`)
  return ms
}

const LABEL_KEY = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/

/** Missing reads as no labels. */
export function labels(cursor: Cursor): Labels {
  if (cursor.value === undefined) return {}
  if (!isRecord(cursor.value)) throw new BadField(cursor, `expected a mapping, found ${describe(cursor.value)}`)
  const entries = Object.keys(cursor.value).map((key) => {
    const at = field(cursor, key)
    return [labelKey(at, key), labelValue(at)] as const
  })
  return Object.fromEntries(entries)
}

export function labelKey(cursor: Cursor, key: string): string {
  if (!LABEL_KEY.test(key)) throw new BadField(cursor, `"${clip(key)}" is not a label key`)
  return key
}

export function labelValue(cursor: Cursor): string {
  const value = text(cursor)
  if (!LABEL_VALUE.test(value)) throw new BadField(cursor, `"${clip(value)}" is not a label value`)
  return value
}

/** "spec.ports[0].port", as people write it. */
export function pathText(path: readonly (string | number)[]): string {
  return path.reduce<string>(
    (written, key) => (typeof key === 'number' ? `${written}[${key}]` : written === '' ? key : `${written}.${key}`),
    '',
  )
}

export function pathOf(cursor: Cursor): readonly (string | number)[] {
  const path: (string | number)[] = []
  for (let at = cursor; at.parent !== null; at = at.parent) path.unshift(at.key)
  return path
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Hostile text is never repeated at length. */
export function clip(written: string): string {
  return written.length > 64 ? `${written.slice(0, 64)}…` : written
}

export function parsed<T>(cursor: Cursor, value: T | ParseError): T {
  if (isParseError(value)) throw new BadField(cursor, `"${clip(value.text)}": ${value.parseError}`)
  return value
}

function describe(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a mapping'
  if (typeof value === 'string') return `"${clip(value)}"`
  return `${typeof value} ${clip(String(value))}${typeof value === 'number' || typeof value === 'boolean' ? ' (unquoted?)' : ''}`
}
