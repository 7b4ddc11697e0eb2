// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { createNamespaces } from '../../test/support/netns.ts'
import { Protocol } from '../core/protocol.ts'
import { loadAddon } from './load-addon.ts'
import { type ConnectedSocket, destroySockets, listBoundSockets, listConnectedSockets } from './sock-diag.ts'

const addon = loadAddon()

/** Connects a socket to each address, port 5000 but for the last; reports errors until its input ends. */
const CLIENT = `
const { createSocket } = require('node:dgram')
const peers = [['udp4', '127.0.0.1', 5000], ['udp6', '::1', 5000], ['udp6', '::ffff:127.0.0.1', 5000], ['udp4', '127.0.0.1', 5001]]
let connected = 0
for (const [type, address, port] of peers) {
  const socket = createSocket(type)
  socket.on('error', ({ code }) => console.log(address, port, code))
  socket.connect(port, address, () => { if (++connected === peers.length) console.log('connected') })
}
process.stdin.resume().on('end', () => process.exit())`

test('connected UDP sockets hear of their removed peer at once, in both families; others hear nothing', async () => {
  using namespaces = createNamespaces(['pod'])
  namespaces.run('pod', 'ip', 'link', 'set', 'lo', 'up')
  const client = spawn('nsenter', [`--net=${namespaces.path('pod')}`, process.execPath, '-e', CLIENT], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const netns = addon.openNetns(namespaces.path('pod'))
  try {
    const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]()
    expect((await lines.next()).value).toBe('connected')
    const isGone = ({ peer }: ConnectedSocket) => ['127.0.0.1', '::1'].includes(peer.address) && peer.port === 5000
    expect(await destroySockets(addon, netns, [Protocol.UDP], isGone)).toBe(3)
    expect(await destroySockets(addon, netns, [Protocol.UDP], isGone)).toBe(0)
    client.stdin.end()
    const heard: string[] = []
    for (let line = await lines.next(); !line.done; line = await lines.next()) heard.push(line.value)
    expect(heard.sort()).toEqual([
      '127.0.0.1 5000 ECONNABORTED',
      '::1 5000 ECONNABORTED',
      '::ffff:127.0.0.1 5000 ECONNABORTED',
    ])
  } finally {
    addon.closeFd(netns)
    client.stdin.end()
  }
})

const SERVER = `
const { createServer } = require('node:net')
const { createSocket } = require('node:dgram')
let left = 4
const done = () => { if (--left === 0) console.log('bound') }
createServer().listen(5000, '0.0.0.0', done)
createServer().listen({ port: 5001, host: '::', ipv6Only: true }, done)
createSocket('udp6').bind(5002, '::', done)
const client = createSocket('udp4')
client.connect(5000, '127.0.0.1', done)
process.stdin.resume().on('end', () => process.exit())`

test('what is bound is listed with its address, port and family; what has a peer is not', async () => {
  using namespaces = createNamespaces(['node'])
  namespaces.run('node', 'ip', 'link', 'set', 'lo', 'up')
  const server = spawn('nsenter', [`--net=${namespaces.path('node')}`, process.execPath, '-e', SERVER], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const netns = addon.openNetns(namespaces.path('node'))
  try {
    expect((await createInterface({ input: server.stdout })[Symbol.asyncIterator]().next()).value).toBe('bound')
    expect(await listBoundSockets(addon, netns)).toEqual([
      { protocol: 6, address: '0.0.0.0', port: 5000, isIPv6Only: false },
      { protocol: 6, address: '::', port: 5001, isIPv6Only: true },
      { protocol: 17, address: '::', port: 5002, isIPv6Only: false },
    ])
  } finally {
    addon.closeFd(netns)
    server.stdin.end()
  }
})

const TALK = `
const { connect, createServer } = require('node:net')
const { createSocket } = require('node:dgram')
createServer((socket) => socket.write('hello')).listen(5000, '127.0.0.1', () => {
  connect(5000, '127.0.0.1').on('data', () => {
    const udp = createSocket('udp4')
    udp.connect(5001, '127.0.0.1', () => console.log('talked'))
  })
})
process.stdin.resume().on('end', () => process.exit())`

test('what has a peer is listed with it, and TCP with what it has received', async () => {
  using namespaces = createNamespaces(['pod'])
  namespaces.run('pod', 'ip', 'link', 'set', 'lo', 'up')
  const program = spawn('nsenter', [`--net=${namespaces.path('pod')}`, process.execPath, '-e', TALK], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const netns = addon.openNetns(namespaces.path('pod'))
  try {
    expect((await createInterface({ input: program.stdout })[Symbol.asyncIterator]().next()).value).toBe('talked')
    const sockets = await listConnectedSockets(addon, netns)
    expect(new Set(sockets.map(({ cookie }) => cookie)).size).toBe(3)
    const peers = sockets.filter(({ peer }) => [5000, 5001].includes(peer.port))
    expect(peers).toMatchObject([
      { protocol: 6, peer: { address: '127.0.0.1', port: 5000 }, bytesReceived: 5 },
      { protocol: 17, peer: { address: '127.0.0.1', port: 5001 }, bytesSent: 0, bytesReceived: 0 },
    ])
  } finally {
    addon.closeFd(netns)
    program.stdin.end()
  }
})
