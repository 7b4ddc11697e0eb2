// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 for the agent's two servers: a table of routes, JSON or text out, and bounds on what a client may ask.

import { rm } from 'node:fs/promises'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'

/** Not imported: an import reads every export, and that of WebSocket loads 13 MB. */
const { createServer } = process.getBuiltinModule('node:http')

const HEADER_BYTES_MAX = 8192
const CONNECTIONS_MAX = 64
/** A request has no body that anyone reads. */
const BODY_BYTES_MAX = 4096
const REQUEST_MS_MAX = 10_000

export interface Request {
  readonly query: URLSearchParams
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal
}

/** A stream writes for as long as the client stays. */
export type Reply =
  | {
      readonly status: number
      readonly type: string
      readonly body: string
      readonly headers?: Readonly<Record<string, string>>
    }
  | { readonly stream: (response: ServerResponse, signal: AbortSignal) => void }

export type Routes = Readonly<Record<string, (request: Request) => Reply | Promise<Reply>>>

/** The request cannot be answered: 400 because of what it asks, 503 because of when. */
export class RequestError extends Error {
  readonly status: 400 | 503
  constructor(status: 400 | 503, message: string) {
    super(message)
    this.status = status
  }
}

export function json(body: unknown): Reply {
  const text = JSON.stringify(body, (_, value) => (typeof value === 'bigint' ? value.toString() : value))
  return { status: 200, type: 'application/json', body: `${text}\n` }
}

export function text(status: number, body: string): Reply {
  return { status, type: 'text/plain; charset=utf-8', body: `${body}\n` }
}

/** routes: by "METHOD /path", '*' for every other. onError: told of failures that are the agent's own. */
export function createHttpServer(routes: Routes, onError: (error: unknown, request: string) => void): Server {
  const server = createServer(
    { maxHeaderSize: HEADER_BYTES_MAX, requestTimeout: REQUEST_MS_MAX, headersTimeout: REQUEST_MS_MAX },
    (request, response) => {
      limitBody(request)
      answer(routes, request, response).catch((error) => {
        if (error instanceof RequestError) return send(response, failure(error.status, error.message))
        onError(error, `${request.method} ${request.url}`)
        send(response, failure(500, (error as Error).message))
      })
    },
  )
  server.maxConnections = CONNECTIONS_MAX
  return server
}

async function answer(routes: Routes, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = URL.parse(request.url ?? '/', 'http://agent')
  const route = url === null ? undefined : (routes[`${request.method} ${url.pathname}`] ?? routes['*'])
  if (url === null || route === undefined) {
    return send(response, failure(404, `there is no ${request.method} ${url?.pathname ?? request.url}`))
  }
  const gone = new AbortController()
  response.on('close', () => gone.abort(new Error('the client has gone')))
  const reply = await route({ query: url.searchParams, signal: gone.signal })
  if ('stream' in reply) reply.stream(response, gone.signal)
  else send(response, reply)
}

function failure(status: number, error: string): Reply {
  return { status, type: 'application/json', body: `${JSON.stringify({ error })}\n` }
}

function send(response: ServerResponse, reply: Reply): void {
  if (response.headersSent || 'stream' in reply) {
    response.destroy()
    return
  }
  const length = Buffer.byteLength(reply.body)
  response.writeHead(reply.status, { 'content-type': reply.type, 'content-length': length, ...reply.headers })
  response.end(reply.body)
}

function limitBody(request: IncomingMessage): void {
  let bytes = 0
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) request.destroy()
  })
}

/** Listens on a socket file that only its owner can open; the caller holds the lock, so an old file is nobody's. */
export async function listenPrivately(server: Server, path: string): Promise<void> {
  await rm(path, { force: true })
  const umask = process.umask(0o177) // bind(2) gives the file its mode within listen()
  try {
    server.listen(path)
  } finally {
    process.umask(umask)
  }
  await listening(server)
}

/** Resolves when the server listens; rejects with why it cannot. */
export function listening(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('listening', resolve)
    server.once('error', reject)
  })
}
