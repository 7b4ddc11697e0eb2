// SPDX-License-Identifier: Apache-2.0
// The cluster of the packet rows, as table entries in both families. Rows name hosts; each row runs in IPv4 and IPv6.
//
//   cart .5, web .6, bare .7   pods of n1, the node under test     10.1.0.0/24  fd00:1::/64    vacant .200: nobody's
//   away .9, other .10         pods of n2                          10.2.0.0/24  fd00:2::/64
//   far .9                     pod of n3, beyond a router          10.3.0.0/24  fd00:3::/64
//   n1 n2 n3                   nodes                               192.168.0.x  fd00:f::x
//   shop, empty .11            Services                            10.96.0.0/16 fd00:96::/112  nothing .99: no Service
//   outside .7, client .9      the world                           203.0.113.0  2001:db8::
//   vip                        a load balancer's address           198.51.100.10 2001:db8:51::10

import { type Address, compareAddresses, type Family, type Port } from '../../src/core/address.ts'
import { id64 } from '../../src/core/id64.ts'
import { serviceId } from '../../src/core/names.ts'
import { Protocol } from '../../src/core/protocol.ts'
import { algorithmFlags, slotChunks } from '../../src/datapath/service-tables.ts'
import type { Tables } from '../../src/datapath/trace-tables.ts'
import {
  DsrTransports,
  type Endpoint,
  FrontendFlags,
  type NodeConfig,
  NodeFlags,
  POLICY_FIXED_BITS,
  POLICY_PROTOCOL_BITS,
  PolicyDirection,
  PolicyFlags,
  PolicyLevels,
  PolicyVerdict,
  Realm,
  RouteFlags,
  RouteKind,
  SOURCE_RANGE_FIXED_BITS,
  TunnelMode,
} from '../../src/generated/abi.ts'
import type { Backend } from '../../src/services/frontends.ts'
import { hasSlotTable } from '../../src/services/slot-table.ts'
import { Algorithm, type Balancing } from '../../src/world/objects.ts'
import { address } from '../support/packet.ts'

export const UPLINK = 10
/** Of each table in the rows: the shipped sizes would cost a second per configuration. */
export const MAX_ENTRIES = 1024

const hosts = {
  cart: ['10.1.0.5', 'fd00:1::5'],
  web: ['10.1.0.6', 'fd00:1::6'],
  bare: ['10.1.0.7', 'fd00:1::7'],
  vacant: ['10.1.0.200', 'fd00:1::200'],
  away: ['10.2.0.9', 'fd00:2::9'],
  other: ['10.2.0.10', 'fd00:2::10'],
  far: ['10.3.0.9', 'fd00:3::9'],
  n1: ['192.168.0.1', 'fd00:f::1'],
  n2: ['192.168.0.2', 'fd00:f::2'],
  n3: ['192.168.0.3', 'fd00:f::3'],
  router: ['192.168.0.253', 'fd00:f::fd'],
  neighbour: ['192.168.0.77', 'fd00:f::77'],
  shop: ['10.96.0.10', 'fd00:96::10'],
  empty: ['10.96.0.11', 'fd00:96::11'],
  nothing: ['10.96.0.99', 'fd00:96::99'],
  vip: ['198.51.100.10', '2001:db8:51::10'],
  client: ['203.0.113.9', '2001:db8::9'],
  outside: ['203.0.113.7', '2001:db8::7'],
  group: ['239.1.2.3', 'ff05::1:3'],
  linklocal: ['169.254.1.1', 'fe80::1'],
  loopback: ['127.0.0.1', '::1'],
  nobody: ['0.0.0.0', '::'],
  everybody: ['255.255.255.255', 'ff02::1'],
} as const
export type Host = keyof typeof hosts

export const podIfindex = { cart: 21, web: 22, bare: 23 } as const
export type LocalPod = keyof typeof podIfindex

export function addressOf(host: Host, family: Family): Address {
  return address(hosts[host][family === 4 ? 0 : 1])
}

/** 'cart:80' as '10.1.0.5:80' or '[fd00:1::5]:80', 'cart' as the address; other text stays as it is. */
export function resolve(text: string, family: Family): string {
  const [name, port] = text.split(':')
  if (!(name! in hosts)) return text
  const resolved = addressOf(name as Host, family)
  if (port === undefined) return resolved
  return family === 4 ? `${resolved}:${port}` : `[${resolved}]:${port}`
}

export function config(changes: Partial<NodeConfig> = {}): NodeConfig {
  return {
    ipv4: addressOf('n1', 4),
    ipv6: addressOf('n1', 6),
    node: nodeIdOf('n1'),
    netnsCookie: 1n,
    uplink: UPLINK,
    vni: 1,
    tunnelPort: 8472,
    tunnelMode: TunnelMode.NONE,
    masquerade: 1,
    dsr: 0,
    natPortMin: 32768,
    natPortMax: 60999,
    refuseDenied: 0,
    sorter: 0,
    seed: [3n, 5n, 7n, 9n],
    ...changes,
  }
}

export const native = config()
export const tunnelled = config({ tunnelMode: TunnelMode.VXLAN })
export const nativeHybrid = config({ dsr: DsrTransports.TCP })
export const tunnelledHybrid = config({ tunnelMode: TunnelMode.VXLAN, dsr: DsrTransports.TCP })
/** Nodes that put fragments in order. */
export const sorting = config({ sorter: 40 })
export const tunnelledSorting = config({ tunnelMode: TunnelMode.VXLAN, sorter: 40 })

export function nodeIdOf(name: 'n1' | 'n2' | 'n3'): bigint {
  return id64(`node ${name}`)
}

type Contribution = { -readonly [M in keyof Tables]?: Tables[M] }
const families: readonly Family[] = [4, 6]

/** The tables of the cluster drawn above, without pods and Services, and whatever the row adds. */
export function world(...parts: readonly Contribution[]): Tables {
  const join = <M extends keyof Tables>(name: M) =>
    [base, ...parts].flatMap((part) => (part[name] ?? []) as readonly Tables[M][number][])
  return {
    endpoints: join('endpoints'),
    classes: join('classes'),
    class_prefixes: join('class_prefixes'),
    policies: join('policies'),
    policy_epoch: join('policy_epoch').slice(-1),
    routes: join('routes'),
    nodes: join('nodes'),
    nexthops: join('nexthops'),
    frontends: join('frontends'),
    backends: join('backends'),
    slot_tables: join('slot_tables'),
    source_ranges: join('source_ranges'),
  }
}

const prefixes = [
  ['::ffff:10.1.0.0', 120, RouteKind.OWN_PODS, 'n1'],
  ['fd00:1::', 64, RouteKind.OWN_PODS, 'n1'],
  ['::ffff:10.2.0.0', 120, RouteKind.PODS, 'n2'],
  ['fd00:2::', 64, RouteKind.PODS, 'n2'],
  ['::ffff:10.3.0.0', 120, RouteKind.PODS, 'n3'],
  ['fd00:3::', 64, RouteKind.PODS, 'n3'],
  ['::ffff:10.96.0.0', 112, RouteKind.SERVICES, null],
  ['fd00:96::', 112, RouteKind.SERVICES, null],
] as const

const base: Contribution = {
  policy_epoch: [[0, { epoch: 7 }]],
  routes: prefixes.map(([prefix, length, kind, node]) => [
    { length, address: address(prefix) },
    { kind, flags: 0, node: node === null ? 0n : nodeIdOf(node) },
  ]),
  nodes: families.flatMap((family) =>
    (['n1', 'n2', 'n3'] as const).map(
      (name) =>
        [
          { address: addressOf(name, family) },
          { node: nodeIdOf(name), flags: name === 'n1' ? NodeFlags.OWN : 0 },
        ] as const,
    ),
  ),
  nexthops: families.flatMap((family) =>
    (['n2', 'n3'] as const).map(
      (name) =>
        [
          { node: nodeIdOf(name), family },
          {
            gateway: addressOf(name === 'n3' ? 'router' : name, family),
            tunnel: addressOf(name, family),
            ifindex: UPLINK,
          },
        ] as const,
    ),
  ),
  class_prefixes: [
    [
      { length: 96, address: address('0.0.0.0') },
      { classId: classIdOf('world'), realm: Realm.WORLD },
    ],
    [
      { length: 0, address: address('::') },
      { classId: classIdOf('world'), realm: Realm.WORLD },
    ],
    ...prefixes
      .filter(([, , kind]) => kind !== RouteKind.SERVICES)
      .map(
        ([prefix, length]) =>
          [
            { length, address: address(prefix) },
            { classId: classIdOf('pods'), realm: Realm.POD },
          ] as const,
      ),
  ],
  classes: families.flatMap((family) => [
    [{ address: addressOf('n1', family) }, { classId: classIdOf('n1'), realm: Realm.OWN_HOST }] as const,
    [{ address: addressOf('n2', family) }, { classId: classIdOf('n2'), realm: Realm.NODE }] as const,
    [{ address: addressOf('n3', family) }, { classId: classIdOf('n3'), realm: Realm.NODE }] as const,
  ]),
}

export function epoch(value: number): Contribution {
  return { policy_epoch: [[0, { epoch: value }]] }
}

/** The pods of other nodes answer clients themselves. */
export function answering(tables: Tables): Tables {
  const routes = tables.routes.map(
    ([prefix, route]) => [prefix, route.kind === RouteKind.PODS ? { ...route, flags: RouteFlags.DSR } : route] as const,
  )
  return { ...tables, routes }
}

export function without(table: keyof Tables, tables: Tables): Tables {
  return { ...tables, [table]: [] }
}

// -- Pods and policy -----------------------------------------------------------------------------------------------

export interface PodPolicy {
  readonly egress?: PolicySet
  readonly ingress?: PolicySet
  /** Policy not known yet. */
  readonly isolated?: boolean
}

export interface PolicySet {
  readonly id: bigint
  readonly levels: number
  readonly direction: PolicyDirection
  readonly rules: readonly Rule[]
}

export interface Rule {
  /** null: no rule, but the set's policies. */
  readonly name: string | null
  readonly verdict: 'allow' | 'deny' | 'audit' | 'unknown l7'
  /** A host's or prefix's class, a realm, or any peer. */
  readonly peer: { readonly class: string } | { readonly realm: Realm } | 'any'
  readonly protocol: number | null
  readonly port: { readonly value: number; readonly bits: number } | null
}

/** A pod of n1 with both its addresses. */
export function pod(name: LocalPod, policy: PodPolicy = {}): Contribution {
  const endpoint: Endpoint = {
    netnsCookie: BigInt(podIfindex[name]) + 1000n,
    egressSet: policy.egress?.id ?? 0n,
    ingressSet: policy.ingress?.id ?? 0n,
    ifindex: podIfindex[name],
    egressLevels: policy.egress?.levels ?? 0,
    ingressLevels: policy.ingress?.levels ?? 0,
    isolated: policy.isolated ? 1 : 0,
    pod: id64(`pod ${name}`),
  }
  return {
    endpoints: families.map((family) => [{ address: addressOf(name, family) }, endpoint]),
    policies: [policy.egress, policy.ingress].flatMap((set) => (set ? setEntries(set) : [])),
  }
}

/** Gives a host a class of its own. */
export function peer(name: Host, realm: Realm = Realm.POD): Contribution {
  return {
    classes: families.map((family) => [{ address: addressOf(name, family) }, { classId: classIdOf(name), realm }]),
  }
}

export function egress(name: string, ...rules: readonly Rule[]): PolicySet {
  return policySet(name, PolicyDirection.EGRESS, rules)
}

export function ingress(name: string, ...rules: readonly Rule[]): PolicySet {
  return policySet(name, PolicyDirection.INGRESS, rules)
}

/** ports: 'TCP/80', 'TCP/8080-8087' (a power of two), 'TCP', 'ICMP/2048', or nothing for all. */
export function allow(name: string, peer: Rule['peer'], ports?: string): Rule {
  return rule(name, 'allow', peer, ports)
}

export function deny(name: string, peer: Rule['peer'], ports?: string): Rule {
  return rule(name, 'deny', peer, ports)
}

/** Allowed, but the rule would deny it if its policy were enforced; null: isolation would. */
export function audit(name: string | null, peer: Rule['peer'], ports?: string): Rule {
  return rule(name, 'audit', peer, ports)
}

export function unknownL7(name: string, peer: Rule['peer'], ports?: string): Rule {
  return rule(name, 'unknown l7', peer, ports)
}

export function ruleIdOf(name: string): bigint {
  return id64(`rule ${name}`)
}

export function classIdOf(name: string): bigint {
  return id64(`class ${name}`)
}

function policySet(name: string, direction: PolicyDirection, rules: readonly Rule[]): PolicySet {
  const levels = rules.reduce((bits, { peer }) => bits | levelOf(peer), 0)
  return { id: id64(`set ${name}`), levels, direction, rules }
}

function rule(name: Rule['name'], verdict: Rule['verdict'], peer: Rule['peer'], ports?: string): Rule {
  if (ports === undefined) return { name, verdict, peer, protocol: null, port: null }
  const [protocolName, range] = ports.split('/')
  const protocol = Protocol[protocolName as keyof typeof Protocol]
  if (range === undefined) return { name, verdict, peer, protocol, port: null }
  const [first, last = first] = range.split('-').map(Number)
  return { name, verdict, peer, protocol, port: { value: first!, bits: 16 - Math.log2(last! - first! + 1) } }
}

function levelOf(peer: Rule['peer']): number {
  if (peer === 'any') return PolicyLevels.ANY
  return 'realm' in peer ? PolicyLevels.REALM : PolicyLevels.CLASS
}

function setEntries(set: PolicySet): Tables['policies'] {
  return set.rules.map(({ name, verdict, peer, protocol, port }) => [
    {
      prefixLength: POLICY_FIXED_BITS + (protocol === null ? 0 : POLICY_PROTOCOL_BITS + (port?.bits ?? 0)),
      direction: set.direction,
      level: levelOf(peer),
      set: set.id,
      scope: peer === 'any' ? 0n : 'realm' in peer ? BigInt(peer.realm) : classIdOf(peer.class),
      protocol: protocol ?? 0,
      port: port?.value ?? 0,
    },
    {
      verdict: verdict === 'deny' ? PolicyVerdict.DENY : PolicyVerdict.ALLOW,
      flags: verdict === 'audit' ? PolicyFlags.AUDIT : 0,
      l7: verdict === 'unknown l7' ? 1 : 0,
      rule: name === null ? 0n : ruleIdOf(name),
    },
  ])
}

// -- Services ------------------------------------------------------------------------------------------------------

export interface ServiceShape {
  readonly protocol?: Protocol
  /** 'web:8080', for clients inside the cluster; none: refused. */
  readonly backends?: readonly string[]
  /** For clients outside; absent: they may not ask. */
  readonly external?: readonly string[]
  /** Traffic policy Local: no backend drops. */
  readonly local?: 'internal' | 'external'
  /** The only hosts that may ask. */
  readonly ranges?: readonly Host[]
  readonly affinitySeconds?: number
  readonly algorithm?: Algorithm
  /** Of each of `backends`; absent: no weights. */
  readonly weights?: readonly number[]
}

/** service('shop:80', 'web:8080', ...); without backends it refuses. */
export function service(frontend: string, ...backends: readonly string[]): Contribution {
  return serviceOf(frontend, { backends })
}

export function udpService(frontend: string, ...backends: readonly string[]): Contribution {
  return serviceOf(frontend, { protocol: Protocol.UDP, backends })
}

export function serviceOf(frontend: string, shape: ServiceShape): Contribution {
  const { protocol = Protocol.TCP, backends = [], external = [], ranges, local, affinitySeconds = 0 } = shape
  const { algorithm = Algorithm.RANDOM, weights } = shape
  const balancing = { algorithm, weights: weights ? {} : null }
  const [vip, port] = frontend.split(':')
  const id = serviceId(frontend)
  const flags =
    (shape.external ? FrontendFlags.EXTERNAL : 0) |
    (ranges ? FrontendFlags.SOURCE_RANGES : 0) |
    (local === 'internal' ? FrontendFlags.INTERNAL_DROPS : 0) |
    (local === 'external' ? FrontendFlags.EXTERNAL_DROPS : 0) |
    (hasSlotTable(balancing) ? FrontendFlags.SLOT_TABLE : 0) |
    algorithmFlags[algorithm]
  return {
    frontends: families.map((family) => [
      { address: addressOf(vip as Host, family), port: Number(port), protocol },
      {
        backendList: listIdOf(backends, family),
        count: backends.length,
        flags,
        service: id,
        externalList: listIdOf(external, family),
        externalCount: external.length,
        affinitySeconds,
      },
    ]),
    backends: families.flatMap((family) => [...listEntries(backends, family), ...listEntries(external, family)]),
    slot_tables: hasSlotTable(balancing)
      ? families.flatMap((family) => [
          ...tableEntries(backends, family, balancing, weights),
          ...tableEntries(external, family, balancing, weights),
        ])
      : [],
    source_ranges: families.flatMap((family) =>
      (ranges ?? []).map((host) => [
        { prefixLength: SOURCE_RANGE_FIXED_BITS + 128, service: id, address: addressOf(host, family) },
        { allowed: 1 },
      ]),
    ),
  }
}

/** Makes the address a Service's with every port. */
export function serviceAddress(vip: Host): Contribution {
  const none = { backendList: 0n, count: 0, flags: 0, externalList: 0n, externalCount: 0, affinitySeconds: 0 }
  return {
    frontends: families.map((family) => [
      { address: addressOf(vip, family), port: 0, protocol: 0 },
      { ...none, service: serviceId(vip) },
    ]),
  }
}

function listIdOf(backends: readonly string[], family: Family): bigint {
  return backends.length === 0 ? 0n : id64(`list ${family} ${backends.join(' ')}`)
}

function listEntries(backends: readonly string[], family: Family): Tables['backends'] {
  const backendList = listIdOf(backends, family)
  return listOf(backends, family).map(({ address, port }, slot) => [
    { backendList, slot },
    { address, port },
  ])
}

function tableEntries(
  backends: readonly string[],
  family: Family,
  balancing: Balancing,
  weights: readonly number[] | undefined,
): Tables['slot_tables'] {
  const backendList = listIdOf(backends, family)
  if (backendList === 0n) return []
  return slotChunks(listOf(backends, family, weights), balancing).map((slots, chunk) => [
    { backendList, chunk },
    { slots: Array.from(slots) },
  ])
}

function listOf(backends: readonly string[], family: Family, weights?: readonly number[]): readonly Backend[] {
  return backends
    .map((backend, i) => {
      const [host, port] = backend.split(':')
      return { address: addressOf(host as Host, family), port: Number(port) as Port, weight: weights?.[i] ?? 1 }
    })
    .toSorted((a, b) => compareAddresses(a.address, b.address) || a.port - b.port)
}
