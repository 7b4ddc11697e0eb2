// SPDX-License-Identifier: Apache-2.0
// Nodes -> entries of the tables routes, nodes and nexthops (bpf/abi/route.h), and the kernel's own routes to pods of
// other nodes, which its stack needs for what it sends itself.

import { type Address, type Family, family, type Prefix } from '../core/address.ts'
import type { Id64 } from '../core/id64.ts'
import { compareText, nodeId } from '../core/names.ts'
import {
  type Nexthop,
  type NexthopKey,
  type Node as NodeEntry,
  NodeFlags,
  type Route,
  RouteFlags,
  RouteKind,
} from '../generated/abi.ts'
import { sameValue } from '../world/equal.ts'
import type { Node } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import { byAge, overlapping, sharePodCIDRs } from './pod-cidrs.ts'

export interface RoutingInput {
  readonly nodeName: string
  readonly mode: 'native' | 'vxlan'
  readonly serviceCIDRs: readonly Prefix[]
  /** Of ServiceCIDR objects: in force where nothing of a node overlaps them, for a wrong object must not take the pods'
   *  addresses from every node. */
  readonly clusterServiceCIDRs: readonly Prefix[]
  /** InternalIPs of this node as the programs were told them when the agent started. */
  readonly ownAddresses: readonly Address[]
  /** ifindex of the uplink. */
  readonly uplink: number
  /** MTU of the uplink, bytes. */
  readonly uplinkMtu: number
  /** Node address, or NOWHERE -> the neighbour that leads there on the uplink: the address itself when it is on the link.
   *  From the kernel's route lookup; an address that is absent cannot be reached now. */
  readonly gateways: ReadonlyMap<Address, Address>
}

/** A route in the node's main table. */
export interface KernelRoute {
  readonly destination: Prefix
  /** On the uplink's link. */
  readonly gateway: Address
  readonly ifindex: number
  /** Preferred source: the node's own address of that family. */
  readonly source: Address
  /** Bytes; less than the uplink's when a tunnel takes its share. */
  readonly mtu: number
}

export interface CompiledRouting {
  readonly routes: ReadonlyMap<Prefix, Route>
  readonly nodes: ReadonlyMap<Address, NodeEntry>
  /** By "<node id>/<family>". */
  readonly nexthops: ReadonlyMap<string, { readonly key: NexthopKey; readonly value: Nexthop }>
  /** Sorted by destination. */
  readonly kernelRoutes: readonly KernelRoute[]
  /** Pod CIDRs of this node that pods get addresses from. */
  readonly ownPodCIDRs: readonly Prefix[]
  /** Why they are not what they should be, one sentence each. */
  readonly ownProblems: readonly string[]
  /** What cannot be reached or is claimed twice, one sentence each, sorted. */
  readonly notices: readonly string[]
}

/** Outer Ethernet-less headers and the inner Ethernet header that VXLAN adds, bytes (RFC 7348): IP + UDP 8 + VXLAN 8 + 14. */
export const vxlanOverhead: Readonly<Record<Family, number>> = { 4: 50, 6: 70 }

/** Addresses that nobody has (RFC 5737, RFC 3849): what leads to them is the default route. */
export const NOWHERE: Readonly<Record<Family, Address>> = { 4: '192.0.2.1' as Address, 6: '2001:db8::1' as Address }

/** First address of each family; a node is reached over the family that the packet has. */
export function nodeAddress(node: Node, wanted: Family): Address | undefined {
  return node.internalIPs.find((address) => family(address) === wanted)
}

export function compileRouting(world: WorldView, input: RoutingInput): CompiledRouting {
  const all = [...world.nodes()].sort(byAge)
  const own = all.find((node) => node.name === input.nodeName)
  const notices = own === undefined ? [`node ${input.nodeName} has no Node object: its pods have no routes`] : []
  if (own !== undefined && !sameValue(own.internalIPs, input.ownAddresses)) notices.push(moved(own, input.ownAddresses))
  const others = all.filter((node) => node !== own)
  const nodes = new Map<Address, NodeEntry>()
  const routes = new Map<Prefix, Route>()
  const addressOwners = new Map<Address, string>()
  const harmless = input.clusterServiceCIDRs.filter((serviceCIDR) => {
    const other = overlapping(serviceCIDR, all)
    if (other !== undefined) notices.push(`Service CIDR ${serviceCIDR} overlaps ${other}: it is left out`)
    return other === undefined
  })
  const serviceCIDRs = [...new Set([...input.serviceCIDRs, ...harmless])]
  const { owners, own: ownPodCIDRs, ownProblems, notices: leftOut } = sharePodCIDRs(own, others, serviceCIDRs)
  notices.push(...leftOut)

  for (const node of own === undefined ? others : [own, ...others]) {
    const id = nodeId(node.name)
    for (const address of node.internalIPs) {
      // The older node's, whatever came first; this node never loses what is its own.
      const other = addressOwners.get(address)
      if (other !== undefined && other !== node.name) {
        notices.push(`${address} belongs to node ${other}, so node ${node.name} does not get it`)
      } else {
        addressOwners.set(address, node.name)
        nodes.set(address, { node: id, flags: node === own ? NodeFlags.OWN : 0 })
      }
    }
    for (const podCIDR of node.podCIDRs) {
      if (owners.get(podCIDR) === node.name)
        routes.set(podCIDR, {
          kind: node === own ? RouteKind.OWN_PODS : RouteKind.PODS,
          flags: node.dsr && node !== own ? RouteFlags.DSR : 0,
          node: id,
        })
    }
  }
  for (const serviceCIDR of serviceCIDRs) routes.set(serviceCIDR, { kind: RouteKind.SERVICES, flags: 0, node: 0n })

  const nexthops = new Map<string, { key: NexthopKey; value: Nexthop }>()
  const kernelRoutes: KernelRoute[] = []
  for (const node of own === undefined ? [] : others) {
    for (const each of [4, 6] as const) {
      const podCIDRs = node.podCIDRs.filter((podCIDR) => family(podCIDR) === each && owners.get(podCIDR) === node.name)
      const address = nodeAddress(node, each)
      const source = nodeAddress(own!, each)
      const gateway = address === undefined ? undefined : input.gateways.get(address)
      if (address === undefined || source === undefined || gateway === undefined) {
        if (podCIDRs.length > 0) notices.push(unreachable(podCIDRs, node, own!, each, address, source))
        continue
      }
      const id = nodeId(node.name)
      const value = { gateway, tunnel: address, ifindex: input.uplink }
      nexthops.set(nexthopName(id, each), { key: { node: id, family: each }, value })
      const mtu = input.uplinkMtu - (input.mode === 'vxlan' ? vxlanOverhead[each] : 0)
      for (const destination of podCIDRs)
        kernelRoutes.push({ destination, gateway, ifindex: input.uplink, source, mtu })
    }
  }
  if (input.mode === 'vxlan' && own !== undefined) kernelRoutes.push(...serviceRoutes(own, { ...input, serviceCIDRs }))
  return {
    routes,
    nodes,
    nexthops,
    ownPodCIDRs,
    ownProblems,
    kernelRoutes: kernelRoutes.sort((a, b) => compareText(a.destination, b.destination)),
    notices: notices.sort(),
  }
}

/** What this node's sockets send to a Service takes the default route, and to_netdev may put it into the tunnel: the stack
 *  must leave room. Without a default route on the uplink nothing comes there. */
function serviceRoutes(own: Node, { serviceCIDRs, gateways, uplink, uplinkMtu }: RoutingInput): KernelRoute[] {
  return serviceCIDRs.flatMap((destination) => {
    const gateway = gateways.get(NOWHERE[family(destination)])
    const source = nodeAddress(own, family(destination))
    if (gateway === undefined || source === undefined) return []
    return [{ destination, gateway, ifindex: uplink, source, mtu: uplinkMtu - vxlanOverhead[family(destination)] }]
  })
}

/** Key of CompiledRouting.nexthops. */
function nexthopName(node: Id64, of: Family): string {
  return `${node}/${of}`
}

function moved({ name, internalIPs }: Node, ownAddresses: readonly Address[]): string {
  const now = `node ${name} has the InternalIPs ${internalIPs.join(', ') || 'none'}`
  return `${now}, but its programs know ${ownAddresses.join(', ')}: restart the agent`
}

function unreachable(
  podCIDRs: readonly Prefix[],
  node: Node,
  own: Node,
  each: Family,
  address: Address | undefined,
  source: Address | undefined,
): string {
  const why =
    address === undefined
      ? `it has no IPv${each} InternalIP`
      : source === undefined
        ? `node ${own.name} has no IPv${each} InternalIP`
        : `the kernel has no route to ${address} on the uplink`
  return `${podCIDRs.join(', ')} of node ${node.name} cannot be reached: ${why}`
}
