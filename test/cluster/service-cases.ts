// SPDX-License-Identifier: Apache-2.0
// What a Service must do, case by case, for every network: the same table runs with the real kube-proxy in the nodes and
// with Heddle.

import { expect } from 'vitest'
import { waitUntil } from '../../src/lab/process.ts'
import type { Cluster } from './cluster.ts'
import { familiesOf, kubernetesIPs } from './network.ts'
import { curlFrom, execIn, hostPort, type PodView, readyPods } from './pods.ts'
import { deployment, httpPort, idleSpec, namespaceObject, pod, serverSpec, service } from './workloads.ts'

const namespace = 'services'

export interface ServiceFixture {
  readonly cluster: Cluster
  /** Two on each node. */
  readonly servers: readonly PodView[]
  readonly client: PodView
  /** On the host's network of the node that the client is not on. */
  readonly hostClient: PodView
  /** Of Service `web`, by family. */
  readonly webIPs: readonly string[]
  readonly emptyIPs: readonly string[]
}

export async function prepareServices(cluster: Cluster): Promise<ServiceFixture> {
  await cluster.apply(
    namespaceObject(namespace),
    deployment(namespace, 'web', 4, serverSpec()),
    service(namespace, 'web'),
    service(namespace, 'empty'),
    service(namespace, 'headless', { clusterIP: 'None', selector: { app: 'web' } }),
    pod(namespace, 'client', idleSpec({ pod: { nodeName: 'n1' } })),
    pod(namespace, 'host-client', idleSpec({ pod: { nodeName: 'n2', hostNetwork: true } })),
  )
  const [client, hostClient, servers] = await Promise.all([
    readyPods(cluster, namespace, 'app=client', 1),
    readyPods(cluster, namespace, 'app=host-client', 1),
    readyPods(cluster, namespace, 'app=web', 4),
  ])
  const ips = async (name: string) =>
    (await cluster.getJson<{ spec: { clusterIPs: string[] } }>('service', name, '-n', namespace)).spec.clusterIPs
  const [webIPs, emptyIPs] = await Promise.all([ips('web'), ips('empty')])
  const fixture = { cluster, servers, client: client[0]!, hostClient: hostClient[0]!, webIPs, emptyIPs }
  // Endpoints reach the nodes' tables a moment after the pods are ready.
  for (const ip of webIPs)
    await waitUntil(
      async () => (await curlFrom(cluster, fixture.client, `http://${hostPort(ip, 80)}/hostname`)) !== '',
      20_000,
    )
  return fixture
}

export interface ServiceCase {
  readonly name: string
  readonly check: (fixture: ServiceFixture) => Promise<void>
}

const ask = (ip: string) => `http://${hostPort(ip, 80)}/hostname`

export const serviceCases: readonly ServiceCase[] = [
  {
    name: 'a pod reaches a ClusterIP by TCP, in every family',
    async check({ cluster, client, servers, webIPs }) {
      expect(webIPs).toHaveLength(familiesOf(cluster.state.families).length)
      for (const ip of webIPs)
        expect(servers.map(({ name }) => name)).toContain(await curlFrom(cluster, client, ask(ip)))
    },
  },
  {
    name: 'a pod reaches a ClusterIP by UDP, in every family',
    async check({ cluster, client, servers, webIPs }) {
      for (const ip of webIPs) {
        const outcome = await execIn(cluster, client, ['sh', '-c', `echo hostname | nc -u -w 1 ${ip} 81`])
        expect(servers.map(({ name }) => name)).toContain(outcome.stdout.trim())
      }
    },
  },
  {
    name: 'a ClusterIP spreads over every backend on both nodes',
    async check({ cluster, client, servers, webIPs }) {
      for (const ip of webIPs) {
        const script = `for i in $(seq 60); do curl -sgf -m 3 '${ask(ip)}'; echo; done`
        const answers = (await execIn(cluster, client, ['sh', '-c', script])).stdout.trim().split('\n')
        expect(answers).toHaveLength(60)
        expect([...new Set(answers)].toSorted()).toEqual(servers.map(({ name }) => name).toSorted())
      }
      expect(new Set(servers.map(({ node }) => node)).size).toBe(2)
    },
  },
  {
    name: 'a process of the node reaches a ClusterIP',
    async check({ cluster, servers, webIPs }) {
      for (const node of cluster.nodes)
        for (const ip of webIPs) {
          const outcome = await cluster.run(node, ['curl', '-sgf', '-m', '3', ask(ip)])
          expect(servers.map(({ name }) => name)).toContain(outcome.stdout)
        }
    },
  },
  {
    name: "a pod on the host's network reaches a ClusterIP",
    async check({ cluster, hostClient, servers, webIPs }) {
      for (const ip of webIPs)
        expect(servers.map(({ name }) => name)).toContain(await curlFrom(cluster, hostClient, ask(ip)))
    },
  },
  {
    name: 'a pod reaches itself through its Service',
    async check({ cluster, servers, webIPs }) {
      const self = servers[0]!
      for (const ip of webIPs) {
        const script = `for i in $(seq 40); do curl -sgf -m 3 '${ask(ip)}'; echo; done`
        const answers = (await execIn(cluster, self, ['sh', '-c', script])).stdout.trim().split('\n')
        expect(answers).toHaveLength(40)
        expect(answers).toContain(self.name)
      }
    },
  },
  {
    name: 'a Service without endpoints refuses at once',
    async check({ cluster, client, emptyIPs }) {
      for (const ip of emptyIPs) {
        // curl's 7 is a refused connection, 28 one that nobody answered.
        const outcome = await execIn(cluster, client, ['curl', '-sg', '-m', '5', ask(ip)])
        expect(outcome.exitCode).toBe(7)
      }
    },
  },
  {
    name: "kubernetes.default serves the API to a pod's service account",
    async check({ cluster, client }) {
      const family = familiesOf(cluster.state.families)[0]!
      const files = '/var/run/secrets/kubernetes.io/serviceaccount'
      for (const server of [hostPort(kubernetesIPs[family], 443), 'kubernetes.default.svc']) {
        const script = `curl -sgf -m 5 --cacert ${files}/ca.crt -H "Authorization: Bearer $(cat ${files}/token)" https://${server}/api`
        const outcome = await execIn(cluster, client, ['sh', '-c', script])
        expect(JSON.parse(outcome.stdout)).toMatchObject({ kind: 'APIVersions' })
      }
    },
  },
  {
    name: 'CoreDNS answers by UDP and TCP with the ClusterIPs of a Service',
    async check({ cluster, client, webIPs }) {
      const name = `web.${namespace}.svc.cluster.local`
      for (const transport of ['+notcp', '+tcp']) {
        const types = familiesOf(cluster.state.families).map((family) => (family === 4 ? 'A' : 'AAAA'))
        const answers = await Promise.all(
          types.map((type) => execIn(cluster, client, ['dig', '+short', '+tries=1', '+time=3', transport, name, type])),
        )
        expect(answers.map(({ stdout }) => stdout.trim())).toEqual(webIPs)
      }
      const families = familiesOf(cluster.state.families)
      const byName = await curlFrom(cluster, client, `http://web.${namespace}/hostname`)
      expect(byName, `over ${families.join(' and ')}`).toMatch(/^web-/)
    },
  },
  {
    name: "CoreDNS answers for a headless Service with its pods' addresses, and they serve",
    async check({ cluster, client, servers }) {
      const name = `headless.${namespace}.svc.cluster.local`
      for (const family of familiesOf(cluster.state.families)) {
        const type = family === 4 ? 'A' : 'AAAA'
        const answer = await execIn(cluster, client, ['dig', '+short', '+tries=1', '+time=3', name, type])
        const wanted = servers.flatMap(({ ips }) => ips.filter((ip) => ip.includes(':') === (family === 6)))
        expect(answer.stdout.trim().split('\n').toSorted()).toEqual(wanted.toSorted())
      }
      expect(await curlFrom(cluster, client, `http://${name}:${httpPort}/hostname`)).toMatch(/^web-/)
    },
  },
]
