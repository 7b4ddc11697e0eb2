// SPDX-License-Identifier: Apache-2.0
// A pod's wire as the kernel has it, for CNI's CHECK.

import type { Address, Prefix } from '../core/address.ts'
import { attempt, attemptNow, isCode } from './kernel-error.ts'
import type { NodeNetwork } from './node-network.ts'
import { findLink } from './routes.ts'
import {
  dumpAddresses,
  dumpRoutes,
  getLink,
  type Link,
  parseAddressMessage,
  parseLink,
  parseRoute,
} from './rtnetlink.ts'

const NETLINK_ROUTE = 0
const RT_TABLE_MAIN = 254

export interface InspectedWire {
  readonly mac: string
  readonly up: boolean
  readonly addresses: readonly Address[]
  /** Of the main table; gateway null: on link. */
  readonly routes: readonly { readonly destination: Prefix; readonly gateway: Address | null }[]
  /** The other end of the pair is the node's device of that name. */
  readonly peerIsOurs: boolean
}

/** null: the namespace has no such interface. */
export async function inspectPod(
  node: NodeNetwork,
  pod: { readonly netnsPath: string; readonly ifname: string; readonly hostIfname: string },
): Promise<InspectedWire | null> {
  const subject = `inspect ${pod.ifname} in ${pod.netnsPath}`
  const netns = attemptNow(subject, () => node.addon.openNetns(pod.netnsPath))
  const socket = node.addon.openNetlink(NETLINK_ROUTE, netns)
  try {
    const [answer] = await attempt(subject, () => socket.request(getLink(pod.ifname)))
    const link = parseLink(answer!)
    const [addresses, ...routes] = await attempt(subject, () =>
      Promise.all([dumpAddresses(), dumpRoutes(4), dumpRoutes(6)].map((request) => socket.request(request))),
    )
    return {
      mac: link.mac,
      up: link.up,
      addresses: addresses!
        .map(parseAddressMessage)
        .flatMap((each) => (each?.ifindex === link.ifindex ? [each.address] : [])),
      routes: routes
        .flat()
        .map(parseRoute)
        .flatMap((route) => {
          if (route?.ifindex !== link.ifindex || route.table !== RT_TABLE_MAIN) return []
          return [{ destination: route.destination, gateway: route.gateway ?? null }]
        }),
      peerIsOurs: await isPair(node, link, pod.hostIfname),
    }
  } catch (error) {
    if (isCode(error, 'ENODEV')) return null
    throw error
  } finally {
    socket.close()
    node.addon.closeFd(netns)
  }
}

async function isPair(node: NodeNetwork, inPod: Link, hostIfname: string): Promise<boolean> {
  const onNode = await findLink(node, hostIfname)
  return onNode !== undefined && onNode.ifindex === inPod.peer && onNode.peer === inPod.ifindex
}
