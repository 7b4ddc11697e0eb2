// SPDX-License-Identifier: Apache-2.0
// Reads the type information (.BTF section) of an ELF object: Documentation/bpf/btf.rst (v6.1). Only what the code
// generator needs: names, sizes, members, enum values, map definitions. Little-endian 64-bit objects.

export type BtfType =
  | { readonly kind: 'int'; readonly name: string; readonly size: number; readonly signed: boolean }
  | { readonly kind: 'pointer'; readonly type: number }
  | { readonly kind: 'array'; readonly type: number; readonly length: number }
  | { readonly kind: 'struct'; readonly name: string; readonly size: number; readonly members: readonly BtfMember[] }
  | { readonly kind: 'enum'; readonly name: string; readonly size: number; readonly values: readonly BtfValue[] }
  | { readonly kind: 'alias'; readonly name: string; readonly type: number }
  | { readonly kind: 'variable'; readonly name: string; readonly type: number }
  | { readonly kind: 'section'; readonly name: string; readonly variables: readonly number[] }
  | { readonly kind: 'other' }

export interface BtfMember {
  readonly name: string
  readonly type: number
  readonly offset: number
}

export interface BtfValue {
  readonly name: string
  readonly value: number
}

/** All types by id; id 0 is void. */
export function readBtf(elf: Buffer): readonly BtfType[] {
  const bytes = elfSection(elf, '.BTF')
  if (bytes === undefined) throw new Error('the object has no .BTF section: compile with -g')
  const header = bytes.readUInt32LE(4)
  const start = header + bytes.readUInt32LE(8)
  const end = start + bytes.readUInt32LE(12)
  const strings = header + bytes.readUInt32LE(16)
  const text = (offset: number) => stringAt(bytes, strings + offset)

  const types: BtfType[] = [{ kind: 'other' }]
  for (let at = start; at < end; ) {
    const { type, length } = readType(bytes, at, text)
    types.push(type)
    at += length
  }
  return types
}

// Kinds as in include/uapi/linux/btf.h.
const INT = 1
const PTR = 2
const ARRAY = 3
const STRUCT = 4
const UNION = 5
const ENUM = 6
const TYPEDEF = 8
const VOLATILE = 9
const CONST = 10
const RESTRICT = 11
const FUNC_PROTO = 13
const VAR = 14
const DATASEC = 15
const DECL_TAG = 17
const TYPE_TAG = 18
const ENUM64 = 19

function readType(
  bytes: Buffer,
  at: number,
  text: (offset: number) => string,
): { readonly type: BtfType; readonly length: number } {
  const name = text(bytes.readUInt32LE(at))
  const info = bytes.readUInt32LE(at + 4)
  const kind = (info >>> 24) & 31
  const count = info & 0xffff
  const size = bytes.readUInt32LE(at + 8)
  const u32 = (index: number) => bytes.readUInt32LE(at + 12 + 4 * index)
  const each = <T>(words: number, make: (first: number) => T) =>
    Array.from({ length: count }, (_, i) => make(words * i))

  switch (kind) {
    case INT:
      return { type: { kind: 'int', name, size, signed: ((u32(0) >>> 24) & 1) === 1 }, length: 16 }
    case PTR:
      return { type: { kind: 'pointer', type: size }, length: 12 }
    case ARRAY:
      return { type: { kind: 'array', type: u32(0), length: u32(2) }, length: 24 }
    case STRUCT: {
      const bitfields = info >>> 31 === 1
      const members = each(3, (i) => {
        if (bitfields && u32(i + 2) >>> 24 !== 0) throw new Error(`struct ${name} has bit-fields`)
        return { name: text(u32(i)), type: u32(i + 1), offset: (u32(i + 2) & 0xffffff) / 8 }
      })
      return { type: { kind: 'struct', name, size, members }, length: 12 + 12 * count }
    }
    case ENUM: {
      const values = each(2, (i) => ({ name: text(u32(i)), value: bytes.readInt32LE(at + 16 + 4 * i) }))
      return { type: { kind: 'enum', name, size, values }, length: 12 + 8 * count }
    }
    case TYPEDEF:
    case VOLATILE:
    case CONST:
    case RESTRICT:
    case TYPE_TAG:
      return { type: { kind: 'alias', name, type: size }, length: 12 }
    case VAR:
      return { type: { kind: 'variable', name, type: size }, length: 16 }
    case DATASEC:
      return { type: { kind: 'section', name, variables: each(3, (i) => u32(i)) }, length: 12 + 12 * count }
    case UNION:
    case ENUM64:
      return { type: { kind: 'other' }, length: 12 + 12 * count }
    case FUNC_PROTO:
      return { type: { kind: 'other' }, length: 12 + 8 * count }
    case DECL_TAG:
      return { type: { kind: 'other' }, length: 16 }
    default:
      return { type: { kind: 'other' }, length: 12 }
  }
}

/** ELF64, gABI chapter 4: section header table, names in the section that e_shstrndx names. */
function elfSection(elf: Buffer, wanted: string): Buffer | undefined {
  const table = Number(elf.readBigUInt64LE(40))
  const entrySize = elf.readUInt16LE(58)
  const count = elf.readUInt16LE(60)
  const section = (index: number) => {
    const at = table + index * entrySize
    const offset = Number(elf.readBigUInt64LE(at + 24))
    return { name: elf.readUInt32LE(at), bytes: elf.subarray(offset, offset + Number(elf.readBigUInt64LE(at + 32))) }
  }
  const names = section(elf.readUInt16LE(62)).bytes
  for (let index = 0; index < count; index++) {
    const { name, bytes } = section(index)
    if (stringAt(names, name) === wanted) return bytes
  }
  return undefined
}

function stringAt(bytes: Buffer, offset: number): string {
  return bytes.toString('latin1', offset, bytes.indexOf(0, offset))
}
