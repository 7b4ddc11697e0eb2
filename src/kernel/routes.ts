// SPDX-License-Identifier: Apache-2.0
// The node's own routes: to pods of other nodes, for what its stack sends itself; and what the kernel's tables say.

import { type Address, type Family, family, hostPrefix, type Prefix, splitPrefix } from '../core/address.ts'
import type { KernelRoute } from '../datapath/plan.ts'
import { attempt, isCode } from './kernel-error.ts'
import type { NodeNetwork } from './node-network.ts'
import {
  deleteRoute,
  dumpAddresses,
  dumpLinks,
  dumpRoutes,
  getLink,
  type InterfaceAddress,
  type Link,
  lookupRoute,
  parseAddressMessage,
  parseLink,
  parseRoute,
  putBlackhole,
  putRoute,
  type RouteEntry,
} from './rtnetlink.ts'

/** rtm_protocol of every route that Heddle makes: how it finds its own again. Not in iproute2's rt_protos. */
export const ROUTE_PROTOCOL = 78

/** Heddle's routes that lead through a gateway: those to other nodes' pods. */
export async function readNodeRoutes(node: NodeNetwork): Promise<readonly KernelRoute[]> {
  return (await readOwnRoutes(node)).flatMap(({ destination, gateway, ifindex, source, mtu }) =>
    gateway === undefined || source === undefined ? [] : [{ destination, gateway, ifindex, source, mtu: mtu ?? 0 }],
  )
}

/** Creates or replaces. */
export async function putNodeRoute(node: NodeNetwork, route: KernelRoute): Promise<void> {
  await attempt(`put route ${route.destination}`, () => node.request(putRoute({ ...route, protocol: ROUTE_PROTOCOL })))
}

/** Succeeds when there is none. */
export async function deleteNodeRoute(node: NodeNetwork, { destination }: KernelRoute): Promise<void> {
  await deleteOwnRoute(node, destination)
}

/** What the stack would send to unallocated addresses of the own pod CIDRs must not leave by the default route; what it
 *  sends to those that are the node's no more must. */
export async function putPodBlackholes(node: NodeNetwork, podCIDRs: readonly Prefix[]): Promise<void> {
  for (const { destination, gateway } of await readOwnRoutes(node)) {
    const isBlackhole = gateway === undefined && splitPrefix(destination).length < lengthMax[family(destination)]
    if (isBlackhole && !podCIDRs.includes(destination)) await deleteOwnRoute(node, destination)
  }
  for (const podCIDR of podCIDRs) {
    await attempt(`put blackhole ${podCIDR}`, () => node.request(putBlackhole(podCIDR, ROUTE_PROTOCOL)))
  }
}

/** Makes the routes to pods of this node what wiring makes them. The kernel takes a route away together with its preferred
 *  source, so those of a node that got other addresses are gone. Resolves to how many were missing or different. */
export async function repairPodRoutes(
  node: NodeNetwork,
  pods: readonly { readonly addresses: readonly Address[]; readonly ifindex: number }[],
  nodeAddresses: readonly Address[],
): Promise<number> {
  const known = new Map((await readOwnRoutes(node)).map((route) => [route.destination, route]))
  let repaired = 0
  for (const { addresses, ifindex } of pods) {
    for (const address of addresses) {
      const destination = hostPrefix(address)
      const source = nodeAddresses.find((each) => family(each) === family(address))
      const route = known.get(destination)
      if (route?.ifindex === ifindex && route.source === source) continue
      const wanted = { destination, ifindex, protocol: ROUTE_PROTOCOL, ...(source === undefined ? {} : { source }) }
      await attempt(`put route ${destination}`, () => node.request(putRoute(wanted)))
      repaired++
    }
  }
  return repaired
}

/** The routes to single pods have this length, blackholes less. */
const lengthMax: Readonly<Record<Family, number>> = { 4: 32, 6: 128 }

/** Every route that Heddle made on this node, pods' own and blackholes too; for uninstalling. */
export async function deleteOwnRoutes(node: NodeNetwork): Promise<void> {
  for (const { destination } of await readOwnRoutes(node)) await deleteOwnRoute(node, destination)
}

/** The neighbour that leads to the destination and the device it is on; undefined: the kernel has no route. */
export async function nexthopOf(
  node: NodeNetwork,
  destination: Address,
): Promise<{ readonly gateway: Address; readonly ifindex: number } | undefined> {
  try {
    const [answer] = await attempt(`look up the route to ${destination}`, () => node.request(lookupRoute(destination)))
    const route = answer && parseRoute(answer)
    return route && { gateway: route.gateway ?? destination, ifindex: route.ifindex }
  } catch (error) {
    if (isCode(error, 'ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL')) return undefined
    throw error
  }
}

/** undefined: no such device. */
export async function findLink(node: NodeNetwork, nameOrIndex: string | number): Promise<Link | undefined> {
  try {
    const [answer] = await attempt(`read link ${nameOrIndex}`, () => node.request(getLink(nameOrIndex)))
    return answer && parseLink(answer)
  } catch (error) {
    if (isCode(error, 'ENODEV')) return undefined
    throw error
  }
}

export async function readLinks(node: NodeNetwork): Promise<readonly Link[]> {
  return (await attempt('read links', () => node.request(dumpLinks()))).map(parseLink)
}

export async function readAddresses(node: NodeNetwork): Promise<readonly InterfaceAddress[]> {
  const answers = await attempt('read addresses', () => node.request(dumpAddresses()))
  return answers.map(parseAddressMessage).filter((address) => address !== undefined)
}

async function readOwnRoutes(node: NodeNetwork): Promise<readonly RouteEntry[]> {
  const dumps = await Promise.all(
    ([4, 6] as const).map((wanted) => attempt('read routes', () => node.request(dumpRoutes(wanted, ROUTE_PROTOCOL)))),
  )
  return dumps
    .flat()
    .map(parseRoute)
    .filter((route) => route !== undefined)
}

async function deleteOwnRoute(node: NodeNetwork, destination: Prefix): Promise<void> {
  try {
    await attempt(`delete route ${destination}`, () => node.request(deleteRoute(destination, ROUTE_PROTOCOL)))
  } catch (error) {
    if (!isCode(error, 'ESRCH')) throw error
  }
}
