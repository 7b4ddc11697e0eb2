// SPDX-License-Identifier: Apache-2.0
// `make test`: every suite, one summary line each, and the closing line of CONTRACT.md. Arguments name suites to run.
// A suite that finds no test, or ends without a report, counts as one failure: silence is not success.
// --soak is `make soak`: only the test files that have long figures (test/support/soak.ts), with those, and a record of
// the run, figures included, in test/soak.

import { spawn } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, matchesGlob } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { suites } from '../vitest.config.ts'
import { machine, stampedName } from './machine.ts'
import type { SuiteReport } from './test-reporter.ts'

interface Suite {
  readonly name: string
  run(): Promise<SuiteReport | null>
}

/** Suites that run only when they are named: what they need takes minutes to build. */
const namedSuites = ['cluster']
const scratch = mkdtempSync(join(tmpdir(), 'heddle-test-'))

/** files: of the project; none: all. */
async function runVitest(project: string, files: readonly string[]): Promise<SuiteReport | null> {
  const report = join(scratch, `${project}.json`)
  const args = ['run', '--project', project, '--reporter=./tools/test-reporter.ts', ...files]
  const child = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', ...args], {
    stdio: 'inherit',
    env: { ...process.env, HEDDLE_TEST_REPORT: report },
  })
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  const counts = readReport(report)
  if (counts === null) return null
  return code === 0 || counts.failed > 0 ? counts : { ...counts, failed: 1 }
}

function readReport(path: string): SuiteReport | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as SuiteReport
  } catch {
    return null
  }
}

/** Counts of `go test -json` in one module: tests and subtests alike; a package that does not build is a failure. */
async function runGo(folder: string): Promise<SuiteReport> {
  const child = spawn('go', ['test', '-count=1', '-json', './...'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const spawned = new Promise<number | null>((resolve) => {
    child.on('close', resolve)
    child.on('error', () => resolve(null))
  })
  let passed = 0
  let failed = 0
  const skipped: { name: string; reason: string }[] = []
  const output = new Map<string, string[]>()
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line) as { Action: string; Package?: string; Test?: string; Output?: string }
    const name = `${event.Package ?? folder}${event.Test ? ` ${event.Test}` : ''}`
    if (event.Action === 'output') output.set(name, [...(output.get(name) ?? []), event.Output ?? ''])
    else if (event.Action === 'pass' && event.Test) passed++
    else if (event.Action === 'skip' && event.Test) skipped.push({ name, reason: skipReason(output.get(name) ?? []) })
    else if (event.Action === 'fail') {
      if (event.Test) failed++
      process.stdout.write(`  FAILED ${name}\n${(output.get(name) ?? []).join('').replace(/^/gm, '    ')}\n`)
    }
  }
  const code = await spawned
  return { passed, failed: code === 0 ? failed : Math.max(failed, 1), skipped, figures: [] }
}

/** Text of t.Skip, which go prints as "    file_test.go:12: text". */
function skipReason(output: readonly string[]): string {
  return output.map((line) => /_test\.go:\d+: (.*)/.exec(line)?.[1]).find((text) => text !== undefined) ?? ''
}

function allSuites(): readonly Suite[] {
  // The programs of test/cluster are built for `make cluster-test`, they are no suite.
  const modules = globSync('test/**/go.mod', { exclude: ['test/cluster'] }).map((path) => dirname(path))
  return [
    ...suites.map(({ name }) => ({ name, run: () => runVitest(name, []) })),
    ...modules.map((folder) => ({ name: `go:${folder}`, run: () => runGo(folder) })),
  ]
}

/** The suites that have files with long figures, and of each only those. */
function soakSuites(): readonly Suite[] {
  const files = globSync('{src,test,tools,bench}/**/*.test.ts').filter((path) =>
    readFileSync(path, 'utf8').includes("/support/soak.ts'"),
  )
  return suites.flatMap(({ name, include, exclude = [] }) => {
    const own = files.filter((file) => isOneOf(file, include) && !isOneOf(file, exclude))
    return own.length === 0 ? [] : [{ name, run: () => runVitest(name, own) }]
  })
}

function isOneOf(file: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => matchesGlob(file, pattern))
}

function summary(name: string, report: SuiteReport, seconds: number): string {
  const counts = `${report.passed} passed, ${report.failed} failed, ${report.skipped.length} skipped`
  return `${name.padEnd(14)} ${counts} (${seconds.toFixed(1)} s)\n`
}

async function main(names: readonly string[], isSoak: boolean): Promise<number> {
  if (isSoak) process.env.HEDDLE_SOAK = '1'
  if (process.getuid?.() !== 0) {
    process.stderr.write('make test needs root: most suites make network namespaces and load programs\n')
    return 2
  }
  const known = isSoak ? soakSuites() : allSuites()
  const unknown = names.find((name) => !known.some((suite) => suite.name === name))
  if (unknown !== undefined) {
    process.stderr.write(`there is no suite ${unknown}; there are: ${known.map((suite) => suite.name).join(', ')}\n`)
    return 2
  }
  const lines: string[] = []
  const total = { passed: 0, failed: 0, skipped: 0 }
  const record: (SuiteReport & { readonly suite: string; readonly seconds: number })[] = []
  const wanted = names.length > 0 ? names : known.map(({ name }) => name).filter((name) => !namedSuites.includes(name))
  for (const suite of known.filter(({ name }) => wanted.includes(name))) {
    process.stdout.write(`== ${suite.name}\n`)
    const started = performance.now()
    const report = (await suite.run()) ?? { passed: 0, failed: 1, skipped: [], figures: [] }
    const empty = report.passed + report.failed + report.skipped.length === 0
    if (empty) process.stdout.write('  FAILED: the suite has no test\n')
    const counted = empty ? { ...report, failed: 1 } : report
    const seconds = (performance.now() - started) / 1000
    const line = summary(suite.name, counted, seconds)
    record.push({ suite: suite.name, seconds: Math.round(seconds), ...counted })
    lines.push(
      line,
      ...counted.skipped.map(({ name, reason }) => `  skipped ${name}: ${reason || 'no reason given'}\n`),
    )
    process.stdout.write(line)
    total.passed += counted.passed
    total.failed += counted.failed
    total.skipped += counted.skipped.length
  }
  process.stdout.write(`\n${lines.join('')}\n`)
  if (isSoak) saveSoak(record)
  process.stdout.write(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`)
  return total.failed === 0 ? 0 : 1
}

function saveSoak(suites: readonly object[]): void {
  const date = new Date()
  const where = machine()
  const path = `test/soak/${stampedName(date, where)}.json`
  writeFileSync(path, `${JSON.stringify({ date, machine: where, suites }, null, 1)}\n`)
  process.stdout.write(`wrote ${path}\n`)
}

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { soak: { type: 'boolean', default: false } },
  })
  process.exitCode = await main(positionals, values.soak)
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
