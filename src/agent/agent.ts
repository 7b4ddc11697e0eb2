// SPDX-License-Identifier: Apache-2.0
// The agent of one node, from start to stop:
//
//   lock -> status -> source -> own Node -> data plane (data-plane.ts) -> CNI socket, ready
//
// Nothing is written before the source has synchronised, and nothing is taken away at the end: maps, programs, links and
// routes stay in force.

import { mkdirSync } from 'node:fs'
import type { Logger } from 'pino'
import { serveCni } from '../cni/server.ts'
import type { BrokenInvariant } from '../core/errors.ts'
import { event } from '../generated/abi.ts'
import { bootClock, type Ipam, openIpam } from '../ipam/ipam.ts'
import { bootId, diskFile } from '../ipam/journal.ts'
import { nodePools } from '../ipam/pools.ts'
import type { Addon } from '../kernel/addon.ts'
import { watchLink } from '../kernel/link-watch.ts'
import { NodeNetwork } from '../kernel/node-network.ts'
import { createApiClient } from '../kube/client.ts'
import { connectionFrom } from '../kube/connection.ts'
import { createEventWriter, type Fault } from '../kube/event-writer.ts'
import { openServerMemory } from '../kube/servers.ts'
import { createMetrics } from '../observe/metrics.ts'
import type { Node } from '../world/objects.ts'
import { createWorld } from '../world/world.ts'
import { createAnnouncer } from './announce.ts'
import { serveApi, serveProbes, serveProxyHealth } from './answers.ts'
import type { Config } from './config.ts'
import { startDataPlane } from './data-plane.ts'
import { createEventStream } from './event-stream.ts'
import { currentFaults } from './faults.ts'
import { followSource, sourceName } from './follow.ts'
import { takeLock } from './lock.ts'
import { releaseMemory } from './memory.ts'
import { createNames } from './names.ts'
import { compiledOf, createProgress, notServing, type Progress } from './progress.ts'
import { createRecorder } from './recorder.ts'
import { readings } from './status.ts'
import { installedVersion } from './version.ts'

/** How long a wake-up of the event ring gathers records. */
const EVENTS_DRAIN_MS = 20
/** The node's routes may change without a word. */
const ROUTES_EVERY_MS = 10_000
/** Pods may vanish with their runtime. */
const COLLECT_EVERY_MS = 60_000

export interface Agent {
  /** Resolves when the node is ready; rejects when it cannot become so, or is stopped before. */
  readonly ready: Promise<void>
  /** Resolves when the process must end: what it holds may be wrong, what is in force stays. Else never. */
  readonly broken: Promise<BrokenInvariant>
  /** Takes no more requests and closes what is open; everything stays in force. */
  stop(): Promise<void>
}

/** Takes the lock, serves status and reads the manifests; the rest follows when they hold the Node of this node. */
export async function startAgent(addon: Addon, config: Config, log: Logger): Promise<Agent> {
  await using starting = new AsyncDisposableStack()
  starting.use(takeLock(addon, config))
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 })
  const network = starting.use(new NodeNetwork(addon, config))
  const world = createWorld()
  const boot = await bootId()
  const progress = createProgress(sourceName(config))
  const ipam = await openAddresses(config, progress, boot, log)
  starting.defer(() => ipam.close())

  const parts = { addon, config, log, version: installedVersion(), world, ipam, progress }
  const { version, commit } = parts.version
  const metrics = createMetrics(() => readings(parts), { version, commit })
  const events = createEventStream(createNames(world, () => compiledOf(progress)))
  starting.defer(await serveApi(parts, events))
  starting.defer(await serveProbes(parts, metrics))
  starting.defer(await serveProxyHealth(parts))

  const servers = openServerMemory(`${config.stateDir}/api-servers.json`)
  const connection = config.kubeconfig === '' ? null : connectionFrom({ ...config, moreServers: servers.servers })
  const api = connection === null ? null : starting.use(createApiClient(connection))
  const ownNode = Promise.withResolvers<Node>()
  const broken = Promise.withResolvers<BrokenInvariant>()
  const onBroken = broken.resolve
  const followed = { config, log, world, progress, api, servers, onOwnNode: ownNode.resolve, onBroken }
  progress.source = starting.use(await followSource(followed))
  progress.waitingFor = `${sourceName(config)}: Node ${config.nodeName} with an InternalIP and all that its pods depend on`

  progress.announcer = starting.use(createAnnouncer({ ...parts, api }))
  if (api !== null) {
    const onFailure = (error: Error): void => log.warn(`Events: ${error.message}`)
    const faults = (): Fault[] => currentFaults(progress)
    const { nodeName } = config
    progress.eventWriter = starting.use(createEventWriter({ client: api, nodeName, faults, onFailure }))
  }

  const stopping = new AbortController()
  const stack = starting.move()
  const ready = bringUp()
  ready.then(
    () => progress.up.resolve(),
    (error) => progress.up.reject(error),
  )
  return {
    ready,
    broken: broken.promise,
    async stop() {
      stopping.abort(new Error('the agent is stopping'))
      await ready.catch(() => {})
      await stack.disposeAsync()
    },
  }

  async function bringUp(): Promise<void> {
    const node = await unlessAborted(ownNode.promise, stopping.signal)
    progress.waitingFor = 'the data plane'
    const dataPlane = await startDataPlane({
      ...parts,
      ...createRecorder(parts, metrics),
      onBroken,
      network,
      node,
      bootId: boot,
      serviceSync: progress.serviceSync,
      unavailable: () => notServing(progress)[0] ?? null,
      unseenKinds: () => progress.source?.unseenKinds() ?? new Set(),
      signal: stopping.signal,
    })
    stack.defer(() => dataPlane.stop())
    progress.dataPlane = dataPlane
    const { local, loop, reconciler, handlers, datapath } = dataPlane
    loop.wake() // for what has changed since the first pass
    const ring = addon.openRing(datapath.maps.events, event.size, EVENTS_DRAIN_MS, events.records)
    stack.defer(() => ring.close())
    const lookAgain = (): void => {
      reconciler.routesMoved()
      loop.wake()
    }
    stack.defer(watchLink(addon, local.uplink.ifindex, lookAgain)) // its routes go down with it
    stack.defer(every(ROUTES_EVERY_MS, lookAgain))
    stack.defer(every(COLLECT_EVERY_MS, () => void handlers.collect()))
    const cni = await serveCni(`${config.runDir}/cni.sock`, handlers, addon)
    stack.defer(() => cni.close())
    releaseMemory(addon) // reading and compiling everything has left garbage
    progress.waitingFor = ''
    progress.announcer?.look()
    log.info({ mode: config.mode, uplink: dataPlane.local.uplink.name }, 'ready')
  }
}

async function openAddresses(config: Config, progress: Progress, boot: string, log: Logger): Promise<Ipam> {
  const ipam = await openIpam({
    file: diskFile(`${config.stateDir}/addresses.journal`),
    source: nodePools(() => compiledOf(progress).routing),
    now: bootClock(boot),
  })
  if (ipam.damagedRecords > 0) log.warn({ records: ipam.damagedRecords }, 'the address journal had damaged records')
  return ipam
}

/** Rejects with the signal's reason when it aborts first. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  return Promise.race([promise, aborted])
}

/** Returns what ends it. */
function every(ms: number, work: () => void): () => void {
  const timer = setInterval(work, ms)
  return () => clearInterval(timer)
}
