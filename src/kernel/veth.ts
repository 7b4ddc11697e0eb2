// SPDX-License-Identifier: Apache-2.0
// A pod's wire:
//
//   pod's namespace                      node's namespace
//   eth0 10.1.0.5/32 -------------------- hd3f.. (no address; route 10.1.0.5/32, permanent neighbour)
//   default via 169.254.1.1 onlink        from_pod, to_pod attached before it goes up
//   169.254.1.1 -> host side's MAC, permanent
//
// Nobody owns the gateways 169.254.1.1 and fe80::1: both neighbours are permanent, so nobody asks for an address.

import { randomBytes, randomInt } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { type Address, family, type Prefix } from '../core/address.ts'
import type { Fd, NetlinkSocket } from './addon.ts'
import { all, attempt, attemptNow, isCode } from './kernel-error.ts'
import { concat } from './netlink.ts'
import type { NodeNetwork } from './node-network.ts'
import { ROUTE_PROTOCOL } from './routes.ts'
import {
  addAddress,
  createVeth,
  deleteLink,
  getLink,
  lookupRoute,
  macText,
  parseLink,
  parseRoute,
  putNeighbour,
  putRoute,
  setUp,
  type VethRequest,
  withoutLinkLocal,
} from './rtnetlink.ts'

const LOOPBACK = 1
const NETLINK_ROUTE = 0
/** Far beyond what the kernel gives by itself; a collision (EBUSY) among a node's pods is one in 100,000 ADDs. */
const IFINDEX_RANGE = [1 << 20, 1 << 25] as const
const RT_TABLE_LOCAL = 255
const READY_TIMEOUT_MS = 5000
const READY_POLL_MS = 2

export interface PodWire {
  readonly netnsPath: string
  readonly ifname: string
  readonly hostIfname: string
  /** One per family at most. */
  readonly addresses: readonly Address[]
  /** What the node speaks from, one per family at most; a family without one: the kernel chooses. */
  readonly nodeAddresses: readonly Address[]
  /** Bytes. */
  readonly mtu: number
  /** Largest IPv4 packet (bytes) that the pod's TCP hands on uncut; undefined: the kernel's default. */
  readonly gsoIPv4MaxBytes?: number | undefined
}

export interface WiredPod {
  /** Of the host side. */
  readonly ifindex: number
  readonly hostMac: string
  readonly podMac: string
  readonly mtu: number
  readonly netnsCookie: bigint
}

/** Next hop of the pod's default route. */
export function podGateway(address: Address): Address {
  return (family(address) === 4 ? '169.254.1.1' : 'fe80::1') as Address
}

/** Makes the pair and everything that the drawing shows. `filters` are the requests that give the host side (by ifindex)
 *  its programs: both ends are down until the kernel has taken them. Rejects with code EEXIST when the pod or the node has
 *  a device of that name; leaves nothing behind when it rejects. */
export async function wirePod(
  node: NodeNetwork,
  pod: PodWire,
  filters: (ifindex: number) => readonly Uint8Array[],
): Promise<WiredPod> {
  const { addon } = node
  const subject = `wire ${pod.ifname} in ${pod.netnsPath} to ${pod.hostIfname}`
  const netns = attemptNow(subject, () => addon.openNetns(pod.netnsPath))
  let socket: NetlinkSocket | undefined
  try {
    const pair = pairOf(pod, netns)
    const made = attempt(subject, () =>
      node.request(createVeth(pair), withoutLinkLocal(pair.ifindex), ...filters(pair.ifindex)),
    )
    // While the kernel makes the pair, most of the work of an ADD.
    const prepared = attempt(subject, () => {
      socket = addon.openNetlink(NETLINK_ROUTE, netns)
      return addon.netnsCookie(netns)
    })
    try {
      await all([made, prepared])
      const inPod = attempt(subject, () => configurePod(node, socket!, pod, pair))
      await all([inPod, attempt(subject, () => raiseHostSide(node, pod, pair))])
      await all([
        waitUntilRunning(pod.hostIfname, () => node.request(getLink(pair.ifindex))),
        waitUntilRunning(pod.ifname, () => socket!.request(getLink(pair.peerIfindex))),
        ...pod.addresses.filter(isIPv6).map((address) => waitUntilLocal(address, socket!)),
      ])
    } catch (error) {
      // By index: a device of that name may be another's.
      await removeLink(node, pair.ifindex)
      throw error
    }
    const { ifindex, mtu, mac: hostMac, peerMac: podMac } = pair
    return { ifindex, hostMac, podMac, mtu, netnsCookie: await prepared }
  } finally {
    socket?.close()
    addon.closeFd(netns)
  }
}

/** Removes the pair with its routes and neighbours. Idempotent; succeeds when the pod's namespace is gone. */
export async function unwirePod(node: NodeNetwork, hostIfname: string): Promise<void> {
  await removeLink(node, hostIfname)
}

async function removeLink(node: NodeNetwork, nameOrIndex: string | number): Promise<void> {
  try {
    await attempt(`remove ${nameOrIndex}`, () => node.remove(deleteLink(nameOrIndex)))
  } catch (error) {
    if (!isCode(error, 'ENODEV')) throw error
  }
}

async function configurePod(
  node: NodeNetwork,
  socket: NetlinkSocket,
  { ifname, addresses }: PodWire,
  { peerIfindex: ifindex, peerNetns, mac: gatewayMac }: VethRequest,
): Promise<void> {
  if (addresses.some(isIPv6)) {
    // Container runtimes switch IPv6 off in namespaces they make.
    node.writeSysctl(`ipv6/conf/${ifname}/disable_ipv6`, '0', peerNetns)
  }
  const requests = addresses.flatMap((address) => [
    addAddress(ifindex, address),
    putNeighbour(ifindex, podGateway(address), gatewayMac),
    putRoute({ destination: everywhere(address), gateway: podGateway(address), ifindex, protocol: ROUTE_PROTOCOL }),
  ])
  await socket.request(concat([withoutLinkLocal(ifindex), setUp(LOOPBACK), setUp(ifindex), ...requests]))
}

async function raiseHostSide(
  node: NodeNetwork,
  { hostIfname, addresses, nodeAddresses }: PodWire,
  { ifindex, peerMac }: VethRequest,
): Promise<void> {
  const requests = addresses.flatMap((address) => {
    const source = nodeAddresses.find((each) => family(each) === family(address))
    const route = { destination: hostRoute(address), ifindex, protocol: ROUTE_PROTOCOL }
    return [putNeighbour(ifindex, address, peerMac), putRoute(source === undefined ? route : { ...route, source })]
  })
  const raised = node.request(setUp(ifindex), ...requests)
  // Meanwhile; as a rule they are so already.
  const forwarding = attempt(`forward on ${hostIfname}`, () => {
    for (const each of new Set(addresses.map(family))) {
      node.writeSysctl(`ipv${each}/conf/${hostIfname}/forwarding`, '1')
    }
  })
  await all([raised, forwarding])
}

/** The end that was raised first has no queue before the kernel's link watch comes by, and drops what is sent; it may
 *  come a second late (linkwatch_fire_event, v6.1). Being asked makes it come at once (rtnl_getlink, v6.8). */
async function waitUntilRunning(name: string, ask: () => Promise<readonly Uint8Array[]>): Promise<void> {
  await waitUntil(`${name} runs`, async () => parseLink((await ask())[0]!).running)
}

/** An IPv6 address is answered for from when the kernel's own worker has entered its local route (addrconf_dad_work). */
async function waitUntilLocal(address: Address, socket: NetlinkSocket): Promise<void> {
  await waitUntil(`${address} is local`, async () => {
    const [answer] = await socket.request(lookupRoute(address))
    return answer !== undefined && parseRoute(answer)?.table === RT_TABLE_LOCAL
  })
}

async function waitUntil(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS
  while (performance.now() < deadline) {
    if (await attempt(`wait until ${what}`, holds)) return
    await setTimeout(READY_POLL_MS)
  }
  throw new Error(`waited ${READY_TIMEOUT_MS} ms until ${what}`)
}

function pairOf({ hostIfname, ifname, mtu, gsoIPv4MaxBytes }: PodWire, peerNetns: Fd): VethRequest {
  return {
    ifindex: randomInt(...IFINDEX_RANGE),
    peerIfindex: randomInt(...IFINDEX_RANGE),
    name: hostIfname,
    mac: randomMac(),
    mtu,
    peerName: ifname,
    peerMac: randomMac(),
    peerNetns,
    gsoIPv4MaxBytes,
  }
}

const isIPv6 = (address: Address) => family(address) === 6

function everywhere(address: Address): Prefix {
  return (family(address) === 4 ? '0.0.0.0/0' : '::/0') as Prefix
}

function hostRoute(address: Address): Prefix {
  return `${address}/${family(address) === 4 ? 32 : 128}` as Prefix
}

/** Locally administered, unicast. Set rather than left to the kernel, so that no policy of udev changes it. */
function randomMac(): string {
  const bytes = randomBytes(6)
  bytes[0] = (bytes[0]! & 0xfc) | 0x02
  return macText(bytes)
}
