// SPDX-License-Identifier: Apache-2.0
// The socket that native/cni-shim talks to; native/cni-shim/agent.h describes the frames. One request on each connection.

import { isUtf8 } from 'node:buffer'
import { once } from 'node:events'
import { chmod, rename, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { type CniHandlers, formatError } from './handlers.ts'
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
const LENGTH_BYTES = 4
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
export async function serveCni(path: string, handlers: Pick<CniHandlers, 'handle'>): Promise<CniServer> {
  const limit = createLimit(RUNNING_MAX)
  const idle = new Set<Socket>()
  const server = createServer((socket) => {
    idle.add(socket)
    socket.on('error', () => {}) // The write's callback and 'close' say it too.
    socket.once('close', () => idle.delete(socket))
    socket.setTimeout(REQUEST_TIMEOUT_MS, () => socket.destroy())
    readFrame(socket, (frame) => {
      idle.delete(socket)
      socket.setTimeout(0)
      void limit(() => answer(socket, frame, handlers))
    })
  })
  server.maxConnections = CONNECTIONS_MAX

  // Bound under another name and moved: at its path the socket is never open to anyone else.
  const binding = `${path}~`
  await rm(binding, { force: true })
  server.listen(binding)
  await once(server, 'listening')
  await chmod(binding, 0o600)
  await rename(binding, path)

  return {
    async close() {
      await rm(path, { force: true })
      const closed = once(server, 'close')
      server.close()
      for (const socket of idle) socket.destroy()
      await closed
    },
  }
}

/** Calls back once, with null for a frame that is too long. */
function readFrame(socket: Socket, onFrame: (frame: Buffer | null) => void): void {
  let chunks: Buffer[] = []
  let received = 0
  const onData = (chunk: Buffer) => {
    chunks.push(chunk)
    received += chunk.length
    if (received < LENGTH_BYTES) return
    if (chunks[0]!.length < LENGTH_BYTES) chunks = [Buffer.concat(chunks)]
    const length = chunks[0]!.readUInt32BE()
    if (length <= REQUEST_LENGTH_MAX && received < LENGTH_BYTES + length) return
    socket.off('data', onData)
    socket.resume()
    onFrame(length > REQUEST_LENGTH_MAX ? null : Buffer.concat(chunks).subarray(LENGTH_BYTES, LENGTH_BYTES + length))
  }
  socket.on('data', onData)
}

async function answer(socket: Socket, frame: Buffer | null, handlers: Pick<CniHandlers, 'handle'>): Promise<void> {
  const request =
    frame === null ? cniError(CniErrorCode.DECODE_FAILURE, 'the request is too long') : parseRequest(frame.toString())
  if (isCniError(request)) {
    await send(socket, { exitCode: 1, output: formatError(NEWEST_VERSION, request) })
  } else if (!isUtf8(frame!)) {
    const error = cniError(CniErrorCode.DECODE_FAILURE, 'environment or configuration is not UTF-8')
    await send(socket, { exitCode: 1, output: formatError(answerVersion(request.config), error) })
  } else {
    const reply = await handlers.handle(request)
    reply.delivered(await send(socket, reply))
  }
}

/** Whether the kernel has taken the whole reply for a shim that is still there. */
async function send(socket: Socket, { exitCode, output }: Pick<CniReply, 'exitCode' | 'output'>): Promise<boolean> {
  const text = Buffer.from(output === '' ? '' : `${output}\n`)
  const frame = Buffer.alloc(LENGTH_BYTES + 1 + text.length)
  frame.writeUInt32BE(1 + text.length)
  frame.writeUInt8(exitCode, LENGTH_BYTES)
  text.copy(frame, LENGTH_BYTES + 1)
  const { promise, resolve } = Promise.withResolvers<boolean>()
  socket.write(frame, (error) => resolve(!error))
  socket.end()
  return promise
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
