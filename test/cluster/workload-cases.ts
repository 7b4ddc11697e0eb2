// SPDX-License-Identifier: Apache-2.0
// What people do with a cluster, case by case: it must work with any network.

import { expect } from 'vitest'
import { runProgram, waitUntil } from '../../src/lab/process.ts'
import { startBackground } from '../support/background.ts'
import type { Cluster } from './cluster.ts'
import { markNow, reportCniTimes } from './cni-times.ts'
import { familiesOf, kubernetesIPs } from './network.ts'
import { addressOf, curlFrom, execIn, hostPort, loadFrom, type PodView, podsOf, readyPods } from './pods.ts'
import {
  agnhost,
  deployment,
  httpPort,
  idleSpec,
  namespaceObject,
  networkPolicy,
  pod,
  serverSpec,
  service,
} from './workloads.ts'

export interface ClusterCase {
  readonly name: string
  readonly check: (cluster: Cluster) => Promise<void>
}

const namespace = 'work'

/** Makes the namespace and two servers and a client on n1, one server on n2, that the cases share. */
export async function prepareWorkloads(cluster: Cluster): Promise<void> {
  await cluster.apply(
    namespaceObject(namespace),
    pod(namespace, 'client', idleSpec({ pod: { nodeName: 'n1' } })),
    pod(namespace, 'near', serverSpec({ pod: { nodeName: 'n1' } })),
    pod(namespace, 'far', serverSpec({ pod: { nodeName: 'n2' } })),
  )
  for (const name of ['client', 'near', 'far']) await readyPods(cluster, namespace, `app=${name}`, 1)
}

async function only(cluster: Cluster, name: string): Promise<PodView> {
  return (await podsOf(cluster, namespace, `app=${name}`))[0]!
}

/** Pod namespaces and host ends of veths on every node. */
async function podTraces(cluster: Cluster): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const node of cluster.nodes) {
    const netns = await cluster.run(node, ['sh', '-c', 'ls /run/netns | wc -l'])
    const links = await cluster.run(node, ['sh', '-c', 'ip -o link show type veth | wc -l'])
    counts[`${node} namespaces`] = Number(netns.stdout)
    counts[`${node} veths`] = Number(links.stdout)
  }
  return counts
}

/** Scales a Deployment from 0 to `count` pods and back to 0; seconds until all are ready, then until none is left, neither in
 *  the API nor on the nodes. Asserts that each has addresses of its own. */
export async function scaleUpAndDown(
  cluster: Cluster,
  namespace: string,
  name: string,
  count: number,
): Promise<{ readonly upSeconds: number; readonly downSeconds: number }> {
  const scale = (replicas: number) =>
    cluster.kubectl(['-n', namespace, 'scale', `deploy/${name}`, `--replicas=${replicas}`])
  const left = async () =>
    (await cluster.getJson<{ items: object[] }>('pods', '-n', namespace, '-l', `app=${name}`)).items.length
  await cluster.apply(deployment(namespace, name, 0, idleSpec()))
  const before = await podTraces(cluster)
  const started = performance.now()
  await scale(count)
  const pods = await readyPods(cluster, namespace, `app=${name}`, count)
  const up = performance.now()
  expect(new Set(pods.flatMap(({ ips }) => ips)).size).toBe(count * cluster.state.families.length)
  await scale(0)
  await expect.poll(left, { timeout: 120_000, interval: 200 }).toBe(0)
  await expect.poll(() => podTraces(cluster), { timeout: 120_000, interval: 200 }).toEqual(before)
  const down = performance.now()
  await cluster.kubectl(['-n', namespace, 'delete', `deploy/${name}`])
  return { upSeconds: (up - started) / 1_000, downSeconds: (down - up) / 1_000 }
}

export const workloadCases: readonly ClusterCase[] = [
  {
    name: 'pods reach pods on their node and across nodes with their own addresses, in every family',
    async check(cluster) {
      const client = await only(cluster, 'client')
      for (const name of ['near', 'far'])
        for (const family of familiesOf(cluster.state.families)) {
          const server = addressOf(await only(cluster, name), family)
          const seen = await curlFrom(cluster, client, `http://${hostPort(server, httpPort)}/clientip`)
          expect(seen.slice(0, seen.lastIndexOf(':')).replace(/[[\]]/g, '')).toBe(addressOf(client, family))
        }
    },
  },
  {
    name: 'nodes reach pods and pods reach nodes, in every family',
    async check(cluster) {
      const client = await only(cluster, 'client')
      const nodes = await cluster.getJson<{ items: { status: { addresses: { type: string; address: string }[] } }[] }>(
        'nodes',
      )
      const nodeIPs = nodes.items.flatMap(({ status }) =>
        status.addresses.filter(({ type }) => type === 'InternalIP').map(({ address }) => address),
      )
      expect(nodeIPs).toHaveLength(2 * cluster.state.families.length)
      // Port 10250 is kubelet's.
      for (const ip of nodeIPs)
        expect((await execIn(cluster, client, ['nc', '-z', '-w', '3', ip, '10250'])).exitCode, ip).toBe(0)
      for (const node of cluster.nodes)
        for (const name of ['near', 'far'])
          for (const ip of (await only(cluster, name)).ips) {
            const url = `http://${hostPort(ip, httpPort)}/hostname`
            expect((await cluster.run(node, ['curl', '-sgf', '-m', '3', url])).stdout, `${node} to ${ip}`).toBe(name)
          }
    },
  },
  {
    name: 'a Deployment goes from 0 to 50 pods and back to 0, and leaves nothing on the nodes',
    async check(cluster) {
      const mark = await markNow(cluster)
      const { upSeconds, downSeconds } = await scaleUpAndDown(cluster, namespace, 'many', 50)
      console.log(`50 pods up after ${upSeconds.toFixed(1)} s, gone after ${downSeconds.toFixed(1)} s`)
      await reportCniTimes(cluster, mark, 'many-')
    },
  },
  {
    name: 'a rolling update under traffic loses no request',
    async check(cluster) {
      // A pod goes on serving until every node has heard that it leaves: what any rolling update needs.
      const leaves = { lifecycle: { preStop: { sleep: { seconds: 4 } } } }
      const spec = (version: string) =>
        serverSpec({
          container: { ...leaves, env: [{ name: 'VERSION', value: version }] },
          pod: { terminationGracePeriodSeconds: 8 },
        })
      const strategy = { strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 2 } } }
      await cluster.apply(deployment(namespace, 'rolling', 4, spec('1'), strategy), service(namespace, 'rolling'))
      const before = await readyPods(cluster, namespace, 'app=rolling', 4)
      const object = await cluster.getJson<{ spec: { clusterIPs: string[] } }>('service', 'rolling', '-n', namespace)
      const client = await only(cluster, 'client')
      for (const ip of object.spec.clusterIPs)
        await expect
          .poll(() => curlFrom(cluster, client, `http://${hostPort(ip, 80)}/hostname`), { timeout: 20_000 })
          .not.toBe('')
      const loads = await Promise.all(
        object.spec.clusterIPs.map((host) =>
          loadFrom(cluster, client, {
            ...{ host, port: 80, keptConnections: 1, requestsPerSecond: 0, newConnectionsPerSecond: 100, seconds: 30 },
          }),
        ),
      )
      const started = performance.now()
      await cluster.apply(deployment(namespace, 'rolling', 4, spec('2'), strategy))
      await cluster.kubectl(['-n', namespace, 'rollout', 'status', 'deploy/rolling', '--timeout=120s'])
      const after = await readyPods(cluster, namespace, 'app=rolling', 4)
      const took = (performance.now() - started) / 1000
      const reports = await Promise.all(loads.map(({ report }) => report))
      console.log(`rolled in ${took.toFixed(1)} s under ${JSON.stringify(reports)}`)
      expect(after.filter(({ uid }) => before.some((old) => old.uid === uid))).toEqual([])
      for (const report of reports) expect(report.failures).toEqual({})
      await cluster.kubectl(['-n', namespace, 'delete', 'deploy/rolling', 'service/rolling', '--wait=false'])
    },
  },
  {
    name: 'probes: a failing liveness restarts, a failing readiness leaves the Service, tcp and exec probes pass',
    async check(cluster) {
      const fast = { periodSeconds: 1, failureThreshold: 1 }
      const tcpAndExec = {
        readinessProbe: { tcpSocket: { port: httpPort }, ...fast },
        livenessProbe: { exec: { command: ['true'] }, ...fast },
      }
      await cluster.apply(
        // agnhost's liveness serves /healthz for ten seconds, then fails.
        pod(
          namespace,
          'sick',
          agnhost(['liveness'], { livenessProbe: { httpGet: { path: '/healthz', port: 8080 }, ...fast } }),
        ),
        pod(
          namespace,
          'never-ready',
          serverSpec({ container: { readinessProbe: { tcpSocket: { port: 9 }, ...fast } } }),
        ),
        pod(namespace, 'probed', serverSpec({ container: tcpAndExec })),
        service(namespace, 'never-ready'),
      )
      const [probed] = await readyPods(cluster, namespace, 'app=probed', 1)
      expect(await waitUntil(async () => (await only(cluster, 'sick')).restarts > 0, 60_000)).toBe(true)
      const readiness = async () => {
        const slices = await cluster.getJson<{ items: { endpoints?: { conditions: { ready: boolean } }[] }[] }>(
          ...['endpointslices', '-n', namespace, '-l', 'kubernetes.io/service-name=never-ready'],
        )
        return slices.items.flatMap(({ endpoints = [] }) => endpoints.map(({ conditions }) => conditions.ready))
      }
      await expect.poll(readiness, { timeout: 20_000 }).toEqual(familiesOf(cluster.state.families).map(() => false))
      expect((await only(cluster, 'probed')).restarts).toBe(probed!.restarts)
      await cluster.kubectl(['-n', namespace, 'delete', 'pod/sick', 'pod/never-ready', 'pod/probed', '--wait=false'])
    },
  },
  {
    name: 'kubectl exec, logs, port-forward and run work',
    async check(cluster) {
      const far = await only(cluster, 'far')
      expect((await execIn(cluster, far, ['cat'], 'through the API server')).stdout).toBe('through the API server')
      expect(await cluster.kubectl(['-n', namespace, 'logs', 'far', '--tail=20'])).toContain('/healthz')
      const forward = startBackground(
        cluster.kubectlCommand(['-n', namespace, 'port-forward', 'pod/far', `18080:${httpPort}`]),
      )
      try {
        await forward.until((output) => output.includes('Forwarding from'))
        const answer = await cluster.run('control', ['curl', '-sgf', '-m', '5', 'http://127.0.0.1:18080/hostname'])
        expect(answer.stdout).toBe('far')
      } finally {
        await forward.stop()
      }
      const image = agnhost([]).containers[0]!.image
      const run = ['run', 'once', '-n', namespace, '-i', '--rm', '--restart=Never', '--quiet', `--image=${image}`]
      const url = `http://${hostPort(addressOf(far, familiesOf(cluster.state.families)[0]!), httpPort)}/hostname`
      // It waits for a line: what a container prints before kubectl has attached is not shown.
      const command = ['--command', '--', 'sh', '-c', `read go && curl -sgf -m 5 '${url}'`]
      const outcome = await runProgram(cluster.kubectlCommand([...run, ...command]), {
        timeoutMs: 60_000,
        input: 'go\n',
      })
      expect(outcome.exitCode, outcome.stderr).toBe(0)
      expect(outcome.stdout).toContain('far')
    },
  },
  {
    name: "a StatefulSet's pods have names that follow them",
    async check(cluster) {
      const labels = { app: 'db' }
      await cluster.apply(service(namespace, 'db', { clusterIP: 'None' }), {
        apiVersion: 'apps/v1',
        kind: 'StatefulSet',
        metadata: { namespace, name: 'db' },
        spec: {
          serviceName: 'db',
          replicas: 2,
          podManagementPolicy: 'Parallel',
          selector: { matchLabels: labels },
          template: { metadata: { labels }, spec: serverSpec() },
        },
      })
      const [first] = await readyPods(cluster, namespace, 'app=db', 2)
      const client = await only(cluster, 'client')
      const family = familiesOf(cluster.state.families)[0]!
      const resolves = async (name: string) => {
        const full = `${name}.db.${namespace}.svc.cluster.local`
        const argv = ['dig', '+short', '+tries=1', '+time=2', full, family === 4 ? 'A' : 'AAAA']
        return (await execIn(cluster, client, argv)).stdout.trim()
      }
      const follows = async (view: PodView) =>
        waitUntil(async () => (await resolves(view.name)) === addressOf(view, family), 30_000)
      expect(await follows(first!)).toBe(true)
      // Two servers of names, each of which hears of the pod by itself.
      await expect
        .poll(() => curlFrom(cluster, client, `http://db-0.db.${namespace}:${httpPort}/hostname`), { timeout: 20_000 })
        .toBe('db-0')
      await cluster.kubectl(['-n', namespace, 'delete', 'pod/db-0', '--wait=true'])
      const [again] = await readyPods(cluster, namespace, 'app=db', 2)
      expect(again!.uid).not.toBe(first!.uid)
      expect(await follows(again!)).toBe(true)
      await cluster.kubectl(['-n', namespace, 'delete', 'statefulset/db', 'service/db', '--wait=false'])
    },
  },
]

/** Cases that need a network which enforces NetworkPolicy. */
export const policyCases: readonly ClusterCase[] = [
  {
    name: 'NetworkPolicies hold: ingress by label and egress but for names, in every family',
    async check(cluster) {
      const space = 'guarded'
      await cluster.apply(
        namespaceObject(space),
        deployment(space, 'shop', 2, serverSpec()),
        pod(space, 'friend', idleSpec({ pod: { nodeName: 'n1' } }), { app: 'friend', role: 'friend' }),
        pod(space, 'stranger', idleSpec({ pod: { nodeName: 'n1' } })),
      )
      const shops = await readyPods(cluster, space, 'app=shop', 2)
      const [friend] = await readyPods(cluster, space, 'app=friend', 1)
      const [stranger] = await readyPods(cluster, space, 'app=stranger', 1)
      const urls = shops.flatMap(({ ips }) => ips.map((ip) => `http://${hostPort(ip, httpPort)}/hostname`))
      const reached = async (from: PodView) => {
        const answers = await Promise.all(urls.map((url) => curlFrom(cluster, from, url, 2)))
        return answers.filter((answer) => answer !== '').length
      }
      expect(await reached(stranger!)).toBe(urls.length)
      const fromFriends = { from: [{ podSelector: { matchLabels: { role: 'friend' } } }] }
      const shop = { podSelector: { matchLabels: { app: 'shop' } } }
      await cluster.apply(
        networkPolicy(space, 'friends', { ...shop, policyTypes: ['Ingress'], ingress: [fromFriends] }),
      )
      await expect.poll(() => reached(stranger!), { timeout: 20_000 }).toBe(0)
      // A policy by labels shuts everybody out until its node knows the pods elsewhere.
      await expect.poll(() => reached(friend!), { timeout: 20_000 }).toBe(urls.length)
      const toNames = { to: [{ namespaceSelector: {}, podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } }] }
      const friends = { podSelector: { matchLabels: { role: 'friend' } } }
      await cluster.apply(
        networkPolicy(space, 'names-only', { ...friends, policyTypes: ['Egress'], egress: [toNames] }),
      )
      await expect.poll(() => reached(friend!), { timeout: 20_000 }).toBe(0)
      const family = familiesOf(cluster.state.families)[0]!
      const type = family === 4 ? 'A' : 'AAAA'
      const dig = ['dig', '+short', '+tries=1', '+time=3', 'kubernetes.default.svc.cluster.local', type]
      await expect
        .poll(async () => (await execIn(cluster, friend!, dig)).stdout.trim(), { timeout: 20_000 })
        .toBe(kubernetesIPs[family])
      await cluster.kubectl(['-n', space, 'delete', 'networkpolicy', '--all'])
      await expect.poll(() => reached(stranger!), { timeout: 20_000 }).toBe(urls.length)
      await cluster.kubectl(['delete', 'namespace', space, '--wait=false'])
    },
  },
]
