// SPDX-License-Identifier: Apache-2.0
// `make check`: what can be said about the repository without running it. Prints one line per check, what it found
// below it, and ends with 1 if any check found something.

import { execFile } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { importViolations, parseRooms } from './import-rules.ts'
import { brokenLinks } from './links.ts'
import { staleManifests } from './manifests.ts'

interface Check {
  readonly name: string
  /** Text of what is wrong; empty: nothing. */
  run(): Promise<string>
}

/** Output of a command that failed; empty when it succeeded. */
function command(file: string, ...args: string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(file, args, { maxBuffer: 1 << 26, env: { ...process.env, NO_COLOR: '1' } }, (error, stdout, stderr) =>
      resolve(error ? `${stdout}${stderr}`.trim() || error.message : ''),
    )
  })
}

const tracked = new Promise<readonly string[]>((resolve, reject) => {
  execFile('git', ['ls-files', '--cached', '--others', '--exclude-standard'], (error, stdout) =>
    error ? reject(error) : resolve(stdout.split('\n').filter((path) => existsSync(path))),
  )
})

const nativeSources = /\.(c|cc|h)$/
const licensedSources = /(\.(ts|c|cc|h|go|sh)|^Makefile)$/

async function nativeFormat(): Promise<string> {
  const files = (await tracked).filter((path) => nativeSources.test(path))
  return command(process.env.CLANG_FORMAT ?? 'clang-format-19', '--dry-run', '-Werror', ...files)
}

/** The first line (the second after `#!`) of every source names its licence; bpf/ has its own. */
async function licences(): Promise<string> {
  const problems = (await tracked)
    .filter((path) => licensedSources.test(path))
    .filter((path) => {
      const [first = '', second = ''] = readFileSync(path, 'utf8').split('\n', 2)
      const licence = path.startsWith('bpf/') ? '(GPL-2.0-only OR BSD-2-Clause)' : 'Apache-2.0'
      return !(first.startsWith('#!') ? second : first).includes(`SPDX-License-Identifier: ${licence}`)
    })
  return problems.map((path) => `${path}: no SPDX line of its folder's licence`).join('\n')
}

async function links(): Promise<string> {
  return (await tracked)
    .filter((path) => path.endsWith('.md'))
    .flatMap(brokenLinks)
    .join('\n')
}

async function importRules(): Promise<string> {
  const rooms = parseRooms(readFileSync('src/README.md', 'utf8'))
  const files = globSync('**/*.ts', { cwd: 'src' }).toSorted()
  return importViolations(
    rooms,
    files.map((path) => ({ path, text: readFileSync(`src/${path}`, 'utf8') })),
  ).join('\n')
}

const checks: readonly Check[] = [
  { name: 'format and lint (biome)', run: () => command('biome', 'check', '--error-on-warnings', '.') },
  { name: 'types (tsc)', run: () => command('tsc', '--noEmit') },
  { name: 'format of C (clang-format)', run: nativeFormat },
  { name: 'import rules (src/README.md)', run: importRules },
  { name: 'dead code (knip)', run: () => command('knip', '--no-progress') },
  { name: 'generated files are fresh', run: () => command('node', 'tools/generate-abi.ts', '--check') },
  { name: 'deploy/manifests are the chart', run: async () => staleManifests() },
  { name: 'licence lines', run: licences },
  { name: 'links in documents', run: links },
]

let failed = 0
for (const { name, run } of checks) {
  const started = performance.now()
  const problems = await run()
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  process.stdout.write(`${problems === '' ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)\n`)
  if (problems !== '') {
    failed++
    process.stdout.write(`${problems.replace(/^/gm, '  ')}\n`)
  }
}
process.exitCode = failed === 0 ? 0 : 1
