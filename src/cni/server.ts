// SPDX-License-Identifier: Apache-2.0
// The socket that native/cni-shim talks to; native/cni-shim/agent.h describes the frames. One request on each connection.

import { isUtf8 } from 'node:buffer'
import { closeSync } from 'node:fs'
import { chmod, rename, rm } from 'node:fs/promises'
import { Connection, LENGTH_BYTES } from './connection.ts'
import { type CniHandlers, formatError } from './handlers.ts'
import type { Sockets } from './interfaces.ts'
import {
  answerVersion,
  CniErrorCode,
  type CniReply,
  cniError,
  isCniError,
  NEWEST_VERSION,
  parseRequest,
} from './protocol.ts'

const REQUEST_LENGTH_MAX = 8 << 20
/** A shim sends its request at once. */
const REQUEST_TIMEOUT_MS = 10_000
const CONNECTIONS_MAX = 256
const RUNNING_MAX = 16

export interface CniServer {
  /** Takes no more requests, finishes those it has taken, removes the socket. */
  readonly close: () => Promise<void>
}

/** Listens on a socket that only root can use. Whatever was at the path is replaced. Further requests wait while 16 run;
 *  beyond 256 connections the shim is sent away and tries again. */
export async function serveCni(
  path: string,
  handlers: Pick<CniHandlers, 'handle'>,
  sockets: Sockets,
): Promise<CniServer> {
  const limit = createLimit(RUNNING_MAX)
  const idle = new Set<Connection>()
  const open = new Set<Promise<void>>()

  async function serve(connection: Connection): Promise<void> {
    idle.add(connection)
    let timer: NodeJS.Timeout | undefined
    const frame = await connection.receive(REQUEST_LENGTH_MAX, () => {
      timer ??= setTimeout(() => connection.close(), REQUEST_TIMEOUT_MS)
    })
    clearTimeout(timer)
    idle.delete(connection)
    if (frame !== undefined) await limit(() => answer(connection, frame, handlers))
    connection.close()
  }

  function accept(): void {
    const fd = sockets.acceptFrom(listener)
    if (fd === null) return
    const connection = new Connection(fd, sockets)
    if (open.size >= CONNECTIONS_MAX) {
      connection.close()
    } else {
      const served: Promise<void> = serve(connection).finally(() => open.delete(served))
      open.add(served)
    }
  }

  // Bound under another name and moved: at its path the socket is never open to anyone else.
  const binding = `${path}~`
  await rm(binding, { force: true })
  const listener = sockets.listenAt(binding)
  await chmod(binding, 0o600)
  await rename(binding, path)
  const unwatch = sockets.watch(listener, 'readable', accept)

  return {
    async close() {
      await rm(path, { force: true })
      unwatch()
      closeSync(listener)
      for (const connection of idle) connection.close()
      await Promise.all(open)
    },
  }
}

async function answer(
  connection: Connection,
  frame: Buffer | null,
  handlers: Pick<CniHandlers, 'handle'>,
): Promise<void> {
  const request =
    frame === null ? cniError(CniErrorCode.DECODE_FAILURE, 'the request is too long') : parseRequest(frame.toString())
  if (isCniError(request)) {
    await send(connection, { exitCode: 1, output: formatError(NEWEST_VERSION, request) })
  } else if (!isUtf8(frame!)) {
    const error = cniError(CniErrorCode.DECODE_FAILURE, 'environment or configuration is not UTF-8')
    await send(connection, { exitCode: 1, output: formatError(answerVersion(request.config), error) })
  } else {
    const reply = await handlers.handle(request)
    reply.delivered(await send(connection, reply))
  }
}

/** Whether the kernel has taken the whole reply for a shim that is still there. */
function send(connection: Connection, { exitCode, output }: Pick<CniReply, 'exitCode' | 'output'>): Promise<boolean> {
  const text = Buffer.from(output === '' ? '' : `${output}\n`)
  const frame = Buffer.alloc(LENGTH_BYTES + 1 + text.length)
  frame.writeUInt32BE(1 + text.length)
  frame.writeUInt8(exitCode, LENGTH_BYTES)
  text.copy(frame, LENGTH_BYTES + 1)
  return connection.send(frame)
}

/** Runs at most `max` at a time, the others in the order they came. */
function createLimit(max: number): (work: () => Promise<void>) => Promise<void> {
  const waiting: (() => void)[] = []
  let running = 0
  return async (work) => {
    if (running >= max) await new Promise<void>((resolve) => waiting.push(resolve))
    else running++
    try {
      await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) running--
      else next()
    }
  }
}
