// SPDX-License-Identifier: Apache-2.0
// The image that is built across: nothing in it is of this machine's architecture, and it runs in an emulator.

import { execFileSync } from 'node:child_process'
import { copyFileSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, type TestContext, test } from 'vitest'
import { isDebian12, readArchive } from './archive.ts'

const work = mkdtempSync(join(tmpdir(), 'heddle-test-arm64-'))
const root = join(work, 'root')
const emulator = '/usr/bin/qemu-aarch64-static'
/** The first time: a compilation and a download. */
const BUILD_MS_MAX = 600_000
/** elf(5), EM_AARCH64. */
const AARCH64 = 183

const hasCompiler = globSync('/usr/bin/aarch64-linux-gnu-g++').length > 0
const hasEmulator = globSync(emulator).length > 0
const isBuilt = isDebian12 && hasCompiler

beforeAll(() => {
  if (!isBuilt) return
  execFileSync('make', ['image-arm64'], { stdio: 'pipe' })
  readArchive('build/image/heddle-arm64.tar').unpack(root)
  if (hasEmulator) copyFileSync(emulator, join(root, 'emulator'))
}, BUILD_MS_MAX)

beforeEach((context) => context.skip(!isBuilt, 'no cross-compiler here: `make image-arm64` installs it on Debian 12'))

afterAll(() => rmSync(work, { recursive: true, force: true }))

/** Output of a program of the image, in the emulator. */
function emulated(context: TestContext, ...command: readonly string[]): string {
  context.skip(!hasEmulator, 'no emulator here: Debian package qemu-user-static')
  const argv = ['--mount', '--pid', '--net', '--fork', `--root=${root}`, '/emulator', ...command]
  return execFileSync('unshare', argv, { encoding: 'utf8', env: { PATH: '/usr/bin' } })
}

test('every program and library is for arm64', () => {
  const files = globSync(`${root}/{lib,usr,opt}/**`, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
  const machines = files
    .filter((path) => !path.includes('/build/bpf/'))
    .map((path) => ({ path, bytes: readFileSync(path).subarray(0, 20) }))
    .filter(({ bytes }) => bytes.subarray(0, 4).toString('latin1') === '\x7fELF')
    .map(({ path, bytes }) => ({ path: path.slice(root.length), machine: bytes.readUInt16LE(18) }))
  expect(machines.length).toBeGreaterThan(10)
  expect(machines.filter(({ machine }) => machine !== AARCH64)).toEqual([])
})

test('heddle starts', (context) => {
  const printed = emulated(context, '/opt/heddle/bin/node', '/opt/heddle/bin/heddle', 'version', '-o', 'json')
  expect(JSON.parse(printed)).toMatchObject({
    version: expect.any(String),
    commit: expect.stringMatching(/^[0-9a-f]{12}$/),
  })
})

test('the addon loads', (context) => {
  const script =
    "const m = { exports: {} }; process.dlopen(m, '/opt/heddle/build/heddle.node'); process.stdout.write(m.exports.libbpfVersion)"
  expect(emulated(context, '/opt/heddle/bin/node', '-e', script)).toMatch(/^v?1\.\d+/)
})

test('the CNI executable answers', (context) => {
  expect(() => emulated(context, '/opt/heddle/build/heddle-cni')).toThrow(
    expect.objectContaining({ stdout: expect.stringContaining('"code":4') }),
  )
})
