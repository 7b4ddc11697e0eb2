// SPDX-License-Identifier: Apache-2.0
// Commands about the installation on this node: its agent, its version.

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { checkout } from '../lab/names.ts'
import type { CommandRow } from './command.ts'
import { facts, printData } from './print.ts'

export const nodeCommands: readonly CommandRow[] = [
  {
    usage: 'version',
    summary: 'Version, commit, ABI of the tables and the running kernel.',
    examples: ['heddle version -o json'],
    printsData: true,
    run: async (call) => {
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
]

function installedVersion(): { version: string; commit: string; abi: string; kernel: string } {
  const { version } = JSON.parse(readFileSync(`${checkout}/package.json`, 'utf8')) as { version: string }
  const commit = existsSync(`${checkout}/.git`)
    ? execFileSync('git', ['-C', checkout, 'rev-parse', '--short=12', 'HEAD'], { encoding: 'utf8' }).trim()
    : ''
  return { version, commit, abi: '', kernel: release() }
}
