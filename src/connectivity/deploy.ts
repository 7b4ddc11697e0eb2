// SPDX-License-Identifier: Apache-2.0
// Creates the test's namespace and everything in it, waits until it runs, and takes it away. Touches no other namespace.

import { setTimeout as sleep } from 'node:timers/promises'
import { CommandError } from '../core/command-error.ts'
import { isConflict, isForbidden, isNotFound, isRefusedRequest } from '../kube/api-error.ts'
import type { ApiClient } from '../kube/client.ts'
import { type Resource, resources } from '../kube/resources.ts'
import { type PodState, podStates } from './facts.ts'
import {
  type Deployment,
  EXTERNAL_SERVICE,
  LOAD_BALANCED_SERVICE,
  loadBalancerStatus,
  namespaceObject,
  podName,
  podPlaces,
  testObjects,
} from './objects.ts'

const POLL_MS = 300
const GONE_WITHIN_MS = 60_000

const resourceOf: Readonly<Record<string, Resource>> = {
  Pod: resources.pods,
  Service: resources.services,
  NetworkPolicy: resources.networkPolicies,
}

/** Resolves when every object is created; the namespace is the caller's to remove from the first moment on. */
export async function createObjects(client: ApiClient, deployment: Deployment, signal: AbortSignal): Promise<void> {
  const { namespace } = deployment
  await client.create(resources.namespaces, namespaceObject(namespace), { signal })
  // Pods are refused until the controller has made the namespace's account.
  await waitFor(signal, async () => {
    try {
      await client.get(resources.serviceAccounts, { namespace, name: 'default' }, signal)
      return true
    } catch (error) {
      if (isNotFound(error)) return false
      throw error
    }
  })
  for (const object of testObjects(deployment)) {
    const created = client.create(resourceOf[object.kind]!, object, { signal })
    await (mayBeRefused.has(object.metadata.name) ? unlessRefused(created) : created)
  }
  const target = { namespace, name: LOAD_BALANCED_SERVICE, subresource: 'status' }
  await unlessRefused(client.patch(resources.services, target, 'merge', loadBalancerStatus(deployment), { signal }))
}

const mayBeRefused: ReadonlySet<string> = new Set([EXTERNAL_SERVICE, LOAD_BALANCED_SERVICE])

/** Clusters may refuse external IPs and load balancers (an admission plugin, webhook or policy, a quota), and accounts to write
 *  status: the paths that need them are skipped by name then. */
async function unlessRefused(request: Promise<unknown>): Promise<void> {
  await request.catch((error) => {
    if (!isForbidden(error) && !isRefusedRequest(error) && !isNotFound(error)) throw error
  })
}

/** The pods by name, when all of them run. Throws a CommandError that names the first that never will, or those that do not
 *  when the signal ends the wait. */
export async function waitForPods(
  client: ApiClient,
  deployment: Deployment,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, PodState>> {
  const names = podPlaces(deployment).map(podName)
  let pods: ReadonlyMap<string, PodState> = new Map()
  const late = () => names.filter((name) => pods.get(name)?.isReady !== true)
  try {
    await waitFor(signal, async () => {
      pods = podStates(await client.list(resources.pods, { namespace: deployment.namespace, signal }))
      const hopeless = [...pods.values()].find(({ isHopeless }) => isHopeless)
      if (hopeless) throw new CommandError(`pod ${hopeless.name} does not start: ${hopeless.waiting}`)
      return late().length === 0
    })
    return pods
  } catch (error) {
    // Whatever a request says that was on its way when the time was over.
    if (error instanceof CommandError || (signal.reason as Error | undefined)?.name !== 'TimeoutError') throw error
    const first = late()[0]!
    const why = pods.get(first)?.waiting || 'the kubelet says nothing about it'
    throw new CommandError(`${late().length} of ${names.length} pods do not run; ${first}: ${why}`, 1, { cause: error })
  }
}

/** Resolves to whether the namespace is gone, or will go without us: false after a minute. */
export async function removeNamespace(client: ApiClient, namespace: string): Promise<boolean> {
  const signal = AbortSignal.timeout(GONE_WITHIN_MS)
  try {
    await client.delete(resources.namespaces, { name: namespace }, { signal })
    await waitFor(signal, async () => {
      await client.get(resources.namespaces, { name: namespace }, signal)
      return false
    })
  } catch (error) {
    if (isNotFound(error)) return true
    if (isConflict(error) || signal.aborted) return false
    throw error
  }
  return true
}

async function waitFor(signal: AbortSignal, isDone: () => Promise<boolean>): Promise<void> {
  for (;;) {
    signal.throwIfAborted()
    if (await isDone()) return
    await sleep(POLL_MS)
  }
}
