// SPDX-License-Identifier: Apache-2.0
// What Prometheus reads. Counters of the data plane are taken from the kernel's tables when someone asks.

import { Counter, exponentialBuckets, Gauge, Histogram, linearBuckets, Registry } from 'prom-client'
import type { StreamFailures } from '../world/source.ts'

interface Changes {
  readonly pending: number
  readonly total: number
}

/** Read at each scrape. */
export interface Readings {
  readonly drops: readonly { readonly reason: string; readonly packets: number; readonly bytes: number }[]
  /** What passed and would have been dropped. */
  readonly audited: Readings['drops']
  readonly tables: readonly { readonly name: string; readonly entries: number; readonly maxEntries: number }[]
  readonly endpointCount: number
  readonly pools: readonly { readonly prefix: string; readonly allocated: number; readonly resting: number }[]
  readonly objectCounts: Readonly<Record<string, number>>
  readonly problemCount: number
  readonly streamFailures: readonly StreamFailures[]
  readonly isReady: boolean
  readonly services: {
    readonly refused: number
    readonly conflicts: number
    /** By reason. */
    readonly ignored: ReadonlyMap<string, number>
  }
  readonly serviceSync: {
    readonly services: Changes
    readonly endpoints: Changes
    /** Milliseconds since 1970; 0: never yet. */
    readonly queuedMs: number
    readonly updatedMs: number
  }
}

export interface Metrics {
  applied(seconds: { readonly compile: number; readonly apply: number }, entries: number, isComplete: boolean): void
  /** A change of endpoints is in force, so long after it happened. */
  networkProgrammed(seconds: number): void
  cniRequest(command: string, code: number, seconds: number): void
  /** Text exposition format. */
  text(): Promise<string>
}

/** kube-proxy's own: .25 and .5, each second to a minute, then wider up to five minutes. */
const PROGRAMMING_SECONDS = [
  ...linearBuckets(0.25, 0.25, 2),
  ...linearBuckets(1, 1, 59),
  ...linearBuckets(60, 5, 12),
  ...linearBuckets(120, 30, 7),
]
const SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]

export function createMetrics(read: () => Promise<Readings>, version: Readonly<Record<string, string>>): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const gauge = (name: string, help: string, labelNames: readonly string[] = []) =>
    new Gauge({ name: `heddle_${name}`, help, labelNames: [...labelNames], registers })
  const counter = (name: string, help: string, labelNames: readonly string[] = []) =>
    new Counter({ name: `heddle_${name}`, help, labelNames: [...labelNames], registers })
  const histogram = (name: string, help: string, labelNames: readonly string[] = []) =>
    new Histogram({ name: `heddle_${name}`, help, labelNames: [...labelNames], buckets: SECONDS, registers })

  gauge('build_info', 'Always 1; the labels say which build runs.', Object.keys(version)).set({ ...version }, 1)
  const dropPackets = counter('drop_packets_total', 'Packets dropped, by reason; exact.', ['reason'])
  const dropBytes = counter('drop_bytes_total', 'Bytes of packets dropped, by reason; exact.', ['reason'])
  const auditPackets = counter(
    'audit_packets_total',
    'Packets that passed and that audited policies would drop, by reason: of a flow those that were judged.',
    ['reason'],
  )
  const entries = gauge('table_entries', 'Entries of a table: what the agent has written, and translations.', ['table'])
  const maxEntries = gauge('table_entries_max', 'Entries that a table can hold.', ['table'])
  const endpoints = gauge('endpoints', 'Pods that this node has wired.')
  const allocated = gauge('ipam_allocated', 'Addresses in use.', ['pool'])
  const resting = gauge('ipam_resting', 'Released addresses that are not given again yet.', ['pool'])
  const objects = gauge('source_objects', 'Objects of the source, by kind.', ['kind'])
  const problems = gauge(
    'source_problems',
    'Objects and files that are refused at present, and kinds of policies in a version that is not read.',
  )
  const streamFailures = counter(
    'source_stream_failures_total',
    'Lists and watches of the API server that failed and were begun anew, by kind and reason.',
    ['kind', 'reason'],
  )
  const ready = gauge('ready', '1 when what every source says is in force.')
  const refused = gauge('services_refused', 'Services that the tables have no room for at present.')
  const conflicts = gauge('service_conflicts', 'Frontends that an older Service has at present.')
  const ignored = gauge('service_endpoints_ignored', 'What of EndpointSlices is not used at present.', ['reason'])
  const compileSeconds = histogram('compile_seconds', 'Time to compile and plan one batch of changes.')
  const applySeconds = histogram('apply_seconds', 'Time to write one batch of changes.')
  const applyFailures = counter('apply_failures_total', 'Batches that could not be written in full.')
  const written = counter('entries_written_total', 'Table entries put and deleted.')
  const cni = histogram('cni_seconds', 'CNI requests, by command and error code (0: success).', ['command', 'code'])

  // kube-proxy's names, for dashboards and alerts that know them.
  const proxyGauge = (name: string, help: string) => new Gauge({ name: `kubeproxy_${name}`, help, registers })
  const proxyCounter = (name: string, help: string) => new Counter({ name: `kubeproxy_${name}`, help, registers })
  const proxyHistogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name: `kubeproxy_${name}`, help, buckets, registers })
  const syncSeconds = proxyHistogram(
    'sync_proxy_rules_duration_seconds',
    'Time to compile and write one batch of changes.',
    exponentialBuckets(0.001, 2, 15),
  )
  const programmingSeconds = proxyHistogram(
    'network_programming_duration_seconds',
    'From a change of endpoints to its being in force, by the time that the slice tells.',
    PROGRAMMING_SECONDS,
  )
  const syncedAt = proxyGauge('sync_proxy_rules_last_timestamp_seconds', 'When the tables last were as desired.')
  const queuedAt = proxyGauge('sync_proxy_rules_last_queued_timestamp_seconds', 'When a change last was queued.')
  const changes = (['service', 'endpoint'] as const).map((kind) => ({
    kind,
    pending: proxyGauge(`sync_proxy_rules_${kind}_changes_pending`, `Changes of ${kind}s that are not in force.`),
    total: proxyCounter(`sync_proxy_rules_${kind}_changes_total`, `Changes of ${kind}s so far.`),
  }))

  const memory = new Gauge({ name: 'process_resident_memory_bytes', help: 'Resident memory of the agent.', registers })
  const cpu = new Counter({ name: 'process_cpu_seconds_total', help: 'CPU time of the agent.', registers })

  async function refresh(): Promise<void> {
    const now = await read()
    const { user, system } = process.cpuUsage()
    memory.set(process.memoryUsage.rss())
    cpu.reset()
    cpu.inc((user + system) / 1e6)
    dropPackets.reset()
    dropBytes.reset()
    for (const { reason, packets, bytes } of now.drops) {
      dropPackets.inc({ reason }, packets)
      dropBytes.inc({ reason }, bytes)
    }
    auditPackets.reset()
    for (const { reason, packets } of now.audited) auditPackets.inc({ reason }, packets)
    for (const table of now.tables) {
      entries.set({ table: table.name }, table.entries)
      maxEntries.set({ table: table.name }, table.maxEntries)
    }
    endpoints.set(now.endpointCount)
    for (const pool of now.pools) {
      allocated.set({ pool: pool.prefix }, pool.allocated)
      resting.set({ pool: pool.prefix }, pool.resting)
    }
    for (const [kind, count] of Object.entries(now.objectCounts)) objects.set({ kind }, count)
    problems.set(now.problemCount)
    streamFailures.reset()
    for (const { kind, reason, count } of now.streamFailures) streamFailures.inc({ kind, reason }, count)
    syncedAt.set(now.serviceSync.updatedMs / 1000)
    queuedAt.set(now.serviceSync.queuedMs / 1000)
    for (const { kind, pending, total } of changes) {
      const read = kind === 'service' ? now.serviceSync.services : now.serviceSync.endpoints
      pending.set(read.pending)
      total.reset()
      total.inc(read.total)
    }
    ready.set(now.isReady ? 1 : 0)
    refused.set(now.services.refused)
    conflicts.set(now.services.conflicts)
    ignored.reset()
    for (const [reason, count] of now.services.ignored) ignored.set({ reason }, count)
  }

  return {
    applied({ compile, apply }, entryCount, isComplete) {
      syncSeconds.observe(compile + apply)
      compileSeconds.observe(compile)
      applySeconds.observe(apply)
      written.inc(entryCount)
      if (!isComplete) applyFailures.inc()
    },
    networkProgrammed: (seconds) => programmingSeconds.observe(seconds),
    cniRequest: (command, code, seconds) => cni.observe({ command, code }, seconds),
    async text() {
      await refresh()
      return registry.metrics()
    },
  }
}
