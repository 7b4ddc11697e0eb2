// SPDX-License-Identifier: Apache-2.0
// A shape (src/api/shapes.ts), made ready for a stream of bytes: fields are found by the bytes of their names.

import { KEEP, OTHERS, type Shape } from '../api/shapes.ts'

export interface Wanted {
  /** Taken whole, whatever it is. */
  readonly all: boolean
  /** A list whose items are the frames. */
  readonly isFrames: boolean
  readonly fields: readonly Field[]
  /** Of fields beside those; null: they are dropped. */
  readonly others: Wanted | null
}

export interface Field {
  readonly name: Uint8Array
  /** `"name":` */
  readonly written: Uint8Array
  readonly wanted: Wanted
}

export function wantedOf(shape: Shape): Wanted {
  if (shape === KEEP) return { all: true, isFrames: false, fields: [], others: null }
  const { [OTHERS]: others, ...named } = shape
  const fields = Object.entries(named).map(([name, inner]) => fieldOf(name, wantedOf(inner)))
  return { all: false, isFrames: false, fields, others: others === undefined ? null : wantedOf(others) }
}

/** Of an object with frames in `items`, and `around` beside them. */
export function wantedAround(around: { readonly [field: string]: Shape }, frame: Wanted): Wanted {
  const items = fieldOf('items', { ...frame, all: false, isFrames: true })
  const others = Object.entries(around).map(([name, inner]) => fieldOf(name, wantedOf(inner)))
  return { all: false, isFrames: false, fields: [items, ...others], others: null }
}

function fieldOf(name: string, wanted: Wanted): Field {
  return { name: Buffer.from(name), written: Buffer.from(`"${name}":`), wanted }
}

/** The field with the name that stands in bytes[from, to). */
export function fieldNamed({ fields }: Wanted, bytes: Uint8Array, from: number, to: number): Field | undefined {
  for (const field of fields) if (isSame(field.name, bytes, from, to)) return field
  return undefined
}

function isSame(name: Uint8Array, bytes: Uint8Array, from: number, to: number): boolean {
  if (name.length !== to - from) return false
  for (let i = 0; i < name.length; i++) if (name[i] !== bytes[from + i]) return false
  return true
}
