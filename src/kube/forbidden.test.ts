// SPDX-License-Identifier: Apache-2.0
// A ClusterRole from before a kind of policies that may be absent: the API server says 403 of it, whether the kind is there
// or not.

import { readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type ApiServer, startApiServer } from '../../test/support/api-server.ts'
import {
  eventually,
  type Followed,
  namesOf,
  node,
  pod,
  policy,
  service,
  useFollowers,
} from '../../test/support/kube-source.ts'
import type { Address } from '../core/address.ts'
import { endpointKey } from '../core/names.ts'
import { compilePolicies } from '../policy/compile.ts'
import { judge } from '../policy/verdict.ts'

const place = useFollowers()

const kinds = [
  ['policy.networking.k8s.io', 'v1alpha2', 'clusternetworkpolicies'],
  ['cilium.io', 'v2', 'ciliumnetworkpolicies'],
  ['cilium.io', 'v2', 'ciliumclusterwidenetworkpolicies'],
] as const

async function serverForbidding(plural: string): Promise<ApiServer> {
  const server = await startApiServer()
  for (const each of [node, pod('own', 'n1'), service('s')]) server.put(each)
  for (const verb of ['list', 'watch']) server.forbidden.add(`${verb} ${plural}`)
  return server
}

const endpoint = {
  containerId: 'c',
  ifname: 'eth0',
  namespace: 'a',
  name: 'own',
  uid: '',
  addresses: ['10.0.0.1' as Address],
  ifindex: 1,
  hostIfname: '',
  netnsCookie: 0n,
}

/** What the own pod's policy says of anybody in the world, of both directions. */
function verdicts({ world }: Followed): readonly string[] {
  world.putEndpoint(endpoint)
  const compiled = compilePolicies(world, 'n1')
  const found = compiled.endpoints.get(endpointKey(endpoint))
  if (found === undefined) return ['isolated']
  const peer = compiled.classPrefixes.get('0.0.0.0/0' as never)!
  return [found.egressSet, found.ingressSet].map((set) =>
    judge(compiled, set, peer, 6, 80).allowed ? 'open' : 'closed',
  )
}

describe.each(kinds)('%s/%s %s may not be read', (group, version, plural) => {
  const name = `${plural}.${group}`

  test('and is not there: there are none, so everything is in force; that it would not be read is not said yet', async () => {
    await using server = await serverForbidding(plural)
    using followed = place.follow([server.url])
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Pod a/own', 'Service a/s']))
    expect(followed.source.state().synchronised).toBe(true)
    expect(followed.source.problems()).toEqual([])
    expect(followed.source.notices()).toEqual([`${name}: the API server has no such kind, so there are none`])
    expect(verdicts(followed)).toEqual(['open', 'open'])
    expect(followed.source.unseenKinds().size).toBe(0)
  })

  test.each([
    ['is there', (server: ApiServer) => server.groups.set(group, { [version]: [plural] })],
    ['may be there: nobody tells', (server: ApiServer) => server.forbidden.add(`get /apis/${group}`)],
  ])(
    'and %s: it is named, everything else is in force, and every pod is closed, also after a restart, until it may',
    async (_, arrange) => {
      await using server = await serverForbidding(plural)
      arrange(server)
      const journalPath = place.path('journal')
      for (const attempt of ['fresh', 'restarted']) {
        using followed = place.follow([server.url], { journalPath })
        await eventually(() =>
          expect(namesOf(followed.world)).toEqual(expect.arrayContaining(['Node n1', 'Pod a/own', 'Service a/s'])),
        )
        await eventually(() => expect(verdicts(followed), attempt).toEqual(['closed', 'closed']))
        const says = `${name}: not permitted (403): the account needs verb watch on ${name}; Heddle's chart grants it with rbac.create=true`
        expect(followed.source.problems()).toMatchObject([
          {
            file: name,
            object: '',
            isolates: true,
            message: `watch ${says}; ${name} may exist, so every pod is isolated`,
          },
        ])
        expect(followed.errors).toContain(`watch ${says}`)
        expect(followed.source.state().synchronised).toBe(false)
        await eventually(() => expect(followed.source.unseenKinds().size).toBe(0))
        await followed.source.sync()
      }
      using followed = place.follow([server.url], { journalPath })
      await eventually(() => expect(followed.source.problems()).toHaveLength(1))
      server.forbidden.clear()
      await eventually(() => expect(followed.source.problems()).toEqual([]))
      await eventually(() => expect(verdicts(followed)).toEqual(['open', 'open']))
      await eventually(() => expect(followed.source.state().synchronised).toBe(true))
    },
  )

  test('an agent that remembers its policies goes on with those, and with what changes of the others', async () => {
    await using server = await serverForbidding(plural)
    server.forbidden.clear()
    const journalPath = place.path('journal')
    {
      using followed = place.follow([server.url], { journalPath })
      await eventually(() => expect(namesOf(followed.world)).toContain('Pod a/own'))
      await followed.source.sync()
    }
    server.groups.set(group, { [version]: [plural] })
    server.forbidden.add(`watch ${plural}`)
    using followed = place.follow([server.url], { journalPath })
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Pod a/own', 'Service a/s']))
    expect(verdicts(followed)).toEqual(['open', 'open'])
    expect(followed.source.problems()).toEqual([])
    expect(followed.source.notices()).toEqual([expect.stringMatching(`^${name} not seen yet: .*rbac.create=true`)])
    server.put(policy('p', true))
    server.put(pod('other', 'n2'))
    await eventually(() => expect(namesOf(followed.world)).toContain('Pod a/other')) // whom the policy asks for
    await eventually(() => expect(followed.source.unseenKinds().size).toBe(0))
    expect(verdicts(followed)).toEqual(['open', 'closed'])
  })
})

test('an agent whose journal is older than the kind does not take its policies for none', async () => {
  const [group, version, plural] = kinds[1]
  await using server = await serverForbidding(plural)
  server.forbidden.clear()
  const journalPath = place.path('journal')
  {
    using followed = place.follow([server.url], { journalPath })
    await eventually(() => expect(namesOf(followed.world)).toContain('Pod a/own'))
    await followed.source.sync()
  }
  const [header, ...lines] = readFileSync(journalPath, 'utf8').split('\n')
  const { files, ...rest } = JSON.parse(header!)
  expect(files).toContain(`${plural}.${group}`)
  const older = { ...rest, files: files.filter((file: string) => file !== `${plural}.${group}`) }
  writeFileSync(journalPath, [JSON.stringify(older), ...lines].join('\n'))
  server.groups.set(group, { [version]: [plural] })
  server.forbidden.add(`watch ${plural}`)
  using followed = place.follow([server.url], { journalPath })
  await eventually(() => expect(verdicts(followed)).toEqual(['closed', 'closed']))
  expect(followed.source.problems()).toMatchObject([{ file: `${plural}.${group}`, isolates: true }])
})

test('one that the account lost while it was read stays as it was known', async () => {
  await using server = await startApiServer()
  server.groups.set('policy.networking.k8s.io', {})
  for (const each of [node, pod('own', 'n1')]) server.put(each)
  using followed = place.follow([server.url])
  await eventually(() => expect(followed.source.state().synchronised).toBe(true))
  server.forbidden.add('watch clusternetworkpolicies')
  server.cut()
  const part = () => followed.source.state().parts.find(({ name }) => name.startsWith('clusternetworkpolicies'))
  await eventually(() => expect(part()?.failure).toContain('not permitted'))
  expect(part()).toMatchObject({ synchronised: true })
  expect(followed.source.problems()).toEqual([])
  expect(verdicts(followed)).toEqual(['open', 'open'])
})
