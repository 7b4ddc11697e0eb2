// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Address, Prefix } from '../core/address.ts'
import { nodeId } from '../core/names.ts'
import { NodeFlags, RouteKind } from '../generated/abi.ts'
import type { Node } from '../world/objects.ts'
import { createWorld } from '../world/world.ts'
import { type CompiledRouting, compileRouting, type RoutingInput } from './compile.ts'

function node(name: string, internalIPs: readonly string[], podCIDRs: readonly string[], createdMs = 0): Node {
  return {
    kind: 'Node',
    name,
    labels: {},
    internalIPs: internalIPs as Address[],
    podCIDRs: podCIDRs as Prefix[],
    createdMs,
  }
}

const n1 = node('n1', ['192.168.0.1', 'fd01::1'], ['10.1.0.0/24', 'fd00:1::/64'])
const n2 = node('n2', ['192.168.0.2', 'fd01::2'], ['10.2.0.0/24', 'fd00:2::/64'])
const n3 = node('n3', ['172.16.0.3'], ['10.3.0.0/24', 'fd00:3::/64'])

const gateways = new Map([
  ['192.168.0.2', '192.168.0.2'],
  ['fd01::2', 'fd01::2'],
  ['172.16.0.3', '192.168.0.254'],
] as [Address, Address][])

function compile(nodes: readonly Node[], change: Partial<RoutingInput> = {}): CompiledRouting {
  const world = createWorld()
  for (const each of nodes) world.put(each)
  return compileRouting(world, {
    nodeName: 'n1',
    mode: 'vxlan',
    serviceCIDRs: ['10.96.0.0/16'] as Prefix[],
    clusterServiceCIDRs: [],
    ownAddresses: ['192.168.0.1', 'fd01::1'] as Address[],
    uplink: 2,
    uplinkMtu: 1500,
    gateways,
    ...change,
  })
}

/** The tables with node ids as names. */
function print({ routes, nodes, nexthops, kernelRoutes, notices }: CompiledRouting): readonly string[] {
  const name = (id: bigint) => ['n1', 'n2', 'n3', 'n4'].find((each) => nodeId(each) === id) ?? '-'
  const kinds = Object.fromEntries(Object.entries(RouteKind).map(([kind, number]) => [number, kind]))
  return [
    ...[...routes].map(([prefix, route]) => `route ${prefix} ${kinds[route.kind]} ${name(route.node)}`).sort(),
    ...[...nodes].map(([at, of]) => `node ${at} ${name(of.node)}${of.flags & NodeFlags.OWN ? ' own' : ''}`).sort(),
    ...[...nexthops.values()]
      .map(
        ({ key, value }) =>
          `nexthop ${name(key.node)}/${key.family} ${value.tunnel} via ${value.gateway} ${value.ifindex}`,
      )
      .sort(),
    ...kernelRoutes.map((each) => `kernel ${each.destination} via ${each.gateway} src ${each.source} mtu ${each.mtu}`),
    ...notices.map((notice) => `notice ${notice}`),
  ]
}

describe('a node whose addresses change has programs that take its own packets for the world’s', () => {
  test('it is said what it has, what the programs know and what to do', () => {
    const now = node('n1', ['192.168.0.9', 'fd01::1'], n1.podCIDRs)
    expect(compile([now, n2]).notices).toContain(
      'node n1 has the InternalIPs 192.168.0.9, fd01::1, but its programs know 192.168.0.1, fd01::1: restart the agent',
    )
    expect(compile([n1, n2]).notices).toEqual([])
  })
})

describe('a node process whose socket hook is missed sends to a Service by the default route, and then in the tunnel', () => {
  const away = new Map([...gateways, ['192.0.2.1', '192.168.0.254']] as [Address, Address][])

  test('vxlan: what it sends must leave room for the tunnel', () => {
    const { kernelRoutes } = compile([n1, n2], { gateways: away })
    expect(kernelRoutes.filter(({ destination }) => destination.startsWith('10.96'))).toEqual([
      { destination: '10.96.0.0/16', gateway: '192.168.0.254', ifindex: 2, source: '192.168.0.1', mtu: 1450 },
    ])
  })

  test('native, or without a default route: there is nothing to say', () => {
    const destinations = (change: Partial<RoutingInput>) =>
      compile([n1, n2], change).kernelRoutes.map(({ destination }) => destination)
    expect(destinations({ mode: 'native', gateways: away })).not.toContain('10.96.0.0/16')
    expect(destinations({})).not.toContain('10.96.0.0/16')
  })
})

describe('a Service CIDR that an object names', () => {
  const routes = (clusterServiceCIDRs: readonly string[]) =>
    compile([n1, n2, n3], { clusterServiceCIDRs: clusterServiceCIDRs as Prefix[] })

  test('is in force beside the configured one, which it may repeat', () => {
    const compiled = routes(['10.96.0.0/16', '10.97.0.0/16'])
    expect(compiled.routes.get('10.97.0.0/16' as Prefix)).toMatchObject({ kind: RouteKind.SERVICES })
    expect(compiled.notices).toEqual(routes([]).notices)
  })

  test.each([
    ['10.2.0.0/16', 'the pod CIDR 10.2.0.0/24 of node n2'],
    ['192.168.0.0/24', 'the address 192.168.0.1 of node n1'],
    ['0.0.0.0/0', 'the pod CIDR 10.1.0.0/24 of node n1'],
  ])('and that overlaps what is a node’s is left out and said: %s', (serviceCIDR, what) => {
    const compiled = routes([serviceCIDR])
    expect(compiled.routes).toEqual(routes([]).routes)
    expect(compiled.notices).toContain(`Service CIDR ${serviceCIDR} overlaps ${what}: it is left out`)
  })
})

describe('pods of another node are unreachable, or reached at the wrong node', () => {
  test('vxlan: tunnel to the node, gateway before it, the tunnel’s share off the MTU', () => {
    expect(print(compile([n1, n2, n3]))).toEqual([
      'route 10.1.0.0/24 OWN_PODS n1',
      'route 10.2.0.0/24 PODS n2',
      'route 10.3.0.0/24 PODS n3',
      'route 10.96.0.0/16 SERVICES -',
      'route fd00:1::/64 OWN_PODS n1',
      'route fd00:2::/64 PODS n2',
      'route fd00:3::/64 PODS n3',
      'node 172.16.0.3 n3',
      'node 192.168.0.1 n1 own',
      'node 192.168.0.2 n2',
      'node fd01::1 n1 own',
      'node fd01::2 n2',
      'nexthop n2/4 192.168.0.2 via 192.168.0.2 2',
      'nexthop n2/6 fd01::2 via fd01::2 2',
      'nexthop n3/4 172.16.0.3 via 192.168.0.254 2',
      'kernel 10.2.0.0/24 via 192.168.0.2 src 192.168.0.1 mtu 1450',
      'kernel 10.3.0.0/24 via 192.168.0.254 src 192.168.0.1 mtu 1450',
      'kernel fd00:2::/64 via fd01::2 src fd01::1 mtu 1430',
      'notice fd00:3::/64 of node n3 cannot be reached: it has no IPv6 InternalIP',
    ])
  })

  test('native: the same ways with the whole MTU', () => {
    expect(print(compile([n1, n2], { mode: 'native' })).filter((line) => line.startsWith('kernel'))).toEqual([
      'kernel 10.2.0.0/24 via 192.168.0.2 src 192.168.0.1 mtu 1500',
      'kernel fd00:2::/64 via fd01::2 src fd01::1 mtu 1500',
    ])
  })

  test('a node that the kernel has no route to has no nexthop, and it is said', () => {
    const compiled = compile([n1, n2], { gateways: new Map() })
    expect(compiled.nexthops.size).toBe(0)
    expect(compiled.kernelRoutes).toEqual([])
    expect(compiled.notices).toEqual([
      '10.2.0.0/24 of node n2 cannot be reached: the kernel has no route to 192.168.0.2 on the uplink',
      'fd00:2::/64 of node n2 cannot be reached: the kernel has no route to fd01::2 on the uplink',
    ])
  })

  test('what two nodes claim is this node’s, else the older’s, else the first’s by name', () => {
    const thief = node('n0', ['192.168.0.1'], ['10.1.0.0/24', '10.2.0.0/24'])
    const compiled = compile([n2, thief, n1])
    expect(compiled.routes.get('10.1.0.0/24' as Prefix)).toEqual({
      kind: RouteKind.OWN_PODS,
      flags: 0,
      node: nodeId('n1'),
    })
    expect(compiled.routes.get('10.2.0.0/24' as Prefix)).toEqual({
      kind: RouteKind.PODS,
      flags: 0,
      node: nodeId('n0'),
    })
    expect(compiled.nodes.get('192.168.0.1' as Address)).toEqual({ node: nodeId('n1'), flags: NodeFlags.OWN })
    expect(compiled.kernelRoutes.map((each) => each.destination)).toEqual(['fd00:2::/64'])
    expect(compiled.notices).toContain(
      'pod CIDR 10.2.0.0/24 of node n2 overlaps 10.2.0.0/24 of node n0: it is left out',
    )
    const young = compile([n2, { ...thief, createdMs: 1 }, n1])
    expect(young.routes.get('10.2.0.0/24' as Prefix)).toEqual({
      kind: RouteKind.PODS,
      flags: 0,
      node: nodeId('n2'),
    })
  })

  test('without its own Node object nothing leaves, and it is said', () => {
    const compiled = compile([n2])
    expect(compiled.nexthops.size).toBe(0)
    expect(compiled.notices).toEqual(['node n1 has no Node object: its pods have no routes'])
  })
})

describe('one wrong pod CIDR takes addresses or routes from the others', () => {
  const wide = (podCIDR: string) => node('n4', ['192.168.0.4'], [podCIDR])

  test.each([
    ['inside another node’s', '10.2.0.128/25', '10.2.0.0/24 of node n2'],
    ['around another node’s', '10.2.0.0/16', '10.2.0.0/24 of node n2'],
    ['around everything', '0.0.0.0/0', 'the Service CIDR 10.96.0.0/16'],
    ['inside the Service CIDR', '10.96.7.0/24', 'the Service CIDR 10.96.0.0/16'],
    ['around the nodes’ network', '192.168.0.0/24', 'the address 192.168.0.1 of node n1'],
    ['around a node of another network', '172.16.0.0/16', 'the address 172.16.0.3 of node n3'],
  ])('of another node, %s: left out and said', (_, podCIDR, what) => {
    const compiled = compile([n1, n2, n3, wide(podCIDR)])
    expect(compiled.notices).toContain(`pod CIDR ${podCIDR} of node n4 overlaps ${what}: it is left out`)
    expect(compiled.ownProblems).toEqual([])
    const without = compile([n1, n2, n3, node('n4', ['192.168.0.4'], [])])
    expect(compiled.routes).toEqual(without.routes)
    expect(compiled.kernelRoutes).toEqual(without.kernelRoutes)
  })

  test.each([
    ['in the Service CIDR', '10.96.1.0/24', 'the Service CIDR 10.96.0.0/16'],
    ['around the node’s own address', '192.168.0.0/16', 'the address 192.168.0.1 of node n1'],
    ['that an earlier node has', '10.5.0.0/24', '10.5.0.0/25 of node n0'],
  ])('of this node, %s: no pod gets an address of it', (_, podCIDR, what) => {
    const own = node('n1', ['192.168.0.1', 'fd01::1'], [podCIDR, 'fd00:1::/64'])
    const compiled = compile([own, n2, node('n0', ['192.168.0.9'], ['10.5.0.0/25'])])
    expect(compiled.ownPodCIDRs).toEqual(['fd00:1::/64'])
    expect(compiled.ownProblems).toEqual([`pod CIDR ${podCIDR} of node n1 overlaps ${what}`])
  })

  test.each([node('n9', ['192.168.0.9'], ['10.1.0.0/25']), node('n0', ['192.168.0.9'], ['10.1.0.0/25'], 1)])(
    'a later node that claims this node’s addresses changes nothing here',
    (late) => {
      const compiled = compile([n1, late])
      expect(compiled.ownPodCIDRs).toEqual(n1.podCIDRs)
      expect(compiled.ownProblems).toEqual([])
    },
  )

  test('a node without pod CIDR is named', () => {
    expect(compile([node('n1', ['192.168.0.1'], [])]).ownProblems).toEqual(['node n1 has no spec.podCIDRs'])
  })
})

test('the tables depend on the nodes, not on their order', () => {
  const some = fc.shuffledSubarray([n1, n2, n3, node('n4', ['192.168.0.2'], ['10.3.0.0/24'])])
  fc.assert(
    fc.property(some, (nodes) => {
      expect(compile(nodes.toReversed())).toEqual(compile(nodes))
      expect(compile([...nodes, ...nodes])).toEqual(compile(nodes))
      for (const [name, { key }] of compile(nodes).nexthops) expect(name).toBe(`${key.node}/${key.family}`)
    }),
  )
})
