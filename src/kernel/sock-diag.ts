// SPDX-License-Identifier: Apache-2.0
// Sockets of a network namespace by NETLINK_SOCK_DIAG (include/uapi/linux/inet_diag.h): a connected UDP socket keeps its
// peer for ever, so that one whose backend was removed must be told.

import { type Address, addressFromBytes } from '../core/address.ts'
import type { Addon, Fd, NetlinkSocket } from './addon.ts'
import { attempt, isCode } from './kernel-error.ts'
import { Flag, message, parseMessage, viewOf } from './netlink.ts'

const NETLINK_SOCK_DIAG = 4
const SOCK_DIAG_BY_FAMILY = 20
const SOCK_DESTROY = 21
const AF_INET = 2
const AF_INET6 = 10
const IPPROTO_UDP = 17
const ESTABLISHED = 1 << 1

/** struct inet_diag_req_v2 and its inet_diag_sockid; struct inet_diag_msg holds one as well. */
const REQUEST_BYTES = 56
const REQUEST_ID_OFFSET = 8
const ANSWER_ID_OFFSET = 4
const ID_BYTES = 48
const DESTINATION_PORT_OFFSET = 2
const DESTINATION_OFFSET = 20
const COOKIE_OFFSET = 40

export interface SocketPeer {
  readonly address: Address
  readonly port: number
}

/** A connected UDP socket. */
export interface ConnectedSocket {
  /** As bpf_get_socket_cookie gives it. */
  readonly cookie: bigint
  readonly peer: SocketPeer
}

/** Aborts those connected UDP sockets that must go: their next call fails with ECONNABORTED. Resolves to how many.
 *  netns null: the caller's. */
export async function destroyUdpSockets(
  addon: Addon,
  netns: Fd | null,
  mustGo: (socket: ConnectedSocket) => boolean,
): Promise<number> {
  const socket = addon.openNetlink(NETLINK_SOCK_DIAG, netns)
  try {
    let destroyed = 0
    for (const family of [AF_INET, AF_INET6]) {
      const answers = await attempt('list UDP sockets', () =>
        socket.request(message(SOCK_DIAG_BY_FAMILY, Flag.ROOT_AND_MATCH, request(family, ESTABLISHED), [])),
      )
      for (const answer of answers) {
        const { body } = parseMessage(answer)
        if (mustGo(connectedSocket(body)) && (await destroy(socket, family, body))) destroyed++
      }
    }
    return destroyed
  } finally {
    socket.close()
  }
}

/** false: it had gone by itself. */
async function destroy(socket: NetlinkSocket, family: number, answer: Uint8Array): Promise<boolean> {
  const body = request(family, ESTABLISHED)
  body.set(answer.subarray(ANSWER_ID_OFFSET, ANSWER_ID_OFFSET + ID_BYTES), REQUEST_ID_OFFSET)
  try {
    await attempt('destroy a UDP socket', () => socket.request(message(SOCK_DESTROY, 0, body, [])))
    return true
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error
    return false
  }
}

function request(family: number, states: number): Uint8Array {
  const body = new Uint8Array(REQUEST_BYTES)
  body[0] = family
  body[1] = IPPROTO_UDP
  viewOf(body).setUint32(4, states, true)
  return body
}

function connectedSocket(answer: Uint8Array): ConnectedSocket {
  const id = answer.subarray(ANSWER_ID_OFFSET, ANSWER_ID_OFFSET + ID_BYTES)
  const bytes = new Uint8Array(16)
  if (answer[0] === AF_INET) {
    bytes.set([0xff, 0xff], 10)
    bytes.set(id.subarray(DESTINATION_OFFSET, DESTINATION_OFFSET + 4), 12)
  } else {
    bytes.set(id.subarray(DESTINATION_OFFSET, DESTINATION_OFFSET + 16))
  }
  return {
    cookie: viewOf(id).getBigUint64(COOKIE_OFFSET, true),
    peer: { address: addressFromBytes(bytes), port: viewOf(id).getUint16(DESTINATION_PORT_OFFSET) },
  }
}
