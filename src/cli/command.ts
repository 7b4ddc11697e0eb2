// SPDX-License-Identifier: Apache-2.0
// The shape of a command: a row of the table in commands.ts.

/** `-o`: text is for people, JSON and YAML are stable and carry the same fields. */
export type OutputFormat = 'text' | 'json' | 'yaml'

export interface CommandRow {
  /** Words after `heddle`, arguments last as commander writes them: 'lab exec <place> <command...>'. */
  readonly usage: string
  readonly summary: string
  /** Complete command lines that work as they stand in a lab of two nodes. */
  readonly examples: readonly [string, ...string[]]
  /** [flags, description, default] as commander writes them. */
  readonly options?: readonly (readonly [flags: string, description: string, initial?: string])[]
  /** Options that take one of these values only. */
  readonly choices?: Readonly<Record<string, readonly string[]>>
  /** Asks an agent: gets --socket, --lab and --node. */
  readonly asksAgent?: boolean
  /** Prints data: gets -o. */
  readonly printsData?: boolean
  /** Resolves to the exit code, or nothing for 0. */
  readonly run: (call: Call) => Promise<number | undefined>
}

/** What a command is given. */
export interface Call {
  readonly args: readonly string[]
  readonly options: Readonly<Record<string, string | boolean | string[] | undefined>>
  readonly output: OutputFormat
  /** Unix socket of the agent to ask. */
  readonly socket: string
  /** Writes to standard output. */
  readonly print: (text: string) => void
  /** Writes one line to standard error. */
  readonly warn: (text: string) => void
  readonly colour: boolean
}

export function textOption(call: Call, name: string): string | undefined {
  const value = call.options[name]
  return typeof value === 'string' ? value : undefined
}
