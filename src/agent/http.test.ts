// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { askAgent } from './client.ts'
import { createHttpServer, json, listenPrivately, RequestError, type Routes, text } from './http.ts'

let folder: string
let path: string
const failures: unknown[] = []
const open: { close(): void; closeAllConnections(): void }[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'heddle-http-'))
  path = join(folder, 'agent.sock')
})

afterEach(() => {
  for (const server of open.splice(0)) {
    server.close()
    server.closeAllConnections()
  }
  failures.length = 0
  rmSync(folder, { recursive: true })
})

async function serve(routes: Routes): Promise<void> {
  const server = createHttpServer(routes, (error) => failures.push(error))
  open.push(server)
  await listenPrivately(server, path)
}

/** Everything that the server sends until it closes. */
function raw(request: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(path)
    let reply = ''
    socket.setEncoding('utf8')
    socket.on('data', (chunk) => {
      reply += chunk
    })
    socket.on('error', () => resolve(reply))
    socket.on('close', () => resolve(reply))
    socket.write(request)
  })
}

describe('a socket that others can open would give the node away', () => {
  test('only its owner may, whatever the umask, and an old file is replaced', async () => {
    const umask = process.umask(0)
    try {
      await serve({})
      expect(statSync(path).mode & 0o777).toBe(0o600)
      await serve({})
      expect(statSync(path).mode & 0o777).toBe(0o600)
      expect(process.umask()).toBe(0)
    } finally {
      process.umask(umask)
    }
  })
})

describe('a reply must say what went wrong, and a client must not be able to harm the agent', () => {
  test('JSON carries ids as text; what cannot be asked is 400 or 503 and no failure of the agent', async () => {
    await serve({
      'GET /id': () => json({ id: 2n ** 63n }),
      'GET /bad': () => Promise.reject(new RequestError(400, 'no such pod')),
      'GET /later': () => Promise.reject(new RequestError(503, 'waiting for Node n1')),
    })
    expect(await askAgent(path, 'GET', '/id')).toEqual({ id: '9223372036854775808' })
    await expect(askAgent(path, 'GET', '/bad')).rejects.toMatchObject({ message: 'no such pod', exitCode: 2 })
    await expect(askAgent(path, 'GET', '/later')).rejects.toMatchObject({ message: 'waiting for Node n1', exitCode: 1 })
    await expect(askAgent(path, 'GET', '/none')).rejects.toThrow('there is no GET /none')
    await expect(askAgent(path, 'POST', '/id')).rejects.toThrow('there is no POST /id')
    expect(failures).toEqual([])
  })

  test('a failure of the agent is told to the client and to the log', async () => {
    await serve({ 'GET /status': () => Promise.reject(new Error('EIO')) })
    await expect(askAgent(path, 'GET', '/status')).rejects.toThrow('EIO')
    expect(failures).toHaveLength(1)
  })

  test('long headers, long bodies and nonsense are refused, and the next request is served', async () => {
    await serve({ 'GET /': () => text(200, 'ok'), 'POST /': () => new Promise(() => {}) })
    expect(await raw(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)).toContain('431')
    expect(await raw(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n${'x'.repeat(9_000)}`)).toBe('')
    expect(await raw('\0\0\0\0\r\n\r\n')).toContain('400')
    expect(await raw('GET // HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')).toContain('there is no GET')
    expect(await raw('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')).toContain('ok')
  })
})
