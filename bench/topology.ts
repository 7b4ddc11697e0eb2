// SPDX-License-Identifier: Apache-2.0
// What Heddle is compared with: two nodes on one veth wire, and pods as kernel networking alone would wire them.
//
//      a   b              c
//      |   |              |
//     [ n1 ]-- eth0 -- [ n2 ]      192.168.77.0/24; pods 10.77.1.0/24 on n1, 10.77.2.0/24 on n2
//
// Everything is in network namespaces named hdn-<topology>-<place>, which `removeTopologies` finds after a crash too.
// Clients run in cgroups as deep as those of a lab, <cgroup2>/heddle-bench/<topology>/<node>/<place>: where the kernel keeps
// pressure figures (PSI), each level costs every switch between client and server, 4 to 5 % of a UDP_RR for four.

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeCgroup, removeCgroup } from '../src/lab/cgroup.ts'
import { cgroup2Mount } from '../src/lab/names.ts'
import { ipBatch, runTool } from '../src/lab/process.ts'
import { iptablesRules, nftablesRules } from './kube-proxy.ts'

const prefix = 'hdn-'
export const nodeAddress = { n1: '192.168.77.1', n2: '192.168.77.2' } as const
export const podAddress = { a: '10.77.1.10', b: '10.77.1.11', c: '10.77.2.10' } as const
type Pod = keyof typeof podAddress
export type NodePlace = keyof typeof nodeAddress
type Place = Pod | NodePlace

const pods = Object.keys(podAddress) as readonly Pod[]
const nodes = Object.keys(nodeAddress) as readonly NodePlace[]
export const otherNode = { n1: 'n2', n2: 'n1' } as const
const nodeOf = { a: 'n1', b: 'n1', c: 'n2' } as const
const gateway = '169.254.1.1'

export type Kind = 'plain' | 'ptp' | 'bridge' | 'iptables' | 'nftables' | 'vxlan'

export function netns(topology: string, place: Place): string {
  return `${prefix}${topology}-${place}`
}

export function netnsPath(topology: string, place: Place): string {
  return `/run/netns/${netns(topology, place)}`
}

/** The cgroup that a client in this place joins. */
export function cgroup(topology: string, place: Place): string {
  const [node, below] = place in nodeOf ? [nodeOf[place as Pod], place] : [place, 'host']
  return join(cgroups(), topology, node, below)
}

function cgroups(): string {
  return join(cgroup2Mount(), 'heddle-bench')
}

/** Two nodes and, unless plain, their pods, forwarding by the kernel in the way that `kind` names. */
export async function makeTopology(kind: Kind, name: string = kind): Promise<void> {
  const places: readonly Place[] = kind === 'plain' ? nodes : [...nodes, ...pods]
  await ipBatch(
    null,
    places.map((place) => `netns add ${netns(name, place)}`),
  )
  for (const place of places) makeCgroup(cgroup(name, place))
  await Promise.all(places.map((place) => ipBatch(netns(name, place), ['link set lo up'])))
  await ipBatch(netns(name, 'n1'), [`link add eth0 type veth peer name eth0 netns ${netns(name, 'n2')}`])
  for (const node of nodes) {
    await ipBatch(netns(name, node), [`addr add ${nodeAddress[node]}/24 dev eth0`, 'link set eth0 up'])
  }
  if (kind === 'plain') return
  await Promise.all(nodes.map((node) => runTool(inNetns(name, node, 'sysctl', '-qw', 'net.ipv4.ip_forward=1'))))
  if (kind === 'bridge') await makeBridges(name)
  for (const pod of pods) await (kind === 'bridge' ? wireToBridge(name, pod) : wirePointToPoint(name, pod))
  await (kind === 'vxlan' ? makeTunnel(name) : makeRoutes(name))
  if (kind === 'iptables' || kind === 'nftables') await forgetConnections(kind)
  if (kind === 'iptables') await loadKubeProxyRules(kind, 1000)
}

/** Removes every topology of this prefix, whoever made it. */
export async function removeTopologies(): Promise<void> {
  const names = (await runTool(['ip', 'netns', 'list']))
    .split('\n')
    .map((line) => line.split(' ')[0]!)
    .filter((name) => name.startsWith(prefix))
  await ipBatch(
    null,
    names.map((name) => `netns del ${name}`),
  )
  await removeCgroup(cgroups())
}

/** The command line that becomes `argv` there. */
export function inNetns(topology: string, place: Place, ...argv: readonly string[]): readonly string[] {
  return ['nsenter', `--net=${netnsPath(topology, place)}`, '--', ...argv]
}

async function macOf(topology: string, place: Place, device: string): Promise<string> {
  return (await linkOf(topology, place, device)).address
}

interface Link {
  readonly ifindex: number
  readonly address: string
}

export async function linkOf(topology: string, place: Place, device: string): Promise<Link> {
  const links: readonly Link[] = JSON.parse(
    await runTool(['ip', '-j', '-n', netns(topology, place), 'link', 'show', 'dev', device]),
  )
  return links[0]!
}

async function wirePointToPoint(topology: string, pod: Pod): Promise<void> {
  const node = nodeOf[pod]
  const host = `pod${pod}`
  const address = podAddress[pod]
  await ipBatch(netns(topology, node), [
    `link add ${host} type veth peer name eth0 netns ${netns(topology, pod)}`,
    `link set ${host} up`,
    `route add ${address}/32 dev ${host} scope link`,
  ])
  await ipBatch(netns(topology, pod), [
    'link set eth0 up',
    `addr add ${address}/32 dev eth0`,
    `neigh add ${gateway} lladdr ${await macOf(topology, node, host)} dev eth0 nud permanent`,
    `route add default via ${gateway} dev eth0 onlink src ${address}`,
  ])
  const podMac = await macOf(topology, pod, 'eth0')
  await ipBatch(netns(topology, node), [`neigh add ${address} lladdr ${podMac} dev ${host} nud permanent`])
}

async function makeBridges(topology: string): Promise<void> {
  for (const [index, node] of nodes.entries()) {
    await ipBatch(netns(topology, node), [
      'link add br0 type bridge',
      `addr add 10.77.${index + 1}.1/24 dev br0`,
      'link set br0 up',
    ])
  }
}

async function wireToBridge(topology: string, pod: Pod): Promise<void> {
  const address = podAddress[pod]
  await ipBatch(netns(topology, nodeOf[pod]), [
    `link add pod${pod} type veth peer name eth0 netns ${netns(topology, pod)}`,
    `link set pod${pod} master br0 up`,
  ])
  await ipBatch(netns(topology, pod), [
    'link set eth0 up',
    `addr add ${address}/24 dev eth0`,
    `route add default via ${address.replace(/\d+$/, '1')}`,
  ])
}

async function makeRoutes(topology: string): Promise<void> {
  await ipBatch(netns(topology, 'n1'), [`route add 10.77.2.0/24 via ${nodeAddress.n2} dev eth0`])
  await ipBatch(netns(topology, 'n2'), [`route add 10.77.1.0/24 via ${nodeAddress.n1} dev eth0`])
}

async function makeTunnel(topology: string): Promise<void> {
  for (const [index, node] of nodes.entries()) {
    await ipBatch(netns(topology, node), [
      `link add vx0 type vxlan id 1 dev eth0 local ${nodeAddress[node]} dstport 8472 nolearning`,
      'link set vx0 up',
      `addr add 10.77.${index + 1}.0/32 dev vx0`,
    ])
  }
  for (const [own, other, number] of [
    ['n1', 'n2', 2],
    ['n2', 'n1', 1],
  ] as const) {
    const mac = await macOf(topology, other, 'vx0')
    await ipBatch(netns(topology, own), [
      `neigh add 10.77.${number}.0 lladdr ${mac} dev vx0 nud permanent`,
      `route add 10.77.${number}.0/24 via 10.77.${number}.0 dev vx0 onlink`,
    ])
    await runTool(inNetns(topology, own, 'bridge', 'fdb', 'append', mac, 'dev', 'vx0', 'dst', nodeAddress[other]))
  }
  await leaveRoomForTunnel(topology)
}

export async function leaveRoomForTunnel(topology: string): Promise<void> {
  await Promise.all(pods.map((pod) => ipBatch(netns(topology, pod), ['link set eth0 mtu 1450'])))
}

/** kube-proxy masquerades what comes by a NodePort. Within seconds the ports of connections that have ended, 2 minutes long in
 *  conntrack and 1 at the server, would be met again, and a connection that meets one waits a second: another matter. */
async function forgetConnections(topology: string): Promise<void> {
  await runTool(inNetns(topology, 'n1', 'sysctl', '-qw', 'net.netfilter.nf_conntrack_tcp_timeout_time_wait=1'))
  await runTool(inNetns(topology, 'b', 'sysctl', '-qw', 'net.ipv4.tcp_max_tw_buckets=0'))
}

/** Gives n1 kube-proxy's rules for `count` Services, in place of those that it had; the measured one leads to pod b. */
export async function loadKubeProxyRules(topology: 'iptables' | 'nftables', count: number): Promise<void> {
  const file = `/tmp/${netns(topology, 'n1')}.rules`
  const isNft = topology === 'nftables'
  const rules = isNft ? nftablesRules(count, podAddress.b, nodeAddress.n1) : iptablesRules(count, podAddress.b)
  writeFileSync(file, isNft ? `flush ruleset\n${rules}` : rules)
  try {
    await runTool(inNetns(topology, 'n1', ...(isNft ? ['nft', '-f', file] : ['iptables-restore', file])))
  } finally {
    rmSync(file)
  }
}
