// SPDX-License-Identifier: Apache-2.0
// One netperf run: a rate each 0.1 s, both ends pinned to one CPU, at high priority, with a fixed congestion control.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { runProgram } from '../src/lab/process.ts'

export const tests = ['TCP_RR', 'TCP_CRR', 'TCP_STREAM', 'UDP_RR'] as const
export type Test = (typeof tests)[number]

/** Where a measurement starts and what it reaches. */
export interface Path {
  /** Path of the client's network namespace. */
  readonly netns: string
  /** cgroup2 folder that the client joins. */
  readonly cgroup: string
  readonly server: string
  /** Where netserver is asked; null: its own. */
  readonly controlPort: number | null
  /** Port that the measured connections use; null: any. */
  readonly dataPort: number | null
}

const bin = fileURLToPath(new URL('../.tools/netperf/usr/bin/', import.meta.url))
const join = 'echo $$ >"$0/cgroup.procs" || exit 1; exec "$@"'

/** Rates of one run of `seconds`, which one of `servers` answers: transactions per second, or Mbit/s for TCP_STREAM. Throws
 *  when netperf fails. */
export async function measure(
  path: Path,
  test: Test,
  seconds: number,
  servers: readonly Server[],
): Promise<readonly number[]> {
  const argv = ['/bin/sh', '-c', join, path.cgroup, ...enter(path.netns), ...netperf(path, test, seconds)]
  using end = endOfTest(seconds, servers)
  const outcome = await runProgram(argv, {
    timeoutMs: (seconds + 20) * 1000,
    ...(test === 'TCP_CRR' && { onOutput: end.onRate }),
  })
  const rates = interimRates(outcome.stdout)
  if (outcome.exitCode === 0 && rates.length > 0) return rates
  throw new Error(`netperf ${test} to ${path.server} failed: ${outcome.stderr || outcome.stdout}`)
}

/** Ends the test at the server once the client has ended: a rate comes 0.1 s after the client's start at the earliest. */
function endOfTest(seconds: number, servers: readonly Server[]): Disposable & { readonly onRate: () => void } {
  let timer: NodeJS.Timeout | undefined
  return {
    onRate() {
      timer ??= setTimeout(() => void endTest(servers), seconds * 1000)
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  }
}

/** The rates of netperf's `-D` lines: "Interim result: 41522.66 Trans/s over 0.100 seconds ending at ...". */
export function interimRates(output: string): readonly number[] {
  return [...output.matchAll(/^Interim result: +([\d.]+) /gm)].map((match) => Number(match[1]))
}

function enter(netns: string): readonly string[] {
  return ['nsenter', `--net=${netns}`, '--', 'nice', '-n', '-15']
}

function netperf(path: Path, test: Test, seconds: number): readonly string[] {
  return [
    `${bin}netperf`,
    ...[
      '-P',
      '0',
      '-t',
      test,
      '-H',
      path.server,
      ...controlPort(path),
      '-l',
      String(seconds),
      '-T',
      '1,1',
      '-D',
      '0.1',
      '--',
    ],
    ...(test.startsWith('TCP') ? ['-K', 'cubic,cubic'] : []),
    ...(test === 'TCP_STREAM' ? ['-m', '65536'] : []),
    ...(path.dataPort === null ? [] : ['-P', `,${path.dataPort}`]),
  ]
}

function controlPort({ controlPort }: Path): readonly string[] {
  return controlPort === null ? [] : ['-p', String(controlPort)]
}

export interface Server {
  readonly pid: number
  stop(): void
}

/** Ends the timed test that one of them serves: after a TCP_CRR it would wait 4 s for connections that do not come. netserver
 *  has a process for each client, whose alarm is the end of its test. */
async function endTest(servers: readonly Server[]): Promise<void> {
  const parents = servers.map(({ pid }) => pid).join(',')
  const { stdout } = await runProgram(['ps', '-o', 'pid=', '--ppid', parents])
  for (const [pid] of stdout.matchAll(/\d+/g)) {
    try {
      process.kill(Number(pid), 'SIGALRM')
    } catch {} // It has ended meanwhile.
  }
}

/** A netperf server in a network namespace, for IPv4. Resolves when it listens. */
export async function startServer(netns: string): Promise<Server> {
  const [program, ...args] = [...enter(netns), `${bin}netserver`, '-D', '-4']
  const child = spawn(program!, args, { stdio: 'ignore' })
  const failed = new Promise<never>((_, reject) => {
    child.on('error', reject)
    child.on('exit', (code) => reject(new Error(`netserver in ${netns} ended with ${code}`)))
  })
  failed.catch(() => {})
  await Promise.race([failed, listening(netns)])
  return { pid: child.pid!, stop: () => child.kill('SIGKILL') }
}

async function listening(netns: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const { stdout } = await runProgram(['nsenter', `--net=${netns}`, '--', 'ss', '-Hltn', 'sport = 12865'])
    if (stdout !== '') return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error(`netserver in ${netns} does not listen`)
}
