// SPDX-License-Identifier: Apache-2.0
// `heddle agent`: the process around an agent.

import pino, { type Logger } from 'pino'
import pretty from 'pino-pretty'
import { CommandError } from '../core/command-error.ts'
import type { Addon } from '../kernel/addon.ts'
import { loadAddon } from '../kernel/load-addon.ts'
import { startAgent } from './agent.ts'
import { type Config, isConfigProblem, readConfig } from './config.ts'
import { checkHost } from './preflight.ts'

/** Runs until SIGTERM or SIGINT. Resolves to the exit code: 0 stopped as asked, 1 it failed. Throws a CommandError with
 *  exit code 2 when the configuration or the host does not allow it. */
export async function runAgent(configFile: string): Promise<number> {
  const config = readConfig(configFile)
  if (isConfigProblem(config)) throw new CommandError(config.configProblem, 2)
  checkHost(config)
  return serve(loadAddon(), config, createLogger(config))
}

async function serve(addon: Addon, config: Config, log: Logger): Promise<number> {
  const asked = Promise.withResolvers<string>()
  process.once('SIGTERM', asked.resolve)
  process.once('SIGINT', asked.resolve)
  log.info({ config }, 'starting')
  const agent = await startAgent(addon, config, log)
  const failed = agent.ready.then(
    () => agent.broken,
    (error: unknown) => error,
  )
  const end = await Promise.race([asked.promise, failed, agent.broken])
  if (typeof end !== 'string') {
    log.fatal({ err: end }, (end as Error).message)
    await agent.stop()
    return 1
  }
  log.info({ signal: end }, 'stopping; everything stays in force')
  await agent.stop()
  return 0
}

/** One JSON object per line, or text for people when a terminal listens. */
function createLogger({ logLevel, nodeName }: Config): Logger {
  const options = { level: logLevel, base: { node: nodeName }, serializers: { err: pino.stdSerializers.err } }
  return process.stdout.isTTY ? pino(options, pretty({ sync: true, ignore: 'pid,hostname' })) : pino(options)
}
