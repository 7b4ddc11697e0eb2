// SPDX-License-Identifier: Apache-2.0
// The report of a run, and its JUnit form. Pure. JSON and YAML are the Report as it is.

import type { Family } from '../core/address.ts'
import type { Outcome } from './check.ts'

export interface Report {
  /** No path failed. */
  readonly ok: boolean
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** RFC 3339. */
  readonly startedAt: string
  readonly milliseconds: number
  readonly namespace: string
  readonly image: string
  readonly nodes: readonly string[]
  readonly families: readonly Family[]
  readonly checks: readonly Outcome[]
}

export function makeReport(run: Omit<Report, 'ok' | 'passed' | 'failed' | 'skipped'>): Report {
  const count = (result: Outcome['result']) => run.checks.filter((check) => check.result === result).length
  const failed = count('failed')
  return { ok: failed === 0 && count('passed') > 0, passed: count('passed'), failed, skipped: count('skipped'), ...run }
}

/** One suite per group. Source: the Jenkins XSD of JUnit reports, as GitLab and GitHub actions read it. */
export function junitText({ checks, startedAt, passed, failed, skipped, milliseconds }: Report): string {
  const names = [...new Set(checks.map(({ group }) => group))]
  const suites = names.map((group) => {
    const cases = checks.filter((check) => check.group === group)
    const count = (result: Outcome['result']) => cases.filter((check) => check.result === result).length
    const attributes = `name="${group}" tests="${cases.length}" failures="${count('failed')}" skipped="${count('skipped')}"`
    const time = seconds(cases.reduce((sum, check) => sum + check.milliseconds, 0))
    return `  <testsuite ${attributes} timestamp="${xml(startedAt)}" time="${time}">\n${cases.map(junitCase).join('')}  </testsuite>\n`
  })
  const totals = `tests="${passed + failed + skipped}" failures="${failed}" skipped="${skipped}" time="${seconds(milliseconds)}"`
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="heddle connectivity test" ${totals}>\n${suites.join('')}</testsuites>\n`
}

function junitCase({ name, group, from, to, result, detail, milliseconds }: Outcome): string {
  const head = `    <testcase classname="connectivity.${group}" name="${xml(name)}" time="${seconds(milliseconds)}"`
  const message = xml(detail)
  if (result === 'failed')
    return `${head}>\n      <failure message="${message}">${xml(`${from} -> ${to}: ${detail}`)}</failure>\n    </testcase>\n`
  if (result === 'skipped') return `${head}>\n      <skipped message="${message}"/>\n    </testcase>\n`
  return `${head}/>\n`
}

function seconds(milliseconds: number): string {
  return (milliseconds / 1_000).toFixed(3)
}

/** What XML 1.0 cannot carry at all, control characters and half surrogates, becomes U+FFFD. */
function xml(text: string): string {
  return (
    text
      .toWellFormed()
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
      .replaceAll('"', '&quot;')
      .replaceAll('\n', '&#10;')
  )
}
