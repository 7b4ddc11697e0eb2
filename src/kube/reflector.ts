// SPDX-License-Identifier: Apache-2.0
// Follows one resource of the API for as long as it runs: list, watch, begin where it broke off, list again only where
// that is no longer possible. Owns one stream at a time.
//
//        .--> WatchList (initial events, bookmark "initial-events-end") --.
//   start                                                                 +--> watch --> ended, broken: watch from there
//        '--> pages, where the server does not know WatchList ------------'         '--> 410 Gone, garbled: start
//
// Source: Kubernetes API concepts, "Streaming lists", "Efficient detection of changes".

import type { IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { isRecord } from '../api/cursor.ts'
import { KEEP, type Shape } from '../api/shapes.ts'
import { type BrokenInvariant, isBrokenInvariant, unfailing } from '../core/errors.ts'
import {
  ApiError,
  ApiUnreachable,
  brokenAnswer,
  type FailureReason,
  failureReason,
  isBrokenAnswer,
  isForbidden,
  isGone,
  isNotFound,
  isRefusedRequest,
} from './api-error.ts'
import { createBackoff } from './backoff.ts'
import { type ApiClient, type Query, statusError } from './client.ts'
import { createListBound, LIST_OBJECTS_MAX, type ListBound } from './list-bound.ts'
import { createPager } from './pager.ts'
import { type Resource, resourceName } from './resources.ts'
import { createSkimmer, type SkimmerOptions } from './skim.ts'

export interface ReflectorOptions {
  readonly client: ApiClient
  readonly resource: Resource
  readonly labelSelector?: string
  readonly fieldSelector?: string
  /** What is kept of an object; metadata.name, namespace and resourceVersion among it. */
  readonly shape: { readonly [field: string]: Shape }
  readonly sink: Sink
  /** The server does not have the resource, or does not permit it: awaited before sink.live says so, each time. Resolves
   *  to whether there is nothing to read. */
  readonly isAbsent?: (error: Error, signal: AbortSignal) => Promise<boolean>
  /** What the sink threw, which is a bug and no broken stream: the reflector has ended, the process should. */
  readonly onBroken: (error: BrokenInvariant) => void
  readonly timing?: Partial<ReflectorTiming>
}

/** Where the stream's contents go. A list is what comes between listBegins and listEnds; one that breaks off is followed
 *  by another listBegins. Changes may come twice. */
export interface Sink {
  listBegins(): void
  listEnds(): void
  /** An object as it is now; trimmed, not validated. */
  seen(object: unknown): void
  deleted(object: unknown): void
  /** An event that cannot be read. `start`: the beginning of what was kept of it. */
  refused(reason: string, start: string): void
  /** Up to date from now on (null), or why not any more. */
  live(failure: Error | null): void
  /** The stream has failed, and begins anew: also where it stays up to date. */
  failed(reason: FailureReason): void
}

export interface ReflectorTiming {
  /** Bounds of the wait after a failure. */
  readonly retryMsMin: number
  readonly retryMsMax: number
  /** A stream without a byte for this long is dead; servers send a bookmark a minute. */
  readonly silenceMs: number
  /** After a garbled event: list again after this long, and after ever longer when that was garbled too. */
  readonly relistMs: number
  /** How long the server lets a watch run, at least; up to twice that. */
  readonly watchSeconds: number
  /** What the server does not have, or cannot list as a server should, is asked for again after so long. */
  readonly absentMs: number
  /** Longest list, of all its pages: a server that has not come to the end by then never will. */
  readonly listMs: number
  /** Most objects of one list. */
  readonly listObjectsMax: number
}

export interface Reflector {
  stop(): Promise<void>
}

export const ABSENT_MS = 60_000
const TIMING: ReflectorTiming = {
  retryMsMin: 200,
  retryMsMax: 10_000,
  silenceMs: 100_000,
  relistMs: 1_000,
  watchSeconds: 300,
  absentMs: ABSENT_MS,
  listMs: 600_000,
  listObjectsMax: LIST_OBJECTS_MAX,
}
const PAGE_SIZE = 500
/** Of one object, what is kept of it. */
const KEPT_BYTES_MAX = 1 << 20
const RESOURCE_VERSION_MAX = 64
const INITIAL_EVENTS_END = 'k8s.io/initial-events-end'
const WATCHDOG_TICKS = 8
const RELIST_FACTOR_MAX = 512
const SHORT_WATCH_MS = 1_000

export function startReflector(options: ReflectorOptions): Reflector {
  const { client, resource } = options
  const sink = unfailingSink(options.sink, resourceName(resource))
  const timing = { ...TIMING, ...options.timing }
  const limits = { objectsMax: timing.listObjectsMax, ms: timing.listMs }
  const selectors: Query = { labelSelector: options.labelSelector, fieldSelector: options.fieldSelector }
  const subject = { verb: 'watch', resource: resourceName(resource), name: '' } as const
  const eventShape = watchShape(options.shape)
  const backoff = createBackoff(timing.retryMsMin, timing.retryMsMax)
  const stopping = new AbortController()
  let stream = new AbortController() // the one that is open
  let version = ''
  let canWatchList = true
  const relistBackoff = createBackoff(timing.relistMs, timing.relistMs * RELIST_FACTOR_MAX)
  let relisting: NodeJS.Timeout | undefined

  const running = run().catch(options.onBroken)

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      stream = new AbortController()
      const signal = AbortSignal.any([stopping.signal, stream.signal])
      const startMs = performance.now()
      try {
        if (version === '' && !canWatchList) await listPages(signal)
        await watch(signal)
        // The server ended it as agreed; one that ends every watch at once is not asked without rest.
        if (performance.now() - startMs < SHORT_WATCH_MS) await rest(0)
        else backoff.reset()
      } catch (error) {
        if (isBrokenInvariant(error)) throw error
        if (stopping.signal.aborted) return
        if (!stream.signal.aborted) await recover(error as Error)
      }
    }
  }

  async function recover(error: Error): Promise<void> {
    if (version === '' && canWatchList && (isRefusedRequest(error) || error instanceof NoInitialEventsEnd)) {
      canWatchList = false
      return
    }
    sink.failed(failureReason(error))
    if (isGone(error)) {
      if (version === '') sink.live(error) // of a list: somebody may wait for it
      version = ''
      await rest(0)
      return
    }
    const isRefused = isNotFound(error) || isForbidden(error)
    const isAbsent = isRefused && ((await options.isAbsent?.(error, stopping.signal)) ?? isNotFound(error))
    if (stopping.signal.aborted) return
    if (isBrokenAnswer(error)) sink.refused(error.message, '')
    sink.live(error)
    version = isNotFound(error) ? '' : version
    const mayPagesEnd = isBrokenAnswer(error) && version === '' && canWatchList
    if (mayPagesEnd) canWatchList = false
    const isHopeless = isAbsent || (isBrokenAnswer(error) && !mayPagesEnd)
    await rest(isHopeless ? timing.absentMs : error instanceof ApiError ? error.fields.retryAfterMs : 0)
  }

  async function rest(atLeastMs: number): Promise<void> {
    const ms = Math.max(atLeastMs, backoff.next())
    await delay(ms, undefined, { signal: AbortSignal.any([stopping.signal, stream.signal]) }).catch(() => {})
  }

  async function listPages(signal: AbortSignal): Promise<void> {
    const subject = { verb: 'list', resource: resourceName(resource), name: '' } as const
    const pager = createPager(subject)
    const bound = createListBound(subject, limits)
    sink.listBegins()
    do {
      const query = { ...selectors, limit: PAGE_SIZE, continue: pager.next }
      const skimmer = createSkimmer({
        stream: 'list',
        shape: options.shape,
        around: { metadata: { resourceVersion: KEEP, continue: KEEP } },
        keptBytesMax: KEPT_BYTES_MAX,
        onFrame(object) {
          bound.count()
          sink.seen(object)
        },
        onRefused(reason, start) {
          bound.count()
          refused(reason, start)
        },
      })
      await read(await client.open('list', resource, '', query, signal), skimmer.push, () => bound)
      pager.read(record(skimmer.end()).metadata)
      const late = bound.overdue() // pages that come quickly are not looked at while they are read
      if (late !== undefined) throw late
      if (pager.resourceVersion === '') throw brokenAnswer(subject, 'a list without a version')
    } while (pager.next !== undefined)
    version = pager.resourceVersion
    sink.listEnds()
  }

  async function watch(signal: AbortSignal): Promise<void> {
    const timeoutSeconds = Math.round(timing.watchSeconds * (1 + Math.random()))
    let isListing = version === ''
    const bound = createListBound(subject, limits)
    const query = {
      ...selectors,
      allowWatchBookmarks: true,
      timeoutSeconds,
      ...(isListing ? { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' } : { resourceVersion: version }),
    }
    const answer = await client.open('watch', resource, '', query, signal)
    if (isListing) sink.listBegins()
    else sink.live(null)
    let failure: Error | undefined
    const onFrame: SkimmerOptions['onFrame'] = (event) => {
      if (failure !== undefined) return
      const { type, object } = record(event)
      const metadata = record(record(object).metadata)
      if (type === 'ADDED' || type === 'MODIFIED') {
        if (isListing) bound.count()
        sink.seen(object)
      } else if (type === 'DELETED') sink.deleted(object)
      else if (type === 'BOOKMARK') {
        if (isListing && record(metadata.annotations)[INITIAL_EVENTS_END] === 'true') {
          isListing = false
          version = versionOf(metadata) ?? ''
          sink.listEnds()
          sink.live(null)
          backoff.reset()
        }
      } else if (type === 'ERROR') failure = statusError(subject, 500, object, 0)
      else {
        garbled('not an event', '')
      }
      if (!isListing) version = versionOf(metadata) ?? version
    }
    const skimmer = createSkimmer({
      stream: 'lines',
      shape: eventShape,
      keptBytesMax: KEPT_BYTES_MAX,
      onFrame,
      onRefused(reason, start) {
        if (isListing) bound.count()
        refused(reason, start)
      },
    })
    const push = (chunk: Buffer): void => {
      skimmer.push(chunk)
      if (failure !== undefined) throw failure
    }
    await read(answer, push, () => (isListing ? bound : null))
    if (isListing) throw new NoInitialEventsEnd('the stream ended before the initial events did')
    if (relisting === undefined) relistBackoff.reset()
  }

  function refused(reason: 'not JSON' | 'too large', start: string): void {
    if (reason === 'not JSON') garbled(reason, start)
    else sink.refused(reason, start) // it would be as large the next time
  }

  /** What the event told is lost, perhaps with the name of whom it was about: only a list can tell it again. */
  function garbled(reason: string, start: string): void {
    sink.refused(reason, start)
    relisting ??= setTimeout(() => {
      sink.failed('garbled')
      relisting = undefined
      version = ''
      stream.abort()
    }, relistBackoff.next())
  }

  /** Reads to the end, unless nothing comes for too long, or a list (null: there is none now) takes too long. */
  async function read(
    answer: IncomingMessage,
    push: (chunk: Buffer) => void,
    list: () => ListBound | null,
  ): Promise<void> {
    let heardMs = performance.now()
    let failure: Error | undefined
    const silence = (): Error | undefined =>
      performance.now() - heardMs < timing.silenceMs
        ? undefined
        : new ApiUnreachable(`${resourceName(resource)}: nothing came for ${timing.silenceMs} ms`)
    const look = (): void => {
      failure ??= silence() ?? list()?.overdue()
      if (failure !== undefined) answer.destroy()
    }
    const watchdog = setInterval(look, Math.min(timing.silenceMs, timing.listMs) / WATCHDOG_TICKS)
    try {
      for await (const chunk of answer as AsyncIterable<Buffer>) {
        heardMs = performance.now()
        client.counters.receivedBytes += chunk.length
        push(chunk)
      }
    } catch (error) {
      if (failure !== undefined) throw failure
      if (error instanceof ApiError || isBrokenInvariant(error)) throw error
      throw new ApiUnreachable(`${resourceName(resource)}: the stream broke off: ${(error as Error).message}`)
    } finally {
      clearInterval(watchdog)
      answer.destroy()
    }
    if (failure !== undefined) throw failure
    if (!answer.complete) throw new ApiUnreachable(`${resourceName(resource)}: the stream broke off`)
  }

  return {
    async stop() {
      stopping.abort()
      clearTimeout(relisting)
      await running
    },
  }
}

/** The server took the question for another one: it is too old for it. */
class NoInitialEventsEnd extends Error {}

function unfailingSink(sink: Sink, name: string): Sink {
  const told = (work: () => void): void => unfailing(`what ${name} told`, work)
  return {
    listBegins: () => told(sink.listBegins),
    listEnds: () => told(sink.listEnds),
    seen: (object) => told(() => sink.seen(object)),
    deleted: (object) => told(() => sink.deleted(object)),
    refused: (reason, start) => told(() => sink.refused(reason, start)),
    live: (failure) => told(() => sink.live(failure)),
    failed: (reason) => told(() => sink.failed(reason)),
  }
}

function watchShape(shape: { readonly [field: string]: Shape }): Shape {
  const metadata = shape.metadata === undefined || shape.metadata === KEEP ? {} : shape.metadata
  const annotations = metadata.annotations === undefined || metadata.annotations === KEEP ? {} : metadata.annotations
  return {
    type: KEEP,
    object: {
      ...shape,
      // Of a bookmark, and of the Status in an event of type ERROR.
      metadata: { ...metadata, annotations: { ...annotations, [INITIAL_EVENTS_END]: KEEP } },
      code: KEEP,
      reason: KEEP,
      message: KEEP,
    },
  }
}

function versionOf({ resourceVersion }: Readonly<Record<string, unknown>>): string | undefined {
  const isOne = typeof resourceVersion === 'string' && resourceVersion !== ''
  return isOne && resourceVersion.length <= RESOURCE_VERSION_MAX ? resourceVersion : undefined
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {}
}
