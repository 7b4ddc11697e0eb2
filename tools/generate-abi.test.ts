// SPDX-License-Identifier: Apache-2.0
// The generated codecs against a C compiler: a program made from the headers and member names alone fills and prints
// every struct. Offsets and byte order come from the compiler there and from BTF here.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Address, addressBytes, addressFromBytes } from '../src/core/address.ts'
import { type Codec, encode } from '../src/core/codec.ts'
import * as abi from '../src/generated/abi.ts'
import { BPF_FOLDER, camel, isUnused, readAbiTypes, resolve, type Struct } from './abi-types.ts'

const RUNS = 200
/** Of all runs of the largest struct, as text. */
const OUTPUT_BYTES_MAX = 64 << 20
const { headers, types, structs } = readAbiTypes()

/** One number or address inside a struct. */
interface Leaf {
  /** In C, such as side[0].ifindex_in. */
  readonly c: string
  /** In TypeScript. */
  readonly path: readonly (string | number)[]
  readonly bits: 8 | 16 | 32 | 64 | 128
  readonly bigEndian: boolean
}

function leavesOf(id: number, c: string, path: Leaf['path']): Leaf[] {
  const { type, bigEndian } = resolve(types, id)
  switch (type.kind) {
    case 'int':
    case 'enum':
      return [{ c, path, bits: (type.size * 8) as Leaf['bits'], bigEndian }]
    case 'array':
      return Array.from({ length: type.length }, (_, i) => leavesOf(type.type, `${c}[${i}]`, [...path, i])).flat()
    case 'struct':
      return type.name === 'address' ? [{ c, path, bits: 128, bigEndian }] : membersOf(type, `${c}.`, path)
    default:
      throw new Error(`${c} is of kind ${type.kind}`)
  }
}

function membersOf(struct: Struct, c: string, path: Leaf['path']): Leaf[] {
  return struct.members
    .filter((member) => !isUnused(member))
    .flatMap((member) => leavesOf(member.type, `${c}${member.name}`, [...path, camel(member.name)]))
}

/** Commands on standard input: "fill NAME values" answers the struct's bytes, "print NAME bytes" its values. */
function programSource(): string {
  const fill = ({ c, bits, bigEndian }: Leaf) => {
    if (bits === 128) return `read_bytes(s.${c}.bytes, 16);`
    const order = bigEndian ? `htobe${bits}` : ''
    return `s.${c} = ${order}(strtoull(next(), 0, 10));`
  }
  const print = ({ c, bits, bigEndian }: Leaf) => {
    if (bits === 128) return `print_bytes(s.${c}.bytes, 16); putchar(' ');`
    return `printf("%llu ", (unsigned long long)${bigEndian ? `be${bits}toh` : ''}(s.${c}));`
  }
  const cases = structs.map((struct) => {
    const leaves = membersOf(struct, '', [])
    return `
	if (!strcmp(name, "${struct.name}")) {
		struct ${struct.name} s;
		memset(&s, 0, sizeof(s));
		if (fill) { ${leaves.map(fill).join(' ')} print_bytes((void *)&s, sizeof(s)); }
		else { read_bytes((void *)&s, sizeof(s)); ${leaves.map(print).join(' ')} }
	}`
  })
  return `
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
${headers.map((header) => `#include "abi/${header}"`).join('\n')}
static char *next(void) { return strtok(0, " \\n"); }
static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }
static void read_bytes(unsigned char *to, int n) { char *hex = next(); for (int i = 0; i < n; i++) to[i] = digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]); }
static void print_bytes(const unsigned char *from, int n) { for (int i = 0; i < n; i++) printf("%02x", from[i]); }
static void answer(int fill, const char *name)
{${cases.join('')}
	putchar('\\n');
}
int main(void)
{
	static char line[1 << 16];
	while (fgets(line, sizeof(line), stdin)) {
		int fill = !strcmp(strtok(line, " "), "fill");
		answer(fill, next());
	}
}`
}

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'heddle-layout-'))
  writeFileSync(join(folder, 'layout.c'), programSource())
  execFileSync('gcc', ['-O1', '-I', BPF_FOLDER, '-o', join(folder, 'layout'), join(folder, 'layout.c')])
})
afterAll(() => rmSync(folder, { recursive: true }))

function askC(commands: readonly string[]): readonly string[] {
  const input = commands.map((line) => `${line}\n`).join('')
  const output = execFileSync(join(folder, 'layout'), { input, maxBuffer: OUTPUT_BYTES_MAX })
  return output
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => line.trim())
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const addresses = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .chain((bytes) => fc.constantFrom(bytes, Uint8Array.of(...new Array(10).fill(0), 255, 255, ...bytes.subarray(12))))
  .map(addressFromBytes)

function valueOfLeaf({ bits }: Leaf): fc.Arbitrary<Address | bigint | number> {
  if (bits === 128) return addresses
  return bits === 64 ? fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }) : fc.integer({ min: 0, max: 2 ** bits - 1 })
}

/** The object that has each value at its leaf's path. */
function build(leaves: readonly Leaf[], values: readonly unknown[]): unknown {
  const root: Record<string | number, unknown> = {}
  for (const [i, { path }] of leaves.entries()) {
    let at = root
    for (const [depth, step] of path.slice(0, -1).entries()) {
      at[step] ??= typeof path[depth + 1] === 'number' ? [] : {}
      at = at[step] as typeof root
    }
    at[path.at(-1)!] = values[i]
  }
  return root
}

const inC = (value: unknown) => (typeof value === 'string' ? hex(addressBytes(value as Address)) : String(value))

describe.each(structs.filter(({ name }) => name !== 'address'))('struct $name', (struct) => {
  const codec = (abi as unknown as Record<string, Codec<unknown>>)[camel(struct.name)]!
  const leaves = membersOf(struct, '', [])
  const samples = fc.sample(fc.tuple(...leaves.map(valueOfLeaf)), { numRuns: RUNS, seed: 1 })

  test('what TypeScript writes is byte for byte what C fills, pads included', () => {
    const fromC = askC(samples.map((values) => `fill ${struct.name} ${values.map(inC).join(' ')}`))
    expect(samples.map((values) => hex(encode(codec, build(leaves, values))))).toEqual(fromC)
  })

  test('what TypeScript reads is what C reads, whatever the unused bytes hold', () => {
    const random = fc.sample(fc.uint8Array({ minLength: struct.size, maxLength: struct.size }), {
      numRuns: RUNS,
      seed: 2,
    })
    const fromC = askC(random.map((bytes) => `print ${struct.name} ${hex(bytes)}`))
    for (const [i, bytes] of random.entries()) {
      const shifted = new Uint8Array(struct.size + 3)
      shifted.set(bytes, 3)
      const read = codec.read(shifted, 3)
      const values = leaves.map(({ path }) => path.reduce((at, step) => (at as never)[step], read as unknown))
      expect(values.map(inC).join(' ')).toBe(fromC[i])
    }
  })
})

test('struct address reads and writes as text', () => {
  fc.assert(
    fc.property(addresses, (text) => {
      expect(abi.address.read(encode(abi.address, text), 0)).toBe(text)
    }),
  )
})

test("every map's name fits the kernel's 15 characters and its codecs its sizes", () => {
  for (const map of Object.values(abi.maps)) {
    expect(map.name.length).toBeLessThanOrEqual(15)
    expect(map.key?.size ?? 0).toBe(map.keySize)
    expect(map.value?.size ?? 0).toBe(map.valueSize)
  }
})
