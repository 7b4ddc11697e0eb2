// SPDX-License-Identifier: Apache-2.0

import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Address } from '../core/address.ts'
import type { Source, SourceChange } from '../world/source.ts'
import { createWorld, keyOf, type World } from '../world/world.ts'
import { watchManifests } from './source.ts'

let folder: string
let journalPath: string
const open = new Set<Source>()

beforeEach(() => {
  const base = mkdtempSync(join(tmpdir(), 'heddle-manifests-'))
  folder = join(base, 'manifests')
  journalPath = join(base, 'state', 'last-good')
  mkdirSync(folder)
})

afterEach(() => {
  for (const source of open) source[Symbol.dispose]()
  open.clear()
  rmSync(join(folder, '..'), { recursive: true, force: true })
})

interface Followed {
  readonly source: Source
  readonly world: World
  readonly changes: readonly SourceChange[]
  readonly errors: readonly Error[]
  /** Resolves at the next change. */
  nextChange(): Promise<void>
}

async function follow(): Promise<Followed> {
  const world = createWorld()
  const changes: SourceChange[] = []
  const errors: Error[] = []
  const waiting: (() => void)[] = []
  const source = await watchManifests(folder, {
    journalPath,
    onError: (error) => errors.push(error),
    onChange(change) {
      for (const object of change.put) world.put(object)
      for (const object of change.deleted) world.delete(object.kind, keyOf(object))
      changes.push(change)
      for (const resolve of waiting.splice(0)) resolve()
    },
  })
  open.add(source)
  return { source, world, changes, errors, nextChange: () => new Promise((resolve) => waiting.push(resolve)) }
}

function stop(source: Source): void {
  source[Symbol.dispose]()
  open.delete(source)
}

function service(name: string, clusterIP: string): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name }, spec: { clusterIP } })
}

function write(file: string, text: string): void {
  writeFileSync(join(folder, file), text)
}

function clusterIPs(world: World): Readonly<Record<string, readonly Address[]>> {
  return Object.fromEntries([...world.services()].map(({ name, clusterIPs }) => [name, clusterIPs]))
}

describe('World follows the folder', () => {
  test('files come, change, move and go; sync returns when all that is told', async () => {
    write('a.json', service('a', '10.96.0.1'))
    const { source, world } = await follow()
    expect(clusterIPs(world)).toEqual({ a: ['10.96.0.1'] })

    write('a.json', service('a', '10.96.0.2'))
    mkdirSync(join(folder, 'more'))
    write('more/b.yaml', service('b', '10.96.0.3'))
    write('.hidden.yaml', service('hidden', '10.96.0.4'))
    write('note.txt', service('note', '10.96.0.5'))
    await source.sync()
    expect(clusterIPs(world)).toEqual({ a: ['10.96.0.2'], b: ['10.96.0.3'] })

    renameSync(join(folder, 'more/b.yaml'), join(folder, 'z.yaml'))
    rmSync(join(folder, 'a.json'))
    await source.sync()
    expect(clusterIPs(world)).toEqual({ b: ['10.96.0.3'] })
  })

  test('a policy that never was readable isolates what it may select; a good one takes its place and outlives a bad one', async () => {
    const policy = (podSelector: object, from: object) =>
      JSON.stringify({
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'p' },
        spec: { podSelector, ingress: [{ from: [from] }] },
      })
    const selecting = (app: string) => ({ matchLabels: { app } })
    const unknown = { ipBlock: { cidr: 'mars' } }
    write('p.json', policy(selecting('a'), unknown))
    {
      const { source, world } = await follow()
      const inForce = () => [...world.networkPolicies()]
      const standIn = { podSelector: selecting('a'), ingress: [], egress: null, unreadable: true }
      expect(inForce()).toMatchObject([standIn])
      expect(source.problems()).toMatchObject([{ keptSinceMs: null, isolates: true }])
      write('p.json', policy(selecting('b'), unknown))
      await source.sync()
      expect(inForce()).toMatchObject([{ ...standIn, podSelector: selecting('b') }])
      write('p.json', '{')
      await source.sync()
      expect(inForce()).toMatchObject([{ ...standIn, podSelector: selecting('b') }])
      stop(source)
    }
    write('p.json', policy(selecting('c'), unknown))
    const { source, world } = await follow()
    expect([...world.networkPolicies()]).toMatchObject([{ podSelector: selecting('c'), unreadable: true }])
    expect(source.problems()).toMatchObject([{ keptSinceMs: null, isolates: true }])
    write('p.json', policy(selecting('a'), { podSelector: {} }))
    await source.sync()
    expect([...world.networkPolicies()]).toMatchObject([{ ingress: [{ ports: null }] }])
    write('p.json', policy(selecting('d'), unknown))
    await source.sync()
    expect([...world.networkPolicies()]).toMatchObject([{ podSelector: selecting('a'), ingress: [{ ports: null }] }])
    expect(source.problems()).toMatchObject([{ keptSinceMs: expect.any(Number), isolates: false }])
  })

  test('without sync, by watching', async () => {
    const { world, nextChange } = await follow()
    const change = nextChange()
    write('a.json', service('a', '10.96.0.1'))
    await change
    expect(clusterIPs(world)).toEqual({ a: ['10.96.0.1'] })
  })

  test('a change tells what changed, nothing else', async () => {
    write('all.yaml', ['a', 'b', 'c'].map((name) => service(name, '10.96.0.1')).join('\n---\n'))
    const { source, changes } = await follow()
    appendFileSync(join(folder, 'all.yaml'), `\n---\n${service('d', '10.96.0.1')}`)
    await source.sync()
    expect(changes.slice(1).map(({ put, deleted }) => [put.map(keyOf), deleted])).toEqual([[['default/d'], []]])
    await source.sync()
    expect(changes.length).toBe(2)
  })

  test('of two files that define one object, the first by name counts, and it is said', async () => {
    write('b.json', service('a', '10.96.0.2'))
    write('c.json', service('a', '10.96.0.3'))
    const { source, world } = await follow()
    expect(clusterIPs(world)).toEqual({ a: ['10.96.0.2'] })
    expect(source.problems()).toMatchObject([{ file: join(folder, 'c.json'), object: 'Service default/a' }])
    write('a.json', service('a', '10.96.0.1'))
    await source.sync()
    expect(clusterIPs(world)).toEqual({ a: ['10.96.0.1'] })
    for (const file of ['a.json', 'b.json']) rmSync(join(folder, file))
    await source.sync()
    expect(clusterIPs(world)).toEqual({ a: ['10.96.0.3'] })
    expect(source.problems()).toEqual([])
  })

  test('a Pod’s missing Namespace is implied until somebody writes it', async () => {
    write('pod.json', '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"shop"}}')
    const { source, world } = await follow()
    const labels = () => world.namespace('shop')?.labels
    expect(labels()).toEqual({ 'kubernetes.io/metadata.name': 'shop' })
    write('ns.json', '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","labels":{"team":"red"}}}')
    await source.sync()
    expect(labels()).toEqual({ team: 'red', 'kubernetes.io/metadata.name': 'shop' })
    rmSync(join(folder, 'ns.json'))
    await source.sync()
    expect(labels()).toEqual({ 'kubernetes.io/metadata.name': 'shop' })
    rmSync(join(folder, 'pod.json'))
    await source.sync()
    expect(labels()).toBeUndefined()
  })
})

describe('the last good version stays in force', () => {
  const bad = '{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"clusterIP":"10.96.0"}}'

  test('of the object that is refused, while its neighbours change; also after restarts', async () => {
    write('all.yaml', `${service('a', '10.96.0.1')}\n---\n${service('b', '10.96.0.2')}`)
    stop((await follow()).source)
    write('all.yaml', `${bad}\n---\n${service('b', '10.96.0.3')}`)
    for (let restart = 0; restart < 3; restart++) {
      const { source, world } = await follow()
      expect(clusterIPs(world)).toEqual({ a: ['10.96.0.1'], b: ['10.96.0.3'] })
      expect(source.problems()).toMatchObject([{ object: 'Service default/a', field: 'spec.clusterIP', document: 1 }])
      expect(source.problems()[0]!.keptSinceMs).toBeLessThanOrEqual(Date.now())
      stop(source)
    }
    write('all.yaml', service('b', '10.96.0.3'))
    expect(clusterIPs((await follow()).world)).toEqual({ b: ['10.96.0.3'] })
  })

  test('since when does not move while it stays refused', async () => {
    write('a.json', service('a', '10.96.0.1'))
    const { source } = await follow()
    write('a.json', bad)
    await source.sync()
    const since = source.problems()[0]!.keptSinceMs
    expect(since).not.toBeNull()
    write('a.json', `${bad}\n`)
    await source.sync()
    expect(source.problems()[0]!.keptSinceMs).toBe(since)
    write('a.json', service('a', '10.96.0.1'))
    await source.sync()
    expect(source.problems()).toEqual([])
  })

  test('of everything that a torn file no longer shows', async () => {
    const text = `${service('a', '10.96.0.1')}\n---\n${service('b', '10.96.0.2')}`
    write('all.yaml', text)
    const { source, world } = await follow()
    write('all.yaml', text.slice(0, -20))
    await source.sync()
    expect(clusterIPs(world)).toEqual({ a: ['10.96.0.1'], b: ['10.96.0.2'] })
    expect(source.problems()).toHaveLength(1)
  })

  test('of a folder that vanished', async () => {
    write('a.json', service('a', '10.96.0.1'))
    const { source, world, errors } = await follow()
    rmSync(folder, { recursive: true })
    await source.sync()
    expect(clusterIPs(world)).toEqual({ a: ['10.96.0.1'] })
    expect(errors[0]!.message).toContain('ENOENT')
    mkdirSync(folder)
    write('a.json', service('a', '10.96.0.2'))
    await source.sync()
    expect(clusterIPs(world)).toEqual({ a: ['10.96.0.2'] })
    write('a.json', service('a', '10.96.0.3'))
    await source.sync()
    expect(clusterIPs(world)).toEqual({ a: ['10.96.0.3'] })
  })

  test('a file that was removed is not kept, nor one that went while the agent was down', async () => {
    write('a.json', service('a', '10.96.0.1'))
    write('b.json', service('b', '10.96.0.2'))
    const { source, world } = await follow()
    write('a.json', bad)
    await source.sync()
    rmSync(join(folder, 'a.json'))
    await source.sync()
    expect(clusterIPs(world)).toEqual({ b: ['10.96.0.2'] })
    stop(source)
    rmSync(join(folder, 'b.json'))
    expect(clusterIPs((await follow()).world)).toEqual({})
  })

  test('but not of another folder that was configured before', async () => {
    write('a.json', service('a', '10.96.0.1'))
    stop((await follow()).source)
    folder = join(folder, '..', 'elsewhere')
    mkdirSync(folder)
    write('b.json', service('b', '10.96.0.2'))
    expect(clusterIPs((await follow()).world)).toEqual({ b: ['10.96.0.2'] })
  })

  test('whatever byte the journal ends at', async () => {
    write('a.json', service('a', '10.96.0.1'))
    write('b.json', service('b', '10.96.0.2'))
    stop((await follow()).source)
    const journal = readFileSync(journalPath)
    write('a.json', bad)
    for (let length = 0; length <= journal.length; length += 7) {
      writeFileSync(journalPath, journal.subarray(0, length))
      const { source, world } = await follow()
      const { a, b } = clusterIPs(world)
      expect(b).toEqual(['10.96.0.2'])
      expect([undefined, ['10.96.0.1']]).toContainEqual(a)
      stop(source)
    }
    writeFileSync(journalPath, journal)
    expect(clusterIPs((await follow()).world).a).toEqual(['10.96.0.1'])
  })
})

test('a folder that was never there is an error at once', async () => {
  rmSync(folder, { recursive: true })
  await expect(follow()).rejects.toThrow('ENOENT')
})
