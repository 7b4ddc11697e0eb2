// SPDX-License-Identifier: Apache-2.0
// Network namespaces of a test, by name; gone with the scope. The root namespace is never entered.

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'

export interface Namespaces extends Disposable {
  path(name: string): string
  /** Standard output of a command in that namespace. */
  run(name: string, command: string, ...args: readonly string[]): string
  /** `ip -json` there. */
  ip(name: string, ...args: readonly string[]): readonly Record<string, unknown>[]
}

export function createNamespaces(names: readonly string[]): Namespaces {
  const prefix = `heddle-t${randomBytes(3).toString('hex')}`
  const full = (name: string) => `${prefix}-${name}`
  const made: string[] = []
  const dispose = () => {
    for (const name of made.splice(0)) execFileSync('ip', ['netns', 'delete', full(name)])
  }
  try {
    for (const name of names) {
      execFileSync('ip', ['netns', 'add', full(name)])
      made.push(name)
    }
  } catch (error) {
    dispose()
    throw error
  }
  const path = (name: string) => `/run/netns/${full(name)}`
  const run = (name: string, command: string, ...args: readonly string[]) =>
    execFileSync('nsenter', [`--net=${path(name)}`, command, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  return {
    path,
    run,
    ip(name, ...args) {
      const text = run(name, 'ip', '-json', ...args)
      return text.trim() === '' ? [] : JSON.parse(text)
    },
    [Symbol.dispose]: dispose,
  }
}
