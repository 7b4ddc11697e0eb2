// SPDX-License-Identifier: Apache-2.0
// A small API server: the list and watch protocol over real HTTP, for objects that a test puts in. It can do what real
// ones do on bad days: cut streams at any byte, forget old versions, send events twice, garble a line, be gone.
// Source: Kubernetes API concepts; only what a client may rely on.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'

export interface ApiJson {
  readonly kind: string
  readonly apiVersion: string
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown }
  readonly [field: string]: unknown
}

export interface ApiServer extends AsyncDisposable {
  readonly url: string
  readonly port: number
  put(object: ApiJson): void
  delete(kind: string, namespace: string, name: string): void
  objects(kind: string): readonly ApiJson[]
  /** Ends every open stream, each after some bytes more. */
  cut(): void
  /** Forgets history: who watches from before is told 410. */
  compact(): void
  /** The next event of each open stream is followed by this line. */
  garble(line: string): void
  /** Each event is sent this many times. */
  repeat: number
  watchList: boolean
  /** undefined: everybody is let in. */
  token: string | undefined
  /** "verb resource" or "get /path" -> refused with 403. */
  readonly forbidden: Set<string>
  /** What the account may do; null: everything. Source: rbac/v1 PolicyRule. */
  rules: readonly Rule[] | null
  /** "verb group/resource" of everything that was asked for, permitted or not; subresources as "nodes/status". */
  readonly asked: Set<string>
  /** Kinds that it does not have: 404. */
  readonly absent: Set<string>
  /** What GET /apis/GROUP and /apis/GROUP/VERSION tell, by group: version -> plurals of its kinds, the preferred version
   *  first. Of other groups it is 404. */
  readonly groups: Map<string, Readonly<Record<string, readonly string[]>>>
  /** Kinds whose list does not end: its last page names itself, or a new one without objects, as the next one; or its
   *  second page never arrives; or pages and initial events go on with objects that nobody put in. */
  readonly endless: Map<string, 'itself' | 'a new one' | 'broken' | 'within'>
  readonly requests: string[]
  /** Stops listening and drops every connection; start() brings it back on the same port. */
  stop(): Promise<void>
  start(): Promise<void>
}

export interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

interface Change {
  readonly version: number
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: ApiJson
  /** As it was before. */
  readonly before: ApiJson | undefined
}

interface Watcher {
  readonly kind: string
  readonly selects: (object: ApiJson | undefined) => boolean
  readonly response: ServerResponse
}

const plurals: Readonly<Record<string, string>> = {
  namespaces: 'Namespace',
  nodes: 'Node',
  pods: 'Pod',
  services: 'Service',
  endpointslices: 'EndpointSlice',
  networkpolicies: 'NetworkPolicy',
  servicecidrs: 'ServiceCIDR',
  events: 'Event',
  clusternetworkpolicies: 'ClusterNetworkPolicy',
  ciliumnetworkpolicies: 'CiliumNetworkPolicy',
  ciliumclusterwidenetworkpolicies: 'CiliumClusterwideNetworkPolicy',
}

/** tls: PEM; null: plain HTTP. */
export async function startApiServer(tls: { key: string; cert: string } | null = null): Promise<ApiServer> {
  const store = new Map<string, ApiJson>()
  const history: Change[] = []
  const watchers = new Set<Watcher>()
  const requests: string[] = []
  const forbidden = new Set<string>()
  const absent = new Set<string>()
  const groups: ApiServer['groups'] = new Map()
  const endless: ApiServer['endless'] = new Map()
  let version = 1
  let oldest = 0
  const make = (): Server => (tls === null ? createServer(serve) : createTlsServer(tls, serve))
  let server = make()
  let port = 0
  let garbage: string | undefined
  let inventions = 0

  const keyOf = (kind: string, namespace: string, name: string): string => `${kind} ${namespace}/${name}`

  function record(type: Change['type'], object: ApiJson, before: ApiJson | undefined): void {
    const stamped = { ...object, metadata: { ...object.metadata, resourceVersion: String(++version) } }
    const change = { version, type, object: stamped, before }
    history.push(change)
    const key = keyOf(object.kind, object.metadata.namespace ?? '', object.metadata.name)
    if (type === 'DELETED') store.delete(key)
    else store.set(key, stamped)
    for (const watcher of watchers) sendChange(watcher, change)
    garbage = undefined
  }

  /** An object that begins or ceases to match a selector comes or goes for the one who watches by it. */
  function sendChange({ kind, selects, response }: Watcher, { type, object, before }: Change): void {
    if (object.kind !== kind) return
    const was = selects(before)
    const is = type !== 'DELETED' && selects(object)
    if (!was && !is) return
    const told = !was ? 'ADDED' : is ? 'MODIFIED' : 'DELETED'
    for (let i = 0; i < api.repeat; i++) response.write(line(told, object))
    if (garbage !== undefined) response.write(`${garbage}\n`)
  }

  function serve(request: IncomingMessage, response: ServerResponse): void {
    requests.push(request.url!)
    const url = new URL(request.url!, 'http://x')
    const question = questionOf(request.method!, url)
    const { verb, plural, name } = question
    const kind = plurals[plural]
    if (api.token !== undefined && request.headers.authorization !== `Bearer ${api.token}`) {
      refuse(response, 401, 'Unauthorized')
    } else if (forbidden.has(`get ${url.pathname}`)) {
      refuse(response, 403, 'Forbidden')
    } else if (plural === '') {
      discover(response, url.pathname)
    } else if (!isPermitted(question)) {
      refuse(response, 403, 'Forbidden')
    } else if (kind === undefined || absent.has(kind)) {
      refuse(response, 404, 'NotFound')
    } else if (verb === 'list' || verb === 'watch') {
      const query = url.searchParams
      const selects = selector(query.get('labelSelector') ?? '', query.get('fieldSelector') ?? '')
      if (verb === 'list') list(response, kind, selects, query)
      else watch(response, kind, selects, query)
    } else {
      const key = keyOf(kind, question.namespace, name)
      void readJson(request).then((body) => answer(response, question, store.get(key), body))
    }
  }

  function isPermitted({ verb, group, plural, subresource }: Question): boolean {
    const resource = subresource === '' ? plural : `${plural}/${subresource}`
    api.asked.add(`${verb} ${group}/${resource}`)
    const { rules } = api
    const isGranted = ({ apiGroups, resources, verbs }: Rule): boolean =>
      apiGroups.includes(group) && resources.includes(resource) && verbs.includes(verb)
    return !forbidden.has(`${verb} ${plural}`) && (rules === null || rules.some(isGranted))
  }

  /** get, create and patch of one object. */
  function answer(response: ServerResponse, { verb }: Question, found: ApiJson | undefined, body: unknown): void {
    if (verb === 'create') {
      api.put(body as ApiJson)
      response.statusCode = 201
      response.end(JSON.stringify(body))
    } else if (found === undefined) {
      refuse(response, 404, 'NotFound')
    } else if (verb === 'get') {
      response.end(JSON.stringify(found))
    } else if (verb === 'patch') {
      const patched = merged(found, body) as ApiJson
      api.put(patched)
      response.end(JSON.stringify(patched))
    } else refuse(response, 405, 'MethodNotAllowed')
  }

  function discover(response: ServerResponse, path: string): void {
    const [group = '', version] = path.split('/').slice(2)
    const versions = groups.get(group)
    if (version === undefined && versions !== undefined) {
      response.end(JSON.stringify(apiGroup(group, Object.keys(versions))))
    } else if (version !== undefined && versions?.[version] !== undefined) {
      response.end(JSON.stringify(apiResources(`${group}/${version}`, versions[version])))
    } else refuse(response, 404, 'NotFound')
  }

  function list(response: ServerResponse, kind: string, selects: Watcher['selects'], query: URLSearchParams): void {
    const from = Number(query.get('continue')?.split('-')[1] ?? 0)
    const at = Number(query.get('continue')?.split('-')[0] ?? version)
    // Pages are of one moment, and this server remembers none: a change in between expires the token.
    if (at !== version) {
      refuse(response, 410, 'Expired')
      return
    }
    if (from > 0 && endless.get(kind) === 'broken') {
      response.destroy()
      return
    }
    if (endless.get(kind) === 'within') {
      response.write(`{"kind":"${kind}List","apiVersion":"v1","items":[${JSON.stringify(invented(kind))}`)
      writeOn(response, () => `,${JSON.stringify(invented(kind))}`)
      return
    }
    const limit = Math.min(Number(query.get('limit') ?? 1e9), 3)
    const all = api.objects(kind).filter(selects)
    const page = all.slice(from, from + limit).map(({ kind: _kind, apiVersion: _version, ...rest }) => rest)
    const after = from + limit < all.length ? 'a new one' : endless.get(kind)
    const next = after === undefined ? {} : { continue: `${at}-${after === 'itself' ? from : from + limit}` }
    response.end(
      `${JSON.stringify({
        kind: `${kind}List`,
        apiVersion: 'v1',
        metadata: { resourceVersion: String(at), ...next },
        items: page,
      })}\n`,
    )
  }

  function invented(kind: string): ApiJson {
    return { kind, apiVersion: 'v1', metadata: { namespace: 'a', name: `invented-${inventions++}` } }
  }

  function watch(response: ServerResponse, kind: string, selects: Watcher['selects'], query: URLSearchParams): void {
    const initial = query.get('sendInitialEvents') === 'true'
    if (initial && !api.watchList) {
      refuse(response, 422, 'Invalid')
      return
    }
    const since = Number(query.get('resourceVersion') ?? version)
    response.flushHeaders()
    const watcher = { kind, selects, response }
    if (initial && endless.get(kind) === 'within') {
      writeOn(response, () => line('ADDED', invented(kind)))
      return
    }
    if (initial) {
      for (const object of api.objects(kind)) if (selects(object)) response.write(line('ADDED', object))
      response.write(bookmark(kind, version, { 'k8s.io/initial-events-end': 'true' }))
    } else if (since < oldest) {
      const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Expired', code: 410 }
      response.end(`${JSON.stringify({ type: 'ERROR', object: status })}\n`)
      return
    } else {
      for (const change of history) if (change.version > since) sendChange(watcher, change)
    }
    watchers.add(watcher)
    response.on('close', () => watchers.delete(watcher))
  }

  const api: ApiServer = {
    get url() {
      return `${tls === null ? 'http' : 'https'}://127.0.0.1:${port}`
    },
    get port() {
      return port
    },
    put(object) {
      const before = store.get(keyOf(object.kind, object.metadata.namespace ?? '', object.metadata.name))
      record(before === undefined ? 'ADDED' : 'MODIFIED', object, before)
    },
    delete(kind, namespace, name) {
      const before = store.get(keyOf(kind, namespace, name))
      if (before !== undefined) record('DELETED', before, before)
    },
    objects: (kind) => [...store.values()].filter((object) => object.kind === kind),
    cut() {
      for (const { response } of watchers) {
        response.write(line('MODIFIED', { kind: 'X', apiVersion: 'v1', metadata: { name: 'cut' } }).slice(0, -5))
        response.destroy()
      }
      watchers.clear()
    },
    compact() {
      oldest = ++version
      for (const { kind, response } of watchers) response.write(bookmark(kind, version, {}))
    },
    garble(text) {
      garbage = text
    },
    repeat: 1,
    watchList: true,
    token: undefined,
    forbidden,
    rules: null,
    asked: new Set(),
    absent,
    groups,
    endless,
    requests,
    async stop() {
      watchers.clear()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
    async start() {
      server = make()
      await listen(server, port)
    },
    async [Symbol.asyncDispose]() {
      await api.stop()
    },
  }
  port = await listen(server, 0)
  return api
}

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** As fast as it is read, until nobody reads. */
function writeOn(response: ServerResponse, text: () => string): void {
  const write = (): void => {
    while (!response.destroyed && response.write(text()));
  }
  response.on('drain', write)
  write()
}

function line(type: string, object: ApiJson): string {
  return `${JSON.stringify({ type, object })}\n`
}

interface Question {
  readonly verb: string
  readonly group: string
  readonly namespace: string
  /** '' of a path that names no resource. */
  readonly plural: string
  readonly name: string
  readonly subresource: string
}

/** Source: Kubernetes API concepts, "Resource URIs"; authorization overview, "Determine the request verb". */
function questionOf(method: string, { pathname, searchParams }: URL): Question {
  const [, root, ...parts] = pathname.split('/')
  const [group, , ...rest] = root === 'api' ? ['', ...parts] : parts
  const [namespace, path] = rest[0] === 'namespaces' && rest.length > 2 ? [rest[1]!, rest.slice(2)] : ['', rest]
  const [plural = '', name = '', subresource = ''] = path
  const reading = name !== '' ? 'get' : searchParams.get('watch') === 'true' ? 'watch' : 'list'
  const verb = { GET: reading, POST: 'create', PATCH: 'patch' }[method] ?? method.toLowerCase()
  return { verb, group: group ?? '', namespace, plural, name, subresource }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString('utf8'))
}

/** RFC 7386, and of the strategic merge patch what a Node's conditions need: a list whose items have a type is merged by
 *  it. */
function merged(target: unknown, patch: unknown): unknown {
  if (
    Array.isArray(patch) &&
    patch.length > 0 &&
    Array.isArray(target) &&
    patch.every((item) => item.type !== undefined)
  ) {
    const kept = target.filter((item) => patch.every(({ type }) => type !== item.type))
    return [...kept, ...patch]
  }
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const result: Record<string, unknown> = typeof target === 'object' ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = merged(result[key], value)
  }
  return result
}

function bookmark(kind: string, version: number, annotations: Readonly<Record<string, string>>): string {
  const metadata = { name: '', resourceVersion: String(version), creationTimestamp: null, annotations }
  return line('BOOKMARK', { kind, apiVersion: 'v1', metadata })
}

/** Source: metav1.APIGroup. */
function apiGroup(name: string, versions: readonly string[]): object {
  const all = versions.map((version) => ({ groupVersion: `${name}/${version}`, version }))
  return { kind: 'APIGroup', apiVersion: 'v1', name, versions: all, preferredVersion: all[0] }
}

/** Source: metav1.APIResourceList; subresources are in it too. */
function apiResources(groupVersion: string, plurals: readonly string[]): object {
  const resources = plurals.flatMap((name) => [{ name }, { name: `${name}/status` }])
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources }
}

function refuse(response: ServerResponse, code: number, reason: string): void {
  response.statusCode = code
  response.end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, code, message: reason }))
}

/** The selectors that Heddle uses: `!label`, and field comparisons of pods. */
function selector(labels: string, fields: string): Watcher['selects'] {
  const absent = labels.split(',').filter((part) => part !== '')
  const compared = fields.split(',').filter((part) => part !== '')
  return (object) => {
    if (object === undefined) return false
    const own = (object.metadata.labels ?? {}) as Readonly<Record<string, string>>
    return (
      absent.every((part) => part.startsWith('!') && !Object.hasOwn(own, part.slice(1))) &&
      compared.every((part) => {
        const [, path, operator, value] = /^([\w.]+)(!=|=)(.*)$/.exec(part)!
        const found = path!.split('.').reduce<unknown>((at, key) => (at as Record<string, unknown>)?.[key], object)
        return ((found ?? '') === value) === (operator === '=')
      })
    )
  }
}
