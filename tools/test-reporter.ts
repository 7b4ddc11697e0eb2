// SPDX-License-Identifier: Apache-2.0
// Vitest reporter of tools/test.ts: prints each failure when it happens and writes the suite's counts, with the reason
// of every skip, to the file named by HEDDLE_TEST_REPORT. (Vitest's own JSON leaves the reasons out.)

import { writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import type { Reporter, TestCase, TestModule } from 'vitest/node'
import { isSoak } from '../test/support/soak.ts'

export interface SuiteReport {
  readonly passed: number
  readonly failed: number
  readonly skipped: readonly { readonly name: string; readonly reason: string }[]
  /** What the tests printed: the figures that they judge. */
  readonly figures: readonly string[]
}

interface SerializedError {
  readonly message: string
  readonly stack?: string | undefined
}

export default class TestReporter implements Reporter {
  private passed = 0
  private failed = 0
  private readonly skipped: { name: string; reason: string }[] = []
  private readonly figures: string[] = []

  /** What a test saw: the figures that it judges. */
  onUserConsoleLog({ content }: { readonly content: string }): void {
    this.figures.push(...content.trimEnd().split('\n'))
    process.stdout.write(content.replace(/^(?=.)/gm, '  '))
  }

  onTestCaseResult(test: TestCase): void {
    const result = test.result()
    const name = `${relative(process.cwd(), test.module.moduleId)}: ${test.fullName}`
    if (result.state === 'passed') this.pass(name, test.diagnostic()?.duration ?? 0)
    else if (result.state === 'skipped') this.skipped.push({ name, reason: result.note ?? '' })
    else if (result.state === 'failed') this.fail(name, result.errors)
  }

  onTestModuleEnd(module: TestModule): void {
    const errors = module.errors()
    if (errors.length > 0) this.fail(relative(process.cwd(), module.moduleId), errors)
  }

  onTestSuiteResult(suite: { readonly fullName: string; errors(): readonly SerializedError[] }): void {
    if (suite.errors().length > 0) this.fail(suite.fullName, suite.errors())
  }

  onTestRunEnd(_modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    if (unhandled.length > 0) this.fail('outside of any test', unhandled)
    const report: SuiteReport = {
      passed: this.passed,
      failed: this.failed,
      skipped: this.skipped,
      figures: this.figures,
    }
    const path = process.env.HEDDLE_TEST_REPORT
    if (path) writeFileSync(path, JSON.stringify(report))
  }

  /** A test of `make soak` takes minutes: each says that it is done. */
  private pass(name: string, milliseconds: number): void {
    this.passed++
    if (isSoak) process.stdout.write(`  ok ${name} (${(milliseconds / 1000).toFixed(1)} s)\n`)
  }

  private fail(name: string, errors: readonly SerializedError[]): void {
    this.failed++
    const lines = errors.flatMap((error) => (error.stack ?? error.message).split('\n')).filter(isOurs)
    process.stdout.write(`  FAILED ${name}\n${lines.map((line) => `    ${line}\n`).join('')}`)
  }
}

/** Frames of the test tools say nothing about a failure. */
function isOurs(line: string): boolean {
  return !/^\s+at .*(node_modules|node:internal)/.test(line)
}
