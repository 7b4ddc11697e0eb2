// SPDX-License-Identifier: Apache-2.0
// A process that goes on while a test does other things.

import { spawn } from 'node:child_process'

export interface Background {
  readonly output: () => string
  /** Resolves once the output so far is as wanted. */
  readonly until: (holds: (output: string) => boolean) => Promise<void>
  readonly ended: Promise<string>
  /** To its standard input. */
  readonly write: (text: string) => void
  readonly stop: () => Promise<string>
}

/** Starts `argv`; `stop` ends it and resolves to its output. */
export function startBackground(argv: readonly string[]): Background {
  const [command, ...args] = argv as [string, ...string[]]
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  let output = ''
  const ended = new Promise<string>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', () => resolve(output))
  })
  const waiting = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      for (const check of waiting) check()
    })
  return {
    output: () => output,
    until: (holds) =>
      new Promise((resolve, reject) => {
        const check = () => {
          if (!holds(output)) return
          waiting.delete(check)
          resolve()
        }
        waiting.add(check)
        check()
        void ended.then(() => reject(new Error(`${argv.join(' ')} ended before it said so: ${output}`)))
      }),
    ended,
    write: (text) => child.stdin.write(text),
    stop: () => {
      child.kill('SIGTERM')
      return ended
    },
  }
}
