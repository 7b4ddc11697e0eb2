// SPDX-License-Identifier: Apache-2.0
// What stops and comes back in a cluster, under load: what runs must not notice.

import { expect } from 'vitest'
import { waitUntil } from '../../src/lab/process.ts'
import { sameValue } from '../../src/world/equal.ts'
import { startBackground } from '../support/background.ts'
import type { Load, LoadReport } from '../support/load.ts'
import { soak } from '../support/soak.ts'
import type { Cluster } from './cluster.ts'
import { prepareGuarded } from './guarded.ts'
import { setNodeLink } from './network.ts'
import {
  addressOf,
  commandInPod,
  curlFrom,
  hostPort,
  killContainer,
  loadFrom,
  type PodView,
  podsOf,
  readyPods,
} from './pods.ts'
import { saveSoakFigures } from './soak-figures.ts'
import {
  deployment,
  httpPort,
  idleSpec,
  loadServerSpec,
  namespaceObject,
  pod,
  serverSpec,
  service,
} from './workloads.ts'

const namespace = 'faults'

interface FaultFixture {
  readonly cluster: Cluster
  /** One on each node. */
  readonly servers: readonly PodView[]
  readonly client: PodView
  /** Of Service `web`, by family. */
  readonly webIPs: readonly string[]
}

export async function prepareFaults(cluster: Cluster): Promise<FaultFixture> {
  await cluster.apply(
    namespaceObject(namespace),
    deployment(namespace, 'web', 2, loadServerSpec()),
    service(namespace, 'web'),
    pod(namespace, 'client', idleSpec({ pod: { nodeName: 'n1' } })),
  )
  const servers = await readyPods(cluster, namespace, 'app=web', 2)
  const [client] = await readyPods(cluster, namespace, 'app=client', 1)
  const { spec } = await cluster.getJson<{ spec: { clusterIPs: string[] } }>('service', 'web', '-n', namespace)
  const fixture = { cluster, servers, client: client!, webIPs: spec.clusterIPs }
  for (const ip of fixture.webIPs)
    if (
      !(await waitUntil(
        async () => (await curlFrom(cluster, client!, `http://${hostPort(ip, 80)}/hostname`)) !== '',
        20_000,
      ))
    )
      throw new Error(`Service web does not answer on ${ip}`)
  return fixture
}

/** Half of it over each ClusterIP. */
const heavy = { keptConnections: 100, requestsPerSecond: 1_000, newConnectionsPerSecond: 250 }
const steady = { keptConnections: 20, requestsPerSecond: 100, newConnectionsPerSecond: 50 }

/** Puts every ClusterIP of the Service under load while `fault` happens, and asserts that nothing failed. */
async function unnoticed(
  { cluster, client, webIPs }: FaultFixture,
  load: Omit<Load, 'host' | 'port' | 'seconds'>,
  seconds: number,
  fault: () => Promise<void>,
): Promise<readonly LoadReport[]> {
  const loads = await Promise.all(webIPs.map((host) => loadFrom(cluster, client, { host, port: 80, seconds, ...load })))
  const started = performance.now()
  await fault()
  const tookSeconds = (performance.now() - started) / 1_000
  const reports = await Promise.all(loads.map(({ report }) => report))
  console.log(`${tookSeconds.toFixed(1)} s of ${seconds} s under ${JSON.stringify(reports)}`)
  for (const report of reports) {
    expect(report.failures).toEqual({})
    expect(report.keptSockets).toBe(load.keptConnections)
    expect(report.keptRequests).toBeGreaterThan(load.requestsPerSecond * seconds * 0.9)
    expect(report.newConnections).toBeGreaterThan(load.newConnectionsPerSecond * seconds * 0.9)
  }
  expect(tookSeconds, 'the load must outlast the fault').toBeLessThan(seconds)
  return reports
}

/** What must be the same before and after: who runs where under which address, never restarted. */
function identityOf(views: readonly PodView[]): object[] {
  return views.map(({ name, uid, node, ips, restarts, containerId }) => ({
    name,
    uid,
    node,
    ips,
    restarts,
    containerId,
  }))
}

export interface FaultCase {
  readonly name: string
  readonly check: (fixture: FaultFixture, upgrade: () => Promise<void>) => Promise<void>
}

export const faultCases: readonly FaultCase[] = [
  {
    name: 'the DaemonSet is upgraded under 2,000 requests/s and 500 new connections/s',
    async check(fixture, upgrade) {
      saveSoakFigures('upgrade', { load: heavy, reports: await unnoticed(fixture, heavy, 30, upgrade) })
    },
  },
  {
    name: 'the API server stops while a container, an agent and a sandbox restart: what runs goes on, policies by peers hold, both pods serve',
    async check(fixture) {
      const { cluster, servers, client } = fixture
      const outageSeconds = soak(60, 600)
      const guarded = await prepareGuarded(cluster)
      const admits = async (role: string) => {
        await guarded.admit(role)
        expect(await waitUntil(async () => sameValue(await guarded.reaching(), [role]), 20_000), role).toBe(true)
      }
      await admits('friend')
      await cluster.apply(pod(namespace, 'restarts', serverSpec({ pod: { nodeName: 'n2' } })))
      const [restarting] = await readyPods(cluster, namespace, 'app=restarts', 1)
      const url = `http://${hostPort(addressOf(restarting!, restarting!.ips[0]!.includes(':') ? 6 : 4), httpPort)}/hostname`
      const ask = commandInPod(cluster, client, ['curl', '-sgf', '-m', '2', url])
      const answers = async () => (await startBackground(ask).ended) === 'restarts'
      const reports = await unnoticed(fixture, steady, outageSeconds + 25, async () => {
        await cluster.stopControl('kube-apiserver')
        try {
          await killContainer(cluster, restarting!)
          const endMs = performance.now() + outageSeconds * 1_000
          expect(await guarded.reaching()).toEqual(['friend'])
          await guarded.killAgent()
          const isReady = async () => {
            expect(await guarded.reaching()).toEqual(['friend'])
            return guarded.isAgentReady()
          }
          expect(await waitUntil(isReady, 60_000)).toBe(true)
          // An ADD, of a pod that the agent knows from its disk only.
          await guarded.renewServer('friend')
          do expect(await guarded.reaching()).toEqual(['friend'])
          while (performance.now() < endMs)
          // kubelet restarts a container without an API server; the pod keeps its network.
          expect(await waitUntil(answers, 20_000)).toBe(true)
        } finally {
          cluster.startControl('kube-apiserver')
        }
        await cluster.apiServerReady()
      })
      saveSoakFigures('api-outage', { outageSeconds, load: steady, reports })
      await cluster.nodesReady()
      // Until kubelet has told the server of the other container, the server shows the first one.
      const { uid, ips } = restarting!
      await expect
        .poll(() => podsOf(cluster, namespace, 'app=restarts'), { timeout: 60_000 })
        .toMatchObject([{ uid, ips, ready: true, restarts: restarting!.restarts + 1 }])
      expect(identityOf(await readyPods(cluster, namespace, 'app=web', 2))).toEqual(identityOf(servers))
      for (const role of ['stranger', 'friend']) await admits(role)
      await guarded.remove()
      await cluster.kubectl(['-n', namespace, 'delete', 'pod/restarts', '--wait=false'])
    },
  },
  {
    name: 'kubelet and containerd are killed and start again: nothing moves, and new pods start',
    async check(fixture) {
      const { cluster, servers } = fixture
      await unnoticed(fixture, steady, 25, async () => {
        for (const node of cluster.nodes) {
          await cluster.killProgram(node, 'containerd')
          await cluster.killProgram(node, 'kubelet')
        }
        await new Promise((resolve) => setTimeout(resolve, 8_000))
        await cluster.nodesReady()
      })
      expect(identityOf(await readyPods(cluster, namespace, 'app=web', 2))).toEqual(identityOf(servers))
      for (const node of cluster.nodes)
        await cluster.apply(pod(namespace, `after-${node}`, serverSpec({ pod: { nodeName: node } }), { app: 'after' }))
      const after = await readyPods(cluster, namespace, 'app=after', 2)
      for (const { ips, name } of after)
        for (const ip of ips)
          expect(await curlFrom(cluster, fixture.client, `http://${hostPort(ip, httpPort)}/hostname`)).toBe(name)
      await cluster.kubectl(['-n', namespace, 'delete', 'pod', '-l', 'app=after', '--wait=false'])
    },
  },
  {
    name: 'a node that was cut off is reached within a second of its link',
    async check({ cluster, client, servers }) {
      const far = servers.find(({ node }) => node !== client.node)!
      for (const ip of far.ips) {
        const url = `http://${hostPort(ip, httpPort)}/hostname`
        // Prints milliseconds since 1970 at each answer.
        const script = `while :; do curl -sgf -o /dev/null -m 0.2 '${url}' && date +%s%3N; sleep 0.02; done`
        const asking = startBackground(commandInPod(cluster, client, ['sh', '-c', script]))
        const answers = () => asking.output().trim().split('\n').filter(Boolean).map(Number)
        try {
          await asking.until((output) => output !== '')
          await setNodeLink(cluster.state.name, far.node, false)
          await new Promise((resolve) => setTimeout(resolve, 5_000))
          const during = answers().length
          const joinedMs = Date.now()
          await setNodeLink(cluster.state.name, far.node, true)
          await asking.until(() => answers().length > during)
          const tookMs = answers()[during]! - joinedMs
          console.log(`${ip} answers ${tookMs} ms after the link`)
          expect(tookMs).toBeLessThan(1_000)
        } finally {
          await asking.stop()
        }
      }
      await cluster.nodesReady()
    },
  },
]
