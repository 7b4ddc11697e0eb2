// SPDX-License-Identifier: Apache-2.0
// Composition root: the agent, or a command that asks it. Neither loads the other.

/** Resolves to the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args
  if (command === 'agent' && !rest.includes('--help') && !rest.includes('-h')) {
    const { runAgent } = await import('./agent/main.ts')
    return runAgent(rest)
  }
  const { runCli } = await import('./cli/main.ts')
  return runCli(args)
}

process.exitCode = await main(process.argv.slice(2))
