// SPDX-License-Identifier: Apache-2.0
// What the cases of Services share: a stage, here of a lab, and the short words in which they speak of it.
//
//   outside --- fabric --- n1: web-1, near      n2: web-2, far
//   addresses of load balancers and external IPs are routed to n1

import { netnsPath } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import type { Mode } from '../../src/lab/state.ts'
import type { Reply, Target } from '../support/ask.ts'
import { runScript, scriptArgv, startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, idlePod, namespace, serverPod, udpPort } from '../support/manifests.ts'

export const families = [4, 6] as const
export type Family = 4 | 6
/** A number of TCP and one of UDP. */
export type PortPair = readonly [tcp: number, udp: number]
type Addresses = Readonly<Record<Family, string>>

/** Addresses beyond the nodes that the fabric routes to n1. */
export const vips = {
  both: { 4: '198.51.100.10', 6: '2001:db8:51::10' },
  ranges: { 4: '198.51.100.11', 6: '2001:db8:51::11' },
  cases: { 4: '198.51.100.12', 6: '2001:db8:51::12' },
} as const satisfies Readonly<Record<string, Addresses>>

export const path = (pod: string): string => `${namespace}/${pod}`

/** Nodes n1 and n2, their pods and a host outside; where objects are applied, they are in force on every node when it
 *  resolves. */
export type Stage = Pick<
  TestLab,
  'apply' | 'delete' | 'run' | 'start' | 'serve' | 'nodeIP' | 'podIP' | 'clusterIP' | 'down'
>

export interface ServiceLab {
  readonly lab: Stage
  outsideIP(family: Family): string
  ask(place: string, targets: readonly Target[]): Promise<Reply[]>
  /** From the pod's namespace, past the socket hooks. */
  askPast(pod: string, targets: readonly Target[]): Promise<Reply[]>
}

export async function startServiceLab(mode: Mode): Promise<ServiceLab & { readonly lab: TestLab }> {
  const lab = await startTestLab(`services-${mode}`, { mode, families: '46' })
  await lab.apply(
    serverPod('web-1', 'n1', { app: 'web', name: 'web-1' }),
    serverPod('web-2', 'n2', { app: 'web', name: 'web-2' }),
    idlePod('near', 'n1'),
    idlePod('far', 'n2'),
  )
  for (const family of families) {
    const router = family === 4 ? '203.0.113.1' : '2001:db8:113::1'
    for (const { [family]: vip } of Object.values(vips)) {
      await lab.shell('outside', `ip route add ${vip} via ${router}`)
      await lab.shell('fabric', `ip route add ${vip} via ${lab.nodeIP('n1', family)}`)
    }
  }
  return {
    lab,
    outsideIP: (family) => outsideIPs[family],
    ask: (place, targets) => lab.script<Reply[]>(place, 'ask.ts', targets),
    askPast(pod, targets) {
      const netns = netnsPath(lab.name, lab.pod(path(pod)).place)
      return runScript<Reply[]>(pod, ['nsenter', `--net=${netns}`, '--', ...scriptArgv('ask.ts')], targets, 30_000)
    },
  }
}

/** By TCP and UDP, `times` each. */
export function targets(host: string, [tcp, udp]: PortPair, times = 1): Target[] {
  return Array.from({ length: times }, () => [
    { protocol: 'TCP', host, port: tcp, bytes: 1 } as const,
    { protocol: 'UDP', host, port: udp, bytes: 1 } as const,
  ]).flat()
}

/** For what is not expected to be answered. */
export function quick(asked: readonly Target[]): Target[] {
  return asked.map((target) => ({ ...target, timeoutMs: 700 }))
}

/** Names of those who answered, and errors, each once. */
export function serversOf(replies: readonly Reply[]): string[] {
  return [...new Set(replies.map((reply) => ('answer' in reply ? reply.answer!.server : reply.error)))].sort()
}

/** "server client", each once: whom the server sees. */
export function clientsOf(replies: readonly Reply[]): string[] {
  return [
    ...new Set(
      replies.map((reply) => ('answer' in reply ? `${reply.answer!.server} ${reply.answer!.client}` : reply.error)),
    ),
  ].sort()
}

interface Shape {
  readonly type?: string
  readonly selector?: Readonly<Record<string, string>>
  readonly ports: PortPair
  readonly nodePorts?: PortPair
  readonly vip?: Addresses
  readonly labels?: Readonly<Record<string, string>>
  readonly spec?: Readonly<Record<string, unknown>>
}

/** HTTP and UDP of the server pods, in both families. */
export function dualService(
  name: string,
  { type, selector, ports, nodePorts, vip, labels, spec }: Shape,
): KubeManifest {
  const port = (of: 'http' | 'udp', index: 0 | 1): Record<string, unknown> => ({
    name: of,
    port: ports[index],
    targetPort: of === 'http' ? httpPort : udpPort,
    protocol: of === 'http' ? 'TCP' : 'UDP',
    ...(nodePorts && { nodePort: nodePorts[index] }),
  })
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name, ...(labels && { labels }) },
    spec: {
      type: type ?? (vip ? 'LoadBalancer' : nodePorts ? 'NodePort' : 'ClusterIP'),
      ...(selector && { selector }),
      ...(type !== 'ExternalName' && { ipFamilyPolicy: 'PreferDualStack' }),
      ports: [port('http', 0), port('udp', 1)],
      ...spec,
    },
    ...(vip && { status: { loadBalancer: { ingress: [{ ip: vip[4] }, { ip: vip[6] }] } } }),
  }
}

/** Applied for as long as `work` goes on. */
export async function during(
  { lab }: ServiceLab,
  objects: readonly KubeManifest[],
  work: () => Promise<void>,
): Promise<void> {
  try {
    await lab.apply(...objects)
    await work()
  } finally {
    await lab.delete(...objects)
  }
}

/** Who answers at an address of each family, by TCP and UDP, `times` each. */
export async function reached(
  services: ServiceLab,
  place: string,
  hostOf: (family: Family) => string,
  ports: PortPair,
  times = 1,
): Promise<string[]> {
  return serversOf(
    await services.ask(
      place,
      families.flatMap((family) => targets(hostOf(family), ports, times)),
    ),
  )
}

/** The same where nobody should. */
export async function reachedSoon(
  services: ServiceLab,
  place: string,
  hostOf: (family: Family) => string,
  ports: PortPair,
): Promise<string[]> {
  return serversOf(await services.ask(place, quick(families.flatMap((family) => targets(hostOf(family), ports)))))
}

export const both = ['web-1', 'web-2']
/** Enough askings that every backend of two is among those who answer. */
export const MANY = 8
