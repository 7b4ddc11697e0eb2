// SPDX-License-Identifier: Apache-2.0
// What `heddle status` shows, and what /metrics counts of the same.

import { family } from '../core/address.ts'
import { type TableName, tableNames } from '../datapath/tables.ts'
import { type MapName, maps } from '../generated/abi.ts'
import type { PoolStatus as IpamPool } from '../ipam/allocator.ts'
import type { Ipam } from '../ipam/ipam.ts'
import type { Addon } from '../kernel/addon.ts'
import { listBoundSockets } from '../kernel/sock-diag.ts'
import { readDrops } from '../observe/drops.ts'
import type { Readings } from '../observe/metrics.ts'
import { KINDS } from '../world/objects.ts'
import type { HeldProblem, SourceState } from '../world/source.ts'
import type { WorldView } from '../world/world.ts'
import type { MapFill, PoolStatus, SourceProblem, SourceStatus, Status, Version } from './api.ts'
import type { Config } from './config.ts'
import type { DataPlane } from './data-plane.ts'
import { sourceName } from './follow.ts'
import { kernelFeatures } from './preflight.ts'
import { compiledOf, fullTables, notReady, type Progress } from './progress.ts'
import type { Applied } from './reconcile.ts'
import { type BoundPortSources, boundPortNotices, conflicts, serviceNotices } from './service-problems.ts'

/** What the agent is made of, as far as status looks at it. */
export interface StatusParts {
  readonly addon: Addon
  readonly config: Config
  readonly version: Version
  readonly world: WorldView
  readonly ipam: Ipam
  readonly progress: Progress
}

export async function currentStatus(parts: StatusParts): Promise<Status> {
  const { config, progress } = parts
  const local = progress.dataPlane?.local
  const addresses = local?.node.internalIPs ?? []
  const conditions = notReady(progress)
  const { dropped, audited } = await drops(parts)
  return {
    nodeName: config.nodeName,
    version: parts.version,
    pid: process.pid,
    startedAt: new Date(Date.now() - process.uptime() * 1000).toISOString(),
    rssBytes: process.memoryUsage.rss(),
    ready: conditions.length === 0,
    conditions: [
      ...conditions,
      ...fullTables(progress),
      ...compiledOf(progress).routing.notices,
      ...(progress.dataPlane?.healthPorts.problems() ?? []),
      ...(progress.dataPlane === undefined
        ? []
        : serviceNotices(compiledOf(progress), progress.dataPlane.reconciler.store)),
      ...(progress.dataPlane === undefined ? [] : await boundPortNotices(boundPortSources(parts, progress.dataPlane))),
      ...(progress.announcer?.problems() ?? []),
      ...(progress.eventWriter?.problems() ?? []),
      ...(progress.source?.notices() ?? []),
    ],
    families: ([4, 6] as const).filter((each) => addresses.some((address) => family(address) === each)),
    mode: config.mode,
    nodeAddresses: addresses,
    podCIDRs: local?.node.podCIDRs ?? [],
    uplink: { name: local?.uplink.name ?? '', ifindex: local?.uplink.ifindex ?? 0, mtu: local?.uplink.mtu ?? 0 },
    podMtu: local?.podMtu ?? 0,
    kernelFeatures: kernelFeatures((local?.sorter ?? 0) !== 0),
    maps: mapFills(parts),
    sources: [sourceStatus(parts)],
    pools: parts.ipam.status().map(poolStatus),
    drops: dropped,
    audited,
    lastApply: progress.lastApplied === undefined ? null : describeApplied(progress.lastApplied),
  }
}

export function boundPortSources(
  { addon, world }: Pick<StatusParts, 'addon' | 'world'>,
  { reconciler: { store, compiled }, local }: DataPlane,
): BoundPortSources {
  const nodeAddresses = local.node.internalIPs
  return { world, store, compiled, nodeAddresses, boundSockets: () => listBoundSockets(addon, null) }
}

/** The same for Prometheus. */
export async function readings(parts: StatusParts): Promise<Readings> {
  const { ipam, progress, world } = parts
  const { dropped, audited } = await drops(parts)
  return {
    drops: dropped,
    audited,
    tables: await tableFills(parts),
    endpointCount: [...world.endpoints()].length,
    pools: ipam.status().map(poolStatus),
    objectCounts: objectCounts(world),
    problemCount: progress.source?.problems().length ?? 0,
    streamFailures: progress.source?.failures() ?? [],
    isReady: notReady(progress).length === 0,
    services: serviceReadings(progress),
    serviceSync: progress.serviceSync.readings(),
  }
}

/** What is in the tables that the agent writes, and in the one of the others that refuses when it is full. */
async function tableFills({ addon, progress: { dataPlane } }: StatusParts): Promise<Readings['tables']> {
  if (dataPlane === undefined) return []
  const { datapath, kernel, reconciler } = dataPlane
  const { maxEntries } = addon.mapInfo(datapath.maps.translations)
  const translations = await addon.mapCount(datapath.maps.translations, maxEntries)
  return [
    ...tableNames.map((name) => ({
      name,
      entries: reconciler.store.actualCount(name),
      maxEntries: kernel.maxEntries(name),
    })),
    { name: 'translations', entries: translations, maxEntries },
  ]
}

function serviceReadings({ dataPlane }: Progress): Readings['services'] {
  if (dataPlane === undefined) return { refused: 0, conflicts: 0, ignored: new Map() }
  const { store, compiled } = dataPlane.reconciler
  const { services, refusedServices } = compiled()
  const ignored = new Map<string, number>()
  for (const counts of services.ignored.values()) {
    for (const [reason, count] of counts) ignored.set(reason, (ignored.get(reason) ?? 0) + count)
  }
  return { refused: refusedServices.size, conflicts: conflicts(store).length, ignored }
}

async function drops({ addon, progress }: StatusParts): ReturnType<typeof readDrops> {
  if (progress.dataPlane === undefined) return { dropped: [], audited: [] }
  return readDrops(addon, progress.dataPlane.datapath.maps.drops)
}

export function objectCounts(world: WorldView): Readonly<Record<string, number>> {
  return Object.fromEntries(KINDS.map((kind) => [kind, world.countOf(kind)]))
}

export function describeProblem(problem: HeldProblem): SourceProblem {
  const { file, document, field, message, object, keptSinceMs, isolates } = problem
  return {
    file,
    document,
    field,
    message,
    object,
    lastGoodAgeMs: keptSinceMs === null ? null : Date.now() - keptSinceMs,
    isolates,
  }
}

export function poolStatus({ prefix, capacity, used, resting }: IpamPool): PoolStatus {
  return { prefix, family: family(prefix), allocated: used, resting, capacity: Number(capacity) }
}

function mapFills({ addon, progress }: StatusParts): MapFill[] {
  const { dataPlane } = progress
  if (dataPlane === undefined) return []
  const written: ReadonlySet<string> = new Set(tableNames)
  const isWritten = (name: MapName): name is TableName => written.has(name)
  return (Object.keys(maps) as MapName[]).map((name) => ({
    name,
    desiredCount: isWritten(name) ? dataPlane.reconciler.store.desiredCount(name) : null,
    maxEntries: addon.mapInfo(dataPlane.datapath.maps[name]).maxEntries,
  }))
}

const NOTHING_SEEN: Omit<SourceState, 'name'> = {
  synchronised: false,
  parts: [],
  staleSinceMs: null,
  requestCount: 0,
  receivedBytes: 0,
}

function sourceStatus({ config, world, progress: { source } }: StatusParts): SourceStatus {
  const { staleSinceMs, ...state } = source?.state() ?? { ...NOTHING_SEEN, name: sourceName(config) }
  return {
    ...state,
    ageMs: staleSinceMs === null ? 0 : Date.now() - staleSinceMs,
    objectCounts: objectCounts(world),
    problems: source?.problems().map(describeProblem) ?? [],
  }
}

function describeApplied({ at, entryCount, compileMs, applyMs, error }: Applied): Status['lastApply'] {
  return {
    at: at.toISOString(),
    stepCount: entryCount,
    milliseconds: compileMs + applyMs,
    error: error === null ? '' : (error as Error).message,
  }
}
