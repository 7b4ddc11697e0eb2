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
import { writeFileSync } from 'node:fs'
import { type Address, family, type Prefix } from '../core/address.ts'
import type { Fd } from './addon.ts'
import { attempt, attemptNow, isCode } from './kernel-error.ts'
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
      const ifindex = await attempt(
        subject,
        async () => parseLink((await node.request(getLink(pair.name)))[0]!).ifindex,
      )
      const wired = { ifindex, hostMac, podMac, mtu: pod.mtu, netnsCookie }
      await all(
        attempt(subject, () => configurePod(node, pod, netns, hostMac)),
        attempt(subject, () => node.request(withoutLinkLocal(ifindex))).then(() => attach(wired)),
      )
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
    const { ifindex } = parseLink((await socket.request(getLink(pod.ifname)))[0]!)
    const requests = [
      withoutLinkLocal(ifindex),
      setUp(LOOPBACK),
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
    await all(...requests.map((request) => socket.request(request)))
  } finally {
    socket.close()
  }
}

async function raiseHostSide(node: NodeNetwork, pod: PodWire, { ifindex, podMac }: WiredPod): Promise<void> {
  const families = new Set(pod.addresses.map(family))
  for (const each of families) {
    writeFileSync(`/proc/sys/net/ipv${each}/conf/${pod.hostIfname}/forwarding`, '1')
  }
  const requests = [
    setUp(ifindex),
    ...pod.addresses.flatMap((address) => [
      putNeighbour(ifindex, address, podMac),
      putRoute({ destination: hostRoute(address), ifindex, protocol: ROUTE_PROTOCOL }),
    ]),
  ]
  await all(...requests.map((request) => node.request(request)))
}

/** Waits for all also when one fails: what is undone then must not be done after it. */
async function all(...works: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(works)).find((result) => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
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
