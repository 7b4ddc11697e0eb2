// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { serviceWith, sliceWith } from '../../test/support/services.ts'
import { endpointsOf, objects } from '../../test/support/worlds.ts'
import type { Address } from '../core/address.ts'
import type { EndpointSlice, KubeObject, Pod, Service } from './objects.ts'
import { createWorld, keyOf, type World } from './world.ts'

function pod(name: string, change: Partial<Pod>): Pod {
  return {
    kind: 'Pod',
    namespace: 'shop',
    name,
    uid: '',
    labels: {},
    nodeName: 'n1',
    hostNetwork: false,
    podIPs: ['10.1.0.5'] as Address[],
    finished: false,
    createdMs: 0,
    containerPorts: [],
    ...change,
  }
}

function slice(name: string, serviceName: string): EndpointSlice {
  return sliceWith({ name, serviceName })
}

const service: Service = serviceWith({})

function worldOf(...put: readonly KubeObject[]): World {
  const world = createWorld()
  for (const object of put) world.put(object)
  return world
}

describe('an address that is taken for another pod would get its policies', () => {
  test('the youngest live pod owns it, whatever the order', () => {
    const pods = [
      pod('old', { createdMs: 1 }),
      pod('new', { createdMs: 2 }),
      pod('done', { createdMs: 3, finished: true }),
      pod('host', { createdMs: 4, hostNetwork: true }),
    ]
    for (const order of [pods, pods.toReversed()]) {
      const world = worldOf(...order)
      expect(world.ownerOf('10.1.0.5' as Address)).toBe('shop/new')
      world.delete('Pod', 'shop/new')
      expect(world.ownerOf('10.1.0.5' as Address)).toBe('shop/old')
      world.put(pod('old', { createdMs: 1, finished: true }))
      expect(world.ownerOf('10.1.0.5' as Address)).toBeUndefined()
    }
  })

  test('a local attachment outranks what the API says', () => {
    const world = worldOf(pod('old', { createdMs: 9 }))
    const [endpoint] = endpointsOf([pod('new', {})])
    world.putEndpoint({ ...endpoint!, addresses: ['10.1.0.5'] as Address[] })
    expect(world.ownerOf('10.1.0.5' as Address)).toBe('shop/new')
    world.deleteEndpoint('shop-new/eth0')
    expect(world.ownerOf('10.1.0.5' as Address)).toBe('shop/old')
  })
})

describe('what is not marked dirty is never programmed', () => {
  test('a slice that moves to another Service makes both dirty', () => {
    const world = worldOf(service, slice('s', 'cart'))
    world.takeDirty()
    world.put(slice('s', 'till'))
    expect(world.takeDirty().services).toEqual(new Set(['shop/cart', 'shop/till']))
    expect([...world.slicesOfService('shop/cart')]).toEqual([])
    expect([...world.slicesOfService('shop/till')]).toEqual([slice('s', 'till')])
  })

  test('a Service alone never costs a policy compilation', () => {
    const world = worldOf(service, slice('s', 'cart'))
    expect(world.takeDirty()).toMatchObject({ policy: false, nodes: new Set(), services: new Set(['shop/cart']) })
  })

  test('a pod elsewhere makes its addresses dirty, and no policy; its namespace does the same to all of its pods', () => {
    const [near, far] = [pod('near', {}), pod('far', { podIPs: ['10.2.0.5'] as Address[] })]
    const world = worldOf(near, far)
    const [endpoint] = endpointsOf([near])
    world.putEndpoint({ ...endpoint!, addresses: ['10.1.0.5', 'fd00:1::5'] as Address[] })
    world.takeDirty()
    world.put({ ...far, podIPs: ['10.2.0.6'] as Address[] })
    expect(world.takeDirty()).toMatchObject({ policy: false, addresses: new Set(['10.2.0.5', '10.2.0.6']) })
    world.put({ ...near, labels: { app: 'cart' } })
    expect(world.takeDirty()).toMatchObject({ policy: true, addresses: new Set(['10.1.0.5', 'fd00:1::5']) })
    world.put({ kind: 'Namespace', name: 'shop', labels: {} })
    expect(world.takeDirty().addresses).toEqual(new Set(['10.1.0.5', 'fd00:1::5', '10.2.0.6']))
  })

  test('an equal object is no change', () => {
    fc.assert(
      fc.property(objects, (each) => {
        const world = worldOf(...each)
        world.takeDirty()
        for (const object of structuredClone(each)) expect(world.put(object)).toBe(false)
        expect(world.takeDirty()).toEqual({
          services: new Set(),
          nodes: new Set(),
          endpoints: new Set(),
          addresses: new Set(),
          policy: false,
        })
      }),
    )
  })
})

test('indexes agree with a search through everything, after any changes', () => {
  fc.assert(
    fc.property(objects, objects, objects, (first, second, gone) => {
      const world = worldOf(...first, ...second)
      for (const object of gone) world.delete(object.kind, keyOf(object))
      const pods = [...world.pods()]
      for (const namespace of ['a', 'b', 'c']) {
        const inNamespace = (each: { namespace: string }) => each.namespace === namespace
        expect(new Set(world.policiesOfNamespace(namespace))).toEqual(
          new Set([...world.networkPolicies()].filter(inNamespace)),
        )
      }
      for (const namespace of ['', 'a', 'b', 'c']) {
        const inNamespace = [...world.ciliumPolicies()].filter((each) => each.namespace === namespace)
        expect(new Set(world.ciliumPoliciesOf(namespace))).toEqual(new Set(inNamespace))
      }
      expect(world.countOf('Pod')).toBe(pods.length)
      expect(pods.map((each) => world.pod(keyOf(each)))).toEqual(pods)
      for (const node of world.nodes()) {
        for (const address of node.internalIPs) {
          const names = [...world.nodes()].filter((each) => each.internalIPs.includes(address)).map(({ name }) => name)
          expect(world.nodeAt(address)?.name).toBe(names.sort()[0])
        }
      }
      const live = pods.filter((each) => !each.finished && !each.hostNetwork)
      expect(new Set(world.ownedAddresses())).toEqual(new Set(live.flatMap((each) => each.podIPs)))
    }),
  )
})
