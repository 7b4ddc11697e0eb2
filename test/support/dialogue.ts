// SPDX-License-Identifier: Apache-2.0
// A program that answers each line of its input with one line.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

export interface Dialogue {
  /** Its answer to a line. Rejects when the program has ended without one. */
  readonly ask: (line: string) => Promise<string>
  /** Ends it. */
  readonly stop: () => Promise<void>
}

/** Starts `argv`; what it says on standard error is this process's too. */
export function startDialogue(argv: readonly string[]): Dialogue {
  const [command, ...args] = argv as [string, ...string[]]
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const waiting: PromiseWithResolvers<string>[] = []
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(line))
  const ended = once(child, 'close').then(() => {
    for (const { reject } of waiting) reject(new Error(`${argv.join(' ')} has ended`))
  })
  child.stdin.on('error', () => {}) // it has ended
  return {
    ask(line) {
      const answer = Promise.withResolvers<string>()
      waiting.push(answer)
      child.stdin.write(`${line}\n`)
      return answer.promise
    },
    async stop() {
      child.stdin.end()
      await ended
    },
  }
}
