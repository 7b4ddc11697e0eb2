// SPDX-License-Identifier: Apache-2.0
// Lists without end, of a server that is broken or hostile: each is bounded, named and counted, and begun anew.

import { expect, test } from 'vitest'
import { startApiServer } from '../../test/support/api-server.ts'
import { eventually, namesOf, node, pod, service, timing, useFollowers } from '../../test/support/kube-source.ts'

const { follow } = useFollowers()

test.each(['itself', 'a new one'] as const)(
  'a list whose last page says that %s comes after it is given up by name and begun anew; other streams go on',
  async (after) => {
    await using server = await startApiServer()
    server.watchList = false
    server.put(node)
    using followed = follow([server.url])
    await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1']))
    for (const name of ['s', 't', 'u', 'v']) server.put(service(name))
    await eventually(() => expect(followed.world.countOf('Service')).toBe(4))
    server.endless.set('Service', after)
    server.compact()
    server.cut()
    const part = () => followed.source.state().parts.find(({ name }) => name === 'services')
    await eventually(() => expect(part()?.failure).toContain('list services: the list does not end'))
    server.put({ ...node, metadata: { name: 'n2' } })
    await eventually(() => expect(followed.world.countOf('Node')).toBe(2))
    expect(followed.world.countOf('Service')).toBe(4)
    expect(followed.source.notices()).toContainEqual(
      expect.stringMatching(/^\d+ events of services could not be read$/),
    )
    server.endless.clear()
    server.delete('Service', 'a', 'v')
    await eventually(() => expect(followed.world.countOf('Service')).toBe(3))
    await eventually(() => expect(part()).toMatchObject({ ageMs: 0, failure: '' }))
  },
)

test.each([
  ['more objects than a cluster has', { listObjectsMax: 50 }, 'more than 50 objects'],
  ['more time than a list needs', { listMs: 60 }, 'objects in 0.06 s'],
])('initial events and a page that go on for ever are given up by name: %s', async (_, limit, says) => {
  await using server = await startApiServer()
  for (const each of [node, pod('own', 'n1')]) server.put(each)
  server.endless.set('Pod', 'within')
  using followed = follow([server.url], { timing: { ...timing, ...limit } })
  const part = () => followed.source.state().parts.find(({ name }) => name === 'pods of n1')
  const sentence = (verb: string) => new RegExp(`^${verb} pods: the list does not end: .*${says} \\(502\\)$`)
  await eventually(() => expect(part()?.failure).toMatch(sentence('list'))) // the pages are what it turned to
  expect(followed.errors).toContainEqual(expect.stringMatching(sentence('watch')))
  expect(followed.changes).toEqual([]) // its pods are not known
  const lists = () => server.requests.filter((url) => url.includes('pods?')).length
  const asked = lists()
  await eventually(() => expect(lists()).toBeGreaterThan(asked + 2))
  expect(followed.source.notices()).toContainEqual(
    expect.stringMatching(/^\d+ events of pods of n1 could not be read$/),
  )
  const broken = followed.source.failures().find(({ reason }) => reason === 'broken-answer')
  expect(broken).toMatchObject({ kind: 'Pod', count: expect.any(Number) })
  if ('listObjectsMax' in limit) expect(part()?.objectCount).toBeLessThanOrEqual(50) // however many lists broke off
  server.endless.clear()
  await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1', 'Pod a/own']))
  await eventually(() => expect(part()).toMatchObject({ ageMs: 0, failure: '' }))
})

test('pages that come quickly, one after the other for ever, take no longer than a list may', async () => {
  await using server = await startApiServer()
  server.watchList = false
  server.put(node)
  server.endless.set('Service', 'a new one')
  using followed = follow([server.url], { timing: { ...timing, listMs: 1 } })
  const part = () => followed.source.state().parts.find(({ name }) => name === 'services')
  await eventually(() => expect(part()?.failure).toMatch(/^list services: the list does not end: .* in 0\.001 s/))
})

test('a watch that goes on with new objects fills no memory: those beyond the bound are named and counted', async () => {
  await using server = await startApiServer()
  server.put(node)
  using followed = follow([server.url], { timing: { ...timing, listObjectsMax: 3 } })
  await eventually(() => expect(namesOf(followed.world)).toEqual(['Node n1']))
  for (const name of ['s', 't', 'u', 'v', 'w']) server.put(service(name))
  await eventually(() => expect(followed.source.problems()).toHaveLength(2))
  expect(followed.source.problems()[0]).toMatchObject({ object: 'Service a/v', message: 'more than 3 objects' })
  await eventually(() => expect(followed.world.countOf('Service')).toBe(3))
  server.delete('Service', 'a', 's')
  server.put({ ...service('w'), metadata: { namespace: 'a', name: 'w', labels: { now: 'fits' } } })
  await eventually(() => expect(namesOf(followed.world)).toContain('Service a/w'))
  expect(followed.source.problems()).toMatchObject([{ object: 'Service a/v' }])
})
