// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import { type ApiServer, startApiServer } from '../../test/support/api-server.ts'
import { eventually, namesOf, node, pod, policy, useFollowers } from '../../test/support/kube-source.ts'

const { follow } = useFollowers()

describe('a kind of policy whose version the API server does not have', () => {
  const tiers = 'policy.networking.k8s.io'
  const plural = 'clusternetworkpolicies'
  const none = `clusternetworkpolicies.${tiers}: the API server has no such kind, so there are none`
  const askedGroup = (server: ApiServer) => server.requests.filter((url) => url === `/apis/${tiers}`).length
  const tiersAbsent = async () => {
    const server = await startApiServer()
    server.absent.add('ClusterNetworkPolicy')
    for (const each of [node, pod('own', 'n1')]) server.put(each)
    return server
  }

  test.each([
    [
      ['ClusterNetworkPolicy'],
      tiers,
      { v1alpha1: [plural] },
      [`the API server serves ${plural}.${tiers} only as v1alpha1: they are not in force`],
    ],
    [
      ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy'],
      'cilium.io',
      {
        v3: ['ciliumnetworkpolicies', 'ciliumclusterwidenetworkpolicies'],
        v2: ['ciliumendpoints'],
        v2alpha1: ['ciliumnetworkpolicies'],
      },
      [
        'the API server serves ciliumnetworkpolicies.cilium.io only as v3, v2alpha1: they are not in force',
        'the API server serves ciliumclusterwidenetworkpolicies.cilium.io only as v3: they are not in force',
      ],
    ],
  ])(
    '%j in another one is a problem, said once in the log; what still works goes on; it is found when it comes',
    async (kinds, group, versions, sentences) => {
      await using server = await startApiServer()
      for (const kind of kinds) server.absent.add(kind)
      server.groups.set(group, versions)
      for (const each of [node, pod('own', 'n1')]) server.put(each)
      using followed = follow([server.url])
      await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Pod a/own']))
      expect(followed.source.problems().map(({ message }) => message)).toEqual(sentences)
      expect(followed.source.problems()[0]).toMatchObject({ keptSinceMs: null, isolates: false, object: '' })
      expect(followed.source.notices()).toEqual([])
      expect(followed.source.state().synchronised).toBe(true)
      const asked = server.requests.length
      await eventually(() => expect(server.requests.length).toBeGreaterThan(asked + 8))
      server.put(policy('p', false))
      await eventually(() => expect(namesOf(followed.world)).toContain('NetworkPolicy a/p'))
      expect(followed.errors.toSorted()).toEqual(sentences.toSorted())
      server.absent.clear()
      await eventually(() => expect(followed.source.problems()).toEqual([]))
      expect(followed.source.notices()).toEqual([])
    },
  )

  test.each([
    [
      'the group has that version, without the kind',
      (server: ApiServer) => server.groups.set(tiers, { v1alpha2: ['others'] }),
    ],
    [
      'other versions of the group have other kinds',
      (server: ApiServer) => server.groups.set(tiers, { v1: [], v1alpha1: ['adminnetworkpolicies'] }),
    ],
    [
      'the kind has just come, in that version too',
      (server: ApiServer) => server.groups.set(tiers, { v1: [plural], v1alpha2: [plural] }),
    ],
    ['there is no such group', () => {}],
    ['the group tells no versions', (server: ApiServer) => server.groups.set(tiers, {})],
    [
      'the account may not ask for the group',
      (server: ApiServer) => {
        server.groups.set(tiers, { v1alpha1: [plural] })
        server.forbidden.add(`get /apis/${tiers}`)
      },
    ],
    [
      'the account may not ask for what is in a version',
      (server: ApiServer) => {
        server.groups.set(tiers, { v1alpha1: [plural] })
        server.forbidden.add(`get /apis/${tiers}/v1alpha1`)
      },
    ],
  ])('is a notice where %s', async (_, arrange) => {
    await using server = await tiersAbsent()
    arrange(server)
    using followed = follow([server.url])
    await eventually(() => expect(askedGroup(server)).toBeGreaterThan(1))
    expect(followed.source.notices()).toEqual([none])
    expect(followed.source.problems()).toEqual([])
    expect(followed.errors).toEqual([])
  })

  test('follows the group as it comes and goes; where it cannot be asked what was known stays', async () => {
    await using server = await tiersAbsent()
    using followed = follow([server.url])
    await eventually(() => expect(followed.source.notices()).toEqual([none]))
    server.groups.set(tiers, { v1alpha1: [plural] })
    await eventually(() => expect(followed.source.problems()).toHaveLength(1))
    server.forbidden.add(`get /apis/${tiers}`)
    const asked = askedGroup(server)
    await eventually(() => expect(askedGroup(server)).toBeGreaterThan(asked + 1))
    expect(followed.source.problems()).toHaveLength(1)
    expect(followed.errors).toHaveLength(1)
    await server.stop()
    await eventually(() => expect(followed.source.state().staleSinceMs).not.toBeNull())
    expect(followed.source.problems()).toHaveLength(1)
    server.forbidden.clear()
    server.groups.clear()
    await server.start()
    await eventually(() => expect(followed.source.notices()).toEqual([none]))
    expect(followed.source.problems()).toEqual([])
  })

  test('is asked for once each time its kind is, and not where the kind is there', async () => {
    await using server = await tiersAbsent()
    using followed = follow([server.url])
    const askedKind = () => server.requests.filter((url) => url.includes('clusternetworkpolicies')).length
    await eventually(() => expect(askedGroup(server)).toBeGreaterThan(3))
    expect(askedKind() - askedGroup(server)).toBeGreaterThanOrEqual(0)
    expect(askedKind() - askedGroup(server)).toBeLessThanOrEqual(1)
    expect(followed.source.state().synchronised).toBe(true)
    expect(server.requests.filter((url) => url.startsWith('/apis/cilium.io') && !url.includes('?'))).toEqual([])
  })
})
