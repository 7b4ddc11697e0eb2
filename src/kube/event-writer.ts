// SPDX-License-Identifier: Apache-2.0
// Tells in the cluster which objects Heddle refuses, as Kubernetes Events: `kubectl describe` shows them. Off every path
// that a pod or a packet waits for.
//
// Every node finds the same fault; an Event's name is made of what it says, so the first to write it is the only one.

import { id64 } from '../core/id64.ts'
import { isConflict, isNotFound } from './api-error.ts'
import type { ApiClient, ApiObject } from './client.ts'
import { apiVersionOf, type Resource, resources } from './resources.ts'

const LOOK_MS = 10_000
/** The API server forgets an Event after an hour; what still holds then is told again. */
const TOLD_MS = 3_600_000
const EVENTS_PER_LOOK = 10
const TOLD_MAX = 1_000
const NAME_CHARS_MAX = 230 // 253 with the id, and a dot between
const MESSAGE_CHARS_MAX = 1_000 // core/v1 Event: 1,024

/** Where Events about objects without a namespace are looked for. */
const CLUSTER_NAMESPACE = 'default'

/** Kinds that people look at with `kubectl describe`. */
const subjects: readonly Resource[] = [
  resources.services,
  resources.networkPolicies,
  resources.clusterNetworkPolicies,
  resources.ciliumNetworkPolicies,
  resources.ciliumClusterwideNetworkPolicies,
]

/** An object that is not in force as it stands. */
export interface Fault {
  /** "Service shop/cart". */
  readonly object: string
  readonly message: string
}

export interface EventWriterOptions {
  readonly client: Pick<ApiClient, 'get' | 'create'>
  readonly nodeName: string
  readonly faults: () => readonly Fault[]
  /** A failure that is another one than before. */
  readonly onFailure: (error: Error) => void
}

export interface EventWriter extends Disposable {
  /** Why Events cannot be written; empty when they can. */
  problems(): readonly string[]
  /** One round, now; the writer itself begins one every 10 s. */
  look(): Promise<void>
}

export function createEventWriter({ client, nodeName, faults, onFailure }: EventWriterOptions): EventWriter {
  const ending = new AbortController()
  const told = new Map<string, number>() // Event's name -> performance.now()
  let problem = ''
  let running = false
  const timer = setInterval(() => void look(), LOOK_MS)
  timer.unref()

  async function tell(event: FaultEvent): Promise<void> {
    const { resource, namespace, name } = event
    const object = await client.get(resource, { namespace, name }, ending.signal)
    await client.create(resources.events, eventOf(event, object, nodeName), { signal: ending.signal })
  }

  /** An object that is gone has nobody to tell. */
  async function tellOnce(event: FaultEvent): Promise<void> {
    try {
      await tell(event)
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error
    }
    told.set(event.id, performance.now())
  }

  async function look(): Promise<void> {
    if (running) return
    running = true
    try {
      for (const [id, at] of told) if (performance.now() - at > TOLD_MS || told.size > TOLD_MAX) told.delete(id)
      const untold = faults()
        .flatMap(faultEvents)
        .filter(({ id }) => !told.has(id))
      for (const event of untold.slice(0, EVENTS_PER_LOOK)) await tellOnce(event)
      problem = ''
    } catch (error) {
      const { message } = error as Error
      if (!ending.signal.aborted && message !== problem) onFailure(error as Error)
      problem = message
    } finally {
      running = false
    }
  }

  return {
    problems: () => (problem === '' ? [] : [`Events: ${problem}`]),
    look,
    [Symbol.dispose]() {
      clearInterval(timer)
      ending.abort()
    },
  }
}

interface FaultEvent {
  readonly id: string
  readonly resource: Resource
  readonly namespace: string
  readonly name: string
  readonly message: string
}

/** None for what has no name, or no kind that Events are written for. */
function faultEvents({ object, message }: Fault): FaultEvent[] {
  const [kind = '', path = ''] = object.split(' ')
  const resource = subjects.find((one) => one.kind === kind)
  const slash = path.indexOf('/')
  if (resource === undefined || path === '' || slash < 0 === resource.namespaced) return []
  const [namespace, name] = [path.slice(0, Math.max(slash, 0)), path.slice(slash + 1)]
  const id = `${name.slice(0, NAME_CHARS_MAX)}.${id64(`${object}\n${message}`).toString(16)}`
  return [{ id, resource, namespace, name, message: message.slice(0, MESSAGE_CHARS_MAX) }]
}

/** core/v1 Event. */
function eventOf({ id, resource, namespace, name, message }: FaultEvent, object: ApiObject, node: string): ApiObject {
  const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z') // metav1.Time has whole seconds
  const { uid, resourceVersion } = object.metadata
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: id, namespace: namespace || CLUSTER_NAMESPACE },
    involvedObject: { apiVersion: apiVersionOf(resource), kind: resource.kind, namespace, name, uid, resourceVersion },
    type: 'Warning',
    reason: 'Refused',
    action: 'Apply',
    message,
    reportingComponent: 'heddle-agent',
    reportingInstance: node,
    source: { component: 'heddle-agent', host: node },
    eventTime: null,
    firstTimestamp: now,
    lastTimestamp: now,
    count: 1,
  }
}
