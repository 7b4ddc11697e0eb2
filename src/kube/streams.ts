// SPDX-License-Identifier: Apache-2.0
// Which parts of the API a node follows, and no more: its own pods, nodes, policies, Services with their slices; pods
// elsewhere and namespaces only while a policy asks for them.

import { NOT_SERVED_LABELS } from '../api/fields.ts'
import { readers } from '../api/object.ts'
import { shapes } from '../api/shapes.ts'
import { standInForKind } from '../api/unread-kind.ts'
import type { Kind } from '../world/objects.ts'
import { type FailureReason, isForbidden, isNotFound } from './api-error.ts'
import type { ApiClient } from './client.ts'
import { LIST_OBJECTS_MAX } from './list-bound.ts'
import { createMirror, type Mirror, type MirrorOptions } from './mirror.ts'
import { ABSENT_MS, type Reflector, type ReflectorOptions, type ReflectorTiming, startReflector } from './reflector.ts'
import { apiVersionOf, type Resource, resourceName, resources } from './resources.ts'
import { servedVersions } from './served-versions.ts'

/** Parts that are told together, since one without the other would say something wrong: a Service without its slices has
 *  no backends, a pod without its namespace has no labels to match by. */
export type Group =
  | 'nodes'
  | 'serviceCIDRs'
  | 'policies'
  | 'clusterPolicies'
  | 'ciliumPolicies'
  | 'ownPods'
  | 'services'
  | 'peers'

interface StreamKind {
  readonly name: string
  readonly group: Group
  readonly resource: Resource
  readonly labelSelector?: string
  readonly fieldSelector?: string
  /** Remembered on disk, so that a start without API server knows them. */
  readonly isJournalled: boolean
  /** Its kind is no part of Kubernetes itself: a server that does not have it has no objects of it. */
  readonly isOptional?: true
  /** Nothing waits for it where the account may not read it. */
  readonly isDispensable?: true
}

export interface Stream {
  readonly name: string
  readonly group: Group
  readonly kind: Kind
  readonly isJournalled: boolean
  readonly mirror: Mirror
  /** A list was read to its end since the start. */
  isSynchronised: boolean
  /** Since when it is not up to date, milliseconds since 1970; null: it is. */
  staleSinceMs: number | null
  failure: Error | null
  /** How often a list or watch of it has failed so far. */
  readonly failures: ReadonlyMap<FailureReason, number>
  /** The server does not have this kind in the version that is read. */
  isAbsent: boolean
  /** Whether its policies may exist although nobody has read any, so that something stands for them that closes every
   *  pod: why; '' where it does not. */
  closed: string
  /** It has the kind in other versions only, so that objects may exist which are not read: a sentence; '' as far as is
   *  known it does not. */
  elsewhere: string
  /** Its policies may exist, and the account may not read them: from now on something stands for them, if it can, unless
   *  it already does. True when that is new. */
  close(): boolean
  start(): void
  stop(): Promise<void>
}

const VERSIONS_TOLD_MAX = 8
const SERVED = NOT_SERVED_LABELS.map((label) => `!${label}`).join(',')

export function streamKinds(nodeName: string): readonly StreamKind[] {
  return [
    { name: 'nodes', group: 'nodes', resource: resources.nodes, isJournalled: true },
    {
      name: resourceName(resources.serviceCIDRs),
      group: 'serviceCIDRs',
      resource: resources.serviceCIDRs,
      isJournalled: true,
      isOptional: true,
      isDispensable: true,
    },
    { name: 'networkpolicies', group: 'policies', resource: resources.networkPolicies, isJournalled: true },
    {
      name: 'clusternetworkpolicies.policy.networking.k8s.io',
      group: 'clusterPolicies',
      resource: resources.clusterNetworkPolicies,
      isJournalled: true,
      isOptional: true,
    },
    ...[resources.ciliumNetworkPolicies, resources.ciliumClusterwideNetworkPolicies].map(
      (resource): StreamKind => ({
        name: resourceName(resource),
        group: 'ciliumPolicies',
        resource,
        isJournalled: true,
        isOptional: true,
      }),
    ),
    {
      name: `pods of ${nodeName}`,
      group: 'ownPods',
      resource: resources.pods,
      fieldSelector: `spec.nodeName=${nodeName}`,
      isJournalled: true,
    },
    { name: 'services', group: 'services', resource: resources.services, labelSelector: SERVED, isJournalled: false },
    {
      name: 'endpointslices',
      group: 'services',
      resource: resources.endpointSlices,
      labelSelector: SERVED,
      isJournalled: false,
    },
    { name: 'namespaces', group: 'peers', resource: resources.namespaces, isJournalled: true },
    {
      name: 'pods elsewhere',
      group: 'peers',
      resource: resources.pods,
      fieldSelector: `spec.nodeName!=${nodeName},status.phase!=Succeeded,status.phase!=Failed`,
      isJournalled: false,
    },
  ]
}

export interface StreamOptions {
  readonly client: ApiClient
  readonly timing: Partial<ReflectorTiming>
  readonly onPut: MirrorOptions['onPut']
  readonly onDeleted: MirrorOptions['onDeleted']
  /** Its list was read to the end. */
  readonly onListed: () => void
  /** It is up to date (null) or not any more. */
  readonly onLive: (failure: Error | null) => void
  readonly onBroken: ReflectorOptions['onBroken']
  /** The server has its kind in other versions only; once for each sentence in a row. */
  readonly onElsewhere: (error: Error) => void
  /** An object as it came, trimmed. */
  readonly onSeen: (object: unknown) => void
}

export function createStream(what: StreamKind, options: StreamOptions): Stream {
  const { resource } = what
  const kind = resource.kind as Kind
  const apiVersion = apiVersionOf(resource)
  const mirror = createMirror({
    name: what.name,
    kind,
    namespaced: resource.namespaced,
    objectsMax: options.timing.listObjectsMax ?? LIST_OBJECTS_MAX,
    reader: readers[`${apiVersion} ${kind}`]!,
    onPut: options.onPut,
    onDeleted: options.onDeleted,
  })
  const failures = new Map<FailureReason, number>()
  let reflector: Reflector | undefined
  let lookAgainMs = 0
  let isWithheld = false // it may not be read, and nothing waits for it

  const stream: Stream = {
    name: what.name,
    group: what.group,
    kind,
    isJournalled: what.isJournalled,
    mirror,
    isSynchronised: false,
    staleSinceMs: Date.now(),
    failure: null,
    failures,
    isAbsent: false,
    elsewhere: '',
    closed: '',
    close() {
      const standIn = standInForKind(kind)
      if (standIn === undefined || stream.closed !== '') return false
      stream.closed = `${stream.failure?.message}; ${what.name} may exist, so every pod is isolated`
      mirror.standIn(standIn)
      return true
    },
    start() {
      reflector ??= startReflector({
        client: options.client,
        resource,
        ...(what.labelSelector === undefined ? {} : { labelSelector: what.labelSelector }),
        ...(what.fieldSelector === undefined ? {} : { fieldSelector: what.fieldSelector }),
        shape: shapes[kind],
        timing: options.timing,
        onBroken: options.onBroken,
        ...(what.isOptional ? { isAbsent: lookElsewhere } : {}),
        sink: {
          listBegins: mirror.listBegins,
          listEnds: listed,
          seen(object) {
            mirror.seen(object)
            options.onSeen(object)
          },
          deleted: mirror.deleted,
          refused: mirror.refused,
          live(answer) {
            if (answer === null) {
              stream.isAbsent = false
              stream.elsewhere = ''
            }
            const isNone = stream.isAbsent && (isNotFound(answer) || isForbidden(answer))
            if (isNone && (mirror.count > 0 || !stream.isSynchronised)) {
              mirror.listBegins()
              listed()
            }
            // What a journal remembers of it stays; so does what was read before, as of any kind.
            if (answer === null) isWithheld = false
            else if (what.isDispensable && isForbidden(answer) && !stream.isSynchronised) {
              isWithheld = true
              listed()
            }
            const failure = isNone || (isWithheld && isForbidden(answer)) ? null : answer
            stream.failure = failure
            if (failure === null) stream.staleSinceMs = null
            else stream.staleSinceMs ??= Date.now()
            options.onLive(failure)
          },
          failed(reason) {
            const isAbsence = what.isOptional === true && reason === 'not-found'
            if (!isAbsence) failures.set(reason, (failures.get(reason) ?? 0) + 1)
          },
        },
      })
    },
    async stop() {
      const stopped = reflector
      reflector = undefined
      await stopped?.stop()
    },
  }
  return stream

  function listed(): void {
    mirror.listEnds()
    stream.isSynchronised = true
    stream.closed = ''
    options.onListed()
  }

  /** Whether there are none in the version that is read. Where the server does not tell, what was known stays. A
   *  permission is asked for before the kind is looked for: of one that is not there a server says that too. */
  async function lookElsewhere(error: Error, signal: AbortSignal): Promise<boolean> {
    // What is forbidden is asked for every few seconds, so that a grant counts soon; whether there is such a kind is not.
    if (isForbidden(error) && performance.now() < lookAgainMs) return stream.isAbsent
    const versions = await servedVersions(options.client, resource, signal)
    if (versions !== undefined) {
      lookAgainMs = performance.now() + (options.timing.absentMs ?? ABSENT_MS)
      sayElsewhere(versions)
    }
    const isServed = versions === undefined || versions.includes(resource.version)
    stream.isAbsent = isNotFound(error) || (!isServed && (stream.isAbsent || !stream.isSynchronised))
    return stream.isAbsent
  }

  function sayElsewhere(versions: readonly string[]): void {
    const before = stream.elsewhere
    const isElsewhere = versions.length > 0 && !versions.includes(resource.version)
    stream.elsewhere = isElsewhere ? elsewhereText(resource, versions) : ''
    if (isElsewhere && stream.elsewhere !== before) options.onElsewhere(new Error(stream.elsewhere))
  }
}

function elsewhereText(resource: Resource, versions: readonly string[]): string {
  const served = versions.slice(0, VERSIONS_TOLD_MAX).join(', ')
  return `the API server serves ${resourceName(resource)} only as ${served}: they are not in force`
}
