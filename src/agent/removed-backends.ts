// SPDX-License-Identifier: Apache-2.0
// A backend that leaves its Service must stop receiving: sockets connected to it are aborted and per-packet translations
// deleted, so that the next packet finds a backend that is there, or the node's stack. Either answers TCP that it does not
// know by RST.

import type { Address } from '../core/address.ts'
import { encode } from '../core/codec.ts'
import { objectName } from '../core/names.ts'
import { Protocol } from '../core/protocol.ts'
import { encodeText } from '../datapath/bytes.ts'
import type { TableStore } from '../datapath/desired.ts'
import { addressesOf, type Removed } from '../datapath/removed.ts'
import { readValue } from '../datapath/tables.ts'
import {
  backendKey,
  frontendKey,
  maps,
  sockPeer,
  sockPeerKey,
  TranslationFlags,
  translation,
  tuple,
} from '../generated/abi.ts'
import type { Addon } from '../kernel/addon.ts'
import type { Datapath } from '../kernel/loader.ts'
import { type ConnectedSocket, destroySockets, inEachNetns, type SocketPeer } from '../kernel/sock-diag.ts'
import { type Backend, backendText } from '../services/frontends.ts'
import type { WorldView } from '../world/world.ts'

export interface Cut {
  readonly sockets: number
  readonly translations: number
}

/** By protocol, of those whose flows are cut, whether a backend may be gone. */
export type IsGone = ReadonlyMap<ConnectedSocket['protocol'], (backend: SocketPeer) => boolean>

/** removed 'unknown': any backend that its Service does not have, as it is desired, counts as removed. By TCP only what no
 *  Service's slices name does: one that is removed from one Service may terminate in another. */
export function goneOf(world: WorldView, removed: Removed | 'unknown', resetsTCP: boolean): IsGone {
  const isGone = new Map<ConnectedSocket['protocol'], (backend: SocketPeer) => boolean>()
  if (removed === 'unknown') {
    isGone.set(Protocol.UDP, () => true)
    if (resetsTCP) isGone.set(Protocol.TCP, isUnnamed(world))
    return isGone
  }
  if (removed.udp.length > 0) isGone.set(Protocol.UDP, membership(removed.udp))
  if (resetsTCP && removed.unnamed.length > 0) {
    const [unnamed, isNowhere] = [new Set(removed.unnamed), isUnnamed(world)]
    isGone.set(Protocol.TCP, (backend) => unnamed.has(backend.address) && isNowhere(backend))
  }
  return isGone
}

function isUnnamed(world: WorldView): (backend: SocketPeer) => boolean {
  const named = new Set<Address>()
  for (const { namespace, name } of world.services()) {
    for (const address of addressesOf(world, objectName(namespace, name))) named.add(address)
  }
  return ({ address }) => !named.has(address)
}

/** Resolves to what was cut. netnsPaths: of the pods here; one that has gone meanwhile took its sockets along. */
export async function cutRemovedBackends(
  addon: Addon,
  { maps: fds }: Datapath,
  store: TableStore,
  netnsPaths: readonly string[],
  isGone: IsGone,
): Promise<Cut> {
  /** Also false for sockets that speak to the pod itself, without a Service. */
  const mustGo = ({ protocol, cookie, peer }: ConnectedSocket): boolean => {
    if (!isGone.get(protocol)?.(peer)) return false
    const called = addon.mapLookup(fds.sock_frontends, encode(sockPeerKey, { socketCookie: cookie, ...peer, protocol }))
    return called !== null && !hasBackend(store, sockPeer.read(called, 0), protocol, peer)
  }
  const protocols = [...isGone.keys()]
  if (protocols.length === 0) return { sockets: 0, translations: 0 }
  const destroyed = await inEachNetns(addon, netnsPaths, (netns) => destroySockets(addon, netns, protocols, mustGo))
  const sockets = destroyed.reduce((sum, count) => sum + count)
  return { sockets, translations: await deleteTranslations(addon, fds.translations, store, isGone) }
}

/** Whether a list of the frontend, as it is desired, has the backend. */
function hasBackend(store: TableStore, frontend: SocketPeer, protocol: number, { address, port }: SocketPeer): boolean {
  const key = encodeText(frontendKey, { address: frontend.address, port: frontend.port, protocol })
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

/** Forward and reverse entries of flows from a Service to a backend that it does not have any more. */
async function deleteTranslations(
  addon: Addon,
  fd: Datapath['maps']['translations'],
  store: TableStore,
  isGone: IsGone,
): Promise<number> {
  const { keySize, valueSize } = maps.translations
  const { keys, values, count } = await addon.mapDump(fd)
  let deleted = 0
  for (let i = 0; i < count; i++) {
    const from = tuple.read(keys, i * keySize)
    const { to, service, flags } = translation.read(values, i * valueSize)
    if (service === 0n || flags & TranslationFlags.REVERSE) continue
    const protocol = from.protocol as ConnectedSocket['protocol']
    const backend = { address: to.destination, port: to.destinationPort }
    const frontend = { address: from.destination, port: from.destinationPort }
    if (!isGone.get(protocol)?.(backend) || hasBackend(store, frontend, protocol, backend)) continue
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

function membership(removed: readonly Backend[]): (backend: SocketPeer) => boolean {
  const gone = new Set(removed.map(backendText))
  return (backend) => gone.has(backendText(backend))
}
