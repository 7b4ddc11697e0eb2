// SPDX-License-Identifier: Apache-2.0
// How far the agent has come, and what happened last: what status, probes and requests look at.

import { type Compiled, NOTHING_COMPILED } from '../datapath/compile.ts'
import type { EventWriter } from '../kube/event-writer.ts'
import type { Source } from '../world/source.ts'
import type { Announcer } from './announce.ts'
import type { DataPlane } from './data-plane.ts'
import type { Applied } from './reconcile.ts'
import { refusedServices } from './service-problems.ts'
import { createServiceSync, type ServiceSync } from './service-sync.ts'

export interface Progress {
  /** undefined until every object of it is in World. */
  source: Source | undefined
  dataPlane: DataPlane | undefined
  announcer: Announcer | undefined
  /** undefined: the source is no API server. */
  eventWriter: EventWriter | undefined
  /** What is missing for the node to be ready; '' when it is. */
  waitingFor: string
  lastApplied: Applied | undefined
  /** Why the last pass failed; '' when it did not. */
  failure: string
  /** Table entries put and deleted so far. */
  entriesWritten: number
  /** How changes of Services come into force. */
  readonly serviceSync: ServiceSync
  /** Settles with the start of the agent. */
  readonly up: PromiseWithResolvers<void>
}

export function createProgress(waitingFor: string): Progress {
  const up = Promise.withResolvers<void>()
  up.promise.catch(() => {}) // those who wait for it are told
  return {
    source: undefined,
    dataPlane: undefined,
    announcer: undefined,
    eventWriter: undefined,
    waitingFor,
    lastApplied: undefined,
    failure: '',
    entriesWritten: 0,
    serviceSync: createServiceSync(Date.now),
    up,
  }
}

/** Why the node is not ready; empty: it is. */
export function notReady(progress: Progress): readonly string[] {
  return [...notServing(progress), ...closedKinds(progress), ...compiledOf(progress).routing.ownProblems]
}

/** Kinds of policies for whose sake every pod is isolated: no pod should be sent here. */
function closedKinds({ source }: Progress): readonly string[] {
  const problems = source?.problems() ?? []
  return problems.flatMap(({ object, isolates, message }) => (isolates && object === '' ? [message] : []))
}

/** Why no ADD can be served, whatever its pod; empty: it can, as far as there are addresses. */
export function notServing({ waitingFor, failure }: Progress): readonly string[] {
  return [waitingFor === '' ? '' : `waiting for ${waitingFor}`, failure].filter((reason) => reason !== '')
}

/** What cannot be in force because a table is too small, one sentence each. */
export function fullTables({ dataPlane }: Progress): readonly string[] {
  if (dataPlane === undefined) return []
  const { refusals, compiled } = dataPlane.reconciler
  const tables = refusals().map(
    ({ table, needed, maxEntries }) =>
      `table ${table} is full: ${needed} entries are wanted, mapSizes.${table} is ${maxEntries}; it stays as it was`,
  )
  return [...tables, ...refusedServices(compiled())]
}

export function compiledOf({ dataPlane }: Progress): Compiled {
  return dataPlane?.reconciler.compiled() ?? NOTHING_COMPILED
}
