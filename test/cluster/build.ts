// SPDX-License-Identifier: Apache-2.0
// The programs and images of a cluster, built once per version of what they are made from and kept outside the checkout,
// so that a fresh clone on the same machine finds them. Go keeps its own caches where it always does.
//
//   ~/.cache/heddle/cluster/<key>/bin      kubernetes agnhost coredns helm specs
//   ~/.cache/heddle/cluster/<key>/images   pause, agnhost and coredns as OCI archives

import { createHash } from 'node:crypto'
import {
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CommandError } from '../../src/core/command-error.ts'
import { runProgram, runTool } from '../../src/lab/process.ts'
import { type ImagePlan, writeImage } from './images.ts'
import { pauseImage } from './node.ts'

const here = fileURLToPath(new URL('.', import.meta.url))
const kubernetesVersion = '1.34.4'
/** What Kubernetes' own suite of this version asks for. */
export const agnhostImage = 'registry.k8s.io/e2e-test-images/agnhost:2.56'
/** Its specs run nothing in it that agnhost does not have. */
const dnsutilsImage = 'registry.k8s.io/e2e-test-images/jessie-dnsutils:1.7'
const busyboxImage = 'registry.k8s.io/e2e-test-images/busybox:1.37.0-1'
export const corednsImage = 'registry.k8s.io/coredns/coredns:v1.12.4'

export interface Built {
  readonly bin: string
  readonly images: string
}

/** Builds what is missing; `say` hears what and for how long. Several minutes the first time, nothing after that. */
export async function buildPrograms(say: (text: string) => void): Promise<Built> {
  const dir = cacheDir()
  const built = { bin: join(dir, 'bin'), images: join(dir, 'images') }
  if (!existsSync(dir)) await buildInto(dir, say)
  const now = new Date()
  utimesSync(dir, now, now)
  sweepCache()
  return built
}

async function buildInto(dir: string, say: (text: string) => void): Promise<void> {
  const work = join(cacheRoot(), `.building-${process.pid}`)
  mkdirSync(join(work, 'bin'), { recursive: true })
  mkdirSync(join(work, 'images'))
  try {
    await goBuild(join(work, 'bin'), say)
    await buildImages(join(work, 'bin'), join(work, 'images'), say)
    // Another run may have been first.
    if (!existsSync(dir)) renameSync(work, dir)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Versions are half a gigabyte each; one that was used within a day may be another checkout's. */
function sweepCache(): void {
  for (const name of readdirSync(cacheRoot())) {
    const path = join(cacheRoot(), name)
    const builder = /^\.building-(\d+)$/.exec(name)?.[1]
    const isAbandoned =
      builder === undefined ? statSync(path).mtimeMs < Date.now() - 86_400_000 : !existsSync(`/proc/${builder}`)
    if (isAbandoned) rmSync(path, { recursive: true, force: true })
  }
}

function cacheRoot(): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'heddle/cluster')
}

/** Where this version is kept, or will be. */
export function cacheDir(): string {
  return join(cacheRoot(), cacheKey())
}

function cacheKey(): string {
  const hash = createHash('sha256')
  const sources = globSync('{tools,coredns}/**/*', { cwd: here, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
  for (const path of [...sources, join(here, 'build.ts'), join(here, 'images.ts')].toSorted())
    hash.update(`${basename(path)}\0`).update(readFileSync(path))
  return hash.digest('hex').slice(0, 16)
}

async function goBuild(bin: string, say: (text: string) => void): Promise<void> {
  const version = 'k8s.io/component-base/version'
  const [major, minor] = kubernetesVersion.split('.')
  const stamp = `-X ${version}.gitVersion=v${kubernetesVersion} -X ${version}.gitMajor=${major} -X ${version}.gitMinor=${minor} -X ${version}.gitTreeState=clean`
  const plan = [
    { program: 'kubernetes', folder: 'tools', what: ['./kubernetes'], stamp },
    { program: 'agnhost', folder: 'tools', what: ['k8s.io/kubernetes/test/images/agnhost'] },
    { program: 'helm', folder: 'tools', what: ['helm.sh/helm/v3/cmd/helm'] },
    { program: 'coredns', folder: 'coredns', what: ['.'] },
    { program: 'specs', folder: 'tools', what: ['./specs'], command: ['test', '-c'] },
  ]
  for (const { program, folder, what, stamp = '', command = ['build'] } of plan) {
    const started = performance.now()
    const flags = ['-trimpath', '-ldflags', `-s -w ${stamp}`, '-o', join(bin, program)]
    const outcome = await runProgram(['go', '-C', join(here, folder), ...command, ...flags, ...what], {
      env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false' },
    })
    if (outcome.exitCode !== 0)
      throw new CommandError(`go cannot build ${program}: ${outcome.stderr.trim().split('\n').slice(-5).join('; ')}`)
    say(`built ${program} in ${Math.round((performance.now() - started) / 1000)} s`)
  }
}

async function buildImages(bin: string, images: string, say: (text: string) => void): Promise<void> {
  const started = performance.now()
  const pause = join(bin, 'pause')
  await runTool(['gcc', '-Os', '-static', '-Wall', '-Werror', '-o', pause, join(here, 'pause.c')])
  const plan: Readonly<Record<string, ImagePlan>> = {
    pause: { names: [pauseImage], files: { '/pause': pause }, entrypoint: ['/pause'] },
    coredns: { names: [corednsImage], files: { '/coredns': join(bin, 'coredns') }, entrypoint: ['/coredns'] },
    agnhost: await agnhostPlan(bin, pause),
  }
  for (const [name, image] of Object.entries(plan)) await writeImage(join(images, `${name}.tar`), image)
  say(`wrote ${Object.keys(plan).length} images in ${Math.round((performance.now() - started) / 1000)} s`)
}

/** agnhost with what Kubernetes' specs run in it: a shell, curl, wget, OpenBSD's nc, dig, and busybox for the rest. busybox' own sh
 *  prefers its applets to what PATH says, and its nc and wget are not enough. */
async function agnhostPlan(bin: string, pause: string): Promise<ImagePlan> {
  const programs = {
    curl: '/usr/bin/curl',
    wget: '/usr/bin/wget',
    bash: '/bin/bash',
    nc: '/bin/nc.openbsd',
    dig: '/usr/bin/dig',
    getent: '/usr/bin/getent',
  }
  const files: Record<string, string> = {
    '/agnhost': join(bin, 'agnhost'),
    '/pause': pause,
    '/bin/busybox': '/bin/busybox',
  }
  for (const [name, path] of Object.entries(programs)) {
    files[`/bin/${name}`] = path
    for (const library of (await runTool(['ldd', path])).matchAll(/(\/\S+)/g)) files[library[1]!] = library[1]!
  }
  const { stdout } = await runProgram([
    'go',
    '-C',
    join(here, 'tools'),
    'list',
    '-f',
    '{{.Dir}}',
    'k8s.io/kubernetes/test/images/agnhost/porter',
  ])
  for (const file of ['localhost.crt', 'localhost.key']) files[`/${file}`] = join(stdout.trim(), file)
  const applets = (await runTool(['/bin/busybox', '--list'])).split('\n').filter(Boolean)
  const links = applets
    .filter((applet) => !['busybox', 'sh', 'ash', ...Object.keys(programs)].includes(applet))
    .map((applet) => [`/bin/${applet}`, 'busybox'])
  return {
    names: [agnhostImage, dnsutilsImage, busyboxImage],
    files,
    links: { '/bin/sh': 'bash', '/agnhost-2': 'agnhost', ...Object.fromEntries(links) },
    entrypoint: ['/agnhost'],
    cmd: ['pause'],
  }
}
