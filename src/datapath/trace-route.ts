// SPDX-License-Identifier: Apache-2.0
// `trace`: where a packet goes, and whether its source may send it (bpf/lib/route.h, source.h).

import type { Address } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import { DropReason, type Endpoint, NodeFlags, RouteKind, TunnelMode, type Tuple } from '../generated/abi.ts'
import { longestPrefix, lookup, type Tables } from './trace-tables.ts'
import { type Destination, drop, isOwnAddress, type Stage, type TraceConfig, type Walk } from './trace-walk.ts'

export function endpointOf(tables: Tables, address: Address): Endpoint | undefined {
  return lookup(tables.endpoints, { address })
}

/** By the destination after DNAT. */
export function route(tables: Tables, config: TraceConfig, tuple: Tuple): Destination {
  const endpoint = endpointOf(tables, tuple.destination)
  if (endpoint) return { kind: 'endpoint', ifindex: endpoint.ifindex }
  const node = lookup(tables.nodes, { address: tuple.destination })
  if (node) {
    if (isTunnelPort(config, tuple)) return { kind: 'nobody', reason: DropReason.TUNNEL_FORGED }
    return node.flags & NodeFlags.OWN ? { kind: 'stack' } : { kind: 'node', node: node.node }
  }
  const found = longestPrefix(tables.routes, tuple.destination)
  if (!found) return { kind: 'world' }
  if (found.kind === RouteKind.PODS) return { kind: 'node', node: found.node }
  if (found.kind === RouteKind.OWN_PODS) return { kind: 'nobody', reason: DropReason.NO_ENDPOINT }
  const isService = lookup(tables.frontends, { address: tuple.destination, port: 0, protocol: 0 }) !== undefined
  return { kind: 'nobody', reason: isService ? DropReason.NO_PORT : DropReason.NO_FRONTEND }
}

export function isTunnelPort(config: TraceConfig, tuple: Tuple): boolean {
  return hasTunnel(config) && tuple.protocol === Protocol.UDP && tuple.destinationPort === config.tunnelPort
}

/** Whether other nodes send to the tunnel port; in native mode only first packets for a backend that answers itself. */
function hasTunnel({ tunnelMode, dsr }: TraceConfig): boolean {
  return tunnelMode === TunnelMode.VXLAN || dsr !== 0
}

/** From a pod: only the endpoint's own addresses. */
export function sourceOfPod({ input, tuple }: Walk): Stage {
  const own = endpointOf(input.tables, tuple.source)?.ifindex === input.ifindex
  return own ? null : drop(DropReason.SOURCE)
}

/** From this node's stack into a pod: its own, a pod's that it came from, or out of the tunnel another node's pod's. */
export function sourceOfStack(walk: Walk): Stage {
  const { tables, config, ingressIfindex } = walk.input
  const { source } = walk.tuple
  const mayBeTunnelled = config.tunnelMode === TunnelMode.VXLAN && ingressIfindex === config.uplink
  const isProven =
    isOwnAddress(config, source) ||
    endpointOf(tables, source)?.ifindex === ingressIfindex ||
    (mayBeTunnelled && longestPrefix(tables.routes, source)?.kind === RouteKind.PODS)
  return isProven ? null : sourceOfNetdev(walk)
}

/** From the network: inside a tunnel only what belongs to the node that sent it; bare nothing that is this node's, a
 *  Service's, or, where pods travel in tunnels, a pod's. */
export function sourceOfNetdev({ input, tuple, tunnelNode }: Walk): Stage {
  const { tables, config } = input
  const node = lookup(tables.nodes, { address: tuple.source })
  const from = longestPrefix(tables.routes, tuple.source)
  if (tunnelNode !== 0n) {
    const owner = node ? node.node : from?.kind === RouteKind.PODS ? from.node : null
    return owner === tunnelNode ? null : drop(DropReason.TUNNEL_INNER)
  }
  if (isOwnAddress(config, tuple.source)) return drop(DropReason.BARE_SOURCE)
  if (node) return node.flags & NodeFlags.OWN ? drop(DropReason.BARE_SOURCE) : null
  if (!from) return null
  const bare = from.kind === RouteKind.PODS && config.tunnelMode === TunnelMode.NONE
  return bare ? null : drop(DropReason.BARE_SOURCE)
}
