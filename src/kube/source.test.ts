// SPDX-License-Identifier: Apache-2.0

import { rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ApiJson, type ApiServer, startApiServer } from '../../test/support/api-server.ts'
import {
  contents,
  eventually,
  namesOf,
  node,
  pod,
  policy,
  service,
  timing,
  useFollowers,
} from '../../test/support/kube-source.ts'
import { root } from '../api/cursor.ts'
import { readers } from '../api/object.ts'
import type { KubeObject } from '../world/objects.ts'
import { objectKey, type World } from '../world/world.ts'

const place = useFollowers()
const { follow } = place

function read(object: ApiJson): KubeObject {
  return readers[`${object.apiVersion} ${object.kind}`]!(root(object))!
}

function isServed({ metadata }: ApiJson): boolean {
  return !Object.keys((metadata.labels as object) ?? {}).some((key) => key.startsWith('service.kubernetes.io/'))
}

/** What a node should know of what the server has. */
function expected(server: ApiServer): Record<string, KubeObject> {
  const of = (kind: string): ApiJson[] => server.objects(kind).filter(isServed)
  const pods = of('Pod') as (ApiJson & { spec: { nodeName?: string }; status: { phase: string } })[]
  const own = pods.filter(({ spec }) => spec.nodeName === 'n1')
  const asking = of('NetworkPolicy').some(
    (policy) =>
      (policy.spec as { ingress: object[] }).ingress.length > 0 &&
      own.some(
        ({ metadata, status }) => metadata.namespace === policy.metadata.namespace && status.phase === 'Running',
      ),
  )
  const elsewhere = pods.filter(({ spec, status }) => spec.nodeName !== 'n1' && status.phase === 'Running')
  const services = new Set(of('Service').map(({ metadata }) => `${metadata.namespace}/${metadata.name}`))
  const slices = of('EndpointSlice').filter(({ metadata }) => {
    const { 'kubernetes.io/service-name': name } = metadata.labels as Record<string, string>
    return services.has(`${metadata.namespace}/${name}`) // contents() finds the others nowhere
  })
  const all = [...of('Node'), ...of('NetworkPolicy'), ...of('Service'), ...slices, ...own]
  if (asking) all.push(...elsewhere, ...of('Namespace'))
  return Object.fromEntries(all.map((object) => [objectKey(read(object)), read(object)]))
}

const namespace = fc.constantFrom('a', 'b')
const name = fc.constantFrom('x', 'y', 'z')
const named = fc.record({ namespace, name })
const object: fc.Arbitrary<ApiJson> = fc.oneof(
  fc.record({ name: fc.constantFrom('n1', 'n2'), cidr: fc.nat(3) }).map(({ name, cidr }) => ({
    kind: 'Node',
    apiVersion: 'v1',
    metadata: { name, managedFields: [{ x: 1 }] },
    spec: { podCIDRs: [`10.${cidr}.0.0/24`] },
  })),
  fc.record({ name: namespace, team: fc.nat(2) }).map(({ name, team }) => ({
    kind: 'Namespace',
    apiVersion: 'v1',
    metadata: { name, labels: { team: `t${team}` } },
  })),
  fc
    .record({
      metadata: named,
      nodeName: fc.constantFrom('n1', 'n2', undefined),
      phase: fc.constantFrom('Running', 'Running', 'Failed'),
      ip: fc.nat(9),
    })
    .map(({ metadata, nodeName, phase, ip }) => ({
      kind: 'Pod',
      apiVersion: 'v1',
      metadata: { ...metadata, annotations: { long: 'x'.repeat(200) } },
      spec: { ...(nodeName === undefined ? {} : { nodeName }), containers: [] },
      status: { phase, podIPs: [{ ip: `10.0.0.${ip}` }] },
    })),
  fc
    .record({ metadata: named, port: fc.integer({ min: 1, max: 4 }), other: fc.boolean() })
    .map(({ metadata, port, other }) => ({
      kind: 'Service',
      apiVersion: 'v1',
      metadata: { ...metadata, ...(other ? { labels: { 'service.kubernetes.io/service-proxy-name': 'x' } } : {}) },
      spec: { clusterIPs: ['10.96.0.1'], ports: [{ port, protocol: 'TCP' }] },
    })),
  fc.record({ metadata: named, service: name, ip: fc.nat(9) }).map(({ metadata, service, ip }) => ({
    kind: 'EndpointSlice',
    apiVersion: 'discovery.k8s.io/v1',
    metadata: { ...metadata, labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    ports: [{ name: '', port: 80, protocol: 'TCP' }],
    endpoints: [{ addresses: [`10.0.0.${ip}`], conditions: { ready: true }, nodeName: 'n2' }],
  })),
  fc.record({ metadata: named, asks: fc.boolean() }).map(({ metadata, asks }) => ({
    kind: 'NetworkPolicy',
    apiVersion: 'networking.k8s.io/v1',
    metadata,
    spec: { podSelector: {}, policyTypes: ['Ingress'], ingress: asks ? [{ from: [{ podSelector: {} }] }] : [] },
  })),
)

type Deed =
  | { readonly deed: 'put'; readonly object: ApiJson }
  | { readonly deed: 'delete'; readonly object: ApiJson }
  | { readonly deed: 'cut' | 'compact' | 'garble' | 'restart' | 'repeat' | 'settle' }
const deed: fc.Arbitrary<Deed> = fc.oneof(
  { weight: 12, arbitrary: object.map((object): Deed => ({ deed: 'put', object })) },
  { weight: 4, arbitrary: object.map((object): Deed => ({ deed: 'delete', object })) },
  {
    weight: 5,
    arbitrary: fc
      .constantFrom('cut', 'compact', 'garble', 'restart', 'repeat', 'settle')
      .map((deed): Deed => ({ deed: deed as 'cut' })),
  },
)

async function perform(server: ApiServer, each: Deed): Promise<void> {
  switch (each.deed) {
    case 'put':
      return server.put(each.object)
    case 'delete':
      return server.delete(each.object.kind, each.object.metadata.namespace ?? '', each.object.metadata.name)
    case 'cut':
      return server.cut()
    case 'compact':
      server.compact()
      return server.cut()
    case 'garble':
      return server.garble('{"type":"MODIFIED","object":{"metad')
    case 'restart':
      await server.stop()
      return server.start()
    case 'repeat':
      server.repeat = 3 - server.repeat
      return
    default:
      return delay(10)
  }
}

describe('what the server has is what World holds', () => {
  test.each([true, false])(
    'after any sequence of changes and faults, WatchList %s; told are changes only',
    (watchList) =>
      fc.assert(
        fc.asyncProperty(
          fc.array(deed, { maxLength: 30 }),
          fc.array(deed, { maxLength: 30 }),
          async (before, after) => {
            await using server = await startApiServer()
            server.watchList = watchList
            for (const each of before) await perform(server, each)
            using followed = follow([server.url])
            for (const each of after) await perform(server, each)
            await eventually(() => expect(contents(followed.world)).toEqual(expected(server)))
            // Pods elsewhere may come and go as policies ask for them; of all else each change is told once at most.
            const told = followed.changes
              .flatMap(({ put, deleted }) => [...put, ...deleted])
              .filter(({ kind }) => kind !== 'Pod' && kind !== 'Namespace')
            const deeds = [...before, ...after].filter(({ deed }) => deed === 'put' || deed === 'delete')
            expect(told.length).toBeLessThanOrEqual(deeds.length)
          },
        ),
        { numRuns: 60, interruptAfterTimeLimit: 20_000, markInterruptAsFailure: false, endOnFailure: true },
      ),
    60_000,
  )
})

describe('bad days', () => {
  test('an agent that starts without API server begins with what it knew, and what it did not see may exist', async () => {
    await using server = await startApiServer()
    const team: ApiJson = { kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'a', labels: { team: 'x' } } }
    for (const each of [node, team, policy('p', true), pod('own', 'n1'), pod('other', 'n2'), service('s')]) {
      server.put(each)
    }
    const journalPath = place.path('journal')
    {
      using followed = follow([server.url], { journalPath })
      await eventually(() => expect(followed.world.countOf('Pod')).toBe(2))
      expect([...followed.source.unseenKinds()]).toEqual([])
      await followed.source.sync()
    }
    await server.stop()
    using followed = follow([server.url], { journalPath })
    await eventually(() => expect(followed.changes).toHaveLength(1))
    // Without its namespace's labels the own pod would be no peer of its neighbours any more.
    expect(namesOf(followed.world)).toEqual(['Namespace a', 'NetworkPolicy a/p', 'Node n1', 'Pod a/own'])
    expect(followed.source.unseenKinds()).toEqual(
      new Set([
        'Node',
        'ServiceCIDR',
        'NetworkPolicy',
        'ClusterNetworkPolicy',
        'CiliumNetworkPolicy',
        'CiliumClusterwideNetworkPolicy',
        'Pod',
        'Service',
        'EndpointSlice',
        'Namespace',
      ]),
    )
    expect(followed.source.state().synchronised).toBe(false)
    await server.start()
    server.delete('NetworkPolicy', 'a', 'p')
    await eventually(() => expect(followed.source.unseenKinds().size).toBe(0))
    // No policy asks for namespaces any more.
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Pod a/own', 'Service a/s']))
  })

  test('a server that is gone for a while takes nothing away, its age is visible, and nothing is told again', async () => {
    await using server = await startApiServer()
    for (const each of [node, service('s'), service('t')]) server.put(each)
    using followed = follow([server.url])
    await eventually(() => expect(followed.world.countOf('Service')).toBe(2))
    expect(followed.world.isLive()).toBe(true)
    await server.stop()
    await eventually(() => expect(followed.world.isLive()).toBe(false)) // pods that it does not know start by what it knows
    await eventually(() => {
      const { parts } = followed.source.state()
      expect(parts.every(({ ageMs, failure }) => (ageMs ?? 0) > 0 && failure.includes('no API server answers'))).toBe(
        true,
      )
    })
    expect(followed.errors).toHaveLength(1)
    expect(followed.world.countOf('Service')).toBe(2)
    server.delete('Service', 'a', 't')
    await server.start()
    await eventually(() => expect(followed.world.countOf('Service')).toBe(1))
    const ages = () => followed.source.state().parts.map(({ ageMs }) => ageMs)
    await eventually(() => expect(ages()).toEqual(Array(9).fill(0))) // each stream comes back for itself
    expect(followed.world.isLive()).toBe(true)
    expect(followed.changes.flatMap(({ put }) => put)).toHaveLength(3)
  })

  test('several servers: the next one is asked when one does not answer', async () => {
    await using first = await startApiServer()
    await using second = await startApiServer()
    for (const server of [first, second]) server.put(node)
    using followed = follow([first.url, second.url])
    await eventually(() => expect(followed.source.state()).toMatchObject({ name: first.url, synchronised: true }))
    await first.stop()
    await eventually(() => expect(followed.source.state().name).toBe(second.url))
    second.put(service('s'))
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Service a/s']))
  })

  test.each([500, 503])(
    'several servers: the next one is asked when one says that it cannot serve (%i)',
    async (status) => {
      const unable = createServer((_, response) => response.writeHead(status).end('etcd is gone'))
      await new Promise<void>((resolve) => unable.listen(0, '127.0.0.1', resolve))
      try {
        await using able = await startApiServer()
        able.put(node)
        using followed = follow([`http://127.0.0.1:${(unable.address() as AddressInfo).port}`, able.url])
        await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1']))
        expect(followed.source.state().name).toBe(able.url)
      } finally {
        unable.close()
        unable.closeAllConnections()
      }
    },
  )

  test('a token that was rotated is read again when the old one is refused', async () => {
    await using server = await startApiServer()
    server.token = 'first'
    server.put(node)
    using followed = follow([server.url])
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1']))
    server.token = 'second'
    writeFileSync(place.path('token'), 'second\n')
    server.cut()
    server.put(service('s'))
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Service a/s']))
  })

  test('a token that cannot be read is named, not a server that was never asked; it is tried again', async () => {
    await using server = await startApiServer()
    server.token = 'first'
    server.put(node)
    rmSync(place.path('token'))
    using followed = follow([server.url])
    const why = `no credentials for the API server: ${place.path('token')} cannot be read (ENOENT)`
    await eventually(() => expect(followed.source.notices()).toContain(`nodes not seen yet: ${why}`))
    expect(server.requests).toEqual([])
    writeFileSync(place.path('token'), 'first')
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1']))
  })

  test('a missing permission names verb, resource and the chart value; the rest goes on', async () => {
    await using server = await startApiServer()
    server.put(node)
    server.forbidden.add('watch networkpolicies')
    using followed = follow([server.url], { timing: { ...timing, patienceMs: 30 } })
    await eventually(() => expect(followed.errors).toHaveLength(1))
    expect(followed.errors[0]).toContain('verb watch on networkpolicies.networking.k8s.io')
    expect(followed.errors[0]).toContain('rbac.create=true')
    const asked = server.requests.length
    await eventually(() => expect(server.requests.length).toBeGreaterThan(asked + 20)) // longer than its patience
    expect(followed.changes).toEqual([]) // pods without their policies would be open
    server.forbidden.clear()
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1']))
  })

  test('pods go on to come while the policies are behind: the last known ones count, and their age is visible', async () => {
    await using server = await startApiServer()
    for (const each of [node, policy('p', false)]) server.put(each)
    using followed = follow([server.url])
    await eventually(() => expect(namesOf(followed.world)).toEqual(['NetworkPolicy a/p', 'Node n1']))
    server.forbidden.add('watch networkpolicies')
    server.cut()
    const part = () => followed.source.state().parts.find(({ name }) => name === 'networkpolicies')
    await eventually(() => expect(part()?.failure).toContain('rbac.create=true'))
    server.put(policy('late', false))
    server.put(pod('own', 'n1'))
    await eventually(() => expect(namesOf(followed.world)).toEqual(['NetworkPolicy a/p', 'Node n1', 'Pod a/own']))
    expect(part()).toMatchObject({ synchronised: true, ageMs: expect.any(Number) })
    expect(followed.world.isLive()).toBe(true)
    server.forbidden.clear()
    await eventually(() => expect(namesOf(followed.world)).toContain('NetworkPolicy a/late'))
    await eventually(() => expect(part()).toMatchObject({ ageMs: 0, failure: '' }))
  })

  test('an object that does not validate is named; its last good version stays; one of many megabytes passes', async () => {
    await using server = await startApiServer()
    server.put(service('s'))
    using followed = follow([server.url])
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Service a/s']))
    const good = contents(followed.world)
    server.put({ ...service('s'), spec: { clusterIPs: ['no address'] } })
    const big = 'x'.repeat(3_000_000)
    server.put({ ...service('big'), metadata: { namespace: 'a', name: 'big', annotations: { big } } })
    server.put({ ...service('huge'), spec: { clusterIPs: [big] } })
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Service a/big', 'Service a/s']))
    expect(contents(followed.world)['Service a/s']).toEqual(good['Service a/s'])
    await eventually(() =>
      expect(followed.source.problems()).toMatchObject([
        { file: 'services', object: 'Service a/s', field: 'spec.clusterIPs[0]', keptSinceMs: expect.any(Number) },
        {
          file: 'services',
          object: 'Service a/huge',
          message: expect.stringContaining('too large'),
          keptSinceMs: null,
        },
      ]),
    )
    expect(followed.source.notices()).toEqual(['2 events of services could not be read'])
    server.put(service('s'))
    await eventually(() => expect(followed.source.problems()).toHaveLength(1))
    server.delete('Service', 'a', 'huge')
    await eventually(() => expect(followed.source.problems()).toEqual([]))
  })

  test('an annotation audits a policy, and also what stands for one that cannot be read', async () => {
    const annotated = (name: string, text: string, spec: object): ApiJson => ({
      ...policy(name, true),
      metadata: { namespace: 'a', name, annotations: { 'heddle.network/audit': text, other: 'x' } },
      spec,
    })
    const { spec } = policy('p', true) as unknown as { readonly spec: object }
    await using server = await startApiServer()
    server.put(node)
    server.put(annotated('good', 'true', spec))
    server.put(annotated('bad', 'true', { ...spec, action: 'Deny' }))
    server.put(annotated('enforced', 'yes', spec))
    using followed = follow([server.url], { journalPath: place.path('journal') })
    const of = (name: string) => contents(followed.world)[`NetworkPolicy a/${name}`]
    await eventually(() => expect(of('good')).toMatchObject({ audited: true }))
    await eventually(() => expect(of('bad')).toMatchObject({ audited: true, unreadable: true }))
    await eventually(() => expect(of('enforced')).toBeDefined())
    expect(of('enforced')).not.toHaveProperty('audited')
  })

  describe('a policy that cannot be read and never could isolates what it may select', () => {
    const cidrs = (count: number) =>
      Array.from({ length: count }, (_, at) => ({
        ipBlock: { cidr: `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}/32` },
      }))
    const web = { matchLabels: { app: 'web' }, matchExpressions: [] }
    const everyPod = { matchLabels: {}, matchExpressions: [] }
    const labels = Object.fromEntries(Array.from({ length: 20_000 }, (_, at) => [`l${at}`, 'x'.repeat(50)]))

    test.each([
      [
        'more than 1 MiB of peers',
        { podSelector: web, ingress: [{ from: cidrs(40_000) }], policyTypes: ['Ingress'] },
        web,
        [],
        null,
      ],
      [
        'more than 10,000 items',
        { podSelector: web, egress: [{ to: cidrs(10_001) }], policyTypes: ['Egress'] },
        web,
        null,
        [],
      ],
      ['a field of its own that nobody knows', { podSelector: web, action: 'Deny' }, web, [], null],
      [
        'a pod selector that nobody knows',
        { podSelector: { matchExpressions: [{ key: 'a', operator: 'Like' }] }, policyTypes: ['Ingress'] },
        everyPod,
        [],
        null,
      ],
      ['a direction that nobody knows', { podSelector: web, policyTypes: ['Sideways'] }, web, [], []],
      [
        'a pod selector of more than 1 MiB',
        { podSelector: { matchLabels: labels }, policyTypes: ['Ingress'] },
        everyPod,
        [],
        [],
      ],
    ])('%s', async (_, spec, podSelector, ingress, egress) => {
      await using server = await startApiServer()
      server.put(node)
      server.put({ ...policy('p', false), spec })
      const journalPath = place.path('journal')
      const inForce = (world: World) => contents(world)['NetworkPolicy a/p']
      const standIn = {
        kind: 'NetworkPolicy',
        namespace: 'a',
        name: 'p',
        podSelector,
        ingress,
        egress,
        unreadable: true,
      }
      {
        using followed = follow([server.url], { journalPath })
        await eventually(() => expect(inForce(followed.world)).toEqual(standIn))
        expect(followed.source.problems()).toMatchObject([
          { object: 'NetworkPolicy a/p', keptSinceMs: null, isolates: true },
        ])
        await followed.source.sync()
      }
      await server.stop()
      using followed = follow([server.url], { journalPath })
      await eventually(() => expect(inForce(followed.world)).toEqual(standIn)) // also where nobody can be asked
      await server.start()
      // Listed again it is no good version of before.
      await eventually(() => expect(followed.source.problems()).toMatchObject([{ keptSinceMs: null, isolates: true }]))
      server.put(policy('p', true))
      await eventually(() => expect(inForce(followed.world)).toMatchObject({ ingress: [{ ports: null }] }))
      expect(inForce(followed.world)).not.toHaveProperty('unreadable')
      server.put({ ...policy('p', false), spec })
      await eventually(() =>
        expect(followed.source.problems()).toMatchObject([{ keptSinceMs: expect.any(Number), isolates: false }]),
      )
      expect(inForce(followed.world)).toMatchObject({ ingress: [{ ports: null }] })
      server.delete('NetworkPolicy', 'a', 'p')
      await eventually(() => expect(inForce(followed.world)).toBeUndefined())
    })
  })

  test('a list that breaks off between its pages is begun anew: what the first ones held is not taken for all', async () => {
    await using server = await startApiServer()
    server.watchList = false
    for (const each of [node, ...['s', 't', 'u', 'v'].map(service)]) server.put(each)
    server.endless.set('Service', 'broken')
    using followed = follow([server.url])
    const lists = () => server.requests.filter((url) => url.includes('services?') && !url.includes('watch=true'))
    await eventually(() => expect(lists().length).toBeGreaterThan(9))
    expect(followed.changes).toEqual([])
    server.endless.clear()
    await eventually(() => expect(followed.world.countOf('Service')).toBe(4))
  })

  test('pods elsewhere are followed while a policy asks for them, and forgotten after', async () => {
    await using server = await startApiServer()
    for (const each of [node, pod('own', 'n1'), pod('other', 'n2'), policy('p', false)]) server.put(each)
    using followed = follow([server.url])
    await eventually(() => expect(namesOf(followed.world)).toEqual(['NetworkPolicy a/p', 'Node n1', 'Pod a/own']))
    expect(server.requests.some((url) => url.includes('namespaces'))).toBe(false)
    server.put(policy('p', true))
    await eventually(() => expect(namesOf(followed.world)).toContain('Pod a/other'))
    server.put(policy('p', false))
    await eventually(() => expect(namesOf(followed.world)).not.toContain('Pod a/other'))
  })

  describe('ClusterNetworkPolicy, which no server has to know', () => {
    const ban = {
      kind: 'ClusterNetworkPolicy',
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      metadata: { name: 'ban' },
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: { matchLabels: { team: 'a' } } },
        ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
      },
    }
    const namespace = { kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'a', labels: { team: 'a' } } }

    test('where it is absent that is said, everything else is known, and it is found when it comes', async () => {
      await using server = await startApiServer()
      server.absent.add('ClusterNetworkPolicy')
      for (const each of [node, namespace, pod('own', 'n1'), ban]) server.put(each)
      using followed = follow([server.url])
      await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Pod a/own']))
      expect(followed.source.state().synchronised).toBe(true)
      expect(followed.source.notices()).toEqual([expect.stringContaining('the API server has no such kind')])
      expect(followed.errors).toEqual([])
      server.absent.delete('ClusterNetworkPolicy')
      await eventually(() => expect([...followed.world.clusterPolicies()]).toMatchObject([{ name: 'ban' }]))
      expect(followed.source.notices()).toEqual([])
    })

    test('is told once the labels of namespaces are known, which decide whom it selects', async () => {
      await using server = await startApiServer()
      for (const each of [node, namespace, pod('own', 'n1')]) server.put(each)
      using followed = follow([server.url])
      await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Pod a/own']))
      server.put(ban)
      await eventually(() => expect([...followed.world.clusterPolicies()]).toHaveLength(1))
      const change = followed.changes.find(({ put }) => put.some(({ kind }) => kind === 'ClusterNetworkPolicy'))!
      expect(change.put.map(({ kind }) => kind)).toContain('Namespace')
      server.delete('ClusterNetworkPolicy', '', 'ban')
      await eventually(() => expect([...followed.world.clusterPolicies()]).toEqual([]))
    })
  })

  describe("Cilium's policies, which no server has to know", () => {
    const guard = {
      kind: 'CiliumNetworkPolicy',
      apiVersion: 'cilium.io/v2',
      metadata: { namespace: 'a', name: 'guard' },
      spec: { endpointSelector: {}, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'x' } }] }] },
    }
    const wide = { ...guard, kind: 'CiliumClusterwideNetworkPolicy', metadata: { name: 'wide' } }
    const unreadable = { ...guard, spec: { ...guard.spec, egressDeny: [{ toServices: [{}] }] } }
    const guardIn = (world: World) => contents(world)['CiliumNetworkPolicy a/guard']

    test('where they are absent that is said, everything else is known, and they are found when they come', async () => {
      await using server = await startApiServer()
      for (const kind of [guard.kind, wide.kind]) server.absent.add(kind)
      for (const each of [node, pod('own', 'n1'), guard, wide]) server.put(each)
      using followed = follow([server.url])
      await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Pod a/own']))
      expect(followed.source.state().synchronised).toBe(true)
      expect(followed.source.notices()).toEqual([
        'ciliumnetworkpolicies.cilium.io: the API server has no such kind, so there are none',
        'ciliumclusterwidenetworkpolicies.cilium.io: the API server has no such kind, so there are none',
      ])
      expect(server.requests.some((url) => url.includes('namespaces'))).toBe(false)
      server.absent.clear()
      await eventually(() => expect([...followed.world.ciliumPolicies()]).toHaveLength(2))
      expect(followed.source.notices()).toEqual([])
    })

    test('are told with the pods elsewhere, whom they may deny', async () => {
      await using server = await startApiServer()
      for (const each of [node, pod('own', 'n1'), pod('other', 'n2')]) server.put(each)
      using followed = follow([server.url])
      await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Pod a/own']))
      server.put(guard)
      await eventually(() => expect(guardIn(followed.world)).toBeDefined())
      const change = followed.changes.find(({ put }) => put.some(({ kind }) => kind === guard.kind))!
      expect(change.put.map(({ name }) => name)).toContain('other')
      server.delete('CiliumNetworkPolicy', 'a', 'guard')
      await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Pod a/own']))
    })

    test('what is refused isolates, until there is a good version, which then stays', async () => {
      await using server = await startApiServer()
      for (const each of [node, pod('own', 'n1'), unreadable]) server.put(each)
      using followed = follow([server.url])
      await eventually(() => expect(guardIn(followed.world)).toMatchObject({ unreadable: true }))
      const fault = {
        object: 'CiliumNetworkPolicy a/guard',
        field: 'spec.egressDeny[0].toServices',
        message: 'Services as peers are not supported',
      }
      expect(followed.source.problems()).toMatchObject([{ ...fault, keptSinceMs: null, isolates: true }])
      server.put(guard)
      await eventually(() => expect(guardIn(followed.world)).not.toHaveProperty('unreadable'))
      const good = guardIn(followed.world)
      server.put(unreadable)
      await eventually(() =>
        expect(followed.source.problems()).toMatchObject([
          { ...fault, keptSinceMs: expect.any(Number), isolates: false },
        ]),
      )
      expect(guardIn(followed.world)).toEqual(good)
    })

    test('what is outside the cluster a node tells without pods elsewhere', async () => {
      await using server = await startApiServer()
      const world = { ...guard, spec: { endpointSelector: {}, ingress: [{ fromEntities: ['world', 'cluster'] }] } }
      for (const each of [node, pod('own', 'n1'), pod('other', 'n2'), world]) server.put(each)
      using followed = follow([server.url])
      await eventually(() => expect(guardIn(followed.world)).toBeDefined())
      expect(namesOf(followed.world)).not.toContain('Pod a/other')
      expect(server.requests.some((url) => url.includes('namespaces'))).toBe(false)
    })
  })

  test('Service CIDRs come and go; an account that may not read them, and a server without them, has none', async () => {
    await using server = await startApiServer()
    const serviceCIDR = { kind: 'ServiceCIDR', apiVersion: 'networking.k8s.io/v1', spec: { cidrs: ['10.96.0.0/16'] } }
    for (const each of [node, { ...serviceCIDR, metadata: { name: 'kubernetes' } }]) server.put(each)
    {
      using followed = follow([server.url])
      await eventually(() => expect([...followed.world.serviceCIDRs()]).toMatchObject([{ cidrs: ['10.96.0.0/16'] }]))
      server.forbidden.add('watch servicecidrs')
      server.cut()
      const part = () => followed.source.state().parts.find(({ name }) => name.startsWith('servicecidrs'))
      await eventually(() => expect(part()?.failure).toContain('not permitted'))
      expect([...followed.world.serviceCIDRs()]).toHaveLength(1) // what was read stays
      server.forbidden.clear()
      await eventually(() => expect(part()?.failure).toBe(''))
      server.delete('ServiceCIDR', '', 'kubernetes')
      await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1']))
    }
    server.put({ ...serviceCIDR, metadata: { name: 'kubernetes' } })
    for (const arrange of [() => server.forbidden.add('watch servicecidrs'), () => server.absent.add('ServiceCIDR')]) {
      arrange()
      using followed = follow([server.url])
      await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1']))
      await eventually(() => expect(followed.source.state().synchronised).toBe(true))
      expect([...followed.source.unseenKinds()]).toEqual([])
      server.forbidden.clear()
    }
  })

  test('a refused object that goes while nobody watches is no problem any more', async () => {
    await using server = await startApiServer()
    const unreadable = { ...service('s'), spec: { clusterIPs: ['10.96.0.1'], ports: [{ port: 0 }] } }
    for (const each of [node, unreadable]) server.put(each)
    using followed = follow([server.url])
    await eventually(() => expect(followed.source.problems()).toMatchObject([{ object: 'Service a/s' }]))
    await server.stop()
    server.delete('Service', 'a', 's')
    server.compact()
    await server.start()
    await eventually(() => expect(followed.source.problems()).toEqual([]))
  })

  test('Services and their slices are asked for without those that no proxy serves', async () => {
    await using server = await startApiServer()
    server.put(node)
    using followed = follow([server.url])
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1']))
    for (const plural of ['services', 'endpointslices']) {
      const asked = server.requests
        .map((url) => new URL(url, server.url))
        .filter((url) => url.pathname.endsWith(plural))
      expect(asked.length).toBeGreaterThan(0)
      for (const { searchParams } of asked) {
        expect(searchParams.get('labelSelector')?.split(',').toSorted()).toEqual([
          '!service.kubernetes.io/headless',
          '!service.kubernetes.io/service-proxy-name',
        ])
      }
    }
  })

  test('a bug met while an event is worked in is told as one, and not taken for a stream that broke', async () => {
    await using server = await startApiServer()
    server.put(node)
    const broken: Error[] = []
    using followed = follow([server.url], {
      onOwnNode() {
        throw new TypeError('a bug')
      },
      onBroken: (error) => broken.push(error),
    })
    await eventually(() =>
      expect(broken.map(({ message }) => message)).toEqual(['broken invariant: what nodes told: a bug']),
    )
    server.put({ ...node, metadata: { name: 'n1', labels: { a: 'b' } } })
    await eventually(() => {
      server.cut()
      expect(server.requests.filter((url) => url.includes('pods')).length).toBeGreaterThan(1)
    })
    expect(server.requests.filter((url) => url.includes('nodes?'))).toHaveLength(1)
    expect(broken).toHaveLength(1)
    expect(followed.errors.filter((message) => message.includes('nodes'))).toEqual([])
  })

  test('a connection on which nothing comes any more is given up', async () => {
    await using server = await startApiServer()
    server.put(node)
    using followed = follow([server.url], { timing: { ...timing, silenceMs: 100 } })
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1']))
    const asked = server.requests.length
    await eventually(() => expect(server.requests.length).toBeGreaterThan(asked + 5))
    expect(namesOf(followed.world)).toEqual(['Node n1'])
  })
})
