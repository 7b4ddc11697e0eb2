// SPDX-License-Identifier: Apache-2.0
// Commands about the installation on this node: its agent, its configuration, its version, its removal.

import { defaultConfigText, isConfigProblem, readConfig } from '../agent/config.ts'
import { CommandError } from '../core/command-error.ts'
import { type CommandRow, textOption } from './command.ts'
import { facts, printData } from './print.ts'

const configOption = ['--config <path>', 'the configuration file of the agent', '/etc/heddle/config.yaml'] as const

export const nodeCommands: readonly CommandRow[] = [
  {
    usage: 'agent',
    summary: 'Runs the agent of this node in the foreground. One per node; packets go on when it ends.',
    examples: ['heddle agent --config /etc/heddle/config.yaml'],
    options: [configOption],
    run: async (call) => (await import('../agent/main.ts')).runAgent(textOption(call, 'config')!),
  },
  {
    usage: 'config',
    summary: 'Prints the configuration file with every setting, its meaning and its default.',
    examples: ['heddle config'],
    run: async (call) => {
      call.print(defaultConfigText())
      return undefined
    },
  },
  {
    usage: 'version',
    summary: 'Version, commit, ABI of the tables and the running kernel.',
    examples: ['heddle version -o json'],
    printsData: true,
    run: async (call) => {
      const { installedVersion } = await import('../agent/version.ts')
      printData(call, installedVersion(), ({ version, commit, abi, kernel }) =>
        facts([
          ['Version', version],
          ['Commit', commit],
          ['ABI', abi],
          ['Kernel', kernel],
        ]),
      )
      return undefined
    },
  },
  {
    usage: 'mount-bpffs <path>',
    summary: 'Mounts a bpf file system, unless one is there. What the DaemonSet does on nodes whose host does not.',
    examples: ['heddle mount-bpffs /sys/fs/bpf'],
    run: async ({ args: [path = ''], print }) => {
      const { mountBpffs } = await import('../agent/bpffs.ts')
      if (mountBpffs(path)) print(`mounted a bpf file system at ${path}\n`)
      return undefined
    },
  },
  {
    usage: 'uninstall',
    summary: "Removes Heddle's programs, tables, routes and pod devices from this node. Stop the agent first.",
    examples: ['heddle uninstall --config /etc/heddle/config.yaml'],
    options: [configOption, ['--stay', 'do not end afterwards: what would start it again has nothing to do']],
    run: async (call) => {
      const config = readConfig(textOption(call, 'config')!)
      if (isConfigProblem(config)) throw new CommandError(config.configProblem, 2)
      const { uninstall } = await import('../agent/uninstall.ts')
      const devices = await uninstall(config)
      call.print(`programs, tables and routes removed, with ${devices.length} pod devices\n`)
      call.print(`${config.stateDir} and ${config.manifests} stay; remove them when nothing is to come back\n`)
      if (call.options.stay) await signalled()
      return undefined
    },
  },
]

/** Resolves at SIGTERM or SIGINT. */
async function signalled(): Promise<void> {
  const asked = Promise.withResolvers<void>()
  process.once('SIGTERM', () => asked.resolve())
  process.once('SIGINT', () => asked.resolve())
  // A handler of a signal does not keep a process alive.
  const awake = setInterval(() => {}, 2 ** 30)
  await asked.promise
  clearInterval(awake)
}
