// SPDX-License-Identifier: Apache-2.0
// Real maps and programs for tests of the addon; what is opened is closed with the scope.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MapName } from '../../src/generated/abi.ts'
import type { Addon, BpfObject, Fd } from '../../src/kernel/addon.ts'

const BPF_FOLDER = join(import.meta.dirname, '../../bpf')

export interface LoadedObject extends Disposable {
  readonly map: (name: MapName) => Fd
  readonly program: (name: string) => Fd
}

/** A shipped object, with maps of that many entries at most. */
export async function loadShipped(addon: Addon, hook: string, maxEntries: number): Promise<LoadedObject> {
  const elf = readFileSync(join(import.meta.dirname, `../../build/bpf/${hook}.o`))
  const object = addon.openObject(elf, hook)
  for (const map of object.maps) {
    if (map.name !== 'events' && map.maxEntries > maxEntries) object.setMaxEntries(map.name, maxEntries)
  }
  await object.load()
  return owned(addon, object)
}

/** An object of that source, which may include headers of bpf/. */
export function compileBpf(source: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-test-bpf-'))
  try {
    const output = join(folder, 'object.o')
    const flags = ['-target', 'bpf', '-O2', '-g', '-mcpu=v3', '-std=gnu11', '-I', BPF_FOLDER, '-x', 'c', '-', '-c']
    execFileSync(process.env.CLANG ?? 'clang-19', [...flags, '-o', output], { input: source })
    return readFileSync(output)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function owned(addon: Addon, object: BpfObject): LoadedObject {
  const opened: Fd[] = []
  const keep = (fd: Fd) => {
    opened.push(fd)
    return fd
  }
  return {
    map: (name) => keep(object.mapFd(name)),
    program: (name) => keep(object.programFd(name)),
    [Symbol.dispose]() {
      for (const fd of opened) addon.closeFd(fd)
      object.close()
    },
  }
}
