// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Address, Prefix } from '../core/address.ts'
import { nodeId } from '../core/names.ts'
import { NodeFlags, RouteKind } from '../generated/abi.ts'
import type { Node } from '../world/objects.ts'
import { createWorld } from '../world/world.ts'
import { type CompiledRouting, compileRouting, type RoutingInput } from './compile.ts'

function node(name: string, internalIPs: readonly string[], podCIDRs: readonly string[]): Node {
  return { kind: 'Node', name, labels: {}, internalIPs: internalIPs as Address[], podCIDRs: podCIDRs as Prefix[] }
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

  test('what two nodes claim is this node’s, else the first by name', () => {
    const thief = node('n0', ['192.168.0.1'], ['10.1.0.0/24', '10.2.0.0/24'])
    const compiled = compile([n2, thief, n1])
    expect(compiled.routes.get('10.1.0.0/24' as Prefix)).toEqual({ kind: RouteKind.OWN_PODS, node: nodeId('n1') })
    expect(compiled.routes.get('10.2.0.0/24' as Prefix)).toEqual({ kind: RouteKind.PODS, node: nodeId('n0') })
    expect(compiled.nodes.get('192.168.0.1' as Address)).toEqual({ node: nodeId('n1'), flags: NodeFlags.OWN })
    expect(compiled.kernelRoutes.map((each) => each.destination)).toEqual(['fd00:2::/64'])
    expect(compiled.notices).toContain('10.2.0.0/24 belongs to node n0, so node n2 does not get it')
  })

  test('without its own Node object nothing leaves, and it is said', () => {
    const compiled = compile([n2])
    expect(compiled.nexthops.size).toBe(0)
    expect(compiled.notices).toEqual(['node n1 has no Node object: its pods have no routes'])
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
