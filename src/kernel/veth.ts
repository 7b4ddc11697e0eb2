// SPDX-License-Identifier: Apache-2.0
// A pod's wire:
//
//   pod's namespace                      node's namespace
//   eth0 10.1.0.5/32 -------------------- hd3f.. (no address; route 10.1.0.5/32, permanent neighbour)
//   default via 169.254.1.1 onlink        from_pod, to_pod attached before it goes up
//   169.254.1.1 -> host side's MAC, permanent
//
// Nobody owns the gateways 169.254.1.1 and fe80::1: both neighbours are permanent, so nobody asks for an address.

import { randomBytes } from 'node:crypto'
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
  macText,
  parseLink,
  putNeighbour,
  putRoute,
  setUp,
  type VethRequest,
  withoutLinkLocal,
} from './rtnetlink.ts'

const LOOPBACK = 1
const NETLINK_ROUTE = 0
const RUNNING_TIMEOUT_MS = 5000
const RUNNING_POLL_MS = 5

export interface PodWire {
  readonly netnsPath: string
  readonly ifname: string
  readonly hostIfname: string
  /** One per family at most. */
  readonly addresses: readonly Address[]
  /** Bytes. */
  readonly mtu: number
}

export interface WiredPod {
  /** Of the host side. */
  readonly ifindex: number
  readonly hostMac: string
  readonly podMac: string
  readonly mtu: number
  readonly netnsCookie: bigint
}

type Macs = Pick<WiredPod, 'hostMac' | 'podMac'>

/** Next hop of the pod's default route. */
export function podGateway(address: Address): Address {
  return (family(address) === 4 ? '169.254.1.1' : 'fe80::1') as Address
}

/** Makes the pair and everything that the drawing shows. `attach` runs with the pair made and both ends down: until it
 *  has resolved no packet passes. Rejects with code EEXIST when the pod or the node has a device of that name; leaves
 *  nothing behind when it rejects. */
export async function wirePod(
  node: NodeNetwork,
  pod: PodWire,
  attach: (wired: WiredPod) => Promise<void>,
): Promise<WiredPod> {
  const { addon } = node
  const subject = `wire ${pod.ifname} in ${pod.netnsPath} to ${pod.hostIfname}`
  const netns = attemptNow(subject, () => addon.openNetns(pod.netnsPath))
  let socket: NetlinkSocket | undefined
  try {
    const macs = { hostMac: randomMac(), podMac: randomMac() }
    const paired = attempt(subject, () => node.request(createVeth(pairOf(pod, macs, netns))))
    // While the kernel makes the pair, most of the work of an ADD.
    const prepared = attempt(subject, () => {
      socket = addon.openNetlink(NETLINK_ROUTE, netns)
      return addon.netnsCookie(netns)
    })
    await Promise.allSettled([paired, prepared])
    await paired // nothing to undo when there is no pair
    try {
      const netnsCookie = await prepared
      const host = raiseHostSide(node, pod, subject, async (ifindex) => {
        const wired = { ifindex, ...macs, mtu: pod.mtu, netnsCookie }
        await attach(wired)
        return wired
      })
      const inPod = attempt(subject, () => configurePod(node, socket!, pod, netns, macs.hostMac))
      await all([inPod, host])
      await all([
        waitUntilRunning(pod.hostIfname, () => node.request(getLink(pod.hostIfname))),
        waitUntilRunning(pod.ifname, () => socket!.request(getLink(pod.ifname))),
      ])
      return await host
    } catch (error) {
      await unwirePod(node, pod.hostIfname)
      throw error
    }
  } finally {
    socket?.close()
    addon.closeFd(netns)
  }
}

/** Removes the pair with its routes and neighbours. Idempotent; succeeds when the pod's namespace is gone. */
export async function unwirePod(node: NodeNetwork, hostIfname: string): Promise<void> {
  try {
    await attempt(`remove ${hostIfname}`, () => node.remove(deleteLink(hostIfname)))
  } catch (error) {
    if (!isCode(error, 'ENODEV')) throw error
  }
}

async function configurePod(
  node: NodeNetwork,
  socket: NetlinkSocket,
  { ifname, addresses }: PodWire,
  netns: Fd,
  gatewayMac: string,
): Promise<void> {
  if (addresses.some((address) => family(address) === 6)) {
    // Container runtimes switch IPv6 off in namespaces they make.
    node.addon.writeSysctl(netns, `ipv6/conf/${ifname}/disable_ipv6`, '0')
  }
  const [answer] = await socket.request(concat([getLink(ifname), withoutLinkLocal(ifname), setUp(LOOPBACK)]))
  const { ifindex } = parseLink(answer!)
  const requests = addresses.flatMap((address) => [
    addAddress(ifindex, address),
    putNeighbour(ifindex, podGateway(address), gatewayMac),
    putRoute({ destination: everywhere(address), gateway: podGateway(address), ifindex, protocol: ROUTE_PROTOCOL }),
  ])
  await socket.request(concat([setUp(ifindex), ...requests]))
}

async function raiseHostSide(
  node: NodeNetwork,
  { hostIfname, addresses }: PodWire,
  subject: string,
  attach: (ifindex: number) => Promise<WiredPod>,
): Promise<WiredPod> {
  const [answer] = await attempt(subject, () => node.request(getLink(hostIfname), withoutLinkLocal(hostIfname)))
  const { ifindex } = parseLink(answer!)
  const wired = await attach(ifindex)
  await attempt(subject, () => {
    for (const each of new Set(addresses.map(family))) {
      node.writeSysctl(`ipv${each}/conf/${hostIfname}/forwarding`, '1')
    }
    const requests = addresses.flatMap((address) => [
      putNeighbour(ifindex, address, wired.podMac),
      putRoute({ destination: hostRoute(address), ifindex, protocol: ROUTE_PROTOCOL }),
    ])
    return node.request(setUp(ifindex), ...requests)
  })
  return wired
}

/** The end that was raised first has no queue before the kernel's link watch comes by, and drops what is sent; it may
 *  come a second late (linkwatch_fire_event, v6.1). Being asked makes it come at once (rtnl_getlink, v6.8). */
async function waitUntilRunning(name: string, ask: () => Promise<readonly Uint8Array[]>): Promise<void> {
  const deadline = performance.now() + RUNNING_TIMEOUT_MS
  while (performance.now() < deadline) {
    const [answer] = await attempt(`read link ${name}`, ask)
    if (parseLink(answer!).running) return
    await setTimeout(RUNNING_POLL_MS)
  }
  throw new Error(`${name} is up but does not run after ${RUNNING_TIMEOUT_MS} ms`)
}

function pairOf({ hostIfname, ifname, mtu }: PodWire, macs: Macs, netns: Fd): VethRequest {
  return { name: hostIfname, mac: macs.hostMac, mtu, peerName: ifname, peerMac: macs.podMac, peerNetns: netns }
}

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
