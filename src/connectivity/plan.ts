// SPDX-License-Identifier: Apache-2.0
// From what was deployed to the list of paths. Pure: equal facts give equal text. Each node is paired with itself and with the
// next one, so that the list grows with the nodes and not with their square, and every node both sends and receives.
//
// Not tested: ICMP (Node has no raw sockets and the image no `ping`), SCTP, what leaves the cluster or enters it.

import { type Address, type Family, family } from '../core/address.ts'
import type { Check, Expectation, Group, Probe } from './check.ts'
import { OTHER_PORT, SERVER_PORT, SERVICE_PORT } from './objects.ts'

export interface PodFacts {
  readonly name: string
  readonly addresses: readonly Address[]
}

export interface NodeFacts {
  readonly name: string
  /** Pods on it; `host` is the one on the node's own network. */
  readonly server: PodFacts
  readonly client: PodFacts
  readonly host: PodFacts
}

export interface Facts {
  readonly namespace: string
  readonly families: readonly Family[]
  readonly nodes: readonly NodeFacts[]
  readonly guarded: PodFacts
  readonly confined: PodFacts
  readonly nodePort: number
  readonly hostPort: number
  /** Cluster IPs by the names of objects.ts. */
  readonly services: Readonly<Record<'server' | 'self' | 'guarded' | 'nobody', readonly Address[]>>
  /** Node ports of Service exposed, whose backends are all servers; null: it was given none. */
  readonly exposed: { readonly tcp: number; readonly udp: number } | null
  /** Of Services external and load-balanced, whose backends are all servers; empty: the cluster does not permit them. */
  readonly externalIPs: readonly Address[]
  readonly loadBalancerIPs: readonly Address[]
  /** default/kubernetes; null: not there, which no cluster should be. */
  readonly apiServer: { readonly addresses: readonly Address[]; readonly port: number } | null
  /** Whether the cluster has a DNS server that the test knows: a Service labelled k8s-app=kube-dns. */
  readonly hasDns: boolean
}

/** Room for what the server tells (serve.ts). */
const DATAGRAM_BYTES = 256
/** More than any usual MTU but a jumbo frame's, below the 64 KiB of UDP. */
const FRAGMENTED_BYTES = 12_000
const TRANSFER_BYTES = 1 << 20

export function planChecks(facts: Facts): readonly Check[] {
  const perFamily = facts.families.flatMap((each) => [
    ...mtuChecks(facts, each),
    ...podChecks(facts, each),
    ...nodeChecks(facts, each),
    ...serviceChecks(facts, each),
    ...nodePortChecks(facts, each),
    ...virtualChecks(facts, each, 'external-ip', { name: 'Service external', addresses: facts.externalIPs }),
    ...virtualChecks(facts, each, 'load-balancer', { name: 'Service load-balanced', addresses: facts.loadBalancerIPs }),
    ...policyChecks(facts, each),
  ])
  const alone: readonly Check[] =
    facts.nodes.length > 1 ? [] : [skipped('pod', 'cross-node', 'every path between nodes', 'one node was tested')]
  return [...perFamily, ...dnsChecks(facts), ...alone]
}

/** [from, to] of every pair: each node with itself, then with the next. */
export function nodePairs<T>(nodes: readonly T[]): readonly (readonly [from: T, to: T])[] {
  const own = nodes.map((node) => [node, node] as const)
  const next = nodes.map((node, index) => [node, nodes[(index + 1) % nodes.length]!] as const)
  return nodes.length > 1 ? [...own, ...next] : own
}

/** 'n1-to-n2' */
function between(from: NodeFacts, to: NodeFacts): string {
  return `${from.name}-to-${to.name}`
}

function mtuChecks({ nodes }: Facts, each: Family): readonly Check[] {
  return nodePairs(nodes).flatMap(([from, to]) => {
    const path = { group: 'mtu', each, from: from.client, to: to.server, target: `pod ${to.server.name}` } as const
    const send = (what: string, probe: (address: Address) => Probe) =>
      check(path, `${what}/${between(from, to)}`, probe, () => anyAnswer)
    return [
      send('datagram', (address) => ({ kind: 'udp', address, port: SERVER_PORT, bytes: 'mtu' })),
      send('fragments', (address) => ({ kind: 'udp', address, port: SERVER_PORT, bytes: FRAGMENTED_BYTES })),
      send('transfer', (address) => ({ kind: 'transfer', address, port: SERVER_PORT, bytes: TRANSFER_BYTES })),
    ]
  })
}

/** The pod network's promise: no translation between pods. Source: Kubernetes' network model. */
function podChecks({ nodes }: Facts, each: Family): readonly Check[] {
  return nodePairs(nodes).flatMap(([from, to]) => {
    const path = { group: 'pod', each, from: from.client, to: to.server, target: `pod ${to.server.name}` } as const
    const expect = (): Expectation => ({
      outcome: 'answer',
      servers: [to.server.name],
      source: addressOf(from.client, each) ?? null,
    })
    return bothProtocols(path, between(from, to), SERVER_PORT, expect)
  })
}

function nodeChecks({ nodes, nodePort, hostPort }: Facts, each: Family): readonly Check[] {
  return nodePairs(nodes).flatMap(([from, to]) => {
    const answer = (server: PodFacts) => (): Expectation => ({
      outcome: 'answer',
      servers: [server.name],
      source: null,
    })
    const group = 'node' as const
    const sender = `node ${from.name}`
    const toPod = { group, each, from: from.host, sender, to: to.server, target: `pod ${to.server.name}` }
    const toNode = { group, each, from: from.client, to: to.host, target: `node ${to.name}` }
    const nodeToNode = { group, each, from: from.host, sender, to: to.host, target: `node ${to.name}` }
    const mapped = { group, each, to: to.host, target: `host port of ${to.name}` }
    return [
      ...bothProtocols(toPod, `node-to-pod/${between(from, to)}`, SERVER_PORT, answer(to.server)),
      ...bothProtocols(toNode, `pod-to-node/${between(from, to)}`, nodePort, answer(to.host)),
      ...(from === to ? [] : bothProtocols(nodeToNode, `node-to-node/${between(from, to)}`, nodePort, answer(to.host))),
      ...bothProtocols(
        { ...mapped, from: from.client },
        `host-port/from-pod/${between(from, to)}`,
        hostPort,
        answer(to.server),
      ),
      ...bothProtocols(
        { ...mapped, from: from.host, sender },
        `host-port/from-node/${between(from, to)}`,
        hostPort,
        answer(to.server),
      ),
    ]
  })
}

function serviceChecks(facts: Facts, each: Family): readonly Check[] {
  const { nodes, services, apiServer } = facts
  const group = 'service' as const
  const service = (name: keyof typeof services) => ({ name: `Service ${name}`, addresses: services[name] })
  const fromEach = nodes.flatMap((node) => {
    const toServer = { group, each, to: service('server'), target: 'Service server' }
    const toNobody = { group, each, from: node.client, to: service('nobody'), target: 'Service nobody' }
    return [
      ...bothProtocols({ ...toServer, from: node.client }, `from-pod/${node.name}`, SERVICE_PORT, () => anyAnswer),
      ...bothProtocols(
        { ...toServer, from: node.host, sender: `node ${node.name}` },
        `from-node/${node.name}`,
        SERVICE_PORT,
        () => anyAnswer,
      ),
      check(
        { ...toServer, from: node.client },
        `balanced/${node.name}`,
        http(SERVICE_PORT, connectionsFor(nodes.length)),
        () => ({
          outcome: 'answer',
          servers: nodes.map(({ server }) => server.name).toSorted(),
          source: null,
        }),
      ),
      check(toNobody, `no-endpoints/${node.name}`, http(SERVICE_PORT), () => ({ outcome: 'refused' })),
      ...apiServerChecks(node, each, apiServer),
    ]
  })
  const first = nodes[0]!.server
  const toSelf = { group, each, from: first, to: service('self'), target: 'Service self, whose only backend it is' }
  return [
    ...fromEach,
    check(toSelf, `itself/${nodes[0]!.name}`, http(SERVICE_PORT), () => ({
      outcome: 'answer',
      servers: [first.name],
      source: null,
    })),
  ]
}

/** Of every node, from its own pods and processes and from the next one's; the backend may be on either. */
function nodePortChecks({ nodes, exposed }: Facts, each: Family): readonly Check[] {
  if (exposed === null)
    return [untried('fail', 'service', each, 'node-port', 'Service exposed', 'it has no node ports')]
  return nodePairs(nodes).flatMap(([from, to]) => {
    const path = { group: 'service', each, to: to.host, target: `node port of ${to.name}` } as const
    const senders = [
      ['from-pod', { ...path, from: from.client }],
      ['from-node', { ...path, from: from.host, sender: `node ${from.name}` }],
    ] as const
    return senders.flatMap(([what, by]) => [
      check(by, `tcp/node-port/${what}/${between(from, to)}`, http(exposed.tcp), () => anyAnswer),
      check(by, `udp/node-port/${what}/${between(from, to)}`, datagram(exposed.udp), () => anyAnswer),
    ])
  })
}

/** By an address from outside the cluster, asked inside: no packet has to leave for it. */
function virtualChecks({ nodes }: Facts, each: Family, name: string, to: Path['to']): readonly Check[] {
  const group = 'service' as const
  if (to.addresses.length === 0) return [untried('skip', group, each, name, to.name, 'the cluster does not permit it')]
  return nodes.flatMap((node) => {
    const path = { group, each, to, target: to.name }
    const sender = `node ${node.name}`
    return [
      ...bothProtocols({ ...path, from: node.client }, `${name}/from-pod/${node.name}`, SERVICE_PORT, () => anyAnswer),
      ...bothProtocols(
        { ...path, from: node.host, sender },
        `${name}/from-node/${node.name}`,
        SERVICE_PORT,
        () => anyAnswer,
      ),
    ]
  })
}

/** A random choice misses one of n backends in 24 n tries with a probability below 1e-10 n. */
function connectionsFor(backends: number): number {
  return backends === 1 ? 1 : 24 * backends
}

function apiServerChecks(node: NodeFacts, each: Family, apiServer: Facts['apiServer']): readonly Check[] {
  const addresses = (apiServer?.addresses ?? []).filter((address) => family(address) === each)
  if (apiServer === null || addresses.length === 0) return [] // default/kubernetes has one family
  const path = {
    group: 'service',
    each,
    from: node.client,
    to: { name: 'Service default/kubernetes', addresses },
    target: 'Service default/kubernetes',
  } as const
  return [
    check(
      path,
      `api-server/${node.name}`,
      (address) => ({ kind: 'connect', address, port: apiServer.port }),
      () => anyAnswer,
    ),
  ]
}

function policyChecks({ nodes, guarded, confined, services }: Facts, each: Family): readonly Check[] {
  const group = 'policy' as const
  const allowed = (): Expectation => ({ outcome: 'answer', servers: null, source: null })
  const denied =
    (port: number, of?: PodFacts) =>
    (address: Address): Expectation => ({ outcome: 'denied', target: of ? addressOf(of, each)! : address, port })
  const first = nodes[0]!
  const guardedService = { name: 'Service guarded', addresses: services.guarded }
  return nodes.flatMap((node) => {
    const here = node.name
    const ingress = { group, each, to: guarded, target: 'pod guarded-1' }
    const byService = { group, each, to: guardedService, target: 'Service guarded' }
    const control = { group, each, from: node.client, to: first.server, target: 'pod server-1, unselected' }
    const egress = { group, each, from: confined, to: node.server, target: `pod ${node.server.name}` }
    const beyond = { group, each, from: confined, to: node.client, target: `pod ${node.client.name}` }
    return [
      check(control, `unselected/${here}`, http(OTHER_PORT), allowed),
      check({ ...ingress, from: node.client }, `ingress/allowed/${here}`, http(SERVER_PORT), allowed),
      check({ ...byService, from: node.client }, `ingress/allowed-by-service/${here}`, http(SERVICE_PORT), allowed),
      check({ ...ingress, from: node.server }, `ingress/denied/${here}`, http(SERVER_PORT), denied(SERVER_PORT)),
      check({ ...ingress, from: node.client }, `ingress/denied-port/${here}`, http(OTHER_PORT), denied(OTHER_PORT)),
      check(
        { ...ingress, from: node.client },
        `ingress/denied-protocol/${here}`,
        datagram(SERVER_PORT),
        denied(SERVER_PORT),
      ),
      check(
        { ...byService, from: node.server },
        `ingress/denied-by-service/${here}`,
        http(SERVICE_PORT),
        denied(SERVER_PORT, guarded),
      ),
      check(egress, `egress/allowed/${here}`, http(SERVER_PORT), allowed),
      check(egress, `egress/denied-port/${here}`, http(OTHER_PORT), denied(OTHER_PORT)),
      check(beyond, `egress/denied/${here}`, http(SERVER_PORT), denied(SERVER_PORT)),
    ]
  })
}

function dnsChecks({ namespace, nodes, families, services, apiServer, hasDns }: Facts): readonly Check[] {
  if (!hasDns)
    return [skipped('dns', 'lookup', 'every lookup', 'no Service in kube-system is labelled k8s-app=kube-dns')]
  return nodes.flatMap((node) =>
    families.flatMap((each) => {
      const lookup = (what: string, from: PodFacts, host: string, addresses: readonly Address[]): Check => ({
        name: `dns/ipv${each}/${what}/${node.name}`,
        group: 'dns',
        from: from === node.host ? `node ${node.name}` : `pod ${from.name}`,
        to: host,
        family: each,
        todo: {
          do: 'probe',
          pod: from.name,
          probe: { kind: 'lookup', host, family: each },
          expect: {
            outcome: 'addresses',
            addresses: addresses.filter((address) => family(address) === each).toSorted(),
          },
        },
      })
      const servers = nodes.flatMap(({ server }) => server.addresses)
      const ofApi = (apiServer?.addresses ?? []).filter((address) => family(address) === each)
      return [
        ...(ofApi.length > 0 ? [lookup('kubernetes', node.client, 'kubernetes.default.svc', ofApi)] : []),
        lookup('service', node.client, 'server', services.server),
        lookup('service-qualified', node.client, `server.${namespace}.svc`, services.server),
        lookup('service-from-node', node.host, `server.${namespace}.svc`, services.server),
        lookup('headless', node.client, 'headless', servers),
      ]
    }),
  )
}

const anyAnswer: Expectation = { outcome: 'answer', servers: null, source: null }

function http(port: number, count = 1): (address: Address) => Probe {
  return (address) => ({ kind: 'http', address, port, count })
}

function datagram(port: number): (address: Address) => Probe {
  return (address) => ({ kind: 'udp', address, port, bytes: DATAGRAM_BYTES })
}

interface Path {
  readonly group: Group
  readonly each: Family
  readonly from: PodFacts
  /** Who `from` stands for; absent: itself. */
  readonly sender?: string
  readonly to: { readonly name: string; readonly addresses: readonly Address[] }
  readonly target: string
}

function bothProtocols(
  path: Path,
  name: string,
  port: number,
  expect: (address: Address) => Expectation,
): readonly Check[] {
  return [check(path, `tcp/${name}`, http(port), expect), check(path, `udp/${name}`, datagram(port), expect)]
}

/** A node may lack a family, a pod or a Service of a dual-stack cluster may not. */
function check(
  { group, each, from, sender, to, target }: Path,
  name: string,
  probe: (address: Address) => Probe,
  expect: (address: Address) => Expectation,
): Check {
  const address = addressOf(to, each)
  const lacking = [from, to].find((end) => addressOf(end, each) === undefined)
  const isNode = lacking?.name.startsWith('node-')
  return {
    name: `${group}/ipv${each}/${name}`,
    group,
    from: sender ?? `pod ${from.name}`,
    to: `${target}, ${address ?? 'no address'}`,
    family: each,
    todo: lacking
      ? { do: isNode ? 'skip' : 'fail', why: `${lacking.name} has no IPv${each} address` }
      : { do: 'probe', pod: from.name, probe: probe(address!), expect: expect(address!) },
  }
}

function untried(what: 'fail' | 'skip', group: Group, each: Family, name: string, to: string, why: string): Check {
  return { name: `${group}/ipv${each}/${name}`, group, from: '', to, family: each, todo: { do: what, why } }
}

function skipped(group: Group, name: string, to: string, why: string): Check {
  return { name: `${group}/${name}`, group, from: '', to, family: null, todo: { do: 'skip', why } }
}

function addressOf(of: { readonly addresses: readonly Address[] }, each: Family): Address | undefined {
  return of.addresses.find((address) => family(address) === each)
}
