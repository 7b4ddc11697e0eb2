// SPDX-License-Identifier: Apache-2.0
// How long changes of Services and slices wait until they are in force: what kube-proxy's health and metrics say.
//
//   queued --> waiting --begins--> under way --succeeded--> observed
//                 ^-----------------failed------'

import type { KubeObject } from '../world/objects.ts'
import type { SourceChange } from '../world/source.ts'

/** Longer than this a change must not wait (kube-proxy: twice its sync period of 30 s). */
const STUCK_MS = 60_000

export interface ServiceSync {
  queued(change: Pick<SourceChange, 'put' | 'deleted'>): void
  /** A pass begins: all that was queued is part of it. */
  begins(): void
  /** The pass left nothing to do. Returns for each slice in it how long ago what it tells of happened, milliseconds. */
  succeeded(): readonly number[]
  failed(): void
  health(): Health
  readings(): ServiceSyncReadings
}

export interface Health {
  readonly isHealthy: boolean
  /** When the tables last were what the objects say; 0: never yet. */
  readonly updatedMs: number
}

export interface ServiceSyncReadings {
  readonly services: { readonly pending: number; readonly total: number }
  readonly endpoints: { readonly pending: number; readonly total: number }
  /** When a change last was queued, and when all last were in force; 0: never yet. */
  readonly queuedMs: number
  readonly updatedMs: number
}

interface Batch {
  readonly sinceMs: number
  readonly services: number
  readonly endpoints: number
  readonly triggers: readonly number[]
}

export function createServiceSync(now: () => number): ServiceSync {
  const startedMs = now()
  let waiting: Batch | undefined
  let underWay: Batch | undefined
  let queuedMs = 0
  let updatedMs = 0
  let services = 0
  let endpoints = 0

  return {
    queued({ put, deleted }) {
      const batch = batchOf([...put, ...deleted], now(), startedMs)
      if (batch === undefined) return
      services += batch.services
      endpoints += batch.endpoints
      queuedMs = batch.sinceMs
      waiting = joined(waiting, batch)
    },
    begins() {
      underWay = joined(underWay, waiting)
      waiting = undefined
    },
    succeeded() {
      const triggers = underWay?.triggers ?? []
      underWay = undefined
      updatedMs = now()
      return triggers.map((at) => Math.max(0, updatedMs - at))
    },
    failed() {
      waiting = joined(underWay, waiting)
      underWay = undefined
    },
    health() {
      const since = joined(underWay, waiting)?.sinceMs
      return { isHealthy: updatedMs === 0 || since === undefined || now() - since < STUCK_MS, updatedMs }
    },
    readings() {
      const pending = joined(underWay, waiting)
      return {
        services: { pending: pending?.services ?? 0, total: services },
        endpoints: { pending: pending?.endpoints ?? 0, total: endpoints },
        queuedMs,
        updatedMs,
      }
    },
  }
}

/** What happened before the agent was there says nothing about the agent. */
function batchOf(objects: readonly KubeObject[], nowMs: number, startedMs: number): Batch | undefined {
  const services = objects.filter(({ kind }) => kind === 'Service').length
  const slices = objects.filter((object) => object.kind === 'EndpointSlice')
  if (services + slices.length === 0) return undefined
  const triggers = slices.map(({ triggeredMs }) => triggeredMs).filter((at) => at > startedMs)
  return { sinceMs: nowMs, services, endpoints: slices.length, triggers }
}

function joined(first: Batch | undefined, second: Batch | undefined): Batch | undefined {
  if (first === undefined || second === undefined) return first ?? second
  return {
    sinceMs: first.sinceMs,
    services: first.services + second.services,
    endpoints: first.endpoints + second.endpoints,
    triggers: [...first.triggers, ...second.triggers],
  }
}
