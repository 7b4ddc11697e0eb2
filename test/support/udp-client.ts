// SPDX-License-Identifier: Apache-2.0
// A program that tests run in a pod: udp-client.ts HOST PORT connected|unconnected. For each line on standard input it
// sends one datagram, waits for the answer or an error, and prints a UdpExchange as one line of JSON. A connected socket
// that failed is replaced before the next datagram, as an application reconnects.

import { createSocket, type Socket } from 'node:dgram'
import { createInterface } from 'node:readline'
import type { Answer } from '../../src/lab/serve.ts'

export interface UdpExchange {
  /** Name of the server that answered; '' on an error. */
  readonly server: string
  /** Source of the answer as the socket saw it. */
  readonly from: string
  readonly error: string | null
  readonly milliseconds: number
}

const [host, portText, kind] = process.argv.slice(2) as [string, string, 'connected' | 'unconnected']
const port = Number(portText)

async function open(): Promise<Socket> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  if (kind === 'connected') await new Promise<void>((resolve) => socket.connect(port, host, resolve))
  else await new Promise<void>((resolve) => socket.bind(0, resolve))
  return socket
}

function exchange(socket: Socket): Promise<UdpExchange> {
  const started = performance.now()
  return new Promise((resolve) => {
    const end = (server: string, from: string, error: string | null) => {
      clearTimeout(timer)
      socket.removeAllListeners()
      resolve({ server, from, error, milliseconds: Math.round(performance.now() - started) })
    }
    const timer = setTimeout(() => end('', '', 'timeout'), 3_000)
    socket.on('error', (error: NodeJS.ErrnoException) => end('', '', error.code ?? error.message))
    socket.on('message', (message, { address }) =>
      end((JSON.parse(message.toString()) as Answer).server, address, null),
    )
    const sent = (error: NodeJS.ErrnoException | null) => {
      if (error) end('', '', error.code ?? error.message)
    }
    if (kind === 'connected') socket.send('x', sent)
    else socket.send('x', port, host, sent)
  })
}

let socket = await open()
process.stdout.write('ready\n')
for await (const _ of createInterface({ input: process.stdin })) {
  const result = await exchange(socket)
  process.stdout.write(`${JSON.stringify(result)}\n`)
  if (result.error !== null && kind === 'connected') {
    socket.close()
    socket = await open()
  }
}
process.exit(0)
