// SPDX-License-Identifier: Apache-2.0
// Writes src/generated/abi.ts: the codecs of bpf/abi's structs, its enums, constants and map definitions, as clang lays
// them out.
// With --check it writes nothing and exits 1 when the committed file is stale.

import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { camel, isUnused, pascal, readAbiTypes, resolve, type Struct } from './abi-types.ts'
import type { BtfType, BtfValue } from './btf.ts'

const OUTPUT = join(import.meta.dirname, '../src/generated/abi.ts')

/** How one member is typed, written (to `offset + at`) and read. */
interface Field {
  readonly type: string
  readonly write: (at: number | string, value: string) => string
  readonly read: (at: number | string) => string
}

/** A longer array is a loop, not a line for each. */
const UNROLLED_MAX = 16

function field(types: readonly BtfType[], id: number, where: string): Field {
  const { type, bigEndian } = resolve(types, id)
  switch (type.kind) {
    case 'int':
    case 'enum':
      return integer(type.size, type.kind === 'int' && type.signed, bigEndian)
    case 'struct':
      return {
        type: type.name === 'address' ? 'Address' : pascal(type.name),
        write: (at, value) => `${camel(type.name)}.write(bytes, offset + ${at}, ${value})`,
        read: (at) => `${camel(type.name)}.read(bytes, offset + ${at})`,
      }
    case 'array': {
      const element = field(types, type.type, where)
      const size = sizeOf(types, type.type)
      if (type.length > UNROLLED_MAX) return longArray(element, size, type.length)
      const slots = Array.from({ length: type.length }, (_, slot) => slot)
      return {
        type: `readonly [${slots.map(() => element.type).join(', ')}]`,
        write: (at, value) => slots.map((i) => element.write(plus(at, i * size), `${value}[${i}]`)).join('\n    '),
        read: (at) => `[${slots.map((i) => element.read(plus(at, i * size))).join(', ')}]`,
      }
    }
    default:
      throw new Error(`${where}: no codec for a member of kind ${type.kind}`)
  }
}

function longArray(element: Field, size: number, length: number): Field {
  const slot = (at: number | string) => `${at} + i * ${size}`
  return {
    type: `ArrayLike<${element.type}>`,
    write: (at, value) => `for (let i = 0; i < ${length}; i++) ${element.write(slot(at), `${value}[i]!`)}`,
    read: (at) => `Array.from({ length: ${length} }, (_, i) => ${element.read(slot(at))})`,
  }
}

function plus(at: number | string, bytes: number): number | string {
  return typeof at === 'number' ? at + bytes : `${at} + ${bytes}`
}

function integer(size: number, signed: boolean, bigEndian: boolean): Field {
  const sign = signed ? 'Int' : 'Uint'
  const method = size === 8 ? `Big${sign}64` : `${sign}${size * 8}`
  const order = size === 1 || bigEndian ? '' : ', true'
  return {
    type: size === 8 ? 'bigint' : 'number',
    write: (at, value) => `view.set${method}(${at}, ${value}${order})`,
    read: (at) => `view.get${method}(${at}${order})`,
  }
}

function sizeOf(types: readonly BtfType[], id: number): number {
  const { type } = resolve(types, id)
  if (type.kind === 'array') return type.length * sizeOf(types, type.type)
  if (type.kind === 'pointer') return 8
  if ('size' in type) return type.size
  throw new Error(`a type of kind ${type.kind} has no size`)
}

function structText(types: readonly BtfType[], struct: Struct): string {
  const members = struct.members
    .filter((member) => !isUnused(member))
    .map((member) => ({
      name: camel(member.name),
      offset: member.offset,
      ...field(types, member.type, `struct ${struct.name}`),
    }))
  const view = `const view = new DataView(bytes.buffer, bytes.byteOffset + offset, ${struct.size})`
  const using = (lines: readonly string[]) => (lines.some((line) => line.includes('view.')) ? [view, ...lines] : lines)
  const writes = using([
    `bytes.fill(0, offset, offset + ${struct.size})`,
    ...members.map(({ offset, name, write }) => write(offset, `value.${name}`)),
  ])
  const reads = using(['return {', ...members.map(({ offset, name, read }) => `  ${name}: ${read(offset)},`), '}'])
  return `
export interface ${pascal(struct.name)} {
${members.map(({ name, type }) => `  readonly ${name}: ${type}`).join('\n')}
}

export const ${camel(struct.name)}: Codec<${pascal(struct.name)}> = {
  name: '${struct.name}',
  size: ${struct.size},
  write(bytes, offset, value) {
    ${writes.join('\n    ')}
  },
  read(bytes, offset) {
    ${reads.join('\n    ')}
  },
}
`
}

const ADDRESS_TEXT = `
/** 16 bytes; all zero, "none", reads as '::'. */
export const address: Codec<Address> = { name: 'address', size: 16, write: writeAddress, read: readAddress }
`

/** DROP_POLICY_EGRESS of enum drop_reason -> DropReason.POLICY_EGRESS. */
function enumText(name: string, values: readonly BtfValue[]): string {
  const prefix = commonPrefix(values.map((value) => value.name))
  const lines = values.map((value) => `  ${value.name.slice(prefix.length)}: ${value.value},`)
  return `
export const ${pascal(name)} = {
${lines.join('\n')}
} as const
export type ${pascal(name)} = (typeof ${pascal(name)})[keyof typeof ${pascal(name)}]
`
}

/** Longest common run of whole words; of a single name its first word. */
function commonPrefix(names: readonly string[]): string {
  const [first, ...others] = names.map((name) => name.split('_'))
  let words = 0
  while (
    words < first!.length - 1 &&
    others.every((other) => words < other.length - 1 && other[words] === first![words])
  ) {
    words++
    if (others.length === 0) break
  }
  return first!
    .slice(0, words)
    .map((word) => `${word}_`)
    .join('')
}

interface MapDefinition {
  readonly name: string
  readonly type: number
  readonly maxEntries: number
  readonly flags: number
  readonly key: number | undefined
  readonly value: number | undefined
}

/** libbpf's BTF-defined maps: __uint(x, n) is a pointer to an array of n, __type(x, t) a pointer to t. */
function mapDefinitions(types: readonly BtfType[]): readonly MapDefinition[] {
  const section = types.find((type) => type.kind === 'section' && type.name === '.maps')
  if (section?.kind !== 'section') return []
  return section.variables
    .map((id) => {
      const variable = types[id]!
      if (variable.kind !== 'variable') throw new Error('a member of .maps is no variable')
      const { type: definition } = resolve(types, variable.type)
      if (definition.kind !== 'struct') throw new Error(`map ${variable.name} is no struct`)
      const pointee = (name: string) => {
        const member = definition.members.find((candidate) => candidate.name === name)
        const type = member && resolve(types, member.type).type
        return type?.kind === 'pointer' ? type.type : undefined
      }
      const number = (name: string) => {
        const id = pointee(name)
        const type = id === undefined ? undefined : resolve(types, id).type
        return type?.kind === 'array' ? type.length : 0
      }
      return {
        name: variable.name,
        type: number('type'),
        maxEntries: number('max_entries'),
        flags: number('map_flags'),
        key: pointee('key'),
        value: pointee('value'),
      }
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

function mapText(types: readonly BtfType[], map: MapDefinition): string {
  const size = (id: number | undefined) => (id === undefined ? 0 : sizeOf(types, id))
  return `  ${map.name}: {
    name: '${map.name}',
    type: ${map.type},
    keySize: ${size(map.key)},
    valueSize: ${size(map.value)},
    maxEntries: ${map.maxEntries},
    flags: ${map.flags},
    layout: '${layoutHash(types, map)}',
    key: ${codecName(types, map.key)},
    value: ${codecName(types, map.value)},
  },`
}

function codecName(types: readonly BtfType[], id: number | undefined): string {
  if (id === undefined) return 'null'
  const { type } = resolve(types, id)
  if (type.kind === 'struct') return camel(type.name)
  if (type.kind === 'int' && type.size === 4) return 'u32'
  throw new Error(`no codec for a key or value of kind ${type.kind}`)
}

/** Names what is pinned: equal hashes mean that old entries mean the same to the new programs. Capacity is not part of
 *  it, and neither is a member that nothing uses yet. */
function layoutHash(types: readonly BtfType[], map: MapDefinition): string {
  const describe = (id: number | undefined): unknown => {
    if (id === undefined) return null
    const { type, bigEndian } = resolve(types, id)
    if (type.kind === 'array') return [type.length, describe(type.type)]
    if (type.kind !== 'struct') return [sizeOf(types, id), bigEndian]
    const members = type.members.filter((member) => !isUnused(member))
    return [type.size, members.map((member) => [member.name, member.offset, describe(member.type)])]
  }
  const text = JSON.stringify([map.type, describe(map.key), describe(map.value)])
  return createHash('sha256').update(text).digest('hex').slice(0, 8)
}

const U32_TEXT = `
/** Index of an array map. */
export const u32: Codec<number> = {
  name: '__u32',
  size: 4,
  write(bytes, offset, value) {
    new DataView(bytes.buffer, bytes.byteOffset + offset, 4).setUint32(0, value, true)
  },
  read(bytes, offset) {
    return new DataView(bytes.buffer, bytes.byteOffset + offset, 4).getUint32(0, true)
  },
}
`

function abiText(): string {
  const { types, structs, enums, constants } = readAbiTypes()
  return [
    '// SPDX-License-Identifier: Apache-2.0\n',
    '// Generated from bpf/abi by tools/generate-abi.ts. Never edited.\n\n',
    "import { type Address, readAddress, writeAddress } from '../core/address.ts'\n",
    "import type { Codec } from '../core/codec.ts'\n\n",
    ...constants.map(({ name, value }) => `export const ${name} = ${value}\n`),
    ...enums.map(({ name, values }) => enumText(name, values)),
    U32_TEXT,
    ...structs.map((struct) => (struct.name === 'address' ? ADDRESS_TEXT : structText(types, struct))),
    '\n/** type, flags: enum bpf_map_type, BPF_F_*. layout: changes when an entry means something else. */\n',
    `export const maps = {\n${mapDefinitions(types)
      .map((map) => mapText(types, map))
      .join('\n')}\n} as const\n`,
    '\nexport type MapName = keyof typeof maps\n',
  ].join('')
}

const text = abiText()
const committed = (() => {
  try {
    return readFileSync(OUTPUT, 'utf8')
  } catch {
    return ''
  }
})()
if (process.argv.includes('--check')) {
  if (text !== committed) {
    process.stderr.write('src/generated/abi.ts is stale: run `node tools/generate-abi.ts` and commit it\n')
    process.exitCode = 1
  }
} else if (text !== committed) {
  writeFileSync(OUTPUT, text)
}
