// SPDX-License-Identifier: Apache-2.0
// The server that pods of examples, demo and tests run. It answers with who it is and who it sees:
//
//   GET /          -> {"server":"web-1","client":"10.244.1.3","clientPort":40112}
//   UDP datagram   -> the same as one datagram, with the number of bytes received

import { createSocket } from 'node:dgram'

/** Not imported: an import reads every export, and that of WebSocket loads 13 MB (also into the agent's bundle). */
const { createServer } = process.getBuiltinModule('node:http')

export interface Answer {
  readonly server: string
  /** As the server's socket sees it; IPv4 without the mapped prefix. */
  readonly client: string
  readonly clientPort: number
  /** Bytes of the request's body or datagram. */
  readonly bytes: number
}

/** Listens on both families; resolves when every wanted port listens. */
export async function serve(wanted: {
  readonly name: string
  readonly httpPort: number | null
  readonly udpPort: number | null
}): Promise<void> {
  if (wanted.httpPort !== null) await serveHttp(wanted.name, wanted.httpPort)
  if (wanted.udpPort !== null) await serveUdp(wanted.name, wanted.udpPort)
}

async function serveHttp(name: string, port: number): Promise<void> {
  const server = createServer((request, response) => {
    let bytes = 0
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    request.on('end', () => {
      const { remoteAddress = '', remotePort = 0 } = request.socket
      response.setHeader('content-type', 'application/json')
      response.end(`${answer(name, remoteAddress, remotePort, bytes)}\n`)
    })
  })
  // Longer than any test keeps a connection idle.
  server.keepAliveTimeout = 120_000
  await new Promise<void>((resolve) => server.listen(port, '::', 4_096, resolve))
}

async function serveUdp(name: string, port: number): Promise<void> {
  const socket = createSocket('udp6')
  socket.on('message', (message, { address, port }) =>
    socket.send(answer(name, address, port, message.length), port, address),
  )
  await new Promise<void>((resolve) => socket.bind(port, '::', resolve))
}

function answer(server: string, client: string, clientPort: number, bytes: number): string {
  return JSON.stringify({ server, client: client.replace(/^::ffff:/, ''), clientPort, bytes } satisfies Answer)
}
