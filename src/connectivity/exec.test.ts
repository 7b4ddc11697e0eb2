// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Connection, Identity } from '../kube/connection.ts'
import { createExec, type Exec, exitCodeOf } from './exec.ts'

const identity: Identity = {
  authorization: 'Bearer secret',
  ca: undefined,
  cert: undefined,
  key: undefined,
  serverName: '',
}
const at = { namespace: 'test', pod: 'client-1', container: 'heddle' }
const failure = (code: string) =>
  JSON.stringify({ status: 'Failure', details: { causes: [{ reason: 'ExitCode', message: code }] } })

describe('a command in a container', () => {
  let dir: string
  let server: Server
  let exec: Exec
  let asked = ''
  /** What the API server does with the next connection. */
  let play: (socket: WebSocket) => void

  const say = (socket: WebSocket, channel: number, text: string) =>
    socket.send(Buffer.concat([Buffer.from([channel]), Buffer.from(text)]))
  const never = AbortSignal.timeout(60_000)

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'heddle-exec-'))
    server = createServer((_, response) => response.writeHead(403).end())
    const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'v5.channel.k8s.io' })
    server.on('upgrade', (request, socket, head) => {
      asked = `${request.headers.authorization} ${request.url}`
      if (asked.includes('forbidden')) socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n')
      else sockets.handleUpgrade(request, socket, head, (accepted) => play(accepted))
    })
    await new Promise<void>((resolve) => server.listen(`${dir}/api.sock`, resolve))
    const connection = { identity: async () => identity } as Connection
    exec = createExec(connection, () => `ws+unix:${dir}/api.sock:`)
  })

  afterEach(() => {
    server.close()
    server.closeAllConnections()
    rmSync(dir, { recursive: true })
  })

  test('its output by channel, a character cut in two included, and its exit code', async () => {
    play = (socket) => {
      socket.send(Buffer.from([1, 0xc3]))
      socket.send(Buffer.from([1, 0xa9]))
      say(socket, 2, 'warned')
      say(socket, 3, failure('7'))
      socket.close()
    }
    expect(await exec(at, ['heddle', 'a b'], never)).toEqual({ exitCode: 7, stdout: 'é', stderr: 'warned' })
    expect(asked).toBe(
      'Bearer secret /api/v1/namespaces/test/pods/client-1/exec?container=heddle&stdout=true&stderr=true&command=heddle&command=a+b',
    )
  })

  test('output that is followed comes as it is written and is not kept', async () => {
    const seen: string[] = []
    play = (socket) => {
      say(socket, 1, 'one')
      say(socket, 1, 'two')
      say(socket, 3, '{"status":"Success"}')
      socket.close()
    }
    const ended = await exec(at, ['heddle'], never, (text) => seen.push(text))
    expect(ended).toEqual({ exitCode: 0, stdout: '', stderr: '' })
    expect(seen.join('')).toBe('onetwo')
  })

  test.each([
    ['breaks off', (socket: WebSocket) => socket.terminate(), /before it ended/],
    [
      'floods',
      (socket: WebSocket) => {
        for (let i = 0; i < 10; i++) say(socket, 1, 'x'.repeat(1_000_000))
      },
      /more than 4194304 characters/,
    ],
    [
      'cannot start it',
      (socket: WebSocket) => {
        say(socket, 3, '{"status":"Failure","message":"no such executable"}')
        socket.close()
      },
      /exec in test\/client-1: no such executable/,
    ],
  ])('a server that %s: one sentence, without a secret', async (_, does, sentence) => {
    play = does
    const error = await exec(at, ['heddle'], never).catch((reason: Error) => reason)
    expect((error as Error).message).toMatch(sentence)
    expect((error as Error).message).not.toContain('secret')
  })

  test('a refusal names the status', async () => {
    await expect(exec({ ...at, pod: 'forbidden' }, ['heddle'], never)).rejects.toThrow(/HTTP status 403/)
  })

  test('aborting ends it', async () => {
    const stop = new AbortController()
    play = () => stop.abort(new Error('enough'))
    await expect(exec(at, ['heddle'], stop.signal)).rejects.toThrow('enough')
  })
})

test.each([
  ['{"status":"Success"}', 0],
  [failure('137'), 137],
  [failure(''), 'no reason given'],
  ['{"status":"Failure","message":"gone"}', 'gone'],
  ['[]', 'no reason given'],
  ['null', 'what it ended with is no metav1.Status'],
  ['nonsense', 'what it ended with is no metav1.Status'],
])('%s means %j', (status, meaning) => {
  expect(exitCodeOf(status)).toBe(meaning)
})
