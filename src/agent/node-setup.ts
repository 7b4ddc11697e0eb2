// SPDX-License-Identifier: Apache-2.0
// This node as its own network namespace shows it: the uplink, the MTU of pods, and the settings that forwarding needs.

import { existsSync, readFileSync } from 'node:fs'
import { type Address, compareAddresses, family, prefixContains, specialAddress } from '../core/address.ts'
import { nodeId } from '../core/names.ts'
import { DsrTransports, type NodeConfig, TunnelMode } from '../generated/abi.ts'
import { bigTCPBytes, disableBigTCP, enableBigTCP } from '../kernel/big-tcp.ts'
import type { NodeNetwork } from '../kernel/node-network.ts'
import { disableOffload } from '../kernel/offloads.ts'
import { findLink, nexthopOf, readAddresses } from '../kernel/routes.ts'
import type { Link } from '../kernel/rtnetlink.ts'
import { nodeAddress, vxlanOverhead } from '../routing/compile.ts'
import type { Node } from '../world/objects.ts'
import type { Config } from './config.ts'

export interface LocalNode {
  readonly node: Node
  readonly uplink: Link
  /** Bytes; what a pod may send so that the packet still fits the uplink. */
  readonly podMtu: number
  /** Largest IPv4 packet (bytes) that a pod's TCP hands on uncut; undefined: the kernel's default. */
  readonly podGsoIPv4MaxBytes: number | undefined
  /** The first InternalIP of each family, where a device here has it. */
  readonly nodeAddresses: readonly Address[]
  /** ifindex; 0: fragments that come before their first are dropped. */
  readonly sorter: number
}

type Examined = Omit<LocalNode, 'sorter'>

/** Throws a sentence when the uplink cannot be found. */
export async function examineNode(network: NodeNetwork, config: Config, node: Node): Promise<Examined> {
  const uplink = await findUplink(network, config, node)
  const podMtu = config.mtu === 'auto' ? uplink.mtu - overhead(config, node) : config.mtu
  const held = (await readAddresses(network)).map(({ address }) => address)
  const nodeAddresses = ([4, 6] as const)
    .flatMap((each) => nodeAddress(node, each) ?? [])
    .filter((at) => held.includes(at))
  const podGsoIPv4MaxBytes = wantsBigTCP(config, uplink) ? bigTCPBytes(uplink) : undefined
  return { node, uplink, podMtu, podGsoIPv4MaxBytes, nodeAddresses }
}

/** Drivers promise to cut large packets, but few have met one inside a tunnel, whose UDP header cannot tell its length. */
function wantsBigTCP({ bigTCP, mode }: Config, uplink: Link): boolean {
  return bigTCP === 'auto' ? mode === 'native' || uplink.kind === 'veth' : bigTCP === 'always'
}

/** This node's InternalIPs, or what its devices have of the prefixes that the configuration names; sorted. */
export async function findNodePortAddresses(
  network: NodeNetwork,
  { nodePortAddresses }: Config,
  node: Node,
): Promise<readonly Address[]> {
  if (nodePortAddresses.length === 0) return node.internalIPs
  const held = new Set((await readAddresses(network)).map(({ address }) => address))
  return [...held]
    .filter((address) => [null, 'loopback'].includes(specialAddress(address)))
    .filter((address) => nodePortAddresses.some((prefix) => prefixContains(prefix, address)))
    .sort(compareAddresses)
}

async function findUplink(network: NodeNetwork, config: Config, node: Node): Promise<Link> {
  if (config.uplink !== 'auto') {
    const link = await findLink(network, config.uplink)
    if (link === undefined) throw new Error(`there is no uplink ${config.uplink} here`)
    return link
  }
  const holder = (await readAddresses(network)).find(({ address }) => node.internalIPs.includes(address))
  const link = holder && (await findLink(network, holder.ifindex))
  if (link === undefined) {
    throw new Error(
      `no device here has an InternalIP of node ${node.name} (${node.internalIPs.join(', ')}): set uplink`,
    )
  }
  return link
}

/** The larger of the families that tunnel: a pod has one MTU for both. */
function overhead({ mode }: Config, node: Node): number {
  if (mode === 'native') return 0
  return Math.max(...node.internalIPs.map((address) => vxlanOverhead[family(address)]))
}

/** Forwarding on, offloads of the uplink as the data plane needs them; idempotent. */
export async function prepareNode(network: NodeNetwork, { mode }: Config, local: Examined): Promise<void> {
  const { uplink, podGsoIPv4MaxBytes } = local
  network.writeSysctl('ipv4/ip_forward', '1')
  if (existsSync('/proc/sys/net/ipv6')) {
    // A router ignores advertisements, and with them perhaps its own default route, unless told otherwise.
    if (getSysctl(`ipv6/conf/${uplink.name}/accept_ra`) === '1')
      network.writeSysctl(`ipv6/conf/${uplink.name}/accept_ra`, '2')
    network.writeSysctl('ipv6/conf/all/forwarding', '1')
  }
  // Strict filtering would drop what pods of other nodes send when the way back leads elsewhere; loose is 2.
  const isStrict = ['all', uplink.name].some((each) => getSysctl(`ipv4/conf/${each}/rp_filter`) === '1')
  if (isStrict) network.writeSysctl(`ipv4/conf/${uplink.name}/rp_filter`, '2')
  // A veth hands a datagram of UDP_SEGMENT on uncut; what a program takes out of the tunnel then cannot be cut any more.
  if (mode === 'vxlan' && uplink.peer !== undefined) {
    await disableOffload(network.addon, uplink.ifindex, 'tx-udp-segmentation')
  }
  if (podGsoIPv4MaxBytes === undefined) await disableBigTCP(network, uplink)
  else await enableBigTCP(network, uplink, podGsoIPv4MaxBytes)
}

/** What the programs are told of this node, but for their secret (seed.ts). */
export function nodeConfigOf(
  config: Config,
  { node, uplink, sorter }: LocalNode,
  netnsCookie: bigint,
): Omit<NodeConfig, 'seed'> {
  return {
    ipv4: nodeAddress(node, 4) ?? ('::' as Address),
    ipv6: nodeAddress(node, 6) ?? ('::' as Address),
    node: nodeId(node.name),
    netnsCookie,
    uplink: uplink.ifindex,
    vni: config.vni,
    tunnelPort: config.tunnelPort,
    tunnelMode: config.mode === 'vxlan' ? TunnelMode.VXLAN : TunnelMode.NONE,
    masquerade: config.masquerade ? 1 : 0,
    dsr: config.loadBalancerMode === 'hybrid' ? DsrTransports.TCP : 0,
    natPortMin: config.natPortMin,
    natPortMax: config.natPortMax,
    refuseDenied: config.policyRefuse ? 1 : 0,
    sorter,
  }
}

/** For each address that is reached through the uplink: the neighbour there. */
export async function findGateways(
  network: NodeNetwork,
  uplink: Link,
  addresses: readonly Address[],
): Promise<ReadonlyMap<Address, Address>> {
  const found = await Promise.all(
    addresses.map(async (address) => [address, await nexthopOf(network, address)] as const),
  )
  return new Map(found.flatMap(([address, hop]) => (hop?.ifindex === uplink.ifindex ? [[address, hop.gateway]] : [])))
}

function getSysctl(path: string): string {
  return readFileSync(`/proc/sys/net/${path}`, 'utf8').trim()
}
