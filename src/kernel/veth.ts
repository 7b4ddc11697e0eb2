// SPDX-License-Identifier: Apache-2.0
// A pod's wire:
//
//   pod's namespace                      node's namespace
//   eth0 10.1.0.5/32 -------------------- hd3f.. (no address; route 10.1.0.5/32, permanent neighbour)
//   default via 169.254.1.1 onlink        from_pod, to_pod attached before it goes up
//   169.254.1.1 -> host side's MAC, permanent
//
// Nobody owns the gateways 169.254.1.1 and fe80::1: both neighbours are permanent, so nobody asks for an address.

import { setTimeout } from 'node:timers/promises'
import { type Address, type Family, family, type Prefix } from '../core/address.ts'
import type { Answers, Fd, NetworkStep } from './addon.ts'
import { attempt, attemptNow, isCode } from './kernel-error.ts'
import type { NodeNetwork } from './node-network.ts'
import { findLink, ROUTE_PROTOCOL } from './routes.ts'
import {
  addAddress,
  createVeth,
  deleteLink,
  getLink,
  isRunning,
  lookupRoute,
  macText,
  parseRoute,
  putNeighbour,
  putRoute,
  setUp,
  type VethRequest,
  withoutLinkLocal,
} from './rtnetlink.ts'

/** Far beyond what the kernel gives by itself; on a node with 100 pods one ADD in 300,000 meets a collision (EEXIST). */
const IFINDEX_MIN = 1 << 20
const IFINDEX_COUNT = 1 << 25
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
  return gatewayOf(family(address))
}

/** Nobody's address: who routes by it has a permanent neighbour. */
export function gatewayOf(wanted: Family): Address {
  return (wanted === 4 ? '169.254.1.1' : 'fe80::1') as Address
}

/** A wire that the kernel is making. */
export interface Wire {
  /** What it will be: all of it is chosen, nothing of it is the kernel's choice. */
  readonly wired: WiredPod
  /** Resolves when both ends run and the addresses answer. Rejects with code EEXIST when the pod or the node has a device
   *  of that name; leaves nothing behind when it rejects. */
  readonly done: Promise<void>
}

/** Makes the pair and everything that the drawing shows. `filters` are the requests that give the host side (by ifindex)
 *  its programs: both ends are down until the kernel has taken them. Throws when there is no such
 *  namespace. */
export function wirePod(
  node: NodeNetwork,
  pod: PodWire,
  filters: (ifindex: number) => readonly Uint8Array[],
  random: () => number = Math.random,
): Wire {
  const { addon } = node
  const subject = `wire ${pod.ifname} in ${pod.netnsPath} to ${pod.hostIfname}`
  const netns = attemptNow(subject, () => addon.openNetns(pod.netnsPath))
  const pair = chooseVeth(pod, netns, random)
  const { ifindex, mtu, mac: hostMac, peerMac: podMac } = pair
  const done = attempt(subject, () => make(node, pod, pair, filters(ifindex))).finally(() => addon.closeFd(netns))
  // While the kernel makes the pair.
  try {
    const netnsCookie = attemptNow(subject, () => addon.netnsCookie(netns))
    return { wired: { ifindex, hostMac, podMac, mtu, netnsCookie }, done }
  } catch (error) {
    done.then(() => removeLink(node, ifindex)).catch(() => {}) // what failed has left nothing
    throw error
  }
}

/** All in one trip to the thread pool, the first look at the result included; as a rule the wire is ready then. */
async function make(node: NodeNetwork, pod: PodWire, pair: VethRequest, filters: readonly Uint8Array[]): Promise<void> {
  const look = [
    node.requests([getLink(pair.ifindex)]),
    node.requests([getLink(pair.peerIfindex), ...pod.addresses.filter(isIPv6).map(lookupRoute)], pair.peerNetns),
  ]
  try {
    const answers = await node.configure([
      node.requests([createVeth(pair), withoutLinkLocal(pair.ifindex), ...filters]),
      ...podSteps(node, pod, pair),
      ...hostSteps(node, pod, pair),
      ...look,
    ])
    await waitUntilReady(node, look, answers.slice(-look.length))
  } catch (error) {
    await removeMade(node, pair)
    throw error
  }
}

/** A device that has only the name or only the index is another's. */
async function removeMade(node: NodeNetwork, { ifindex, name }: VethRequest): Promise<void> {
  const link = await findLink(node, ifindex)
  if (link?.name === name) await removeLink(node, ifindex)
}

/** Removes the pair with its routes and neighbours. Idempotent; succeeds when the pod's namespace is gone. */
export async function unwirePod(node: NodeNetwork, hostIfname: string): Promise<void> {
  await removeLink(node, hostIfname)
}

/** With its other end. Idempotent. */
export async function removeLink(node: NodeNetwork, nameOrIndex: string | number): Promise<void> {
  try {
    await attempt(`remove ${nameOrIndex}`, () => node.remove(deleteLink(nameOrIndex)))
  } catch (error) {
    if (!isCode(error, 'ENODEV')) throw error
  }
}

function podSteps(node: NodeNetwork, { ifname, addresses }: PodWire, pair: VethRequest): readonly NetworkStep[] {
  const { peerIfindex: ifindex, peerNetns, mac: gatewayMac } = pair
  const requests = addresses.flatMap((address) => [
    addAddress(ifindex, address),
    putNeighbour(ifindex, podGateway(address), gatewayMac),
    putRoute({ destination: everywhere(address), gateway: podGateway(address), ifindex, protocol: ROUTE_PROTOCOL }),
  ])
  const up = node.requests([withoutLinkLocal(ifindex), setUp(ifindex), ...requests], peerNetns)
  // Container runtimes switch IPv6 off in namespaces they make.
  const enable = node.setting(`ipv6/conf/${ifname}/disable_ipv6`, '0', peerNetns)
  return addresses.some(isIPv6) ? [enable, up] : [up]
}

function hostSteps(
  node: NodeNetwork,
  { hostIfname, addresses, nodeAddresses }: PodWire,
  { ifindex, peerMac }: VethRequest,
): readonly NetworkStep[] {
  const requests = addresses.flatMap((address) => {
    const source = nodeAddresses.find((each) => family(each) === family(address))
    const route = { destination: hostRoute(address), ifindex, protocol: ROUTE_PROTOCOL }
    return [putNeighbour(ifindex, address, peerMac), putRoute(source === undefined ? route : { ...route, source })]
  })
  // As a rule they forward already.
  const forward = [...new Set(addresses.map(family))].map((each) =>
    node.setting(`ipv${each}/conf/${hostIfname}/forwarding`, '1'),
  )
  return [...forward, node.requests([setUp(ifindex), ...requests])]
}

/** Both ends run, and each IPv6 address of the pod is local to it. The end that was raised first has no queue before the
 *  kernel's link watch comes by, and drops what is sent; it may come a second late (linkwatch_fire_event, v6.1). Being
 *  asked makes it come at once (rtnl_getlink, v6.8). An IPv6 address is answered for from when the kernel's own worker has
 *  entered its local route (addrconf_dad_work). */
async function waitUntilReady(node: NodeNetwork, look: readonly NetworkStep[], first: Answers): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS
  let answers = first
  while (!isReady(answers)) {
    if (performance.now() > deadline) throw new Error(`the wire is not ready after ${READY_TIMEOUT_MS} ms`)
    await setTimeout(READY_POLL_MS)
    answers = await node.configure(look)
  }
}

function isReady([host, pod]: Answers): boolean {
  const [podLink, ...routes] = pod!
  const isLocal = (route: Uint8Array): boolean => parseRoute(route)?.table === RT_TABLE_LOCAL
  return isRunning(host![0]!) && isRunning(podLink!) && routes.every(isLocal)
}

/** A pair of which nothing is left to the kernel's choice. */
export function chooseVeth(
  { hostIfname, ifname, mtu, gsoIPv4MaxBytes }: Pick<PodWire, 'hostIfname' | 'ifname' | 'mtu' | 'gsoIPv4MaxBytes'>,
  peerNetns: Fd,
  // Enough for what must only differ; node:crypto costs an ADD .1 ms.
  random: () => number = Math.random,
): VethRequest {
  return {
    ifindex: IFINDEX_MIN + below(IFINDEX_COUNT, random),
    peerIfindex: IFINDEX_MIN + below(IFINDEX_COUNT, random),
    name: hostIfname,
    mac: randomMac(random),
    mtu,
    peerName: ifname,
    peerMac: randomMac(random),
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
function randomMac(random: () => number): string {
  const first = (below(256, random) & 0xfc) | 0x02
  return macText([first, ...Array.from({ length: 5 }, () => below(256, random))])
}

function below(count: number, random: () => number): number {
  return Math.floor(random() * count)
}
