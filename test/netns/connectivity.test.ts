// SPDX-License-Identifier: Apache-2.0
// What the pods of `heddle connectivity test` run, between two network namespaces:
//
//   client 10.0.0.1, fd00::1 ---- veth ---- 10.0.0.2, fd00::2 server

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Probe, ProbeResult } from '../../src/connectivity/check.ts'
import type { Address } from '../../src/core/address.ts'
import { createNamespaces, type Namespaces } from '../support/netns.ts'

const address = (text: string) => text as Address
const [four, six] = [address('10.0.0.2'), address('fd00::2')]
let spaces: Namespaces
let server: ChildProcess

beforeAll(async () => {
  spaces = createNamespaces(['client', 'server'])
  const other = ['netns', spaces.path('server').split('/').at(-1)!]
  spaces.run('client', 'ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', ...other)
  for (const [host, name] of ['client', 'server'].entries()) {
    spaces.run(name, 'ip', 'address', 'add', `10.0.0.${host + 1}/24`, 'dev', 'eth0')
    spaces.run(name, 'ip', 'address', 'add', `fd00::${host + 1}/64`, 'dev', 'eth0', 'nodad')
    // Must not answer: the test names addresses one by one.
    spaces.run(name, 'ip', 'address', 'add', `10.0.1.${host + 1}/24`, 'dev', 'eth0')
    spaces.run(name, 'ip', 'link', 'set', 'lo', 'up')
    spaces.run(name, 'ip', 'link', 'set', 'eth0', 'mtu', '1500', 'up')
  }
  server = heddle('server', 'serve', 'server-1', '8080,8081', `${four},${six}`)
  const [started] = await probe({ kind: 'connect', address: four, port: 8081 }, { patienceMs: 20_000 })
  expect(started!.error).toBe('')
})

afterAll(async () => {
  server?.kill('SIGTERM')
  if (server && server.exitCode === null) await once(server, 'exit')
  spaces?.[Symbol.dispose]()
})

function commandLine(name: string, ...args: readonly string[]): [string, string[]] {
  // As in a container, /sys is that of the network namespace.
  const inside = ['netns', 'exec', spaces.path(name).split('/').at(-1)!]
  return ['ip', [...inside, process.execPath, 'src/main.ts', 'connectivity', ...args]]
}

function heddle(name: string, ...args: readonly string[]): ChildProcess {
  const [file, words] = commandLine(name, ...args)
  return spawn(file, words, { stdio: 'inherit' })
}

async function probe(one: Probe, change: object = {}): Promise<readonly ProbeResult[]> {
  const batch = { timeoutMs: 1_000, patienceMs: 0, until: 'answer', probes: [one], ...change }
  const [file, words] = commandLine('client', 'probe', JSON.stringify(batch))
  return new Promise((resolve, reject) => {
    execFile(file, words, (error, stdout) => (error ? reject(error) : resolve(JSON.parse(stdout))))
  })
}

const result = async (one: Probe) => (await probe(one))[0]!

test.each([
  [four, '10.0.0.1'],
  [six, 'fd00::1'],
])('HTTP and UDP at %s tell who asked', async (to, from) => {
  const wanted = { error: '', servers: ['server-1'], source: from }
  expect(await result({ kind: 'http', address: to, port: 8080, count: 3 })).toMatchObject(wanted)
  expect(await result({ kind: 'udp', address: to, port: 8081, bytes: 256 })).toMatchObject({ ...wanted, bytes: 256 })
})

test('a transfer comes back whole', async () => {
  const found = await result({ kind: 'transfer', address: four, port: 8080, bytes: 1 << 20 })
  expect(found).toMatchObject({ error: '', bytes: 1 << 20 })
})

test('a port without a listener, an address that is not served, a host that is not there', async () => {
  const at = (to: string, port: number) => result({ kind: 'http', address: address(to), port, count: 1 })
  expect((await at(four, 80)).error).toBe('ECONNREFUSED')
  expect((await at('10.0.1.2', 8080)).error).toBe('ECONNREFUSED')
  expect((await at('10.0.0.9', 8080)).error).toBe('timeout')
  expect((await result({ kind: 'udp', address: four, port: 80, bytes: 256 })).error).toBe('ECONNREFUSED')
})

test('a datagram of the MTU arrives whole, and on a path that is narrower than the devices say it does not', async () => {
  const full = (to: Address) => result({ kind: 'udp', address: to, port: 8080, bytes: 'mtu' })
  expect(await full(four)).toMatchObject({ error: '', bytes: 1500 - 28 })
  expect(await full(six)).toMatchObject({ error: '', bytes: 1500 - 48 })
  // A veth device refuses what is larger than its own MTU and tells nobody.
  spaces.run('server', 'ip', 'link', 'set', 'eth0', 'mtu', '1400')
  try {
    expect((await full(four)).error).toBe('timeout')
    expect((await full(six)).error).toBe('timeout')
    expect((await result({ kind: 'udp', address: four, port: 8080, bytes: 1300 })).error).toBe('')
  } finally {
    spaces.run('server', 'ip', 'link', 'set', 'eth0', 'mtu', '1500')
  }
})

test('two servers cannot be set upon each other: only a question is answered', async () => {
  const asker = `
    const socket = require('node:dgram').createSocket('udp4')
    const heard = []
    socket.on('message', (text) => heard.push(text.subarray(0, 7).toString()))
    for (const text of ['heddle!' + 'x'.repeat(200), 'heddle', 'heddle?' + 'x'.repeat(200)]) socket.send(text, 8080, '${four}')
    setTimeout(() => { console.log(heard.join()); socket.close() }, 500)`
  expect(spaces.run('client', process.execPath, '-e', asker).trim()).toBe('heddle!')
})
