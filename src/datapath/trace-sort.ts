// SPDX-License-Identifier: Apache-2.0
// `trace`: fragments in any order (bpf/lib/sort.h).

import { type Address, family, isIPv6Multicast } from '../core/address.ts'
import { DropReason, PacketMark, RouteKind, TunnelMode } from '../generated/abi.ts'
import { fragmentKey, ports } from './trace-parse.ts'
import { endpointOf } from './trace-route.ts'
import { fragmentText, longestPrefix, lookup } from './trace-tables.ts'
import { note, type Stage, type Verdict, type Walk } from './trace-walk.ts'

/** A first fragment, whose source is proven, leaves its ports for the later ones; it follows those that went by the sorter
 *  before it. */
export function sortFirst(walk: Walk, maySort: boolean): Stage {
  const { packet, input } = walk
  const { fragment } = packet
  if (fragment?.offset !== 0) return null
  const key = fragmentKey(packet, fragment)
  const text = fragmentText(key)
  if (maySort && input.state.fragments.get(text)?.[1].sorting === 1) return send(walk, 'later ones went there before')
  input.state.fragments.set(text, [key, { ...ports(packet), sorting: 0 }])
  return null
}

/** Whether a verdict on what was parsed is a later fragment's before its first, and the sorter may be asked. */
export function wantsSorting(walk: Walk, parsed: Stage): boolean {
  const isEarly = parsed?.kind === 'drop' && parsed.reason === DropReason.FRAGMENT
  return isEarly && maySort(walk) && takes(walk)
}

export function sortEarly(walk: Walk): Verdict {
  remember(walk, walk.packet.destination)
  return send(walk, 'before the first of its datagram')
}

/** The first fragment, too large for its way, of a datagram that may be cut on it. */
export function cutAgain(walk: Walk, verdict: Verdict): Verdict {
  const { packet } = walk
  if (verdict.kind !== 'drop' || verdict.reason !== DropReason.TOO_LARGE || packet.family !== 4) return verdict
  if (packet.fragment?.offset !== 0 || packet.dontFragment || !maySort(walk) || !takes(walk)) return verdict
  remember(walk, walk.asked.destination)
  return send(walk, 'to be cut')
}

/** What comes from the sorter: its source says by which node it came in the tunnel. */
export function returnSorted(walk: Walk) {
  const { tables, config, hook } = walk.input
  if (walk.mark !== PacketMark.SORTED) return
  walk.mark = 0
  walk.isSorted = true
  if (hook !== 'from_netdev' || config.tunnelMode !== TunnelMode.VXLAN) return
  const { source, destination } = walk.packet
  const route = longestPrefix(tables.routes, source)
  const node = lookup(tables.nodes, { address: source })
  if (route?.kind === RouteKind.PODS) walk.tunnelNode = route.node
  else if (node && endpointOf(tables, destination)) walk.tunnelNode = node.node
}

export function maySort({ input, isSorted }: Walk): boolean {
  return input.config.sorter !== 0 && !isSorted
}

function takes({ packet: { source }, tuple: { destination } }: Walk): boolean {
  return [source, destination].every((address) => !isNoHost(address) && !isLinkLocal(address))
}

function remember({ packet, input }: Walk, destination: Address) {
  const key = { ...fragmentKey(packet, packet.fragment!), destination }
  input.state.fragments.set(fragmentText(key), [key, { sourcePort: 0, destinationPort: 0, sorting: 1 }])
}

function send(walk: Walk, why: string): Verdict {
  note(walk, 'fragment', `to the sorter, ${why}`)
  return { kind: 'sorter' }
}

/** Multicast, broadcast, loopback, unspecified, and the networks that nobody is in (RFC 1812 5.3.7). */
export function isNoHost(address: Address): boolean {
  if (family(address) === 6) return isIPv6Multicast(address) || address === '::' || address === '::1'
  const first = Number(address.split('.')[0])
  return first === 0 || first === 127 || first >= 224
}

function isLinkLocal(address: Address): boolean {
  return /^fe[89ab]/.test(address)
}
