// SPDX-License-Identifier: Apache-2.0
// `heddle connectivity test`, and the two commands that its pods run.

import { writeFileSync } from 'node:fs'
import { installedVersion } from '../agent/version.ts'
import { BadField } from '../api/cursor.ts'
import type { Batch, Group, Outcome } from '../connectivity/check.ts'
import type { Report } from '../connectivity/report.ts'
import type { TestOptions } from '../connectivity/test.ts'
import type { Family } from '../core/address.ts'
import { CommandError } from '../core/command-error.ts'
import { ApiError, ApiUnreachable } from '../kube/api-error.ts'
import type { Connection, connectionFrom } from '../kube/connection.ts'
import { type Call, type CommandRow, textOption } from './command.ts'
import { durationText, paint, printData, table } from './print.ts'

const IMAGE = 'ghcr.io/heddle-network/heddle'

export const connectivityCommands: readonly CommandRow[] = [
  {
    usage: 'connectivity test',
    summary:
      'Tests every kind of path of a cluster with pods of its own: pods, nodes, Services, DNS, MTU, policies, drops. Exit code 0 only if all hold.',
    examples: [
      'heddle connectivity test --kubeconfig ~/.kube/config',
      "heddle connectivity test --test '^(pod|service)/' --junit connectivity.xml",
      "heddle connectivity test --skip '^policy/' --families 4 -o json",
    ],
    options: [
      [
        '--kubeconfig <path>',
        'how to reach the cluster (default: $KUBECONFIG, ~/.kube/config, or in-cluster in a pod)',
      ],
      ['--image <name>', `image of the test's pods (default: ${IMAGE}:<this version>)`],
      ['--families <families>', 'IP families to test (default: what the cluster has)'],
      ['--nodes <count>', 'test at most so many nodes, by name', '3'],
      ['--test <regex>', 'run only checks whose name matches'],
      ['--skip <regex>', 'list checks whose name matches as skipped'],
      ['--timeout <seconds>', 'give up after so long; cleaning up comes on top', '300'],
      ['--junit <file>', 'write the report as JUnit XML too'],
      ['--keep', 'leave the pods and their namespace'],
      ['--namespace-prefix <name>', 'what the name of the namespace begins with', 'heddle-connectivity'],
    ],
    choices: { families: ['4', '6', '46'] },
    printsData: true,
    run: test,
  },
  {
    usage: 'connectivity serve <name> <ports> <addresses>',
    summary: 'What the pods of the test run: tells who asks over HTTP and UDP, until it is ended.',
    examples: ['heddle connectivity serve server-1 8080,8081 10.244.1.7,fd00:10:244:1::7'],
    run: async ({ args }) => {
      const [name, ports, addresses] = args as [string, string, string]
      const numbers = ports.split(',').map(Number)
      if (!numbers.every((port) => Number.isInteger(port) && port > 0 && port < 65_536))
        throw new CommandError(`ports are numbers from 1 to 65535 with commas, not "${ports}"`, 2)
      const { serve } = await import('../connectivity/serve.ts')
      try {
        await using server = await serve(name, numbers, addresses.split(','))
        process.once('SIGTERM', () => process.exit(0))
        await server.closed
      } catch (error) {
        throw new CommandError((error as Error).message, 1, { cause: error })
      }
      return undefined
    },
  },
  {
    usage: 'connectivity probe <batch>',
    summary: "What the test runs inside its pods: tries what the batch (JSON) lists and prints each probe's result.",
    examples: [
      `heddle connectivity probe '{"timeoutMs":1000,"patienceMs":0,"until":"answer","probes":[{"kind":"connect","address":"10.244.1.7","port":8080}]}'`,
    ],
    run: async (call) => {
      const { runBatch } = await import('../connectivity/probe.ts')
      call.print(JSON.stringify(await runBatch(readBatch(call.args[0]!))))
      return undefined
    },
  },
]

function readBatch(text: string): Batch {
  try {
    const batch = JSON.parse(text) as Batch
    if (Array.isArray(batch.probes) && Number.isFinite(batch.timeoutMs) && Number.isFinite(batch.patienceMs))
      return batch
  } catch {
    // as below
  }
  throw new CommandError('a batch is JSON with timeoutMs, patienceMs, until and probes', 2)
}

async function test(call: Call): Promise<number> {
  const options = readOptions(call)
  const { runTest } = await import('../connectivity/test.ts')
  const { junitText } = await import('../connectivity/report.ts')
  const junit = textOption(call, 'junit')
  const interrupted = new AbortController()
  const interrupt = () => {
    if (interrupted.signal.aborted) process.exit(1)
    call.warn('cleaning up; interrupt again to leave the namespace behind')
    interrupted.abort()
  }
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt)
  const connection = connectionOf(call, (await import('../kube/connection.ts')).connectionFrom)
  try {
    const progress = { step: call.warn, group: groupLine(call) }
    const report = await runTest(connection, options, progress, interrupted.signal)
    if (junit !== undefined) writeReport(junit, junitText(report))
    printData(call, report, (data) => reportText(call, data))
    return report.ok ? 0 : 1
  } catch (error) {
    const isRefusal = error instanceof ApiError || error instanceof ApiUnreachable || error instanceof BadField
    throw isRefusal ? new CommandError(error.message, 1, { cause: error }) : error
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

function writeReport(file: string, text: string): void {
  try {
    writeFileSync(file, text)
  } catch (error) {
    throw new CommandError(`--junit: ${(error as Error).message}`, 2, { cause: error })
  }
}

function connectionOf(call: Call, connect: typeof connectionFrom): Connection {
  try {
    return connect({ kubeconfig: kubeconfigOf(call) })
  } catch (error) {
    throw new CommandError(`${(error as Error).message}; name another file with --kubeconfig`, 2, { cause: error })
  }
}

function kubeconfigOf(call: Call): string {
  const { KUBECONFIG, KUBERNETES_SERVICE_HOST, HOME = '/root' } = process.env
  const given = textOption(call, 'kubeconfig') ?? KUBECONFIG
  if (given) return given
  return KUBERNETES_SERVICE_HOST ? 'in-cluster' : `${HOME}/.kube/config`
}

function readOptions(call: Call): TestOptions {
  const families = textOption(call, 'families')
  const namespacePrefix = textOption(call, 'namespacePrefix')!
  if (!/^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$/.test(namespacePrefix))
    throw new CommandError(
      `--namespace-prefix takes a-z, 0-9 and '-', at most 40 characters, not "${namespacePrefix.slice(0, 64)}"`,
      2,
    )
  const image = textOption(call, 'image') ?? `${IMAGE}:${installedVersion().version}`
  if (!/^[\w][\w./:@-]{0,511}$/.test(image))
    throw new CommandError(`--image takes the name of an image, not "${image.slice(0, 64)}"`, 2)
  return {
    namespacePrefix,
    image,
    families: families === undefined ? null : ([...families].map(Number) as Family[]),
    nodeCount: wholeNumber(call, 'nodes', 100),
    timeoutMs: wholeNumber(call, 'timeout', 86_400) * 1_000,
    only: pattern(call, 'test'),
    except: pattern(call, 'skip'),
    keep: call.options.keep === true,
  }
}

function wholeNumber(call: Call, option: string, max: number): number {
  const text = textOption(call, option)!
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= 1 && value <= max) return value
  throw new CommandError(`--${option} takes a number from 1 to ${max}, not "${text}"`, 2)
}

function pattern(call: Call, option: string): RegExp | null {
  const text = textOption(call, option)
  try {
    return text === undefined ? null : new RegExp(text)
  } catch (error) {
    throw new CommandError(`--${option}: ${(error as Error).message}`, 2)
  }
}

/** 'ok      pod      24 paths, 1.2 s' */
function groupLine(call: Call): (group: Group, outcomes: readonly Outcome[], milliseconds: number) => void {
  return (group, outcomes, milliseconds) => {
    const count = (result: Outcome['result']) => outcomes.filter((outcome) => outcome.result === result).length
    const [failed, skipped] = [count('failed'), count('skipped')]
    const word =
      failed > 0 ? paint(call, 'red', 'FAILED') : skipped === outcomes.length ? 'skipped' : paint(call, 'green', 'ok')
    const counts = [`${count('passed')} of ${outcomes.length}`, ...(skipped > 0 ? [`${skipped} skipped`] : [])]
    call.warn(
      `${group.padEnd(8)} ${word} ${counts.join(', ')}${milliseconds > 0 ? `, ${durationText(milliseconds)}` : ''}`,
    )
  }
}

const colours = { passed: 'green', failed: 'red', skipped: 'yellow' } as const

/** The line that matters, then what failed, then everything. */
export function reportText(call: { readonly colour: boolean }, report: Report): string {
  const { ok, passed, failed, skipped, milliseconds, nodes, families, checks } = report
  const verdict = ok
    ? paint(call, 'green', 'every path holds')
    : paint(call, 'red', failed > 0 ? 'paths are broken' : 'nothing was tested')
  const where = `${nodes.length} ${nodes.length === 1 ? 'node' : 'nodes'}, ${families.map((each) => `IPv${each}`).join(' and ')}`
  const broken = checks.filter(({ result }) => result === 'failed')
  return [
    `${verdict}: ${passed} passed, ${failed} failed, ${skipped} skipped in ${durationText(milliseconds)} on ${where}\n`,
    ...(broken.length > 0
      ? [
          table(
            ['BROKEN', 'FROM', 'TO', 'WHY'],
            broken.map(({ name, from, to, detail }) => [name, from, to, detail]),
          ),
        ]
      : []),
    table(
      ['CHECK', 'RESULT', 'FROM', 'TO', 'TOOK', 'DETAIL'],
      checks.map((check) => [
        check.name,
        check.result,
        check.from,
        check.to,
        check.milliseconds > 0 ? durationText(check.milliseconds) : '',
        check.detail,
      ]),
    ).replace(
      /^(\S+ +)(passed|failed|skipped)/gm,
      (_, name: string, result: keyof typeof colours) => name + paint(call, colours[result], result),
    ),
  ].join('\n')
}
