// SPDX-License-Identifier: Apache-2.0
// What bpf/abi declares, as clang lays it out: a throw-away object that names every struct, enum and constant of the
// headers, read back from its BTF.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BtfMember, type BtfType, type BtfValue, readBtf } from './btf.ts'

export const BPF_FOLDER = join(import.meta.dirname, '../bpf')
const CONSTANT_PREFIX = 'ABI_CONSTANT_'

export type Struct = Extract<BtfType, { kind: 'struct' }>

export interface AbiTypes {
  /** Names of the headers in bpf/abi. */
  readonly headers: readonly string[]
  /** By id, as BTF has them. */
  readonly types: readonly BtfType[]
  readonly structs: readonly Struct[]
  readonly enums: readonly { readonly name: string; readonly values: readonly BtfValue[] }[]
  /** #define NAME number */
  readonly constants: readonly BtfValue[]
}

export function readAbiTypes(): AbiTypes {
  const names = declared()
  const types = compileProbe(probeSource(names))
  const find = <K extends 'struct' | 'enum'>(kind: K, name: string) => {
    const found = types.find((type): type is Extract<BtfType, { kind: K }> => type.kind === kind && type.name === name)
    if (found === undefined) throw new Error(`${kind} ${name} is not in the object's BTF`)
    return found
  }
  const constants = names.constants.length === 0 ? [] : find('enum', 'abi_constants').values
  return {
    headers: names.headers,
    types,
    structs: names.structs.map((name) => find('struct', name)),
    enums: names.enums.map((name) => find('enum', name)),
    constants: constants.map(({ name, value }) => ({ name: name.slice(CONSTANT_PREFIX.length), value })),
  }
}

/** Follows typedefs and qualifiers; bigEndian if one of them is __be16, __be32 or __be64. */
export function resolve(
  types: readonly BtfType[],
  id: number,
): { readonly type: BtfType; readonly bigEndian: boolean } {
  let type = types[id]!
  let bigEndian = false
  while (type.kind === 'alias') {
    bigEndian ||= /^__be(16|32|64)$/.test(type.name)
    type = types[type.type]!
  }
  return { type, bigEndian }
}

/** Written as zero and never read. */
export function isUnused(member: BtfMember): boolean {
  return /^(pad\d*|spare)$/.test(member.name)
}

export function pascal(name: string): string {
  return name.replace(/(?:^|_)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

export function camel(name: string): string {
  return pascal(name).replace(/^./, (letter) => letter.toLowerCase())
}

interface Declared {
  readonly headers: readonly string[]
  readonly structs: readonly string[]
  readonly enums: readonly string[]
  readonly constants: readonly string[]
}

/** Names in the order of the files. */
function declared(): Declared {
  const folder = join(BPF_FOLDER, 'abi')
  const headers = readdirSync(folder)
    .filter((file) => file.endsWith('.h'))
    .sort()
  const text = headers.map((file) => readFileSync(join(folder, file), 'utf8')).join('\n')
  const names = (pattern: RegExp) => [...text.matchAll(pattern)].map((match) => match[1]!)
  return {
    headers,
    structs: names(/^struct (\w+) \{/gm),
    enums: names(/^enum (\w+) \{/gm),
    constants: names(/^#define ([A-Z]\w*)[ \t]+[^\s/]/gm),
  }
}

/** A variable of each type keeps it in BTF; an enum whose values are the #defines lets the compiler evaluate them. */
function probeSource({ headers, structs, enums, constants }: Declared): string {
  return [
    ...headers.map((file) => `#include "abi/${file}"`),
    ...structs.map((name) => `struct ${name} probe_struct_${name};`),
    ...enums.map((name) => `enum ${name} probe_enum_${name};`),
    `enum abi_constants { ${constants.map((name) => `${CONSTANT_PREFIX}${name} = (${name}),`).join(' ')} };`,
    'enum abi_constants probe_constants;',
    '',
  ].join('\n')
}

function compileProbe(source: string): readonly BtfType[] {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-abi-'))
  try {
    const input = join(folder, 'probe.bpf.c')
    const output = join(folder, 'probe.o')
    writeFileSync(input, source)
    const flags = ['-target', 'bpf', '-O2', '-g', '-mcpu=v3', '-std=gnu11', '-Wall', '-Werror', '-I', BPF_FOLDER]
    execFileSync(process.env.CLANG ?? 'clang-19', [...flags, '-c', input, '-o', output], { stdio: 'inherit' })
    return readBtf(readFileSync(output))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
