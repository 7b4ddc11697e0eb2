// SPDX-License-Identifier: Apache-2.0
// `make image`, `make image-arm64`: the OCI image of this checkout and its bill of materials, without a container engine.
//   build/image/heddle-ARCH.tar        OCI layout, for `ctr images import`
//   build/image/heddle-ARCH.spdx.json  SPDX 2.3
// Equal inputs (sources, lockfile, package list, commit) give equal bytes; inputs that were built already cost no work.

import { execFileSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { packageList, readPackage } from './debian.ts'
import { imageOf, type Layer, layerOf, sha256 } from './oci.ts'
import { debianPart, npmParts, type Part, spdxDocument } from './sbom.ts'
import type { TarEntry } from './tar.ts'

const REPOSITORY = 'ghcr.io/heddle-network/heddle'
/** Of all files, unpacked. */
const SIZE_BYTES_MAX = 150_000_000
const architectures = { amd64: 'x64', arm64: 'arm64' } as const
type Architecture = keyof typeof architectures

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { output: { type: 'string', default: 'build/image' } },
})
const architecture = positionals[0] as Architecture
if (!Object.hasOwn(architectures, architecture)) throw new Error('usage: main.ts amd64|arm64 [--output FOLDER]')

const git = (...args: string[]) => execFileSync('git', ['-c', 'safe.directory=*', ...args], { encoding: 'utf8' }).trim()
const commit = git('rev-parse', 'HEAD')
const seconds = Number(git('show', '-s', '--format=%ct', 'HEAD'))
const { version, license, description } = JSON.parse(readFileSync('package.json', 'utf8')) as Record<
  'version' | 'license' | 'description',
  string
>

const runtime = `node-linux-${architectures[architecture]}`
const isNative = process.arch === architectures[architecture]
const runtimeFolder = isNative ? `node_modules/${runtime}` : `.tools/${runtime}/package`
const nativeFolder = isNative ? 'build' : `build/${architecture}`
/** What tools/image/packages.sh has brought. */
const listFile = `.tools/debian/${architecture}/packages.sha256`
const developmentOnly = /^(.*-dev)_/

/** What every version of Heddle stands on: Debian's libraries and Node. Its time is fixed, so that it stays one layer. */
function baseEntries(): readonly TarEntry[] {
  const packages = packageList(listFile)
    .filter(({ file }) => !developmentOnly.test(file))
    .map(({ file, sha256 }) => readPackage(`.tools/debian/${architecture}/${file}`, sha256))
  return [
    ...packages.flatMap(({ entries }) => entries),
    copy(`${runtimeFolder}/bin/node`, 'opt/heddle/bin/node', 0o755),
    copy(`${runtimeFolder}/LICENSE`, 'opt/heddle/licences/node', 0o644),
    text('etc/passwd', 'root:x:0:0:root:/:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n'),
    text('etc/group', 'root:x:0:\nnogroup:x:65534:\n'),
    text('etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n'),
    { path: 'tmp', mode: 0o1777, content: 'folder' },
    // Container runtimes name the namespaces of pods by it.
    { path: 'var/run', mode: 0o777, content: { link: '../run' } },
  ]
}

/** As in a checkout after `make build`; the launcher needs no shell. */
function heddleEntries(): readonly TarEntry[] {
  const manifest = { name: 'heddle', version, license, type: 'module', gitHead: commit }
  return [
    text('opt/heddle/package.json', `${JSON.stringify(manifest)}\n`),
    copy('LICENSE', 'opt/heddle/LICENSE', 0o644),
    copy('tools/image/launcher.mjs', 'opt/heddle/bin/heddle', 0o755),
    copy('dist/bin/heddle.mjs', 'opt/heddle/dist/bin/heddle.mjs', 0o644),
    copy(`${nativeFolder}/heddle.node`, 'opt/heddle/build/heddle.node', 0o755),
    copy(`${nativeFolder}/heddle-cni`, 'opt/heddle/build/heddle-cni', 0o755),
    ...globSync(['build/bpf/*.o', 'deploy/cni/*']).map((path) => copy(path, `opt/heddle/${path}`, 0o644)),
    ...npmParts('package-lock.json', runtime).flatMap(({ name }) => licenceOf(name)),
    { path: 'usr/bin/heddle', mode: 0o777, content: { link: '../../opt/heddle/bin/heddle' } },
  ]
}

function licenceOf(name: string): readonly TarEntry[] {
  return globSync(`node_modules/${name}/LICENSE*`)
    .slice(0, 1)
    .map((path) => copy(path, `opt/heddle/licences/${name.replace('/', '-')}`, 0o644))
}

function copy(source: string, path: string, mode: number): TarEntry {
  return { path, mode, content: readFileSync(source) }
}

function text(path: string, content: string): TarEntry {
  return { path, mode: 0o644, content: Buffer.from(content) }
}

/** A layer from the folder of those built before, or built now. */
function cachedLayer(name: string, entries: readonly TarEntry[], at: number): Layer {
  const hash = sha256(
    entries.map(({ path, mode, content }) => `${path} ${mode} ${at} ${contentKey(content)}\n`).join(''),
  )
  const stem = join(values.output, 'layers', `${architecture}-${name}-${hash.slice(0, 16)}`)
  if (existsSync(`${stem}.json`)) {
    const known = JSON.parse(readFileSync(`${stem}.json`, 'utf8')) as Omit<Layer, 'compressed'>
    return { ...known, compressed: readFileSync(`${stem}.tar.gz`) }
  }
  const layer = layerOf(entries, at)
  for (const stale of globSync(`${values.output}/layers/${architecture}-${name}-*`)) rmSync(stale)
  mkdirSync(join(values.output, 'layers'), { recursive: true })
  writeFileSync(`${stem}.tar.gz`, layer.compressed)
  writeWhole(`${stem}.json`, JSON.stringify({ diffId: layer.diffId, sizeBytes: layer.sizeBytes }))
  return layer
}

function contentKey(content: TarEntry['content']): string {
  return content instanceof Uint8Array ? sha256(content) : JSON.stringify(content)
}

function writeWhole(path: string, content: Uint8Array | string): void {
  writeFileSync(`${path}.new`, content)
  renameSync(`${path}.new`, path)
}

/** The C library inside the CNI executable. */
function muslPart(): Part {
  const locked = packageList(listFile).find(({ file }) => file.startsWith('musl-dev_'))
  const installed = () => execFileSync('dpkg-query', ['--status', 'musl-dev'], { encoding: 'utf8' })
  const version = locked?.file.split('_')[1] ?? /^Version: (.*)$/m.exec(installed())?.[1] ?? ''
  return debianPart({ name: 'musl', version, architecture, sha256: '' })
}

function sbom(digest: string): string {
  const product = { name: 'heddle', version, licence: license, purl: `pkg:oci/heddle@${encodeURIComponent(digest)}` }
  const debian = packageList(listFile)
    .filter(({ file }) => !developmentOnly.test(file))
    .map(({ file, sha256 }) => {
      const [name = '', packaged = ''] = basename(file, '.deb').replaceAll('%3a', ':').split('_')
      return debianPart({ name, version: packaged, architecture: file.split('_')[2]!.replace('.deb', ''), sha256 })
    })
  const programs = {
    name: 'heddle-bpf',
    version,
    licence: 'GPL-2.0-only OR BSD-2-Clause',
    purl: `pkg:generic/heddle-bpf@${version}`,
  }
  return spdxDocument(product, digest, seconds, [
    programs,
    ...debian,
    muslPart(),
    ...npmParts('package-lock.json', runtime),
  ])
}

const layers = [cachedLayer('base', baseEntries(), 0), cachedLayer('heddle', heddleEntries(), seconds)]
const sizeBytes = layers.reduce((total, layer) => total + layer.sizeBytes, 0)
const compressedBytes = layers.reduce((total, { compressed }) => total + compressed.length, 0)
if (sizeBytes > SIZE_BYTES_MAX)
  throw new Error(`the image has ${sizeBytes} bytes, at most ${SIZE_BYTES_MAX} are allowed`)

const { archive, digest } = imageOf(
  {
    architecture,
    name: `${REPOSITORY}:${version}`,
    title: `Heddle: ${description}`,
    version,
    revision: commit,
    licences: license,
    createdSeconds: seconds,
    entrypoint: ['/usr/bin/heddle'],
  },
  layers,
)
const stem = join(values.output, `heddle-${architecture}`)
writeWhole(`${stem}.tar`, archive)
writeWhole(`${stem}.spdx.json`, sbom(digest))
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
process.stdout.write(
  `image: ${stem}.tar ${REPOSITORY}:${version} ${digest}, ${megabytes(sizeBytes)} unpacked, ${megabytes(compressedBytes)} compressed\n`,
)
