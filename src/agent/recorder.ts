// SPDX-License-Identifier: Apache-2.0
// What the data plane and the CNI handlers report, into the log, the metrics and the progress.

import type { Logger } from 'pino'
import type { CniEvent } from '../cni/interfaces.ts'
import { printRefusal } from '../datapath/plan.ts'
import type { Addon } from '../kernel/addon.ts'
import type { Metrics } from '../observe/metrics.ts'
import { releaseMemory } from './memory.ts'
import type { Progress } from './progress.ts'
import type { Applied } from './reconcile.ts'

/** Batches of this many entries leave enough garbage to be worth a collection of their own. */
const GREAT_BATCH = 10_000
const SETTLED_MS = 200

export interface Recorder {
  onApplied(applied: Applied): void
  /** A pass has left nothing to do. */
  onSuccess(): void
  onFailure(error: unknown, retryMs: number): void
  onCni(event: CniEvent): void
}

interface RecorderParts {
  readonly addon: Addon
  readonly log: Logger
  readonly progress: Progress
}

export function createRecorder({ addon, log, progress }: RecorderParts, metrics: Metrics): Recorder {
  return {
    onApplied(applied) {
      const { entryCount, compileMs, applyMs, error, refusals } = applied
      progress.lastApplied = applied
      progress.entriesWritten += entryCount
      metrics.applied({ compile: compileMs / 1000, apply: applyMs / 1000 }, entryCount, error === null)
      const rounded = { entries: entryCount, compileMs: round(compileMs), applyMs: round(applyMs) }
      const refused = refusals.length === 0 ? {} : { refused: refusals.map(printRefusal) }
      if (entryCount >= GREAT_BATCH) setTimeout(() => releaseMemory(addon), SETTLED_MS).unref()
      if (error === null) log.info({ ...rounded, ...refused }, 'tables written')
    },
    onSuccess() {
      progress.failure = ''
      for (const ms of progress.serviceSync.succeeded()) metrics.networkProgrammed(ms / 1000)
    },
    onFailure(error, retryMs) {
      progress.failure = (error as Error).message
      log.error({ err: error, retryMs }, progress.failure)
    },
    onCni({ command, containerId, ifname, pod, addresses, error, durationMs }) {
      metrics.cniRequest(command, error?.code ?? 0, durationMs / 1000)
      const facts = { command, containerId, ifname, pod, addresses, ms: round(durationMs) }
      if (error === null) log.info(facts, 'cni')
      else log.warn({ ...facts, code: error.code, details: error.details, err: error.cause }, `cni: ${error.msg}`)
    },
  }
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100
}
