// SPDX-License-Identifier: Apache-2.0
// Another version of Heddle: this checkout with changed headers, built in a folder of its own.

import { execFileSync } from 'node:child_process'
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { checkout } from '../../src/lab/names.ts'

export interface Variant extends Disposable {
  /** As `checkout`: bin/heddle runs its agent. */
  readonly root: string
}

/** `edit` changes the text of one header of bpf/abi, by file name; at least one must change. */
export function buildVariant(edit: (header: string, text: string) => string): Variant {
  const root = mkdtempSync(join(tmpdir(), 'heddle-variant-'))
  const dispose = () => rmSync(root, { recursive: true })
  try {
    for (const folder of ['src', 'bpf', 'bin', 'tools', 'package.json']) {
      cpSync(join(checkout, folder), join(root, folder), { recursive: true })
    }
    symlinkSync(join(checkout, 'node_modules'), join(root, 'node_modules'))
    mkdirSync(join(root, 'build/bpf'), { recursive: true })
    symlinkSync(join(checkout, 'build/heddle.node'), join(root, 'build/heddle.node'))
    const changed = globSync(join(root, 'bpf/abi/*.h')).filter((path) => {
      const before = readFileSync(path, 'utf8')
      const after = edit(basename(path), before)
      writeFileSync(path, after)
      return after !== before
    })
    if (changed.length === 0) throw new Error('the variant changes nothing')
    for (const source of globSync(join(root, 'bpf/hooks/*.bpf.c'))) {
      const object = join(root, 'build/bpf', basename(source).replace('.bpf.c', '.o'))
      const flags = ['-target', 'bpf', '-O2', '-g', '-mcpu=v3', '-std=gnu11', '-I', join(root, 'bpf')]
      execFileSync(process.env.CLANG ?? 'clang-19', [...flags, '-c', source, '-o', object])
      execFileSync(process.env.LLVM_STRIP ?? 'llvm-strip-19', ['-g', object])
    }
    execFileSync(process.execPath, [join(root, 'tools/generate-abi.ts')])
    return { root, [Symbol.dispose]: dispose }
  } catch (error) {
    dispose()
    throw error
  }
}
