// SPDX-License-Identifier: Apache-2.0
// The sorter (docs/adr/0020): a network namespace whose stack puts datagrams together and cuts them again, so that their
// pieces come out in order:
//
//   node's namespace                        the sorter's, which nothing but two pinned netfilter links keeps alive
//   heddle_sort (from_sorter at ingress) --- eth0   defragments, forwards; default via 169.254.1.1 and fe80::1, permanent
//
// It has no address but a loopback device's, so it answers nobody, and its own limits for fragments (net.ipv4.ipfrag_high_thresh, 4 MiB).

import { existsSync, mkdirSync, readdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Family, Prefix } from '../core/address.ts'
import type { Addon, Fd, NetworkStep } from './addon.ts'
import { attempt } from './kernel-error.ts'
import type { NodeNetwork } from './node-network.ts'
import { findLink, ROUTE_PROTOCOL } from './routes.ts'
import { createVeth, putNeighbour, putRoute, setUp, type VethRequest, withoutLinkLocal } from './rtnetlink.ts'
import { chooseVeth, gatewayOf, removeLink } from './veth.ts'

const DEVICE = 'heddle_sort'
const IFNAME = 'eth0'
const LOOPBACK = 1 // ifindex, in every namespace
/** The most that a veth takes: what comes in disorder is as large as its sender likes. */
const MTU = 65_535
const families: readonly Family[] = [4, 6]

/** The device that leads to the sorter; made where it is missing, and then down. `ipv4Mtu`: no piece of IPv4 comes back larger
 *  (bytes). */
export async function openSorter(node: NodeNetwork, bpffs: string, ipv4Mtu: number): Promise<number> {
  const folder = join(bpffs, 'heddle')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const pins = families.map((family) => join(folder, `sorter${family}-${ipv4Mtu}`))
  const present = await findLink(node, DEVICE)
  if (present !== undefined && pins.every((pin) => existsSync(pin))) return present.ifindex
  await closeSorter(node, bpffs)
  return attempt('make the sorter of fragments', () => make(node, pins, ipv4Mtu))
}

/** Raises the device: from now on what comes out of it meets its program. Idempotent. */
export async function startSorter(node: NodeNetwork, ifindex: number): Promise<void> {
  await node.request(setUp(ifindex))
}

/** Idempotent. */
export async function closeSorter(node: NodeNetwork, bpffs: string): Promise<void> {
  await removeLink(node, DEVICE)
  const folder = join(bpffs, 'heddle')
  if (!existsSync(folder)) return
  for (const file of readdirSync(folder)) if (/^sorter[46]-/.test(file)) unlinkSync(join(folder, file))
}

async function make(node: NodeNetwork, pins: readonly string[], ipv4Mtu: number): Promise<number> {
  const { addon } = node
  const netns = addon.newNetns()
  try {
    const pair = chooseVeth({ hostIfname: DEVICE, ifname: IFNAME, mtu: MTU }, netns)
    await node.configure([
      node.requests([createVeth(pair), withoutLinkLocal(pair.ifindex)]),
      ...settings(node, netns),
      node.requests(inside(pair, ipv4Mtu), netns),
    ])
    for (const [i, family] of families.entries()) await pinDefragmenter(addon, netns, family, pins[i]!)
    return pair.ifindex
  } finally {
    addon.closeFd(netns)
  }
}

/** Back by the device that the packet came by, whatever its source; nobody is told of a better way. */
function settings(node: NodeNetwork, netns: Fd): readonly NetworkStep[] {
  const ipv4 = ['all', IFNAME].flatMap((each) => [
    [`ipv4/conf/${each}/rp_filter`, '0'],
    [`ipv4/conf/${each}/send_redirects`, '0'],
  ])
  const ipv6 = [
    [`ipv6/conf/${IFNAME}/disable_ipv6`, '0'],
    ['ipv6/conf/all/forwarding', '1'],
  ]
  const all = [['ipv4/ip_forward', '1'], ...ipv4, ...(existsSync('/proc/sys/net/ipv6') ? ipv6 : [])]
  return all.map(([path, value]) => node.setting(path!, value!, netns))
}

function inside({ peerIfindex, mac }: VethRequest, ipv4Mtu: number): readonly Uint8Array[] {
  const usable = existsSync('/proc/sys/net/ipv6') ? families : ([4] as const)
  const routes = usable.flatMap((family) => {
    const destination = (family === 4 ? '0.0.0.0/0' : '::/0') as Prefix
    const gateway = gatewayOf(family)
    const route = { destination, gateway, ifindex: peerIfindex, protocol: ROUTE_PROTOCOL }
    return [
      putNeighbour(peerIfindex, gateway, mac),
      putRoute(family === 4 ? { ...route, mtu: ipv4Mtu } : route), // only IPv4 cuts on the way
    ]
  })
  // Before an address is anywhere the kernel takes no gateway (net/ipv4/fib_frontend.c __inet_dev_addr_type, v6.6).
  return [setUp(LOOPBACK), withoutLinkLocal(peerIfindex), setUp(peerIfindex), ...routes]
}

async function pinDefragmenter(addon: Addon, netns: Fd, family: Family, pin: string): Promise<void> {
  const link = await addon.defragment(netns, family)
  try {
    addon.pin(link, pin)
  } finally {
    addon.closeFd(link)
  }
}
