// SPDX-License-Identifier: Apache-2.0
// The Kubernetes API, one function per verb. Every refusal is an ApiError that names verb, resource and object; bodies
// are bounded. What follows many objects for long reads the stream itself (open, and src/kube/reflector.ts).

import type { IncomingMessage } from 'node:http'
import { isRecord } from '../api/cursor.ts'
import { ApiError, ApiUnreachable, brokenAnswer, type Subject, type Verb } from './api-error.ts'
import type { Connection } from './connection.ts'
import { createPager } from './pager.ts'
import { collectionPath, objectPath, type Resource, resourceName, type Target } from './resources.ts'
import { createTransport, type TransportCounters } from './transport.ts'

/** An object as the server says it: callers read what they need, and trust nothing of it. */
export interface ApiObject {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly uid?: string
    readonly resourceVersion?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
    readonly [field: string]: unknown
  }
  readonly [field: string]: unknown
}

export interface Selection {
  /** '' or absent: all namespaces. */
  readonly namespace?: string
  readonly labelSelector?: string
  readonly fieldSelector?: string
  readonly signal?: AbortSignal
}

export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  readonly object: ApiObject
}

/** How a patch's body is meant. Source: Kubernetes API reference, "patch". */
export type PatchType = 'merge' | 'strategic' | 'json' | 'apply'

export interface WriteOptions {
  readonly fieldManager?: string
  readonly signal?: AbortSignal
}

export interface ApiClient extends Disposable {
  get(resource: Resource, target: Target, signal?: AbortSignal): Promise<ApiObject>
  /** All pages. */
  list(resource: Resource, selection?: Selection): Promise<readonly ApiObject[]>
  /** Everything that is there as ADDED, then a BOOKMARK-free stream of changes; ends when the server or the signal ends
   *  it. Throws ApiError 410 and ApiUnreachable: the caller begins anew. */
  watch(resource: Resource, selection?: Selection): AsyncGenerator<WatchEvent, void>
  create(resource: Resource, object: ApiObject, options?: WriteOptions): Promise<ApiObject>
  replace(resource: Resource, object: ApiObject, options?: WriteOptions & { subresource?: string }): Promise<ApiObject>
  /** apply: `patch` is the whole intent (server-side apply, forced); fieldManager is required then. */
  patch(resource: Resource, target: Target, type: PatchType, patch: unknown, options?: WriteOptions): Promise<ApiObject>
  /** Deleting what is absent succeeds. */
  delete(
    resource: Resource,
    target: Target,
    options?: { gracePeriodSeconds?: number; propagation?: 'Foreground' | 'Background'; signal?: AbortSignal },
  ): Promise<void>
  /** A subresource that answers text, such as a pod's log; at most BODY_BYTES_MAX. */
  readText(resource: Resource, target: Target, query?: Query, signal?: AbortSignal): Promise<string>
  /** Any other path, such as /version or /readyz, as text. */
  readPath(path: string, signal?: AbortSignal): Promise<string>
  /** The body of a list or watch, unread; its reader adds to counters.receivedBytes. */
  open(
    verb: 'list' | 'watch',
    resource: Resource,
    namespace: string,
    query: Query,
    signal: AbortSignal,
  ): Promise<IncomingMessage>
  /** The server that answered last. */
  server(): string
  readonly counters: TransportCounters
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>

/** Longest answer that is read whole. A page of a list holds PAGE_SIZE objects. */
export const BODY_BYTES_MAX = 64 << 20
const PAGE_SIZE = 250
/** One event of watch(). */
const LINE_BYTES_MAX = 8 << 20
const UNARY_MS = 60_000
const MESSAGE_MAX = 512

const patchTypes: Readonly<Record<PatchType, string>> = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml', // JSON is YAML
}

interface Unary extends Subject {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly body?: unknown
  readonly contentType?: string
  readonly accept?: string
  readonly signal?: AbortSignal | undefined
}

/** answerMs: for an answer to end, unless it is a stream that was granted. */
export function createApiClient(connection: Connection, userAgent = 'heddle', answerMs = UNARY_MS): ApiClient {
  const transport = createTransport(connection)
  const { counters } = transport

  async function unary(request: Unary): Promise<string> {
    const deadline = AbortSignal.timeout(answerMs)
    const answer = await transport.send({
      method: request.method,
      path: request.path,
      headers: {
        accept: request.accept ?? 'application/json',
        'user-agent': userAgent,
        ...(request.body === undefined ? {} : { 'content-type': request.contentType ?? 'application/json' }),
      },
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
      signal: request.signal === undefined ? deadline : AbortSignal.any([deadline, request.signal]),
    })
    const body = await readBody(answer, request, counters)
    if (isSuccess(answer)) return body
    throw apiError(request, answer, body)
  }

  async function object(request: Unary): Promise<ApiObject> {
    const value = parseObject(await unary(request))
    if (value === undefined) throw brokenAnswer(request, 'the answer is no object')
    return value
  }

  async function open(
    verb: 'list' | 'watch',
    resource: Resource,
    namespace: string,
    query: Query,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const subject = { verb, resource: resourceName(resource), name: '' }
    const answer = await transport.send({
      method: 'GET',
      path: collectionPath(resource, namespace) + queryText(verb === 'watch' ? { ...query, watch: true } : query),
      headers: { accept: 'application/json', 'user-agent': userAgent },
      signal,
    })
    if (isSuccess(answer)) return answer
    const late = setTimeout(() => answer.destroy(), answerMs)
    try {
      throw apiError(subject, answer, await readBody(answer, subject, counters))
    } finally {
      clearTimeout(late)
    }
  }

  async function pages(
    resource: Resource,
    { namespace = '', labelSelector, fieldSelector, signal }: Selection,
  ): Promise<{ readonly items: readonly ApiObject[]; readonly resourceVersion: string }> {
    const items: ApiObject[] = []
    const subject = { verb: 'list', resource: resourceName(resource), name: '' } as const
    const pager = createPager(subject)
    for (;;) {
      const query = queryText({ labelSelector, fieldSelector, limit: PAGE_SIZE, continue: pager.next })
      const request: Unary = {
        ...subject,
        method: 'GET',
        path: collectionPath(resource, namespace) + query,
        signal,
      }
      const page = parseJson(await unary(request))
      if (!isRecord(page) || !Array.isArray(page.items ?? [])) throw brokenAnswer(request, 'the answer is no list')
      for (const item of (page.items as unknown[] | null) ?? []) if (isApiObject(item)) items.push(item)
      pager.read(page.metadata)
      if (pager.next === undefined) return { items, resourceVersion: pager.resourceVersion }
    }
  }

  return {
    counters,
    server: transport.server,
    open,
    get: (resource, target, signal) => object({ ...subjectOf('get', resource, target), method: 'GET', signal }),
    list: async (resource, selection = {}) => (await pages(resource, selection)).items,
    async *watch(resource, selection = {}) {
      const { items, resourceVersion } = await pages(resource, selection)
      for (const item of items) yield { type: 'ADDED', object: item }
      const { namespace = '', labelSelector, fieldSelector } = selection
      const ending = new AbortController()
      const signal = selection.signal === undefined ? ending.signal : AbortSignal.any([ending.signal, selection.signal])
      try {
        const query = { labelSelector, fieldSelector, resourceVersion, allowWatchBookmarks: true }
        const subject = { verb: 'watch', resource: resourceName(resource), name: '' } as const
        for await (const line of linesOf(await open('watch', resource, namespace, query, signal), subject, counters)) {
          const event = parseJson(line)
          if (!isRecord(event) || !isRecord(event.object)) throw brokenAnswer(subject, 'an event is no JSON object')
          if (event.type === 'ERROR') throw statusError(subject, 500, event.object, 0)
          if (event.type !== 'BOOKMARK') yield event as unknown as WatchEvent
        }
      } catch (error) {
        if (!selection.signal?.aborted) throw error
      } finally {
        ending.abort()
      }
    },
    create(resource, body, { fieldManager, signal } = {}) {
      const { namespace = '', name = '' } = body.metadata
      const path = collectionPath(resource, namespace) + queryText({ fieldManager })
      return object({ ...subjectOf('create', resource, { namespace, name }), method: 'POST', path, body, signal })
    },
    replace(resource, body, { fieldManager, subresource, signal } = {}) {
      const { namespace = '', name } = body.metadata
      const target = { namespace, name, ...(subresource === undefined ? {} : { subresource }) }
      const path = objectPath(resource, target) + queryText({ fieldManager })
      return object({ ...subjectOf('update', resource, target), method: 'PUT', path, body, signal })
    },
    patch(resource, target, type, body, { fieldManager, signal } = {}) {
      const path =
        objectPath(resource, target) + queryText({ fieldManager, force: type === 'apply' ? true : undefined })
      const contentType = patchTypes[type]
      return object({ ...subjectOf('patch', resource, target), method: 'PATCH', path, body, contentType, signal })
    },
    async delete(resource, target, { gracePeriodSeconds, propagation, signal } = {}) {
      const body = {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
        ...(propagation === undefined ? {} : { propagationPolicy: propagation }),
      }
      try {
        await unary({ ...subjectOf('delete', resource, target), method: 'DELETE', body, signal })
      } catch (error) {
        if (!(error instanceof ApiError && error.fields.status === 404)) throw error
      }
    },
    readText(resource, target, query = {}, signal) {
      const subject = subjectOf('get', resource, target)
      return unary({ ...subject, method: 'GET', path: subject.path + queryText(query), accept: '*/*', signal })
    },
    readPath: (path, signal) =>
      unary({ verb: 'get', resource: path, name: '', method: 'GET', path, accept: '*/*', signal }),
    [Symbol.dispose]: () => transport[Symbol.dispose](),
  }
}

function subjectOf(verb: Verb, resource: Resource, target: Target): Subject & { readonly path: string } {
  const { namespace = '', name, subresource } = target
  return {
    verb,
    resource: subresource === undefined ? resourceName(resource) : `${resourceName(resource)}/${subresource}`,
    name: namespace === '' ? name : `${namespace}/${name}`,
    path: objectPath(resource, target),
  }
}

function queryText(query: Query): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined)
  if (given.length === 0) return ''
  return `?${new URLSearchParams(given.map(([key, value]): [string, string] => [key, String(value)]))}`
}

async function readBody(answer: IncomingMessage, subject: Subject, counters: TransportCounters): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      counters.receivedBytes += chunk.length
      size += chunk.length
      if (size > BODY_BYTES_MAX) throw brokenAnswer(subject, `the answer is larger than ${BODY_BYTES_MAX} bytes`)
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof ApiError) throw error
    throw new ApiUnreachable(`${subject.verb} ${subject.resource}: the answer broke off: ${(error as Error).message}`)
  }
  return Buffer.concat(chunks).toString('utf8')
}

async function* linesOf(
  answer: IncomingMessage,
  subject: Subject,
  counters: TransportCounters,
): AsyncGenerator<string, void> {
  let rest: Buffer[] = []
  let size = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    counters.receivedBytes += chunk.length
    let from = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      rest.push(chunk.subarray(from, end))
      yield Buffer.concat(rest).toString('utf8')
      rest = []
      size = 0
      from = end + 1
    }
    rest.push(chunk.subarray(from))
    size += chunk.length - from
    if (size > LINE_BYTES_MAX) throw brokenAnswer(subject, `an event is larger than ${LINE_BYTES_MAX} bytes`)
  }
}

function isSuccess({ statusCode = 0 }: IncomingMessage): boolean {
  return statusCode >= 200 && statusCode < 300
}

function apiError(subject: Subject, answer: IncomingMessage, body: string): ApiError {
  const seconds = Number(answer.headers['retry-after'])
  const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 60) * 1000 : 0
  return statusError(subject, answer.statusCode ?? 0, parseJson(body), retryAfterMs)
}

/** From a metav1.Status; anything else tells no more than the HTTP status. */
export function statusError(
  { verb, resource, name }: Subject,
  httpStatus: number,
  status: unknown,
  retryAfterMs: number,
): ApiError {
  const { code, reason, message } = isRecord(status) ? status : {}
  return new ApiError({
    verb,
    resource,
    name,
    status: typeof code === 'number' && code >= 400 ? code : httpStatus,
    reason: typeof reason === 'string' ? reason.slice(0, 64) : '',
    message: typeof message === 'string' ? message.slice(0, MESSAGE_MAX) : '',
    retryAfterMs,
  })
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

function parseObject(body: string): ApiObject | undefined {
  const value = parseJson(body)
  return isApiObject(value) || (isRecord(value) && value.kind === 'Status')
    ? (value as unknown as ApiObject)
    : undefined
}

function isApiObject(value: unknown): value is ApiObject {
  return isRecord(value) && isRecord(value.metadata) && typeof value.metadata.name === 'string'
}
