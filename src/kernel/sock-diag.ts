// SPDX-License-Identifier: Apache-2.0
// Sockets of a network namespace by NETLINK_SOCK_DIAG (include/uapi/linux/inet_diag.h): a connected UDP socket keeps its
// peer for ever, so that one whose backend was removed must be told; one that was bound before a Service took its port
// hears nothing any more; and what clients have of a Service is what their sockets have.

import { type Address, addressFromBytes } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import type { Addon, Fd, NetlinkSocket } from './addon.ts'
import { attempt, isCode } from './kernel-error.ts'
import { Flag, findAttribute, message, parseMessage, viewOf } from './netlink.ts'

const NETLINK_SOCK_DIAG = 4
const SOCK_DIAG_BY_FAMILY = 20
const SOCK_DESTROY = 21
const AF_INET = 2
const AF_INET6 = 10
const ESTABLISHED = 1 << 1
/** Of TCP; the state of a UDP socket without a peer is CLOSE. */
const LISTEN = 1 << 10
const CLOSE = 1 << 7
const INET_DIAG_INFO = 2
const INET_DIAG_SKV6ONLY = 11
/** In struct tcp_info (include/uapi/linux/tcp.h). */
const BYTES_ACKED_OFFSET = 120
const BYTES_RECEIVED_OFFSET = 128

/** struct inet_diag_req_v2 and its inet_diag_sockid; struct inet_diag_msg holds one as well. */
const REQUEST_BYTES = 56
const REQUEST_ID_OFFSET = 8
const ANSWER_ID_OFFSET = 4
const ID_BYTES = 48
const ANSWER_BYTES = 72
const SOURCE_OFFSET = 4
const DESTINATION_PORT_OFFSET = 2
const DESTINATION_OFFSET = 20
const COOKIE_OFFSET = 40

export interface SocketPeer {
  readonly address: Address
  readonly port: number
}

/** A UDP socket with a peer, or an established TCP connection. */
export interface ConnectedSocket {
  readonly protocol: typeof Protocol.TCP | typeof Protocol.UDP
  /** As bpf_get_socket_cookie gives it. */
  readonly cookie: bigint
  readonly peer: SocketPeer
  /** What TCP has acknowledged, its SYN among it, and received; of UDP 0. */
  readonly bytesSent: number
  readonly bytesReceived: number
}

/** A TCP socket that listens, or a UDP socket without a peer. */
export interface BoundSocket {
  readonly protocol: typeof Protocol.TCP | typeof Protocol.UDP
  /** All zero: every address of its family, and '::' those of IPv4 too, unless isIPv6Only. */
  readonly address: Address
  readonly port: number
  readonly isIPv6Only: boolean
}

/** netns null: the caller's. Cost: its sockets. */
export function listBoundSockets(addon: Addon, netns: Fd | null): Promise<BoundSocket[]> {
  const states = { [Protocol.TCP]: LISTEN, [Protocol.UDP]: CLOSE }
  return listSockets(addon, netns, states, boundSocket)
}

/** netns null: the caller's. Cost: its sockets. */
export function listConnectedSockets(addon: Addon, netns: Fd | null): Promise<ConnectedSocket[]> {
  const states = { [Protocol.TCP]: ESTABLISHED, [Protocol.UDP]: ESTABLISHED }
  return listSockets(addon, netns, states, connectedSocket)
}

async function listSockets<T>(
  addon: Addon,
  netns: Fd | null,
  states: Readonly<Record<BoundSocket['protocol'], number>>,
  read: (protocol: BoundSocket['protocol'], answer: Uint8Array) => T,
): Promise<T[]> {
  const socket = addon.openNetlink(NETLINK_SOCK_DIAG, netns)
  try {
    const sockets: T[] = []
    for (const protocol of [Protocol.TCP, Protocol.UDP] as const) {
      for (const family of [AF_INET, AF_INET6]) {
        const question = dump(family, protocol, states[protocol])
        const answers = await attempt('list sockets', () => socket.request(question))
        for (const answer of answers) sockets.push(read(protocol, parseMessage(answer).body))
      }
    }
    return sockets
  } finally {
    socket.close()
  }
}

/** What `look` finds in the caller's network namespace (null), then in each of `paths` that is still there. */
export async function inEachNetns<T>(
  addon: Addon,
  paths: readonly string[],
  look: (netns: Fd | null) => Promise<T>,
): Promise<T[]> {
  const found = [await look(null)]
  for (const path of paths) {
    const netns = openIfThere(addon, path)
    if (netns === undefined) continue
    try {
      found.push(await look(netns))
    } finally {
      addon.closeFd(netns)
    }
  }
  return found
}

function openIfThere(addon: Addon, path: string): Fd | undefined {
  try {
    return addon.openNetns(path)
  } catch {
    return undefined
  }
}

/** Aborts those connected sockets of the protocols that must go: their next call fails with ECONNABORTED, and TCP resets
 *  its peer. Resolves to how many. netns null: the caller's. */
export async function destroySockets(
  addon: Addon,
  netns: Fd | null,
  protocols: readonly ConnectedSocket['protocol'][],
  mustGo: (socket: ConnectedSocket) => boolean,
): Promise<number> {
  const socket = addon.openNetlink(NETLINK_SOCK_DIAG, netns)
  try {
    let destroyed = 0
    for (const protocol of protocols) {
      for (const family of [AF_INET, AF_INET6]) {
        const question = dump(family, protocol, ESTABLISHED)
        for (const answer of await attempt('list sockets', () => socket.request(question))) {
          const { body } = parseMessage(answer)
          if (mustGo(connectedSocket(protocol, body)) && (await destroy(socket, family, protocol, body))) destroyed++
        }
      }
    }
    return destroyed
  } finally {
    socket.close()
  }
}

/** false: it had gone by itself. */
async function destroy(
  socket: NetlinkSocket,
  family: number,
  protocol: ConnectedSocket['protocol'],
  answer: Uint8Array,
): Promise<boolean> {
  const body = request(family, protocol, ESTABLISHED)
  body.set(answer.subarray(ANSWER_ID_OFFSET, ANSWER_ID_OFFSET + ID_BYTES), REQUEST_ID_OFFSET)
  try {
    await attempt('destroy a socket', () => socket.request(message(SOCK_DESTROY, 0, body, [])))
    return true
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error
    return false
  }
}

function dump(family: number, protocol: number, states: number): Uint8Array {
  return message(SOCK_DIAG_BY_FAMILY, Flag.ROOT_AND_MATCH, request(family, protocol, states), [])
}

function request(family: number, protocol: number, states: number): Uint8Array {
  const body = new Uint8Array(REQUEST_BYTES)
  body[0] = family
  body[1] = protocol
  if (states === ESTABLISHED) body[2] = 1 << (INET_DIAG_INFO - 1)
  viewOf(body).setUint32(4, states, true)
  return body
}

function boundSocket(protocol: BoundSocket['protocol'], answer: Uint8Array): BoundSocket {
  const id = idOf(answer)
  return {
    protocol,
    address: addressAt(answer, SOURCE_OFFSET),
    port: viewOf(id).getUint16(0),
    isIPv6Only: findAttribute(answer, ANSWER_BYTES, INET_DIAG_SKV6ONLY)?.[0] === 1,
  }
}

function connectedSocket(protocol: ConnectedSocket['protocol'], answer: Uint8Array): ConnectedSocket {
  const id = viewOf(idOf(answer))
  const info = protocol === Protocol.TCP ? findAttribute(answer, ANSWER_BYTES, INET_DIAG_INFO) : undefined
  const bytesAt = (offset: number) => (info === undefined ? 0 : Number(viewOf(info).getBigUint64(offset, true)))
  return {
    protocol,
    cookie: id.getBigUint64(COOKIE_OFFSET, true),
    peer: { address: addressAt(answer, DESTINATION_OFFSET), port: id.getUint16(DESTINATION_PORT_OFFSET) },
    bytesSent: bytesAt(BYTES_ACKED_OFFSET),
    bytesReceived: bytesAt(BYTES_RECEIVED_OFFSET),
  }
}

function idOf(answer: Uint8Array): Uint8Array {
  return answer.subarray(ANSWER_ID_OFFSET, ANSWER_ID_OFFSET + ID_BYTES)
}

/** offset: in the id. */
function addressAt(answer: Uint8Array, offset: number): Address {
  const id = idOf(answer)
  const bytes = new Uint8Array(16)
  if (answer[0] === AF_INET) {
    bytes.set([0xff, 0xff], 10)
    bytes.set(id.subarray(offset, offset + 4), 12)
  } else {
    bytes.set(id.subarray(offset, offset + 16))
  }
  return addressFromBytes(bytes)
}
