// SPDX-License-Identifier: Apache-2.0
// What every pod of the test does: says who it is and who asked. HTTP GET answers an Answer, HTTP POST gives the body back, a
// datagram that starts with ASK comes back with TELL and an Answer in it, at the same length.
//
// It listens on the pod's own addresses and on no others: a datagram's answer must leave by the address that was asked, and on
// a node's own network nothing else of the node should answer. Requests are bounded. An answer is never larger than its
// question, and is no question itself, so two of these cannot be set upon each other.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { isIPv6 } from 'node:net'

export const ASK = Buffer.from('heddle?')
export const TELL = Buffer.from('heddle!')
const TRANSFER_BYTES_MAX = 4 << 20
const CONNECTIONS_MAX = 512

/** At most ANSWER_BYTES_MAX as JSON. */
export interface Answer {
  readonly server: string
  /** The asker's address as it was seen here. */
  readonly client: string
}

export interface Server extends AsyncDisposable {
  readonly closed: Promise<void>
}

/** Resolves when every address and port answers. Throws what listening throws. */
export async function serve(name: string, ports: readonly number[], addresses: readonly string[]): Promise<Server> {
  await using listening = new AsyncDisposableStack()
  for (const address of addresses) {
    for (const port of ports) {
      await serveHttp(name, port, address, listening)
      await serveDatagrams(name, port, address, listening)
    }
  }
  const kept = listening.move()
  const { promise: closed, resolve } = Promise.withResolvers<void>()
  return {
    closed,
    [Symbol.asyncDispose]: async () => {
      await kept.disposeAsync()
      resolve()
    },
  }
}

async function serveHttp(name: string, port: number, host: string, listening: AsyncDisposableStack): Promise<void> {
  const server = createServer({ headersTimeout: 5_000, requestTimeout: 30_000 }, (request, response) => {
    if (request.method === 'POST') giveBack(request, response)
    else tell(request, response)
  })
  server.maxConnections = CONNECTIONS_MAX
  server.listen({ port, host })
  await once(server, 'listening')
  listening.defer(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })

  function tell(request: IncomingMessage, response: ServerResponse): void {
    const answer: Answer = { server: name, client: request.socket.remoteAddress ?? '' }
    response.writeHead(200, { 'content-type': 'application/json', connection: 'close' }).end(JSON.stringify(answer))
  }
}

function giveBack(request: IncomingMessage, response: ServerResponse): void {
  let received = 0
  request.on('data', (chunk: Buffer) => {
    received += chunk.length
    if (received > TRANSFER_BYTES_MAX) request.destroy()
  })
  response.writeHead(200, { 'content-type': 'application/octet-stream', connection: 'close' })
  request.pipe(response)
}

async function serveDatagrams(
  name: string,
  port: number,
  address: string,
  listening: AsyncDisposableStack,
): Promise<void> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  socket.on('message', (asked, from) => {
    if (!asked.subarray(0, ASK.length).equals(ASK)) return
    const answer = Buffer.alloc(asked.length)
    const text = JSON.stringify({ server: name, client: from.address } satisfies Answer)
    TELL.copy(answer)
    if (TELL.length + Buffer.byteLength(text) < answer.length) answer.write(text, TELL.length)
    // The asker counts what it does not get; nobody here could do anything about it.
    socket.send(answer, from.port, from.address, () => {})
  })
  socket.bind(port, address)
  await once(socket, 'listening')
  listening.defer(async () => {
    socket.close()
    await once(socket, 'close')
  })
}
