// SPDX-License-Identifier: Apache-2.0
// Against an API server in memory that has objects and keeps Events, as the real one does, by name. The real one: test/cluster.

import { expect, test } from 'vitest'
import { ApiError } from './api-error.ts'
import type { ApiObject } from './client.ts'
import { createEventWriter, type Fault } from './event-writer.ts'
import type { Resource, Target } from './resources.ts'

const cart: Fault = { object: 'Service shop/cart', message: 'spec.ports[0].port: 0 is no port' }

function apiServer(refusal?: { status: number }) {
  const events = new Map<string, ApiObject>()
  const objects = new Map([
    ['services shop/cart', 'uid-1'],
    ['networkpolicies shop/deny', 'uid-2'],
    ['clusternetworkpolicies /ban', 'uid-3'],
  ])
  const error = (verb: 'get' | 'create', resource: string, name: string, status: number) =>
    new ApiError({ verb, resource, name, status, reason: '', message: '', retryAfterMs: 0 })
  return {
    events,
    client: {
      async get({ plural }: Resource, { namespace, name }: Target): Promise<ApiObject> {
        const uid = objects.get(`${plural} ${namespace}/${name}`)
        if (uid === undefined) throw error('get', plural, name, 404)
        return { metadata: { name, uid } }
      },
      async create({ plural }: Resource, object: ApiObject): Promise<ApiObject> {
        const { name, namespace } = object.metadata
        if (refusal !== undefined) throw error('create', plural, name, refusal.status)
        if (events.has(`${namespace}/${name}`)) throw error('create', plural, name, 409)
        events.set(`${namespace}/${name}`, object)
        return object
      },
    },
  }
}

function writer(client: ReturnType<typeof apiServer>['client'], faults: readonly Fault[], failures: string[] = []) {
  const onFailure = (error: Error) => failures.push(error.message)
  return createEventWriter({ client, nodeName: 'n1', faults: () => faults, onFailure })
}

test('a refused object gets one Event, whichever node finds the fault, and however often', async () => {
  const { events, client } = apiServer()
  using first = writer(client, [cart])
  using second = writer(client, [cart])
  for (const each of [first, second, first]) await each.look()
  expect([...first.problems(), ...second.problems()]).toEqual([])
  expect([...events.values()]).toMatchObject([
    {
      metadata: { namespace: 'shop', name: expect.stringMatching(/^cart\.[0-9a-f]+$/) },
      involvedObject: { apiVersion: 'v1', kind: 'Service', namespace: 'shop', name: 'cart', uid: 'uid-1' },
      type: 'Warning',
      reason: 'Refused',
      message: cart.message,
    },
  ])
})

test('another fault of the same object is another Event', async () => {
  const { events, client } = apiServer()
  using told = writer(client, [cart, { ...cart, message: 'spec.type: Cluster is no type' }])
  await told.look()
  expect(events.size).toBe(2)
})

test('what has no name, no Event or is gone is left out, and the rest is told', async () => {
  const { events, client } = apiServer()
  const others = ['', 'Node n1', 'Service shop/gone', 'Pod shop/a'].map((object) => ({ object, message: 'bad' }))
  const policy = { object: 'NetworkPolicy shop/deny', message: 'spec.ingress[0]: no such field' }
  using told = writer(client, [...others, policy])
  await told.look()
  expect([...events.values()]).toMatchObject([{ involvedObject: { apiVersion: 'networking.k8s.io/v1', uid: 'uid-2' } }])
})

test('of an object without a namespace it is told where Events of such objects are looked for', async () => {
  const { events, client } = apiServer()
  using told = writer(client, [{ object: 'ClusterNetworkPolicy ban', message: 'spec.tier: missing' }])
  await told.look()
  expect([...events.values()]).toMatchObject([
    {
      metadata: { namespace: 'default' },
      involvedObject: { kind: 'ClusterNetworkPolicy', namespace: '', name: 'ban' },
    },
  ])
})

test('many faults are told ten at a time, and what is long is cut', async () => {
  const { events, client } = apiServer()
  const faults = Array.from({ length: 25 }, (_, i) => ({ ...cart, message: `${i} ${'x'.repeat(5_000)}` }))
  using told = writer(client, faults)
  await told.look()
  expect(events.size).toBe(10)
  await told.look()
  await told.look()
  expect(events.size).toBe(25)
  for (const { message } of events.values()) expect(String(message).length).toBeLessThanOrEqual(1_024)
})

test('a missing verb is named once, and nothing else suffers', async () => {
  const failures: string[] = []
  using told = writer(apiServer({ status: 403 }).client, [cart], failures)
  await told.look()
  await told.look()
  expect(failures).toHaveLength(1)
  expect(told.problems()).toEqual([expect.stringMatching(/^Events: .*create/)])
})
