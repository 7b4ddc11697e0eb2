// SPDX-License-Identifier: Apache-2.0
// The stage of test/conformance on a real cluster: the servers run in idle pods, the host outside is the control plane's.
// It asks nothing of a proxy but that Services work, so that kube-proxy and Heddle stand on it alike.

import { setTimeout } from 'node:timers/promises'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { inside, ipBatch, runProgram, waitUntil } from '../../src/lab/process.ts'
import { familyOf } from '../../src/lab/services.ts'
import { type Family, families, path, type ServiceLab, type Stage, vips } from '../conformance/service-lab.ts'
import type { Reply } from '../support/ask.ts'
import { type Background, startBackground } from '../support/background.ts'
import { listening, runScript, scriptArgv, serverArgv } from '../support/lab.ts'
import { httpPort, namespace, udpPort } from '../support/manifests.ts'
import { joinableCgroup } from './cgroups.ts'
import type { Cluster } from './cluster.ts'
import { netnsName, netnsPath } from './names.ts'
import { addressesOf } from './network.ts'
import { commandInPod, hostPort, type PodView, podNetns, podsOf, readyPods } from './pods.ts'
import { idleSpec, namespaceObject, pod } from './workloads.ts'

const servers = ['web-1', 'web-2'] as const
const clients = ['near', 'far'] as const
const nodeOf: Readonly<Record<string, string>> = { 'web-1': 'n1', 'web-2': 'n2', near: 'n1', far: 'n2' }

/** Starts the pods and their servers; namespace `test` is theirs. restMs: what the proxy needs for what it does after its
 *  tables are written (kube-proxy ends UDP flows then). */
export async function startServiceStage(cluster: Cluster, restMs = 0): Promise<ServiceLab> {
  await cluster.apply(
    namespaceObject(namespace),
    ...[...servers, ...clients].map((name) =>
      pod(namespace, name, idleSpec({ pod: { nodeName: nodeOf[name] } }), {
        stage: 'services',
        name,
        ...(name.startsWith('web') && { app: 'web' }),
      }),
    ),
  )
  const pods = await readyPods(cluster, namespace, 'stage=services', servers.length + clients.length)
  await routeToFirstNode(cluster)
  const stage = stageOf(cluster, pods, restMs)
  for (const name of [...servers, ...clients]) await stage.lab.serve(path(name), { http: httpPort, udp: udpPort }, name)
  return stage
}

/** Addresses of load balancers and external IPs lead from outside to n1. */
async function routeToFirstNode(cluster: Cluster): Promise<void> {
  const routes = families.flatMap((family) =>
    Object.values(vips).map((vip) => `route replace ${vip[family]} via ${nodeIP(cluster, 'n1', family)}`),
  )
  await ipBatch(netnsName(cluster.state.name, 'control'), routes)
}

function nodeIP(cluster: Cluster, place: string, family: Family): string {
  return addressesOf(place, cluster.state.families).find((ip) => familyOf(ip) === family)!
}

function stageOf(cluster: Cluster, pods: readonly PodView[], restMs: number): ServiceLab {
  const { name } = cluster.state
  const clusterIPs = new Map<string, readonly string[]>() // by namespace/name
  const running: Background[] = []
  const podOf = (place: string) => pods.find((view) => path(view.name) === place)

  function commandAt(place: string, argv: readonly string[]): string[] {
    if (place === 'outside') return cluster.commandAt('control', argv)
    const view = podOf(place)
    if (view !== undefined) return commandInPod(cluster, view, argv)
    const node = place.replace('node/', '')
    return inside(joinableCgroup(name, node), netnsPath(name, node), argv)
  }
  const run: Stage['run'] = (place, argv, options) =>
    runProgram(commandAt(place, argv), { timeoutMs: 60_000, ...options })
  function start(place: string, argv: readonly string[]): Background {
    const started = startBackground(commandAt(place, argv))
    running.push(started)
    return started
  }
  const isMarked = settling(cluster, pods, run)
  const settle = async () => {
    await isMarked()
    await setTimeout(restMs)
  }

  const lab: Stage = {
    run,
    start,
    serve: (place, ports, server = 'unnamed') => listening(start(place, serverArgv(ports, server))),
    async apply(...objects) {
      for (const applied of await applyAll(cluster, objects))
        if (applied.kind === 'Service') {
          clusterIPs.set(path(applied.metadata.name), applied.spec.clusterIPs ?? [])
          await endpointsFollow(cluster, pods, applied)
        }
      await settle()
    },
    async delete(...objects) {
      const list = { apiVersion: 'v1', kind: 'List', items: objects }
      await cluster.kubectl(['delete', '--ignore-not-found', '-f', '-'], JSON.stringify(list))
      await settle()
    },
    nodeIP: (node, family) => nodeIP(cluster, node, family),
    podIP: (place, family) => podOf(place)!.ips.find((ip) => familyOf(ip) === family)!,
    clusterIP: (service, family) => clusterIPs.get(service)!.find((ip) => familyOf(ip) === family)!,
    async down() {
      for (const each of running) await each.stop()
      await cluster.kubectl(['delete', 'namespace', namespace])
      return []
    },
  }
  return {
    lab,
    outsideIP: (family) => nodeIP(cluster, 'control', family),
    ask: (place, targets) => runScript<Reply[]>(place, commandAt(place, scriptArgv('ask.ts')), targets),
    askPast(client, targets) {
      const netns = podNetns(cluster, podOf(path(client))!)
      return runScript<Reply[]>(client, ['nsenter', `--net=${netns}`, '--', ...scriptArgv('ask.ts')], targets)
    },
  }
}

interface AppliedObject {
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly spec: { readonly clusterIPs?: readonly string[]; readonly selector?: Readonly<Record<string, string>> }
}

/** As the API server has them then; a status as a load balancer's controller would write it. */
async function applyAll(cluster: Cluster, objects: readonly KubeManifest[]): Promise<readonly AppliedObject[]> {
  const items = objects.map(({ status: _, ...object }) => object)
  const argv = ['apply', '--server-side', '-o', 'json', '-f', '-']
  const printed = await cluster.kubectl(argv, JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  for (const { metadata, status } of objects)
    if (status !== undefined) {
      const patch = ['--subresource=status', '--type=merge', '-p', JSON.stringify({ status })]
      await cluster.kubectl(['-n', namespace, 'patch', 'service', metadata.name, ...patch])
    }
  const applied = JSON.parse(printed) as AppliedObject | { readonly items: readonly AppliedObject[] }
  return 'items' in applied ? applied.items : [applied]
}

interface SliceList {
  readonly items: readonly { readonly endpoints: readonly unknown[] | null }[]
}

/** Waits until the slices of a Service have every pod that it selects, in each family. */
async function endpointsFollow(
  cluster: Cluster,
  pods: readonly PodView[],
  { metadata, spec }: AppliedObject,
): Promise<void> {
  if (spec.selector === undefined) return
  const chosen = Object.entries(spec.selector).map((pair) => pair.join('='))
  const matching = await podsOf(cluster, namespace, chosen.join(','))
  const wanted = matching.filter(({ name }) => pods.some((view) => view.name === name)).length * families.length
  const isThere = await waitUntil(async () => {
    const selector = `kubernetes.io/service-name=${metadata.name}`
    const { items } = await cluster.getJson<SliceList>('endpointslices', '-n', namespace, '-l', selector)
    return items.flatMap(({ endpoints }) => endpoints ?? []).length === wanted
  }, 20_000)
  if (!isThere) throw new Error(`Service ${metadata.name} does not get its ${wanted} endpoints`)
}

/** Resolves when every change until now is in force on both nodes. Both proxies apply what they were told in order, so
 *  they have the changes when they have the last: each time a Service of its own gets another port, and another server.
 *  The API server's watch keeps order within a kind only, and these are the kinds that Services are made of. kube-proxy
 *  has each family by itself. */
function settling(cluster: Cluster, pods: readonly PodView[], run: Stage['run']): () => Promise<void> {
  let count = 0
  return async () => {
    count++
    const port = 1_000 + count
    const name = clients[count % clients.length]! // no policy of the cases selects them
    const server = pods.find((view) => view.name === name)!
    const service = (await applyAll(cluster, markerObjects(port, server.ips))).find(({ kind }) => kind === 'Service')!
    for (const ip of service.spec.clusterIPs!)
      for (const node of ['node/n1', 'node/n2']) {
        const curl = ['curl', '-sg', '-m', '0.7', '-X', 'POST', `http://${hostPort(ip, port)}/`]
        const isThere = await waitUntil(async () => (await run(node, curl)).stdout.includes(`"${name}"`), 30_000)
        if (!isThere) throw new Error(`${node} does not have at ${ip} what was applied 30 s ago`)
      }
  }
}

function markerObjects(port: number, serverIPs: readonly string[]): KubeManifest[] {
  const slices = serverIPs.map((ip) => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace,
      name: `marker-${familyOf(ip)}`,
      labels: { 'kubernetes.io/service-name': 'marker' },
    },
    addressType: `IPv${familyOf(ip)}`,
    ports: [{ name: 'http', port: httpPort, protocol: 'TCP' }],
    endpoints: [{ addresses: [ip] }],
  }))
  const ports = [{ name: 'http', port, protocol: 'TCP' }]
  const spec = { ipFamilyPolicy: 'PreferDualStack', ports }
  return [...slices, { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name: 'marker' }, spec }]
}
