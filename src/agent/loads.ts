// SPDX-License-Identifier: Apache-2.0
// `loads` (bpf/abi/service.h): what each backend of the Services that are balanced by least connections has to do, as far as
// this node's clients and those that come by this node go. The programs add what begins; every few seconds all is counted
// anew, so that no end of a connection that was missed is wrong for long.

import { encode } from '../core/codec.ts'
import { objectName } from '../core/names.ts'
import { backendLists } from '../datapath/service-tables.ts'
import { protocolText } from '../datapath/tables.ts'
import { type BackendKey, backendKey, LOAD_SCALE, load, maps } from '../generated/abi.ts'
import { type Backend, backendText, type ServicePlace, serviceFrontends } from '../services/frontends.ts'
import type { ObjectName, Service } from '../world/objects.ts'
import { backendTraffic, type TrafficSources } from './service-traffic.ts'

export interface LoadsOptions {
  readonly sources: () => TrafficSources
  /** Services whose connections must be counted, and where this node is. */
  readonly services: () => { readonly counted: ReadonlySet<ObjectName>; readonly place: ServicePlace }
  /** Once for each message in a row. */
  readonly onError: (error: unknown) => void
}

export interface Loads {
  /** After a pass: counts, not more often than that, and again and again while there are such Services. Without them it
   *  costs nothing. */
  sync(): void
  /** Resolves when nothing is written any more. */
  stop(): Promise<void>
}

/** Long enough that looking at the sockets of 250 pods (25 ms) does not show. */
const COUNT_MS = 2000

export function startLoads(options: LoadsOptions): Loads {
  let written: Set<string> | undefined // keys in the map; undefined: what an agent before this one left
  let timer: NodeJS.Timeout | undefined // while a count is due or runs
  let running: Promise<void> = Promise.resolve()
  let dueMs = 0 // not before this time of performance.now()
  let told = ''
  let isStopped = false

  function isNeeded(): boolean {
    return options.services().counted.size > 0 || written?.size !== 0
  }

  async function count(): Promise<void> {
    try {
      written ??= new Set(await keysIn(options.sources()))
      await writeLoads(options.sources(), options.services(), written)
      told = ''
    } catch (error) {
      if (String(error) !== told) options.onError(error)
      told = String(error)
    }
    timer = undefined
    dueMs = performance.now() + COUNT_MS
    if (isNeeded()) start()
  }

  function start(): void {
    if (isStopped || timer !== undefined) return
    const waitMs = Math.max(0, dueMs - performance.now())
    timer = setTimeout(() => {
      running = count()
    }, waitMs).unref()
  }

  return {
    sync() {
      if (isNeeded()) start()
    },
    async stop() {
      isStopped = true
      clearTimeout(timer)
      await running
    },
  }
}

/** written: keys that may be in the map, kept up to date. */
async function writeLoads(
  sources: TrafficSources,
  { counted, place }: ReturnType<LoadsOptions['services']>,
  written: Set<string>,
): Promise<void> {
  const { addon, fds, world } = sources
  const services = [...counted].flatMap((name) => world.service(name) ?? [])
  const connections = await connectionsOf(sources, services, place)
  const slots = Array.from(slotsOf(sources, services, place), ([key, backend]) => {
    const bytes = encode(backendKey, key)
    return { bytes, text: hex(bytes), backend }
  })
  const wanted = new Set(slots.map(({ text }) => text))
  // First, for room; while a slot is missing, chance decides.
  for (const key of written) {
    if (wanted.has(key)) continue
    addon.mapDelete(fds.loads, Buffer.from(key, 'hex'))
    written.delete(key)
  }
  for (const { bytes, text, backend } of slots) {
    const step = BigInt(Math.round(LOAD_SCALE / (backend.weight ?? 1)))
    const count = BigInt(connections.get(backendText(backend)) ?? 0)
    written.add(text)
    addon.mapUpdate(fds.loads, bytes, encode(load, { load: count * step, step }), 0)
  }
}

async function connectionsOf(
  sources: TrafficSources,
  services: readonly Service[],
  place: ServicePlace,
): Promise<ReadonlyMap<string, number>> {
  const frontends = services
    .flatMap((service) => frontendsOf(sources, service, place))
    .map(({ address, port, protocol }) => ({ address, port, protocol: protocolText(protocol) }))
  const counts = new Map<string, number>()
  for (const each of frontends.length === 0 ? [] : await backendTraffic(sources, services, frontends)) {
    const backend = backendText(each)
    counts.set(backend, (counts.get(backend) ?? 0) + each.connections)
  }
  return counts
}

function* slotsOf(
  sources: TrafficSources,
  services: readonly Service[],
  place: ServicePlace,
): Iterable<readonly [BackendKey, Backend]> {
  for (const service of services) {
    const name = objectName(service.namespace, service.name)
    for (const [backends, backendList] of backendLists(name, frontendsOf(sources, service, place), service.balancing)) {
      for (const [slot, backend] of backends.entries()) yield [{ backendList, slot }, backend]
    }
  }
}

function frontendsOf({ world }: TrafficSources, service: Service, place: ServicePlace) {
  return serviceFrontends(service, world.slicesOfService(objectName(service.namespace, service.name)), place)
}

async function keysIn({ addon, fds }: TrafficSources): Promise<string[]> {
  const { keys, count } = await addon.mapDump(fds.loads)
  const { keySize } = maps.loads
  return Array.from({ length: count }, (_, i) => hex(keys.subarray(i * keySize, (i + 1) * keySize)))
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
