// SPDX-License-Identifier: Apache-2.0
// A server that a policy keeps for peers by the labels of their pods and of their namespace, and who reaches it: asked
// without the API server, so also while it is gone.

import { expect } from 'vitest'
import { waitUntil } from '../../src/lab/process.ts'
import { startBackground } from '../support/background.ts'
import type { Cluster } from './cluster.ts'
import {
  agentLabel,
  commandInPod,
  hostPort,
  killContainer,
  type PodView,
  podsOf,
  readyPods,
  replaceSandbox,
} from './pods.ts'
import { httpPort, idleSpec, namespaceObject, networkPolicy, pod, serverSpec } from './workloads.ts'

const namespace = 'kept'
const elsewhere = 'kept-clients'

export interface Guarded {
  /** Names of the clients that get an answer on every address of the server; one that gets some but not all is "NAME?". */
  reaching(): Promise<string[]>
  /** Peers of the server's policy: pods of this role in namespaces of this team. */
  admit(role: string): Promise<void>
  /** Of the server's node; kubelet starts another one. */
  killAgent(): Promise<void>
  isAgentReady(): Promise<boolean>
  /** Kills the sandbox of the server, and resolves when the server answers in another one, where none but the `admitted`
   *  may reach it from the first moment. */
  renewServer(admitted: string): Promise<void>
  remove(): Promise<void>
}

/** The server is on n2, its clients on n1: `friend`, of the admitted role, and `stranger`, of another one. */
export async function prepareGuarded(cluster: Cluster): Promise<Guarded> {
  const client = (name: string) =>
    pod(elsewhere, name, idleSpec({ pod: { nodeName: 'n1' } }), { app: 'client', role: name })
  await cluster.apply(
    namespaceObject(namespace),
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: elsewhere, labels: { team: 'clients' } } },
    pod(namespace, 'server', serverSpec({ pod: { nodeName: 'n2' } })),
    client('friend'),
    client('stranger'),
  )
  const [server] = await readyPods(cluster, namespace, 'app=server', 1)
  const clients = await readyPods(cluster, elsewhere, 'app=client', 2)
  const agents = await podsOf(cluster, 'kube-system', agentLabel)
  const agent = agents.find(({ node }) => node === 'n2')!
  let serverIPs = server!.ips

  async function answers(from: PodView, ip: string): Promise<boolean> {
    const url = `http://${hostPort(ip, httpPort)}/hostname`
    return (await startBackground(commandInPod(cluster, from, ['curl', '-sgf', '-m', '2', url])).ended) === 'server'
  }

  async function reaching(): Promise<string[]> {
    const found = await Promise.all(
      clients.map(async (from) => {
        const each = await Promise.all(serverIPs.map((ip) => answers(from, ip)))
        return each.every(Boolean) ? [from.name] : each.some(Boolean) ? [`${from.name}?`] : []
      }),
    )
    return found.flat()
  }

  return {
    reaching,
    async admit(role) {
      const from = [{ namespaceSelector: { matchLabels: { team: 'clients' } }, podSelector: { matchLabels: { role } } }]
      await cluster.apply(networkPolicy(namespace, 'peers', { podSelector: {}, ingress: [{ from }] }))
    },
    killAgent: () => killContainer(cluster, agent),
    isAgentReady: async () =>
      (await cluster.run('n2', ['curl', '-sf', '-m', '2', 'http://127.0.0.1:9964/readyz'])).exitCode === 0,
    async renewServer(admitted) {
      serverIPs = await replaceSandbox(cluster, server!, 40_000)
      const isBack = await waitUntil(async () => {
        const found = await reaching()
        expect(found.filter((name) => !name.startsWith(admitted))).toEqual([])
        return found.includes(admitted)
      }, 20_000)
      expect(isBack, `the server answers ${admitted} on ${serverIPs.join(', ')}`).toBe(true)
    },
    async remove() {
      await cluster.kubectl(['delete', 'namespace', namespace, elsewhere, '--wait=false'])
    },
  }
}
