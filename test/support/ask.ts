// SPDX-License-Identifier: Apache-2.0
// A program that tests run at a place of a lab: asks every target of the JSON list on standard input at once and prints
// the answers as JSON, in order. TCP asks by HTTP on a new connection; UDP sends one datagram from a connected socket;
// ICMP is one ping.

import { execFile } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Answer } from '../../src/lab/serve.ts'

export interface Target {
  readonly protocol: 'TCP' | 'UDP' | 'ICMP'
  readonly host: string
  readonly port: number
  /** Of the body or datagram; 0 by default. */
  readonly bytes?: number
  readonly timeoutMs?: number
}

/** What came back, or the error's code: 'timeout', 'ECONNREFUSED' ... An answered ping has no server. */
export type Reply = { readonly answer: Answer | null } | { readonly error: string }

const defaultTimeoutMs = 3_000

function ask(target: Target): Promise<Reply> {
  if (target.protocol === 'TCP') return askHttp(target)
  return target.protocol === 'UDP' ? askUdp(target) : ping(target)
}

function askHttp({ host, port, bytes = 0, timeoutMs = defaultTimeoutMs }: Target): Promise<Reply> {
  return new Promise((resolve) => {
    const outgoing = request({ host, port, method: 'POST', agent: false, signal: AbortSignal.timeout(timeoutMs) })
    outgoing.on('response', async (response) => resolve({ answer: JSON.parse(await text(response)) as Answer }))
    outgoing.on('error', (error: NodeJS.ErrnoException) =>
      resolve({ error: error.name === 'AbortError' ? 'timeout' : (error.code ?? error.message) }),
    )
    outgoing.end(Buffer.alloc(bytes))
  })
}

function askUdp({ host, port, bytes = 1, timeoutMs = defaultTimeoutMs }: Target): Promise<Reply> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    const timer = setTimeout(() => end({ error: 'timeout' }), timeoutMs)
    const end = (reply: Reply) => {
      clearTimeout(timer)
      socket.close()
      resolve(reply)
    }
    socket.once('error', (error: NodeJS.ErrnoException) => end({ error: error.code ?? error.message }))
    socket.once('message', (message) => end({ answer: JSON.parse(message.toString()) as Answer }))
    socket.connect(port, host, (error?: NodeJS.ErrnoException) => {
      if (error) end({ error: error.code ?? error.message })
      else socket.send(Buffer.alloc(bytes))
    })
  })
}

function ping({ host, bytes = 56, timeoutMs = defaultTimeoutMs }: Target): Promise<Reply> {
  const args = ['-c', '1', '-W', String(timeoutMs / 1_000), '-s', String(bytes), host]
  return new Promise((resolve) => {
    execFile('ping', args, (error, stdout) => resolve(error ? { error: stdout.trim() || 'timeout' } : { answer: null }))
  })
}

const targets = JSON.parse(await text(process.stdin)) as Target[]
process.stdout.write(JSON.stringify(await Promise.all(targets.map(ask))))
process.exit(0)
