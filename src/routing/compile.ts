// SPDX-License-Identifier: Apache-2.0
// Nodes -> entries of the tables routes, nodes and nexthops (bpf/abi/route.h), and the kernel's own routes.

import { type Address, type Family, family, type Prefix } from '../core/address.ts'
import type { Id64 } from '../core/id64.ts'
import { compareText, nodeId } from '../core/names.ts'
import type { Nexthop, NexthopKey, Node as NodeEntry, Route } from '../generated/abi.ts'
import { NodeFlags, RouteKind } from '../generated/abi.ts'
import type { Node } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'

export type TunnelMode = 'native' | 'vxlan'

export interface RoutingInput {
  readonly nodeName: string
  readonly mode: TunnelMode
  readonly serviceCIDRs: readonly Prefix[]
  /** ifindex of the uplink. */
  readonly uplink: number
  /** MTU of the uplink, bytes. */
  readonly uplinkMtu: number
  /** Node address -> the neighbour that leads there on the uplink: the address itself when it is on the link. From the
   *  kernel's route lookup; an address that is absent is not reachable now. */
  readonly gateways: ReadonlyMap<Address, Address>
}

/** A route in the node's main table, so that its own stack reaches pods of other nodes. */
export interface KernelRoute {
  readonly destination: Prefix
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
  /** What cannot be reached or overlaps, one sentence each, sorted. */
  readonly notices: readonly string[]
}
