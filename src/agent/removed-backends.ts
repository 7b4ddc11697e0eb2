// SPDX-License-Identifier: Apache-2.0
// A backend that leaves its Service must stop receiving. TCP connections end with it; UDP has no end, so connected
// sockets are aborted and per-packet translations deleted: the next packet finds a backend that is there.

import type { Address } from '../core/address.ts'
import { encode } from '../core/codec.ts'
import { Protocol } from '../core/protocol.ts'
import { encodeText } from '../datapath/bytes.ts'
import type { TableStore } from '../datapath/desired.ts'
import { readValue } from '../datapath/tables.ts'
import { backendKey, frontendKey, maps, sockPeer, sockPeerKey, translation, tuple } from '../generated/abi.ts'
import type { Addon } from '../kernel/addon.ts'
import type { Datapath } from '../kernel/loader.ts'
import { type ConnectedSocket, destroyUdpSockets, inEachNetns, type SocketPeer } from '../kernel/sock-diag.ts'
import type { Backend } from '../services/frontends.ts'

export interface RemovedBackends {
  readonly sockets: number
  readonly translations: number
}

/** Resolves to what was cut. netnsPaths: of the pods here; one that has gone meanwhile took its sockets along.
 *  removed 'unknown': any backend that its Service does not have, as it is desired, counts as removed. */
export async function cutRemovedBackends(
  addon: Addon,
  { maps: fds }: Datapath,
  store: TableStore,
  netnsPaths: readonly string[],
  removed: readonly Backend[] | 'unknown',
): Promise<RemovedBackends> {
  const isGone = membership(removed)
  /** Also false for sockets that speak to the pod itself, without a Service. */
  const mustGo = ({ cookie, peer }: ConnectedSocket): boolean => {
    if (!isGone(peer)) return false
    const key = encode(sockPeerKey, { socketCookie: cookie, ...peer, protocol: Protocol.UDP })
    const called = addon.mapLookup(fds.sock_frontends, key)
    return called !== null && !hasBackend(store, sockPeer.read(called, 0), peer)
  }
  const destroyed = await inEachNetns(addon, netnsPaths, (netns) => destroyUdpSockets(addon, netns, mustGo))
  const sockets = destroyed.reduce((sum, count) => sum + count)
  return { sockets, translations: await deleteTranslations(addon, fds.translations, store, isGone) }
}

/** Whether a list of the frontend, as it is desired, has the backend. */
function hasBackend(store: TableStore, frontend: SocketPeer, { address, port }: SocketPeer): boolean {
  const key = encodeText(frontendKey, { address: frontend.address, port: frontend.port, protocol: Protocol.UDP })
  const value = store.desired('frontends', key)
  if (value === undefined) return false
  const { backendList, count, externalList, externalCount } = readValue('frontends', value)
  return listHas(store, backendList, count, address, port) || listHas(store, externalList, externalCount, address, port)
}

function listHas(store: TableStore, backendList: bigint, count: number, address: Address, port: number): boolean {
  return Array.from({ length: count }, (_, slot) => encodeText(backendKey, { backendList, slot })).some((slotKey) => {
    const listed = store.desired('backends', slotKey)
    const backend = listed === undefined ? undefined : readValue('backends', listed)
    return backend?.address === address && backend.port === port
  })
}

/** Forward and reverse entries of UDP flows from a Service to a backend that it does not have any more. */
async function deleteTranslations(
  addon: Addon,
  fd: Datapath['maps']['translations'],
  store: TableStore,
  isGone: (backend: SocketPeer) => boolean,
): Promise<number> {
  const { keySize, valueSize } = maps.translations
  const { keys, values, count } = await addon.mapDump(fd)
  let deleted = 0
  for (let i = 0; i < count; i++) {
    const from = tuple.read(keys, i * keySize)
    const { to, service } = translation.read(values, i * valueSize)
    if (service === 0n || from.protocol !== Protocol.UDP) continue
    const backend = { address: to.destination, port: to.destinationPort }
    const frontend = { address: from.destination, port: from.destinationPort }
    if (!isGone(backend) || hasBackend(store, frontend, backend)) continue
    const reverse = {
      ...to,
      source: to.destination,
      sourcePort: to.destinationPort,
      destination: to.source,
      destinationPort: to.sourcePort,
    }
    addon.mapDelete(fd, encode(tuple, from))
    addon.mapDelete(fd, encode(tuple, reverse))
    deleted++
  }
  return deleted
}

function membership(removed: readonly Backend[] | 'unknown'): (backend: SocketPeer) => boolean {
  if (removed === 'unknown') return () => true
  const gone = new Set(removed.map(backendText))
  return (backend) => gone.has(backendText(backend))
}

function backendText({ address, port }: { readonly address: Address; readonly port: number }): string {
  return `${address} ${port}`
}
