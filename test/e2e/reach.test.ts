// SPDX-License-Identifier: Apache-2.0
// Everyone reaches everyone, in every mode and family, without address translation inside the cluster.
//
//   n1: a1 a2 (serve)      n2: b1 b2 (serve)      outside (serves)

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { outsideIPs } from '../../src/lab/network.ts'
import type { Reply, Target } from '../support/ask.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, namespace, serverPod, service, udpPort } from '../support/manifests.ts'

const pods = { a1: 'n1', a2: 'n1', b1: 'n2', b2: 'n2' } as const
const names = Object.keys(pods) as (keyof typeof pods)[]

const labs = (['vxlan', 'native'] as const).flatMap((mode) =>
  (['4', '6', '46'] as const).map((families) => ({ mode, families })),
)

describe.each(labs)('$mode, families $families', ({ mode, families }) => {
  let lab: TestLab

  beforeAll(async () => {
    lab = await startTestLab(`reach-${mode}-${families}`, { mode, families })
    await lab.apply(
      ...names.map((name) => serverPod(name, pods[name], { app: 'web', pod: name })),
      service('web', { app: 'web' }),
      service('itself', { pod: 'a1' }),
    )
  })

  afterAll(async () => {
    expect(await lab?.down()).toEqual([])
  })

  const path = (name: string) => `${namespace}/${name}`
  const ask = (place: string, targets: readonly Target[]) => lab.script<Reply[]>(place, 'ask.ts', targets)
  const everyProtocol = (host: string): Target[] => [
    { protocol: 'TCP', host, port: httpPort },
    { protocol: 'UDP', host, port: udpPort },
    { protocol: 'ICMP', host, port: 0 },
  ]

  test("every pod reaches every other by TCP, UDP and ping; the server sees the client's own address", async () => {
    let checked = 0
    for (const client of names)
      for (const family of lab.families()) {
        const servers = names.filter((name) => name !== client)
        const replies = await ask(
          path(client),
          servers.flatMap((name) => everyProtocol(lab.podIP(path(name), family))),
        )
        const expected = servers.flatMap((server) => [
          { answer: { server, client: lab.podIP(path(client), family) } },
          { answer: { server, client: lab.podIP(path(client), family) } },
          { answer: null },
        ])
        expect(replies).toMatchObject(expected)
        checked += replies.length
      }
    console.log(`${mode} ${families}: ${checked} exchanges between pods, each with the pod's own address`)
  })

  test('nodes reach every pod, and pods the nodes', async () => {
    for (const node of ['n1', 'n2'])
      for (const family of lab.families()) {
        const replies = await ask(
          `node/${node}`,
          names.flatMap((name) => everyProtocol(lab.podIP(path(name), family))),
        )
        expect(replies).toMatchObject(
          names.flatMap((server) => {
            const answer = { server, client: lab.nodeIP(node, family) }
            return [{ answer }, { answer }, { answer: null }]
          }),
        )
      }
    const servers = await Promise.all(['node/n1', 'node/n2'].map((node) => lab.serve(node, { http: 7000, udp: 7001 })))
    for (const client of ['a1', 'b1'])
      for (const family of lab.families())
        for (const node of ['n1', 'n2']) {
          const replies = await ask(path(client), atPort7000(lab.nodeIP(node, family)))
          const answer = { client: lab.podIP(path(client), family) }
          expect(replies, `${client} to ${node}`).toMatchObject([{ answer }, { answer }, { answer: null }])
        }
    for (const server of servers) await server.stop()
  })

  test('a ClusterIP spreads over its backends on both nodes, from pods and from nodes', async () => {
    for (const client of [path('a1'), path('b2'), 'node/n1'])
      for (const family of lab.families()) {
        const host = lab.clusterIP('test/web', family)
        const replies = await ask(client, [
          ...Array.from({ length: 40 }, (): Target => ({ protocol: 'TCP', host, port: 80 })),
          ...Array.from({ length: 40 }, (): Target => ({ protocol: 'UDP', host, port: 53 })),
        ])
        const servers = replies.map((reply) => ('answer' in reply ? reply.answer!.server : reply.error))
        const counts = Object.fromEntries(
          [...Map.groupBy(servers, (name) => name)].map(([name, list]) => [name, list.length]),
        )
        console.log(`${mode} ${families}: ${client} -> ${host}: ${JSON.stringify(counts)}`)
        expect(Object.keys(counts).toSorted()).toEqual([...names])
      }
  })

  test('a pod reaches itself through its Service', async () => {
    for (const family of lab.families()) {
      const host = lab.clusterIP('test/itself', family)
      const replies = await ask(path('a1'), [
        { protocol: 'TCP', host, port: 80 },
        { protocol: 'UDP', host, port: 53 },
      ])
      expect(replies).toMatchObject([{ answer: { server: 'a1' } }, { answer: { server: 'a1' } }])
    }
  })

  test('what leaves the cluster leaves with the address of its node', async () => {
    const server = await lab.serve('outside', { http: 7000, udp: 7001 })
    for (const family of lab.families())
      for (const client of names) {
        const replies = await ask(path(client), atPort7000(outsideIPs[family]))
        const answer = { client: lab.nodeIP(pods[client], family) }
        expect(replies, `${client} to outside`).toMatchObject([{ answer }, { answer }, { answer: null }])
      }
    await server.stop()
  })

  test('a large exchange arrives whole: 1 MB by TCP, 8,000 bytes by UDP and ping', async () => {
    for (const family of lab.families()) {
      const host = lab.podIP(path('b1'), family)
      const replies = await ask(path('a1'), [
        { protocol: 'TCP', host, port: httpPort, bytes: 1_000_000 },
        { protocol: 'UDP', host, port: udpPort, bytes: 8_000 },
        { protocol: 'ICMP', host, port: 0, bytes: 8_000 },
      ])
      expect(replies).toMatchObject([{ answer: { bytes: 1_000_000 } }, { answer: { bytes: 8_000 } }, { answer: null }])
    }
  })
})

function atPort7000(host: string): Target[] {
  return [
    { protocol: 'TCP', host, port: 7000 },
    { protocol: 'UDP', host, port: 7001 },
    { protocol: 'ICMP', host, port: 0 },
  ]
}
