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
import { type Address, family, type Prefix } from '../core/address.ts'
import type { Fd } from './addon.ts'
import { attempt, attemptNow, isCode } from './kernel-error.ts'
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
  withoutLinkLocal,
} from './rtnetlink.ts'

const LOOPBACK = 1
const NETLINK_ROUTE = 0

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
  try {
    const netnsCookie = attemptNow(subject, () => addon.netnsCookie(netns))
    const hostMac = randomMac()
    const podMac = randomMac()
    const pair = { name: pod.hostIfname, mac: hostMac, mtu: pod.mtu, peerName: pod.ifname, peerMac: podMac }
    await attempt(subject, () => node.request(createVeth({ ...pair, peerNetns: netns })))
    try {
      const link = attempt(subject, () => node.request(getLink(pair.name), withoutLinkLocal(pair.name)))
      const configured = attempt(subject, () => configurePod(node, pod, netns, hostMac))
      const attached = link.then(async ([answer]) => {
        const wired = { ifindex: parseLink(answer!).ifindex, hostMac, podMac, mtu: pod.mtu, netnsCookie }
        await attach(wired)
        return wired
      })
      // Waits for both also when one fails: what is undone then must not be done after it.
      await Promise.allSettled([configured, attached])
      await configured
      const wired = await attached
      await attempt(subject, () => raiseHostSide(node, pod, wired))
      return wired
    } catch (error) {
      await unwirePod(node, pod.hostIfname)
      throw error
    }
  } finally {
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

async function configurePod(node: NodeNetwork, pod: PodWire, netns: Fd, gatewayMac: string): Promise<void> {
  const socket = node.addon.openNetlink(NETLINK_ROUTE, netns)
  try {
    if (pod.addresses.some((address) => family(address) === 6)) {
      // Container runtimes switch IPv6 off in namespaces they make.
      node.addon.writeSysctl(netns, `ipv6/conf/${pod.ifname}/disable_ipv6`, '0')
    }
    const prepare = [getLink(pod.ifname), withoutLinkLocal(pod.ifname), setUp(LOOPBACK)]
    const [answer] = await socket.request(concat(prepare))
    const { ifindex } = parseLink(answer!)
    const raise = [
      setUp(ifindex),
      ...pod.addresses.flatMap((address) => [
        addAddress(ifindex, address),
        putNeighbour(ifindex, podGateway(address), gatewayMac),
        putRoute({
          destination: everywhere(address),
          gateway: podGateway(address),
          ifindex,
          protocol: ROUTE_PROTOCOL,
        }),
      ]),
    ]
    await socket.request(concat(raise))
  } finally {
    socket.close()
  }
}

async function raiseHostSide(node: NodeNetwork, pod: PodWire, { ifindex, podMac }: WiredPod): Promise<void> {
  const families = new Set(pod.addresses.map(family))
  for (const each of families) {
    node.writeSysctl(`ipv${each}/conf/${pod.hostIfname}/forwarding`, '1')
  }
  await node.request(
    setUp(ifindex),
    ...pod.addresses.flatMap((address) => [
      putNeighbour(ifindex, address, podMac),
      putRoute({ destination: hostRoute(address), ifindex, protocol: ROUTE_PROTOCOL }),
    ]),
  )
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
