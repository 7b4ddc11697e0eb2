// SPDX-License-Identifier: Apache-2.0
// The image, built twice from nothing, and what runs in it.

import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { defaultConfigText } from '../../src/agent/config.ts'
import { isDebian12, type ReadArchive, readArchive } from './archive.ts'

const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64'
const work = mkdtempSync(join(tmpdir(), 'heddle-test-image-'))
const root = join(work, 'root')

function build(folder: string): Buffer {
  execFileSync(process.execPath, ['tools/image/main.ts', architecture, '--output', join(work, folder)])
  return readFileSync(join(work, folder, `heddle-${architecture}.tar`))
}

/** Output of a command inside, which sees nothing of this machine but its kernel. */
function inImage(...command: readonly string[]): string {
  const mounted = ['--mount', '--pid', '--net', '--fork', `--root=${root}`]
  return execFileSync('unshare', [...mounted, ...command], { encoding: 'utf8', env: { PATH: '/usr/bin' } })
}

let first: Buffer
let archive: ReadArchive

beforeAll(() => {
  if (!isDebian12) return
  execFileSync('bash', ['tools/image/packages.sh', architecture])
  first = build('one')
  archive = readArchive(join(work, 'one', `heddle-${architecture}.tar`))
  archive.unpack(root)
})

beforeEach((context) => context.skip(!isDebian12, 'the image is built on Debian 12 only'))

afterAll(() => rmSync(work, { recursive: true, force: true }))

test('a package that Debian has withdrawn is replaced by the current one and named; a false one is not taken', () => {
  const place = join(work, 'elsewhere')
  const store = join(place, '.tools/debian', architecture)
  for (const folder of ['tools/image', 'deploy/image']) mkdirSync(join(place, folder), { recursive: true })
  copyFileSync('tools/image/packages.sh', join(place, 'tools/image/packages.sh'))
  const pinned = readFileSync(`deploy/image/packages-${architecture}.sha256`, 'utf8').split('\n')
  const current = pinned.find((line) => line.includes(' zlib1g_'))!
  const [sha256, file] = current.split('  ') as [string, string]
  const bring = (list: string): { status: number | null; stderr: string } => {
    writeFileSync(join(place, `deploy/image/packages-${architecture}.sha256`), `${list}\n`)
    return spawnSync('bash', [join(place, 'tools/image/packages.sh'), architecture], { encoding: 'utf8' })
  }
  const withdrawn = `${'0'.repeat(64)}  ${file.replace('1.2.13', '1.2.12')}`
  for (const _ of ['fetched', 'there'])
    expect(bring(withdrawn)).toMatchObject({
      status: 0,
      stderr: expect.stringContaining(`WARNING: ${file} is not pinned`),
    })
  expect(readFileSync(join(store, 'packages.sha256'), 'utf8')).toBe(`${current}\n`)
  expect(bring(current)).toMatchObject({ status: 0, stderr: '' })
  expect(bring(current.replace(sha256, withdrawn.slice(0, 64)))).toMatchObject({
    status: 1,
    stderr: expect.stringContaining(`${file} is not the one of`),
  })
})

test('an image built anew has the same bytes', () => {
  expect(build('two').equals(first)).toBe(true)
})

test('no file names the folder that it was built in: another folder gives the same bytes', () => {
  const files = globSync(`${root}/opt/heddle/{build,dist}/**`, { withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  )
  expect(files.length).toBeGreaterThan(8)
  const naming = files.filter(({ parentPath, name }) => readFileSync(join(parentPath, name)).includes(process.cwd()))
  expect(naming.map(({ name }) => name)).toEqual([])
})

test('containerd knows it by the name that the chart asks for', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
  expect(archive.annotations).toEqual({
    'io.containerd.image.name': `ghcr.io/heddle-network/heddle:${version}`,
    'org.opencontainers.image.ref.name': version,
  })
})

test('the configuration names the architecture and the launcher', () => {
  expect(archive.config).toMatchObject({
    architecture,
    os: 'linux',
    config: { Entrypoint: ['/usr/bin/heddle'], Env: ['PATH=/usr/bin', 'MALLOC_ARENA_MAX=2'] },
  })
})

describe('in the image', () => {
  test('heddle is on PATH and knows its commit', () => {
    const revision = archive.config.config.Labels['org.opencontainers.image.revision']!
    execFileSync('git', ['cat-file', '-e', `${revision}^{commit}`])
    expect(JSON.parse(inImage('heddle', 'version', '-o', 'json'))).toMatchObject({ commit: revision.slice(0, 12) })
  })

  test('heddle config prints what a checkout prints', () => {
    const withoutPaths = (text: string) => text.replaceAll(/^(objectsDir|nodeName): .*$/gm, '')
    const printed = inImage('heddle', 'config')
    expect(withoutPaths(printed)).toBe(withoutPaths(defaultConfigText()))
    expect(printed).toContain('objectsDir: /opt/heddle/build/bpf')
  })

  test('the addon loads and finds its libraries', () => {
    const script =
      "const m = { exports: {} }; process.dlopen(m, '/opt/heddle/build/heddle.node'); process.stdout.write(m.exports.libbpfVersion)"
    expect(inImage('/opt/heddle/bin/node', '-e', script)).toMatch(/^v?1\.\d+/)
  })

  test('the CNI executable answers', () => {
    // No CNI_COMMAND: code 4, invalid environment, of the CNI specification.
    expect(() => inImage('/opt/heddle/build/heddle-cni')).toThrow(
      expect.objectContaining({ stdout: expect.stringContaining('"code":4') }),
    )
    expect(readFileSync(join(root, 'opt/heddle/deploy/cni/05-heddle.conflist'), 'utf8')).toContain('heddle-cni')
  })

  test('there is neither a shell nor a file that another user may write', () => {
    expect(globSync(`${root}/{usr/,}{s,}bin/*`)).toEqual([join(root, 'usr/bin/heddle')])
    const writable = execFileSync('find', [root, '-type', 'f', '-perm', '/022'], { encoding: 'utf8' })
    expect(writable).toBe('')
  })
})

test('the bill of materials names every Debian package and licence', () => {
  const sbom = JSON.parse(readFileSync(join(work, 'one', `heddle-${architecture}.spdx.json`), 'utf8')) as {
    readonly spdxVersion: string
    readonly packages: readonly { readonly name: string; readonly licenseDeclared: string; readonly SPDXID: string }[]
  }
  expect(sbom.spdxVersion).toBe('SPDX-2.3')
  const names = sbom.packages.map(({ name }) => name)
  const installed = globSync(`${root}/var/lib/dpkg/status.d/*`).map((path) => path.split('/').at(-1)!)
  expect(installed.length).toBeGreaterThan(0)
  expect(names).toEqual(expect.arrayContaining([...installed, 'heddle', 'musl', 'yaml', 'commander']))
  expect(sbom.packages.filter(({ licenseDeclared }) => licenseDeclared === '')).toEqual([])
  expect(new Set(sbom.packages.map(({ SPDXID }) => SPDXID)).size).toBe(sbom.packages.length)
})
