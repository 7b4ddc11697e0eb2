// SPDX-License-Identifier: Apache-2.0
// The Kubernetes API as a source of World.
//
//   streams (streams.ts) --> mirrors: differences --> changes of one turn --> journal, onChange
//                              ^                           |
//        journal, at a start without API server            '--> interest: which streams are wanted
//
// Told is what is complete: each group of streams from its first whole list on. A server that is gone takes nothing away.

import { isRecord } from '../api/cursor.ts'
import { unreadRules } from '../api/network-policy.ts'
import type { BrokenInvariant } from '../core/errors.ts'
import { type Journal, loadJournal, openJournal } from '../journal/journal.ts'
import { needsPeers } from '../policy/interest.ts'
import type {
  CiliumPolicy,
  ClusterNetworkPolicy,
  EndpointSlice,
  Kind,
  KubeObject,
  NetworkPolicy,
  Pod,
} from '../world/objects.ts'
import type { HeldProblem, Source, SourceChange, SourcePart } from '../world/source.ts'
import { keyOf, objectKey } from '../world/world.ts'
import { ApiUnreachable, isForbidden } from './api-error.ts'
import type { ApiClient } from './client.ts'
import type { ReflectorTiming } from './reflector.ts'
import { isOfServers, type ServerMemory, serversOf } from './servers.ts'
import { createStream, type Group, type Stream, streamKinds } from './streams.ts'

export interface KubeSourceOptions {
  readonly client: ApiClient
  readonly nodeName: string
  /** Remembers nodes, policies, namespaces and own pods across restarts. */
  readonly journalPath: string
  readonly servers: ServerMemory
  /** Told of every difference; the first call holds all objects. A call without objects: unseenKinds() has become
   *  smaller. */
  readonly onChange: (change: SourceChange) => void
  /** The own Node came or changed in any way, also in what World does not hold. */
  readonly onOwnNode?: () => void
  /** Whether a server can be asked for the pods of this node. */
  readonly onReachable?: (isReachable: boolean) => void
  /** A stream that fails, once per failure in a row; a kind that the server has in other versions only; a journal that
   *  cannot be written. */
  readonly onError: (error: Error) => void
  /** A bug met while an event was worked in: the source may be wrong from now on, the process should end. */
  readonly onBroken: (error: BrokenInvariant) => void
  readonly timing?: Partial<ReflectorTiming & SourceTiming>
}

export interface SourceTiming {
  /** Changes that come within this time are told together. */
  readonly gatherMs: number
  /** Without a whole list for so long, although a server answers: begin with what the journal remembers. */
  readonly patienceMs: number
  /** How long pods elsewhere are followed after no policy asks for them any more. */
  readonly lingerMs: number
}

const TIMING: SourceTiming = { gatherMs: 5, patienceMs: 30_000, lingerMs: 60_000 }
const GROUPS: readonly Group[] = [
  'nodes',
  'serviceCIDRs',
  'policies',
  'clusterPolicies',
  'ciliumPolicies',
  'ownPods',
  'services',
  'peers',
]
/** Whom they select, labels of namespaces decide, and whom they deny, labels of pods elsewhere. */
const WAITING: readonly Group[] = ['clusterPolicies', 'ciliumPolicies']

/** The first change is told when everything that matters here was listed, or, where no server answers, as soon as the
 *  journal knows this node. */
export function followKubernetes(options: KubeSourceOptions): Source {
  const { client, nodeName } = options
  const timing = { ...TIMING, ...options.timing }
  const openGroups = new Set<Group>()
  let justOpened: Group[] = [] // whose mirrors are to be told whole
  const wanted = new Set<Group>(GROUPS.filter((group) => group !== 'peers'))
  const streams = streamKinds(nodeName).map((what): Stream => {
    const stream: Stream = createStream(what, {
      client,
      timing,
      onPut: (object) => changed(stream, object),
      onDeleted: (object) => changed(stream, object),
      onListed: () => listed(stream),
      onLive: (failure) => live(stream, failure),
      onSeen: (object) => seen(stream, object),
      onElsewhere: options.onError,
      onBroken: options.onBroken,
    })
    return stream
  })
  const streamsOf = (group: Group): Stream[] => streams.filter((stream) => stream.group === group)
  const ownPods = streamsOf('ownPods')[0]!
  const policies = streamsOf('policies')[0]!
  const interested = [policies, ownPods, ...WAITING.flatMap(streamsOf)]
  const slices = streams.find((stream) => stream.kind === 'EndpointSlice')!

  const pending = new Map<string, { readonly stream: Stream; readonly object: KubeObject }>() // by object
  let isTelling = false // the first change was told
  let gathering: NodeJS.Timeout | undefined
  let lingering: NodeJS.Timeout | undefined
  let failedSince: string | undefined
  let journal: Journal | undefined
  let journalling: Promise<void> = Promise.resolve()
  let hasNews = false // unseenKinds changed
  let isInterestDue = true
  let isWaitOver = false // peers are asked for, and cannot be listed
  let serversDue = false
  let isClosed = false

  // It is written once all was listed: one that knows this node knows its policies too, of each kind that there was then.
  let isNodeRemembered = false
  const journalled = loadJournal(options.journalPath)
  const known = new Set(journalled.files) // streams of which the journal knows all
  let toldKnown = 0 // so many of them the open journal names
  for (const held of journalled.held) {
    streams.find(({ name, isJournalled }) => isJournalled && name === held.file)?.mirror.restore(held)
    if (held.object.kind === 'Node' && held.object.name === nodeName) isNodeRemembered = true
  }
  const impatience = setTimeout(restore, timing.patienceMs)
  for (const group of wanted) for (const stream of streamsOf(group)) stream.start()

  return {
    async sync() {
      flush()
      await journalling
    },
    state: () => ({
      name: client.server(),
      synchronised: wantedStreams().every(({ isSynchronised }) => isSynchronised),
      parts: wantedStreams().map(partOf),
      staleSinceMs: oldest(wantedStreams().map(({ staleSinceMs }) => staleSinceMs)),
      requestCount: client.counters.requests,
      receivedBytes: client.counters.receivedBytes,
    }),
    problems: () => streams.flatMap(problemsOf),
    notices: () => wantedStreams().flatMap(noticesOf),
    unseenKinds() {
      const unseen = wantedStreams().flatMap((stream): Kind[] => (isSettled(stream) ? [] : [stream.kind]))
      // Until it is clear whether a policy asks for them, they may matter.
      return new Set(isInterestDue ? [...unseen, 'Pod', 'Namespace'] : unseen)
    },
    failures: () =>
      streams.flatMap(({ kind, failures }) => [...failures].map(([reason, count]) => ({ kind, reason, count }))),
    [Symbol.dispose]: close,
  }

  function close(): void {
    isClosed = true
    clearTimeout(impatience)
    clearTimeout(gathering)
    clearTimeout(lingering)
    for (const stream of streams) void stream.stop()
  }

  function wantedStreams(): Stream[] {
    return streams.filter(({ group }) => wanted.has(group))
  }

  function changed(stream: Stream, object: KubeObject): void {
    if (stream === slices && isOfServers(object as EndpointSlice)) serversDue = true
    if (interested.includes(stream)) isInterestDue = true
    if (!openGroups.has(stream.group) && !stream.isJournalled) return
    pending.set(`${stream.name} ${keyOf(object)}`, { stream, object })
    gather()
  }

  function gather(): void {
    gathering ??= setTimeout(flush, timing.gatherMs)
  }

  function listed(stream: Stream): void {
    hasNews = true
    const { group, isJournalled, name, isSynchronised } = stream
    if (isJournalled && isSynchronised) known.add(name)
    if (!openGroups.has(group) && streamsOf(group).every(isSettled)) open(group)
    gather()
  }

  /** What of it should be in force is known: from the server, or, where that does not permit it, as well as it can be. */
  function isSettled({ isSynchronised, closed, failure, group, isJournalled }: Stream): boolean {
    return isSynchronised || closed !== '' || (isForbidden(failure) && isJournalled && openGroups.has(group))
  }

  /** Its policies may exist. An agent that remembers them goes on with those; one that does not, also because its journal is
   *  older than the kind, must not take them for none. */
  function forbidden(stream: Stream): void {
    if (!known.has(stream.name) && stream.close()) listed(stream)
    else if (isTelling && isInterestDue && isSettled(stream)) {
      hasNews = true
      gather() // it may have been the last that was waited for
    }
    const isAnswered = (each: Stream): boolean => isSettled(each) || isForbidden(each.failure)
    const isStuck = wantedStreams().every(isAnswered) && !wantedStreams().every(isSettled)
    if (!isTelling && isStuck) restore() // nothing better will come
  }

  /** What the group's mirrors hold is told from now on. */
  function open(group: Group): void {
    openGroups.add(group)
    justOpened.push(group)
    if (group === 'peers') justOpened.push(...WAITING) // they may have waited
  }

  function live(stream: Stream, failure: Error | null): void {
    if (stream === ownPods) options.onReachable?.(!(failure instanceof ApiUnreachable))
    // One failure of the server is many streams' failure: it is reported once, and again when it is another one.
    if (failure === null) {
      if (wantedStreams().every(({ staleSinceMs }) => staleSinceMs === null)) failedSince = undefined
      return
    }
    const text = failure instanceof ApiUnreachable ? 'unreachable' : `${stream.name}: ${failure.message}`
    if (text !== failedSince) options.onError(failure)
    failedSince = text
    if (isForbidden(failure) && !stream.isSynchronised) forbidden(stream)
    if (stream.group === 'peers' && !openGroups.has('peers')) waitNoLonger()
    const isGone = wantedStreams().every((each) => each.failure instanceof ApiUnreachable)
    if (!isTelling && isGone) restore()
  }

  function seen(stream: Stream, object: unknown): void {
    if (stream.kind !== 'Node' || options.onOwnNode === undefined) return
    const metadata = isRecord(object) && isRecord(object.metadata) ? object.metadata : {}
    if (metadata.name === nodeName) options.onOwnNode()
  }

  /** No server tells: begin with what was remembered, if that holds this node. Nothing that others know is taken away. A
   *  Node that was only listed just now says nothing about policies, without which pods would be open. */
  function restore(): void {
    if (isTelling || isClosed || !isNodeRemembered) return
    for (const { group, isJournalled } of streams) if (isJournalled && !openGroups.has(group)) open(group)
    isInterestDue = true
    flush(true)
  }

  function flush(isRestoring = false): void {
    clearTimeout(gathering)
    gathering = undefined
    if (isClosed) return
    const startMs = performance.now()
    lookAtInterest()
    if (!isTelling && !isRestoring && ![...wanted].every((group) => openGroups.has(group))) return
    const isFirst = !isTelling
    isTelling = true
    if (serversDue) rememberServers()
    // By identity: 30,000 Services and slices that come at once need no keys for it.
    const put = new Set<KubeObject>()
    const deleted: KubeObject[] = []
    for (const { mirror } of justOpened.flatMap(streamsOf).filter((stream) => !waits(stream))) {
      for (const object of mirror.objects()) put.add(inForce(object)!)
    }
    justOpened = []
    for (const { stream, object } of pending.values()) {
      if (!openGroups.has(stream.group)) continue
      const now = inForce(object)
      if (now === undefined) deleted.push(object)
      else if (!waits(stream)) put.add(now)
    }
    record()
    pending.clear()
    if (isFirst || hasNews || put.size > 0 || deleted.length > 0) {
      hasNews = false
      const parseMs = performance.now() - startMs
      options.onChange({ put: [...put], deleted, parseMs })
    }
    if (isFirst) clearTimeout(impatience)
  }

  /** Before these are known it isolates every pod, for as long as their lists take; where those fail, nobody knows how
   *  long, and it must not be without effect for so long. */
  function waits({ group }: Stream): boolean {
    return WAITING.includes(group) && wanted.has('peers') && !openGroups.has('peers') && !isWaitOver
  }

  function waitNoLonger(): void {
    if (isWaitOver) return
    isWaitOver = true
    justOpened.push(...WAITING.filter((group) => openGroups.has(group)))
    gather()
  }

  /** A pod that moves here is in two streams for a while: its own node's counts. */
  function inForce(object: KubeObject): KubeObject | undefined {
    const name = keyOf(object)
    for (const { kind, group, mirror } of streams) {
      const found = kind === object.kind && openGroups.has(group) ? mirror.get(name) : undefined
      if (found !== undefined) return found
    }
    return undefined
  }

  function record(): void {
    const changes = [...pending.values()].filter(({ stream }) => stream.isJournalled)
    const all = (): ReturnType<Stream['mirror']['held']> =>
      streams.filter((stream) => stream.isJournalled).flatMap(({ mirror }) => mirror.held())
    const held = changes.flatMap(({ stream, object }) => {
      const now = stream.mirror.get(keyOf(object))
      return now === undefined ? [] : [{ file: stream.name, object: now, keptSinceMs: null }]
    })
    const dropped = changes.flatMap(({ stream, object }) =>
      stream.mirror.get(keyOf(object)) === undefined ? [{ file: stream.name, key: objectKey(object) }] : [],
    )
    journalling = journalling
      .then(async () => {
        if (journal === undefined || known.size > toldKnown) {
          journal = openJournal(options.journalPath, all(), [...known])
          toldKnown = known.size
        } else if (held.length > 0 || dropped.length > 0) await journal.record(held, dropped, all)
      })
      .catch((error: Error) => options.onError(error))
  }

  function lookAtInterest(): void {
    if (!isInterestDue || !interested.every(isSettled)) return
    isInterestDue = false
    const isNeeded = needsPeers(
      policies.mirror.objects() as Iterable<NetworkPolicy>,
      objectsOf('clusterPolicies') as Iterable<ClusterNetworkPolicy>,
      objectsOf('ciliumPolicies') as Iterable<CiliumPolicy>,
      ownPods.mirror.objects() as Iterable<Pod>,
    )
    if (isNeeded) {
      clearTimeout(lingering)
      lingering = undefined
      if (wanted.has('peers')) return
      wanted.add('peers')
      isWaitOver = false
      for (const stream of streamsOf('peers')) stream.start()
    } else if (openGroups.has('peers') || wanted.has('peers')) {
      lingering ??= setTimeout(() => void leavePeers(), timing.lingerMs)
    }
  }

  function objectsOf(group: Group): readonly KubeObject[] {
    return streamsOf(group).flatMap(({ mirror }) => [...mirror.objects()])
  }

  async function leavePeers(): Promise<void> {
    lingering = undefined
    wanted.delete('peers')
    await Promise.all(streamsOf('peers').map((stream) => stream.stop()))
    if (isClosed || wanted.has('peers')) return
    for (const stream of streamsOf('peers')) {
      stream.isSynchronised = false
      stream.mirror.listBegins()
      stream.mirror.listEnds()
    }
    flush()
    openGroups.delete('peers')
  }

  function rememberServers(): void {
    serversDue = false
    try {
      options.servers.remember(serversOf(slices.mirror.objects() as Iterable<EndpointSlice>))
    } catch (error) {
      options.onError(error as Error)
    }
  }
}

function oldest(times: readonly (number | null)[]): number | null {
  const known = times.filter((time) => time !== null)
  return known.length === 0 ? null : Math.min(...known)
}

function partOf({ name, isSynchronised, mirror, staleSinceMs, failure }: Stream): SourcePart {
  return {
    name,
    synchronised: isSynchronised,
    objectCount: mirror.count,
    ageMs: staleSinceMs === null ? 0 : isSynchronised ? Date.now() - staleSinceMs : null,
    failure: failure?.message ?? '',
  }
}

function problemsOf({ name, mirror, elsewhere, closed }: Stream): HeldProblem[] {
  const place = { file: name, line: 1, document: 1, object: '', field: '' }
  return [
    ...mirror.problems(),
    ...(elsewhere === '' ? [] : [{ ...place, message: elsewhere, keptSinceMs: null, isolates: false }]),
    ...(closed === '' ? [] : [{ ...place, message: closed, keptSinceMs: null, isolates: true }]),
  ]
}

function noticesOf(stream: Stream): string[] {
  const { name, group, mirror, staleSinceMs, failure, isSynchronised, isAbsent, elsewhere } = stream
  const { refusals } = mirror
  const age = staleSinceMs === null ? 0 : Math.round((Date.now() - staleSinceMs) / 1000)
  return [
    ...(failure === null
      ? []
      : [`${name} ${isSynchronised ? `as of ${age} s ago` : 'not seen yet'}: ${failure.message}`]),
    ...(refusals === 0 ? [] : [`${refusals} events of ${name} could not be read`]),
    ...(isAbsent && elsewhere === '' ? [`${name}: the API server has no such kind, so there are none`] : []),
    ...(group === 'policies' || group === 'clusterPolicies' ? [...mirror.objects()].flatMap(unreadRules) : []),
  ]
}
