// SPDX-License-Identifier: Apache-2.0
// Composition root: the agent, or a command that asks it.

const args = process.argv.slice(2)
const { runCli } = await import('./cli/main.ts')
process.exitCode = await runCli(args)
