// SPDX-License-Identifier: Apache-2.0
// The `heddle` command: finds the row of the table, parses, runs, and turns the outcome into an exit code.

import { Command, CommanderError, Option } from 'commander'
import { CommandError } from '../core/command-error.ts'
import { agentSocket } from '../lab/agents.ts'
import { checkLabName } from '../lab/names.ts'
import type { Call, CommandRow, OutputFormat } from './command.ts'
import { commands } from './commands.ts'
import { printable } from './print.ts'

/** What a command line meets outside itself; tests give their own. */
export interface Terminal {
  readonly print: (text: string) => void
  readonly warn: (text: string) => void
  readonly colour: boolean
}

/** Runs one command line (without `heddle` itself). Resolves to the exit code: 0 done, 1 failed, 2 bad usage or input. */
export async function runCli(argv: readonly string[], terminal: Terminal = processTerminal()): Promise<number> {
  let exitCode = 0
  const program = buildProgram(terminal, (code) => {
    exitCode = code
  })
  try {
    await program.parseAsync(argv.length === 0 ? ['--help'] : [...argv], { from: 'user' })
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    if (error instanceof CommandError) {
      terminal.warn(`heddle: ${error.message}`)
      return error.exitCode
    }
    throw error
  }
}

/** Every command as commander knows it; the tests walk it. */
export function buildProgram(terminal: Terminal, ended: (exitCode: number) => void): Command {
  const program = configure(new Command('heddle'), terminal)
    .description('The network of a Kubernetes node: pods, Services and NetworkPolicy in eBPF.')
    .addHelpText('after', '\nExample:\n  heddle lab up && heddle lab status')
  for (const row of commands) addCommand(program, row, terminal, ended)
  return program
}

function addCommand(program: Command, row: CommandRow, terminal: Terminal, ended: (exitCode: number) => void): void {
  const words = row.usage.split(' ')
  const nouns = words.findIndex((word) => /^[<[]/.test(word))
  const path = nouns === -1 ? words : words.slice(0, nouns)
  const parent = path.slice(0, -1).reduce((above, word) => group(above, word, terminal), program)
  const command = configure(parent.command([path.at(-1)!, ...words.slice(path.length)].join(' ')), terminal)
    .description(row.summary)
    .addHelpText('after', `\nExample:\n${row.examples.map((example) => `  ${example}`).join('\n')}`)
  for (const [flags, description, initial] of row.options ?? []) {
    const option = new Option(flags, description)
    if (initial !== undefined) option.default(initial)
    const choices = row.choices?.[option.attributeName()]
    if (choices) option.choices(choices)
    command.addOption(option)
  }
  if (row.asksAgent) addAgentOptions(command)
  if (row.printsData)
    command.addOption(
      new Option('-o, --output <format>', 'how to print').choices(['text', 'json', 'yaml']).default('text'),
    )
  command.action(async () => {
    const options = command.opts<Record<string, string | boolean | string[] | undefined>>()
    const args = command.processedArgs.flat().filter((arg): arg is string => typeof arg === 'string')
    const call: Call = {
      args,
      options,
      output: (options.output ?? 'text') as OutputFormat,
      socket: row.asksAgent ? agentSocketOf(options) : '',
      ...terminal,
    }
    ended((await row.run(call)) ?? 0)
  })
}

/** A word with commands below it, such as `lab`. */
function group(parent: Command, word: string, terminal: Terminal): Command {
  const known = parent.commands.find((command) => command.name() === word)
  if (known) return known
  const first = commands.find(({ usage }) => usage.startsWith(`${[...pathOf(parent), word].join(' ')} `))
  return configure(parent.command(word), terminal)
    .description(groupSummaries[word] ?? '')
    .addHelpText('after', `\nExample:\n  ${first!.examples[0]}`)
}

const groupSummaries: Readonly<Record<string, string>> = {
  endpoint: 'The pods of this node, as the kernel has them.',
  service: 'Services, as the kernel has them.',
  policy: 'Network policies: as the kernel has them, and what those of manifests would do.',
  node: 'The nodes of the cluster, as the kernel has them, or the fabric links of a lab.',
  lab: 'A cluster on this machine, made of network namespaces.',
  agent: 'The agents of a lab.',
  connectivity: 'Whether every kind of path of a cluster holds.',
}

function pathOf(command: Command): string[] {
  return command.parent ? [...pathOf(command.parent), command.name()] : []
}

function addAgentOptions(command: Command): void {
  command
    .addOption(new Option('--socket <path>', "the agent's socket").default('/run/heddle/agent.sock').conflicts(['lab']))
    .addOption(new Option('--lab <name>', 'ask an agent of this lab'))
    .addOption(new Option('--node <name>', 'which node of the lab').default('n1'))
}

function agentSocketOf(options: Call['options']): string {
  if (typeof options.lab === 'string') return agentSocket(checkLabName(options.lab), String(options.node))
  return String(options.socket)
}

function configure(command: Command, terminal: Terminal): Command {
  return command
    .exitOverride()
    .helpOption('-h, --help', 'show this help')
    .helpCommand(false)
    .configureOutput({
      writeOut: terminal.print,
      writeErr: (text) => terminal.warn(text.trimEnd()),
      outputError: (text, write) => write(`heddle: ${text.replace(/^error: /, '').trimEnd()}; see --help\n`),
    })
}

function processTerminal(): Terminal {
  // The reader has seen enough, as in `heddle status | head`.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit(0)
  })
  return {
    print: (text) => process.stdout.write(printable(text)),
    warn: (text) => process.stderr.write(`${printable(text)}\n`),
    colour: process.stdout.isTTY === true && (process.env.NO_COLOR ?? '') === '',
  }
}
