// SPDX-License-Identifier: Apache-2.0
// Every command of `heddle`, in the order of its help.

import { agentCommands } from './agent-commands.ts'
import type { CommandRow } from './command.ts'
import { connectivityCommands } from './connectivity-commands.ts'
import { labCommands } from './lab-commands.ts'
import { nodeCommands } from './node-commands.ts'
import { policyCommands } from './policy-commands.ts'

export const commands: readonly CommandRow[] = [
  ...agentCommands,
  ...policyCommands,
  ...connectivityCommands,
  ...nodeCommands,
  ...labCommands,
]
