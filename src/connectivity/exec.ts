// SPDX-License-Identifier: Apache-2.0
// Runs a command in a container through the API server, as `kubectl exec` does without a terminal or standard input.
// Source: Kubernetes' remote command protocol over WebSocket (KEP 4006): the first byte of a message is its channel.

import { StringDecoder } from 'node:string_decoder'
import { WebSocket } from 'ws'
import type { Connection } from '../kube/connection.ts'
import { tlsOptions } from '../kube/transport.ts'

export interface Container {
  readonly namespace: string
  readonly pod: string
  readonly container: string
}

export interface Ended {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** Resolves when the command has ended. `stdout`: given its output as it comes, which is then not kept. Throws a sentence when the
 *  command could not be started or the connection broke, and the signal's reason when it is aborted. */
export type Exec = (
  at: Container,
  command: readonly string[],
  signal: AbortSignal,
  stdout?: (text: string) => void,
) => Promise<Ended>

/** What a container writes is kept up to this. */
const OUTPUT_CHARS_MAX = 4 << 20
const MESSAGE_BYTES_MAX = 1 << 20
const HANDSHAKE_MS = 10_000
/** The second is what servers before 1.30 speak; without standard input they are the same. */
const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io']
const channels = { stdout: 1, stderr: 2, status: 3 } as const

/** `servers()` of the connection that answered last, first. */
export function createExec(connection: Connection, server: () => string): Exec {
  return async (at, command, signal, stdout) => {
    signal.throwIfAborted()
    const { authorization, ...tls } = await connection.identity()
    const socket = new WebSocket(`${server().replace(/^http/, 'ws')}${execPath(at, command)}`, PROTOCOLS, {
      ...tlsOptions({ authorization, ...tls }),
      headers: authorization === null ? {} : { authorization },
      handshakeTimeout: HANDSHAKE_MS,
      maxPayload: MESSAGE_BYTES_MAX,
      perMessageDeflate: false,
    })
    return follow(socket, at, signal, stdout)
  }
}

function follow(
  socket: WebSocket,
  at: Container,
  signal: AbortSignal,
  stdout?: (text: string) => void,
): Promise<Ended> {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>()
  const fail = (why: string) => reject(new Error(`exec in ${at.namespace}/${at.pod}: ${why}`))
  const decoders = { stdout: new StringDecoder('utf8'), stderr: new StringDecoder('utf8') }
  const kept = { stdout: '', stderr: '' }
  let status: string | null = null

  function take(stream: 'stdout' | 'stderr', bytes: Buffer): void {
    const text = decoders[stream].write(bytes)
    if (stream === 'stdout' && stdout) {
      stdout(text)
      return
    }
    kept[stream] += text
    if (kept[stream].length <= OUTPUT_CHARS_MAX) return
    fail(`it wrote more than ${OUTPUT_CHARS_MAX} characters`)
    socket.terminate()
  }

  socket.on('message', (data) => {
    const message = data as Buffer
    if (message[0] === channels.stdout) take('stdout', message.subarray(1))
    else if (message[0] === channels.stderr) take('stderr', message.subarray(1))
    else if (message[0] === channels.status) status = message.toString('utf8', 1)
  })
  socket.on('unexpected-response', (_, response) => {
    fail(`the API server answers with HTTP status ${response.statusCode}`)
    socket.terminate()
  })
  socket.on('error', (error) => fail(error.message))
  socket.on('close', (code) => {
    const exitCode = status === null ? `the connection closed (${code}) before it ended` : exitCodeOf(status)
    if (typeof exitCode === 'string') fail(exitCode)
    else resolve({ exitCode, ...kept })
  })
  const stop = () => {
    reject(signal.reason)
    socket.terminate()
  }
  signal.addEventListener('abort', stop, { once: true })
  return promise.finally(() => signal.removeEventListener('abort', stop))
}

function execPath({ namespace, pod, container }: Container, command: readonly string[]): string {
  const query = new URLSearchParams({ container, stdout: 'true', stderr: 'true' })
  for (const word of command) query.append('command', word)
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(pod)}/exec?${query}`
}

/** The exit code that a metav1.Status tells, or why there is none. */
export function exitCodeOf(status: string): number | string {
  interface Told {
    readonly status?: unknown
    readonly message?: unknown
    readonly details?: { readonly causes?: readonly { readonly reason?: unknown; readonly message?: unknown }[] }
  }
  try {
    const told = JSON.parse(status) as Told
    if (told.status === 'Success') return 0
    const cause = told.details?.causes?.find(({ reason }) => reason === 'ExitCode')
    const code = cause?.message
    return typeof code === 'string' && /^\d{1,3}$/.test(code)
      ? Number(code)
      : String(told.message ?? 'no reason given').slice(0, 300)
  } catch {
    return 'what it ended with is no metav1.Status'
  }
}
