// SPDX-License-Identifier: Apache-2.0
// The writer against a Node in memory that patches as the API server does (a list of conditions merges by type, a
// resourceVersion in a patch must be the present one). The real one: test/cluster.

import { expect, test, vi } from 'vitest'
import { ApiError } from './api-error.ts'
import type { ApiClient, ApiObject } from './client.ts'
import type { NodeAnnouncement } from './node-life.ts'
import { createNodeWriter, type NodeWriterOptions } from './node-writer.ts'

const announcement: NodeAnnouncement = {
  mode: 'native',
  tunnelAddresses: [],
  tunnelPort: 8472,
  vni: 1,
  capabilities: ['btf'],
  dsr: false,
  version: '0.1.0',
}

interface StoredNode {
  version: number
  annotations: Record<string, string>
  conditions: { type: string; status: string }[]
  taints: { key: string }[]
}

function nodeServer(beforeEachPatch: (node: StoredNode, subresource: string) => void = () => {}) {
  const node: StoredNode = {
    version: 1,
    annotations: {},
    conditions: [{ type: 'Ready', status: 'True' }],
    taints: [{ key: 'node.heddle.network/not-ready' }, { key: 'other' }],
  }
  const patches: string[] = []
  const shown = (): ApiObject => ({
    metadata: { name: 'n1', resourceVersion: `${node.version}`, annotations: { ...node.annotations } },
    spec: { taints: [...node.taints] },
    status: { conditions: [...node.conditions] },
  })
  const refuse = (status: number, subresource: string) =>
    new ApiError({
      verb: 'patch',
      resource: subresource === '' ? 'nodes' : 'nodes/status',
      name: 'n1',
      status,
      reason: '',
      message: '',
      retryAfterMs: 0,
    })
  const client: Pick<ApiClient, 'get' | 'patch'> = {
    get: async () => shown(),
    async patch(_resource, { subresource = '' }, _type, body) {
      beforeEachPatch(node, subresource)
      const patch = body as {
        metadata?: { resourceVersion?: string; annotations?: Record<string, string> }
        spec?: { taints: { key: string }[] }
        status?: { conditions: { type: string; status: string }[] }
      }
      const version = patch.metadata?.resourceVersion
      if (version !== undefined && version !== `${node.version}`) throw refuse(409, subresource)
      node.version++
      patches.push(subresource)
      Object.assign(node.annotations, patch.metadata?.annotations)
      if (patch.spec !== undefined) node.taints = patch.spec.taints
      for (const each of patch.status?.conditions ?? []) {
        node.conditions = [...node.conditions.filter(({ type }) => type !== each.type), each]
      }
      return shown()
    },
  }
  return { client, node, patches, refuse }
}

function writer(client: NodeWriterOptions['client'], change: Partial<NodeWriterOptions> = {}) {
  const failures: string[] = []
  const made = createNodeWriter({
    client,
    nodeName: 'n1',
    announcement: () => announcement,
    onWritten: () => {},
    onFailure: (error) => failures.push(error.message),
    ...change,
  })
  return { ...made, failures, [Symbol.dispose]: () => made[Symbol.dispose]() }
}

test('a ready node says so once: kubelet’s conditions and others’ taints stay', async () => {
  const { client, node, patches } = nodeServer()
  using life = writer(client)
  life.look()
  await vi.waitFor(() => expect(patches).toEqual(['status', '']))
  expect(node.conditions).toMatchObject([
    { type: 'Ready', status: 'True' },
    { type: 'NetworkUnavailable', status: 'False' },
  ])
  expect(node.taints).toEqual([{ key: 'other' }])
  expect(node.annotations['node.heddle.network/mode']).toBe('native')
  life.look()
  life.look()
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(patches).toEqual(['status', ''])
  expect(life.problem()).toBe('')
})

test('a node that is not ready says nothing', async () => {
  const { client, patches } = nodeServer()
  let ready = false
  using life = writer(client, { announcement: () => (ready ? announcement : null) })
  life.look()
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(patches).toEqual([])
  ready = true
  life.look()
  await vi.waitFor(() => expect(patches).toEqual(['status', '']))
})

test('a taint that comes while ours is removed is not lost', async () => {
  let raced = false
  const { client, node, patches } = nodeServer((stored, subresource) => {
    if (raced || subresource !== '') return
    raced = true
    stored.taints = [...stored.taints, { key: 'drain' }]
    stored.version++
  })
  using life = writer(client)
  life.look()
  await vi.waitFor(() => expect(patches).toEqual(['status', '']), { timeout: 5000 })
  expect(node.taints).toEqual([{ key: 'other' }, { key: 'drain' }])
  expect(life.failures).toEqual([])
})

test('a conflict that stays is told, once', async () => {
  vi.useFakeTimers()
  try {
    const { client } = nodeServer((stored, subresource) => {
      if (subresource === '') stored.version++
    })
    using life = writer(client)
    life.look()
    await vi.advanceTimersByTimeAsync(120_000)
    expect(life.failures).toHaveLength(1)
  } finally {
    vi.useRealTimers()
  }
})

test('a missing permission names verb, resource and what grants it, and is tried again', async () => {
  let forbidden = true
  const server = nodeServer((_, subresource) => {
    if (forbidden) throw server.refuse(403, subresource)
  })
  using life = writer(server.client)
  life.look()
  await vi.waitFor(() => expect(life.failures).toHaveLength(1))
  expect(life.failures[0]).toContain('verb patch on nodes/status')
  expect(life.failures[0]).toContain("Heddle's chart grants it with")
  expect(life.problem()).toBe(life.failures[0])
  forbidden = false
  await vi.waitFor(() => expect(server.patches).toEqual(['status', '']), { timeout: 5000 })
  expect(life.problem()).toBe('')
})
