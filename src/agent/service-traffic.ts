// SPDX-License-Identifier: Apache-2.0
// What this node's clients, and those that come by this node, have of Services now: connections to each backend, and whom
// affinity leads where. Nothing is counted for it on a packet's way: it is looked up when somebody asks.

import { compareText, objectName, serviceId, servicePortName } from '../core/names.ts'
import { protocolText } from '../datapath/tables.ts'
import {
  affinity,
  affinityKey,
  type MapName,
  maps,
  sockPeer,
  sockPeerKey,
  TranslationFlags,
  translation,
  tuple,
} from '../generated/abi.ts'
import type { Addon, Fd } from '../kernel/addon.ts'
import { type ConnectedSocket, inEachNetns, listConnectedSockets } from '../kernel/sock-diag.ts'
import type { Service } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import type { BackendTraffic, ServiceClient, ServiceFrontend } from './api.ts'

export interface TrafficSources {
  readonly addon: Addon
  readonly fds: Readonly<Record<MapName, Fd>>
  readonly world: WorldView
  /** Of the pods here; one that has gone meanwhile is left out. */
  readonly netnsPaths: readonly string[]
  readonly nodeName: string
  readonly nodeCookie: bigint
}

/** What a client calls. */
type Called = Pick<ServiceFrontend, 'address' | 'port' | 'protocol'>

/** By id of the Service's port in the tables. */
type PortNames = ReadonlyMap<bigint, string>

/** Sorted by backend. Cost: the sockets of this node and its pods, and the translations. */
export async function backendTraffic(
  sources: TrafficSources,
  services: readonly Service[],
  frontends: readonly Called[],
): Promise<BackendTraffic[]> {
  const ports = new Map(services.flatMap((service) => [...portNames(service)]))
  const found = [...(await bySockets(sources, frontends)), ...(await byPackets(sources, ports))]
  const byBackend = Map.groupBy(found, ({ address, port, protocol }) => `${address} ${port} ${protocol}`)
  return [...byBackend].sort(([a], [b]) => compareText(a, b)).map(([, each]) => each.reduce(sum))
}

function sum(a: BackendTraffic, b: BackendTraffic): BackendTraffic {
  return {
    ...a,
    connections: a.connections + b.connections,
    bytesSent: a.bytesSent + b.bytesSent,
    bytesReceived: a.bytesReceived + b.bytesReceived,
  }
}

/** Sockets that called one of the frontends and got a backend as they connected. */
async function bySockets(sources: TrafficSources, frontends: readonly Called[]): Promise<BackendTraffic[]> {
  const callers = await callersOf(sources, frontends)
  if (callers.size === 0) return []
  const { addon, netnsPaths } = sources
  const sockets = await inEachNetns(addon, netnsPaths, (netns) => listConnectedSockets(addon, netns))
  return sockets
    .flat()
    .filter((socket) => callers.has(callerText(socket)))
    .map(({ peer, protocol, bytesSent, bytesReceived }) => ({
      ...peer,
      protocol: protocolText(protocol),
      connections: 1,
      bytesSent,
      bytesReceived,
    }))
}

/** Each with the backend that it got; some have ended. */
async function callersOf({ addon, fds }: TrafficSources, frontends: readonly Called[]): Promise<ReadonlySet<string>> {
  const called = new Set(frontends.map(({ address, port, protocol }) => `${address} ${port} ${protocol}`))
  const { keys, values, count } = await addon.mapDump(fds.sock_frontends)
  const callers = new Set<string>()
  for (let i = 0; i < count; i++) {
    const { socketCookie, address, port, protocol } = sockPeerKey.read(keys, i * sockPeerKey.size)
    const frontend = sockPeer.read(values, i * sockPeer.size)
    if (!called.has(`${frontend.address} ${frontend.port} ${protocolText(protocol)}`)) continue
    callers.add(callerText({ cookie: socketCookie, peer: { address, port }, protocol }))
  }
  return callers
}

function callerText({
  cookie,
  peer,
  protocol,
}: Pick<ConnectedSocket, 'cookie' | 'peer'> & { protocol: number }): string {
  return `${cookie} ${peer.address} ${peer.port} ${protocol}`
}

/** What no socket of this node asked for: clients elsewhere, and pods whose packets are translated. Their bytes are not counted. */
async function byPackets({ addon, fds }: TrafficSources, ports: PortNames): Promise<BackendTraffic[]> {
  const { keySize, valueSize } = maps.translations
  const { keys, values, count } = await addon.mapDump(fds.translations)
  const found: BackendTraffic[] = []
  for (let i = 0; i < count; i++) {
    const { to, service, flags } = translation.read(values, i * valueSize)
    if (!ports.has(service) || flags & (TranslationFlags.REVERSE | TranslationFlags.CLOSING)) continue
    const protocol = protocolText(tuple.read(keys, i * keySize).protocol)
    const backend = { address: to.destination, port: to.destinationPort, protocol }
    found.push({ ...backend, connections: 1, bytesSent: 0, bytesReceived: 0 })
  }
  return found
}

/** Clients whom affinity leads, those that came last first. */
export async function serviceClients(sources: TrafficSources, service: Service): Promise<ServiceClient[]> {
  if (service.affinitySeconds === 0) return []
  const { addon, fds } = sources
  const ports = portNames(service)
  const owners = netnsOwners(sources)
  const now = process.hrtime.bigint()
  const { keys, values, count } = await addon.mapDump(fds.affinity)
  const clients: ServiceClient[] = []
  for (let i = 0; i < count; i++) {
    const key = affinityKey.read(keys, i * affinityKey.size)
    const { address, port, seenNs } = affinity.read(values, i * affinity.size)
    const portName = ports.get(key.service)
    const idleSeconds = Math.max(0, Number(now - seenNs) / 1e9)
    if (portName === undefined || idleSeconds > service.affinitySeconds) continue
    const client = key.netnsCookie === 0n ? key.address : (owners.get(key.netnsCookie) ?? `netns ${key.netnsCookie}`)
    clients.push({ portName, client, backend: { address, port }, idleSeconds })
  }
  return clients.sort((a, b) => a.idleSeconds - b.idleSeconds)
}

function netnsOwners({ world, nodeName, nodeCookie }: TrafficSources): ReadonlyMap<bigint, string> {
  const pods = Array.from(world.endpoints(), ({ netnsCookie, namespace, name }) => {
    return [netnsCookie, objectName(namespace, name)] as const
  })
  return new Map([...pods, [nodeCookie, `node ${nodeName}`]])
}

function portNames({ namespace, name, ports }: Service): PortNames {
  const service = objectName(namespace, name)
  return new Map(ports.map((port) => [serviceId(servicePortName(service, port.name, port.port)), port.name]))
}
