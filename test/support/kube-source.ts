// SPDX-License-Identifier: Apache-2.0
// Followers of the Kubernetes API (src/kube) as tests need them: fast clocks, what they told at hand, and a few objects.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach } from 'vitest'
import { type ApiClient, createApiClient } from '../../src/kube/client.ts'
import { connectionFrom } from '../../src/kube/connection.ts'
import { openServerMemory } from '../../src/kube/servers.ts'
import { followKubernetes } from '../../src/kube/source.ts'
import type { KubeObject } from '../../src/world/objects.ts'
import type { Source, SourceChange } from '../../src/world/source.ts'
import { createWorld, keyOf, objectKey, type World } from '../../src/world/world.ts'
import type { ApiJson } from './api-server.ts'

export const timing = {
  retryMsMin: 1,
  retryMsMax: 20,
  silenceMs: 60_000,
  relistMs: 1,
  absentMs: 5,
  gatherMs: 1,
  lingerMs: 5,
}

export interface Followed extends Disposable {
  readonly source: Source
  readonly world: World
  readonly client: ApiClient
  readonly changes: SourceChange[]
  readonly errors: string[]
}

export interface Followers {
  /** Of a file in the test's folder; `token` is there, and is who the followers are, `ca.crt` is whom they trust where a
   *  test makes it. */
  path(name: string): string
  /** urls: of the API servers, the preferred one first. */
  follow(urls: readonly string[], more?: Partial<Parameters<typeof followKubernetes>[0]>): Followed
}

/** Registers hooks that make and remove a folder for each test. */
export function useFollowers(): Followers {
  let folder: string
  let count = 0
  let sources: Source[] = []
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'heddle-kube-'))
    writeFileSync(join(folder, 'token'), 'first')
  })
  afterEach(async () => {
    for (const source of sources) await source.sync() // a write that is on its way makes its file again
    sources = []
    rmSync(folder, { recursive: true, force: true })
  })

  return {
    path: (name) => join(folder, name),
    follow(urls, more = {}) {
      const servers = openServerMemory(join(folder, 'servers'))
      const world = createWorld()
      const changes: SourceChange[] = []
      const errors: string[] = []
      const client = createApiClient(
        connectionFrom({ kubeconfig: kubeconfigIn(folder, urls[0]!), apiServers: urls, moreServers: servers.servers }),
      )
      const source = followKubernetes({
        client,
        nodeName: 'n1',
        journalPath: join(folder, `journal-${count++}`),
        servers,
        onChange(change) {
          for (const object of change.deleted) world.delete(object.kind, keyOf(object))
          for (const object of change.put) world.put(object)
          changes.push(change)
        },
        onReachable: world.setLive,
        onError: (error) => errors.push(error.message),
        onBroken: (error) => errors.push(error.message),
        timing,
        ...more,
      })
      sources.push(source)
      return {
        source,
        world,
        client,
        changes,
        errors,
        [Symbol.dispose]() {
          source[Symbol.dispose]()
          client[Symbol.dispose]()
        },
      }
    },
  }
}

function kubeconfigIn(folder: string, server: string): string {
  const path = join(folder, 'kubeconfig')
  const ca = join(folder, 'ca.crt')
  const config = {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
    clusters: [{ name: 'k', cluster: { server, ...(existsSync(ca) && { 'certificate-authority': ca }) } }],
    users: [{ name: 'u', user: { tokenFile: 'token' } }],
  }
  writeFileSync(path, JSON.stringify(config))
  return path
}

/** "Kind name" -> JSON, of what World holds. */
export function contents(world: World): Record<string, KubeObject> {
  const all = [
    ...world.nodes(),
    ...world.pods(),
    ...world.services(),
    ...world.serviceCIDRs(),
    ...world.networkPolicies(),
    ...world.ciliumPolicies(),
  ]
  const slices = [...world.services()].flatMap((service) => [...world.slicesOfService(keyOf(service))])
  const namespaces = ['a', 'b'].flatMap((name) => world.namespace(name) ?? [])
  return Object.fromEntries([...all, ...slices, ...namespaces].map((each) => [objectKey(each), each]))
}

/** Resolves when the condition holds; fails after many looks, saying what is not so. */
export async function eventually(look: () => void): Promise<void> {
  for (let turn = 0; turn < 1000; turn++) {
    try {
      return look()
    } catch {
      await delay(5)
    }
  }
  look()
}

export const node: ApiJson = {
  kind: 'Node',
  apiVersion: 'v1',
  metadata: { name: 'n1' },
  spec: { podCIDRs: ['10.1.0.0/24'] },
}

export function policy(name: string, asks: boolean): ApiJson {
  return {
    kind: 'NetworkPolicy',
    apiVersion: 'networking.k8s.io/v1',
    metadata: { namespace: 'a', name },
    spec: { podSelector: {}, policyTypes: ['Ingress'], ingress: asks ? [{ from: [{ podSelector: {} }] }] : [] },
  }
}

export function pod(name: string, nodeName: string): ApiJson {
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: { namespace: 'a', name },
    spec: { nodeName, containers: [] },
    status: { phase: 'Running', podIPs: [{ ip: '10.0.0.1' }] },
  }
}

export function service(name: string): ApiJson {
  return {
    kind: 'Service',
    apiVersion: 'v1',
    metadata: { namespace: 'a', name },
    spec: { clusterIPs: ['10.96.0.1'], ports: [{ port: 80 }] },
  }
}

export function namesOf(world: World): string[] {
  return Object.keys(contents(world)).toSorted()
}
