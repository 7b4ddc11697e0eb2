// SPDX-License-Identifier: Apache-2.0
// Asks an agent over its Unix socket; api.ts names requests and replies.

import type { IncomingMessage } from 'node:http'
import { CommandError } from '../core/command-error.ts'
import type { ApiError } from './api.ts'

/** Not imported: an import reads every export, and that of WebSocket loads 13 MB (also into the agent's bundle). */
const { request } = process.getBuiltinModule('node:http')

/** The reply to one request. Throws a CommandError with the agent's own sentence, or that says why it cannot be asked. */
export async function askAgent<T>(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
  timeoutMs = 30_000,
): Promise<T> {
  const response = await send(socketPath, method, path, timeoutMs)
  let body = ''
  for await (const chunk of chunks(socketPath, response)) body += chunk
  if (response.statusCode === 200) return JSON.parse(body) as T
  throw new CommandError(errorOf(body, response.statusCode!), response.statusCode === 400 ? 2 : 1)
}

/** The lines of a reply that goes on until the agent ends it, the reader leaves or `until` is aborted. */
export async function* streamAgent<T>(socketPath: string, path: string, until: AbortSignal): AsyncGenerator<T> {
  const response = await send(socketPath, 'GET', path, 0)
  until.addEventListener('abort', () => response.push(null))
  let rest = ''
  for await (const chunk of chunks(socketPath, response)) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const line of lines) if (line !== '') yield JSON.parse(line) as T
  }
}

async function* chunks(socketPath: string, response: IncomingMessage): AsyncGenerator<string> {
  try {
    for await (const chunk of response.setEncoding('utf8')) yield chunk as string
  } catch (cause) {
    throw new CommandError(`${socketPath}: the agent ended in the middle of its answer`, 1, { cause })
  }
}

function send(socketPath: string, method: string, path: string, timeoutMs: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path, timeout: timeoutMs }, resolve)
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no reply in ${timeoutMs / 1000} s`)))
    outgoing.on('error', (cause: NodeJS.ErrnoException) =>
      reject(new CommandError(unreachable(socketPath, cause), 1, { cause })),
    )
    outgoing.end()
  })
}

function unreachable(socketPath: string, cause: NodeJS.ErrnoException): string {
  if (cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED')
    return `no agent listens on ${socketPath}: ${cause.code}; is it running?`
  if (cause.code === 'EACCES') return `${socketPath}: permission denied; run this as root`
  return `${socketPath}: ${cause.message}`
}

function errorOf(body: string, status: number): string {
  try {
    return (JSON.parse(body) as ApiError).error
  } catch {
    return `the agent answered with HTTP status ${status}`
  }
}
