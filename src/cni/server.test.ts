// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { addon } from '../../test/support/addon.ts'
import { cniRequest } from '../../test/support/cni.ts'
import type { CniReply, CniRequest } from './protocol.ts'
import { type CniServer, serveCni } from './server.ts'

let folder: string
let path: string
let server: CniServer
let handle: (request: CniRequest) => Promise<CniReply>
/** What the handlers were told about their replies. */
let delivered: boolean[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'heddle-cni-'))
  path = join(folder, 'cni.sock')
  delivered = []
  handle = async ({ command }) => reply(`said ${command}`)
  server = await serveCni(path, { handle: (request) => handle(request) }, addon)
})
afterEach(async () => {
  await server.close()
  await rm(folder, { recursive: true })
})

function reply(output: string, exitCode = 0): CniReply {
  return { exitCode, output, delivered: (whole) => delivered.push(whole) }
}

function frame(body: string | Buffer): Buffer {
  const bytes = Buffer.from(body)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

async function connected(): Promise<Socket> {
  const socket = connect(path)
  await once(socket, 'connect')
  return socket
}

/** Exit code and output of the reply; null when the server hung up. */
async function received(socket: Socket): Promise<{ exitCode: number; output: string } | null> {
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk)
  const bytes = Buffer.concat(chunks)
  if (bytes.length === 0) return null
  expect(bytes.readUInt32BE()).toBe(bytes.length - 4)
  return { exitCode: bytes[4]!, output: bytes.toString('utf8', 5) }
}

async function exchanged(bytes: Buffer) {
  const socket = await connected()
  socket.write(bytes)
  return received(socket)
}

const REQUEST = frame(JSON.stringify(cniRequest('STATUS')))

test('the socket is for root alone, and nothing else is left in its folder', async () => {
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(await readdir(folder)).toEqual(['cni.sock'])
})

test('whatever a dead agent left at the path is replaced; closing removes it', async () => {
  const other = join(folder, 'other.sock')
  await writeFile(other, '')
  const second = await serveCni(other, { handle }, addon)
  expect((await stat(other)).isSocket()).toBe(true)
  await second.close()
  expect(await readdir(folder)).toEqual(['cni.sock'])
})

test('a request is answered, also when it comes byte by byte', async () => {
  expect(await exchanged(REQUEST)).toEqual({ exitCode: 0, output: 'said STATUS\n' })
  const socket = await connected()
  for (const byte of REQUEST) {
    socket.write(Buffer.of(byte))
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(await received(socket)).toEqual({ exitCode: 0, output: 'said STATUS\n' })
  expect(delivered).toEqual([true, true])
})

test('a shim that went away is not delivered to', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  handle = async () => {
    await promise
    return reply('too late')
  }
  const socket = await connected()
  socket.write(REQUEST)
  await new Promise((done) => setTimeout(done, 20))
  socket.destroy()
  await once(socket, 'close')
  resolve()
  await expect.poll(() => delivered).toEqual([false])
})

test.each([
  ['not JSON', frame('{')],
  ['JSON of another kind', frame('[]')],
  ['members missing', frame('{"command":"ADD"}')],
  ['members of another type', frame(JSON.stringify({ ...cniRequest('ADD'), netns: 7 }))],
  ['an empty frame', frame('')],
])('%s is a decoding error', async (_, bytes) => {
  const answer = await exchanged(bytes)
  expect(answer?.exitCode).toBe(1)
  expect(JSON.parse(answer!.output)).toMatchObject({ cniVersion: '1.1.0', code: 6 })
})

test('text that is not UTF-8 is refused in the version that was asked for', async () => {
  const body = Buffer.from(JSON.stringify(cniRequest('ADD', { args: '#' }, { cniVersion: '0.4.0' })))
  body[body.indexOf('#')] = 0xff
  const answer = await exchanged(frame(body))
  expect(JSON.parse(answer!.output)).toMatchObject({ cniVersion: '0.4.0', code: 6 })
})

test('a request that is too long is refused before it is read', async () => {
  const answer = await exchanged(Buffer.from('ffffffff00', 'hex'))
  expect(JSON.parse(answer!.output)).toMatchObject({ code: 6, msg: 'the request is too long' })
})

test('at most 16 requests run at once; the others follow', async () => {
  let running = 0
  let most = 0
  handle = async () => {
    most = Math.max(most, ++running)
    await new Promise((resolve) => setTimeout(resolve, 5))
    running--
    return reply('done')
  }
  const answers = await Promise.all(Array.from({ length: 50 }, () => exchanged(REQUEST)))
  expect(answers.every((answer) => answer?.output === 'done\n')).toBe(true)
  expect(most).toBe(16)
})

test('closing finishes what runs and hangs up on what has not asked', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  handle = async () => {
    ask()
    await promise
    return reply('done')
  }
  const idle = await connected()
  const busy = await connected()
  busy.write(REQUEST)
  await asked
  const closing = server.close()
  expect(await received(idle)).toBeNull()
  resolve()
  expect(await received(busy)).toEqual({ exitCode: 0, output: 'done\n' })
  await closing
  server = { close: async () => {} }
})
