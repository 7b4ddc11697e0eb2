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

interface Client {
  readonly socket: Socket
  /** An error that came between two exchanges. */
  failure: string | null
}

async function open(): Promise<Client> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  const client: Client = { socket, failure: null }
  socket.on('error', (error: NodeJS.ErrnoException) => {
    client.failure = error.code ?? error.message
  })
  if (kind === 'connected') await new Promise<void>((resolve) => socket.connect(port, host, resolve))
  else await new Promise<void>((resolve) => socket.bind(0, resolve))
  return client
}

function exchange({ socket, failure }: Client): Promise<UdpExchange> {
  const started = performance.now()
  if (failure !== null) return Promise.resolve({ server: '', from: '', error: failure, milliseconds: 0 })
  return new Promise((resolve) => {
    const end = (server: string, from: string, error: string | null) => {
      clearTimeout(timer)
      socket.removeListener('error', onError)
      socket.removeListener('message', onMessage)
      resolve({ server, from, error, milliseconds: Math.round(performance.now() - started) })
    }
    const timer = setTimeout(() => end('', '', 'timeout'), 3_000)
    const onError = (error: NodeJS.ErrnoException) => end('', '', error.code ?? error.message)
    const onMessage = (message: Buffer, { address }: { readonly address: string }) =>
      end((JSON.parse(message.toString()) as Answer).server, address, null)
    socket.on('error', onError)
    socket.on('message', onMessage)
    const sent = (error: NodeJS.ErrnoException | null) => {
      if (error) onError(error)
    }
    if (kind === 'connected') socket.send('x', sent)
    else socket.send('x', port, host, sent)
  })
}

let client = await open()
process.stdout.write('ready\n')
for await (const _ of createInterface({ input: process.stdin })) {
  const result = await exchange(client)
  process.stdout.write(`${JSON.stringify(result)}\n`)
  if (result.error !== null && kind === 'connected') {
    client.socket.close()
    client = await open()
  }
}
process.exit(0)
