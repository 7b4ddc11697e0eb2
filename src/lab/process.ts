// SPDX-License-Identifier: Apache-2.0
// Running other programs: the lab's tools (`ip`, `mount`), processes inside a namespace and cgroup, and the identity of a
// process that was started earlier.

import { type StdioOptions, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { CommandError } from '../core/command-error.ts'

export interface Outcome {
  /** 128 + signal number when a signal ended it, as shells say it. */
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end with `input` on its standard input; `onOutput` is called as it writes. Never throws for an exit code. */
export function runProgram(
  argv: readonly string[],
  options: {
    readonly input?: string
    readonly env?: NodeJS.ProcessEnv
    readonly timeoutMs?: number
    readonly onOutput?: () => void
  } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0]!, argv.slice(1), {
      env: options.env ?? process.env,
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs, killSignal: 'SIGKILL' }),
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      options.onOutput?.()
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    // A program that does not read its input is no error of ours.
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ exitCode: exitCodeOf(code, signal), stdout, stderr }))
  })
}

/** Standard output of a tool that must succeed. */
export async function runTool(argv: readonly string[], input?: string): Promise<string> {
  const outcome = await runProgram(argv, input === undefined ? {} : { input }).catch((cause: NodeJS.ErrnoException) => {
    throw new CommandError(`cannot run ${argv[0]}: ${cause.code}; is it installed?`, 1, { cause })
  })
  if (outcome.exitCode === 0) return outcome.stdout
  const said = outcome.stderr.trim().split('\n').slice(0, 3).join('; ')
  throw new CommandError(`${argv.join(' ')}: ${said || `exit code ${outcome.exitCode}`}`)
}

/** Runs `ip` once for many commands, inside `netns` where given: one process instead of one per line. */
export async function ipBatch(netns: string | null, lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return
  await runTool(['ip', ...(netns ? ['-n', netns] : []), '-batch', '-'], `${lines.join('\n')}\n`)
}

/** The command line that joins a cgroup and a network namespace and then becomes `argv`, keeping its pid. */
export function inside(cgroup: string, netns: string, argv: readonly string[]): string[] {
  const script = 'echo $$ >"$0/cgroup.procs" && netns=$1 && shift && exec nsenter --net="$netns" -- "$@"'
  return ['/bin/sh', '-c', script, cgroup, netns, ...argv]
}

/** A process that outlives this command: its own session, output appended to `log`. */
export function startDetached(
  argv: readonly string[],
  options: { readonly log: string; readonly env: NodeJS.ProcessEnv; readonly cwd: string },
): ProcessId {
  const log = openSync(options.log, 'a')
  try {
    const child = spawn(argv[0]!, argv.slice(1), {
      detached: true,
      cwd: options.cwd,
      env: options.env,
      stdio: ['ignore', log, log],
    })
    if (child.pid === undefined) throw new CommandError(`cannot start ${argv.join(' ')} in ${options.cwd}`)
    child.on('error', () => {})
    child.unref()
    return identify(child.pid) ?? { pid: child.pid, startTicks: 0 }
  } finally {
    closeSync(log)
  }
}

/** Runs in the foreground with the given stdio; signals to this command go to the child. Resolves to its exit code. */
export function runForeground(argv: readonly string[], stdio: StdioOptions = 'inherit'): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0]!, argv.slice(1), { stdio })
    const forward = (signal: NodeJS.Signals) => child.kill(signal)
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
    for (const signal of signals) process.on(signal, forward)
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      for (const name of signals) process.removeListener(name, forward)
      resolve(exitCodeOf(code, signal))
    })
  })
}

/** A process that is never mistaken for a later one with the same pid. */
export interface ProcessId {
  readonly pid: number
  /** Field 22 of /proc/PID/stat, clock ticks since boot. */
  readonly startTicks: number
}

/** The process that has this pid now; null where there is none or it is a zombie. */
export function identify(pid: number): ProcessId | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? null : { pid, startTicks: Number(fields[19]) }
  } catch {
    return null
  }
}

export function isAlive(known: ProcessId | null): known is ProcessId {
  return known !== null && identify(known.pid)?.startTicks === known.startTicks
}

/** Resident bytes of a live process; 0 when it is gone. Source: VmRSS of proc_pid_status(5). */
export function residentBytes(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** Waits until `done` says true; false when `timeoutMs` passed first. */
export async function waitUntil(done: () => boolean | Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const end = Date.now() + timeoutMs
  while (!(await done())) {
    if (Date.now() > end) return false
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return true
}

/** `work` over all items, at most `width` at a time; results in the order of the items. A failure does not stop the
 *  others; the first one is thrown when all have ended. */
export async function inParallel<T, R>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<PromiseSettledResult<R>>(items.length)
  let next = 0
  const worker = async () => {
    while (next < items.length) {
      const index = next++
      const [result] = await Promise.allSettled([work(items[index]!)])
      results[index] = result
    }
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker))
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}

function exitCodeOf(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + (signal ? constants.signals[signal] : 0)
}
