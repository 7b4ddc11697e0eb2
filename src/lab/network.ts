// SPDX-License-Identifier: Apache-2.0
// The wires of a lab.
//
//    n1 eth0 --- n1 \                          outside eth0 203.0.113.2, 2001:db8:113::2
//                    br0 192.168.77.1      world       |
//    n2 eth0 --- n2 /    fd00:77::1  [fabric] ---------+
//
// Nodes share one link and have the fabric as default gateway, which knows neither pods nor Services: what leaves a node
// with a pod's address is lost there. `outside` has a route back to the nodes only. On a direct wire, for measuring, two
// nodes are the two ends of one veth pair and there is neither fabric nor outside; of one node the other end is `outside`,
// which is its gateway too.

import { CommandError } from '../core/command-error.ts'
import { netnsName, netnsPath } from './names.ts'
import { ipBatch, runTool } from './process.ts'
import type { Families, LabNode } from './state.ts'

export const outsideIPs = { 4: '203.0.113.2', 6: '2001:db8:113::2' } as const

/** Addresses and pod CIDRs of the node with this number (from 1). */
export function planNode(number: number, families: Families): LabNode {
  const has = (family: '4' | '6') => families.includes(family)
  return {
    name: `n${number}`,
    internalIPs: [
      ...(has('4') ? [`192.168.77.${10 + number}`] : []),
      ...(has('6') ? [`fd00:77::${(16 + number).toString(16)}`] : []),
    ],
    podCIDRs: [
      ...(has('4') ? [`10.244.${number}.0/24`] : []),
      ...(has('6') ? [`fd00:10:244:${number.toString(16)}::/64`] : []),
    ],
    agent: null,
    cut: false,
  }
}

export type Wire = 'fabric' | 'direct'

/** Makes fabric, outside and nodes with their links, addresses and routes. */
export async function makeNetwork(
  lab: string,
  families: Families,
  nodes: readonly LabNode[],
  wire: Wire,
): Promise<void> {
  if (wire === 'direct') return makeDirectWire(lab, families, nodes)
  const places = ['fabric', 'outside', ...nodes.map((node) => node.name)]
  await ipBatch(
    null,
    places.map((place) => `netns add ${netnsName(lab, place)}`),
  )
  // A link-local address under duplicate address detection delays the first neighbour solicitation by a second or two.
  const eager = { 'net/ipv6/conf/default/accept_dad': '0', 'net/ipv6/conf/default/accept_ra': '0' }
  const router = { 'net/ipv4/ip_forward': '1', 'net/ipv6/conf/all/forwarding': '1' }
  await Promise.all(places.map((place) => setSysctls(lab, place, place === 'fabric' ? { ...eager, ...router } : eager)))
  await makeFabric(lab, families, nodes)
  await Promise.all([makeOutside(lab, families), ...nodes.map((node) => makeNodeLink(lab, node))])
}

async function makeDirectWire(lab: string, families: Families, nodes: readonly LabNode[]): Promise<void> {
  const [left, right = netnsName(lab, 'outside'), ...more] = nodes.map((node) => netnsName(lab, node.name))
  if (left === undefined || more.length > 0)
    throw new CommandError('a direct wire joins two nodes, or one to what is outside', 2)
  await ipBatch(null, [`netns add ${left}`, `netns add ${right}`])
  await ipBatch(left, [`link add eth0 type veth peer name eth0 netns ${right}`])
  await Promise.all(nodes.map((node) => makeNodeLink(lab, node)))
  if (nodes.length === 1) await makeDirectOutside(lab, families)
}

async function makeDirectOutside(lab: string, families: Families): Promise<void> {
  await ipBatch(netnsName(lab, 'outside'), [
    'link set lo up',
    'link set eth0 up',
    ...(families.includes('4') ? ['addr add 192.168.77.1/24 dev eth0'] : []),
    ...(families.includes('6') ? ['addr add fd00:77::1/64 dev eth0 nodad'] : []),
  ])
}

async function makeFabric(lab: string, families: Families, nodes: readonly LabNode[]): Promise<void> {
  await ipBatch(netnsName(lab, 'fabric'), [
    'link set lo up',
    'link add br0 type bridge mcast_snooping 0',
    'link set br0 up',
    ...(families.includes('4') ? ['addr add 192.168.77.1/24 dev br0'] : []),
    ...(families.includes('6') ? ['addr add fd00:77::1/64 dev br0 nodad'] : []),
    ...nodes.flatMap(({ name }) => [
      `link add ${name} type veth peer name eth0 netns ${netnsName(lab, name)}`,
      `link set ${name} master br0 up`,
    ]),
    `link add world type veth peer name eth0 netns ${netnsName(lab, 'outside')}`,
    'link set world up',
    ...(families.includes('4') ? ['addr add 203.0.113.1/24 dev world'] : []),
    ...(families.includes('6') ? ['addr add 2001:db8:113::1/64 dev world nodad'] : []),
  ])
}

async function makeOutside(lab: string, families: Families): Promise<void> {
  await ipBatch(netnsName(lab, 'outside'), [
    'link set lo up',
    'link set eth0 up',
    ...(families.includes('4')
      ? [`addr add ${outsideIPs[4]}/24 dev eth0`, 'route add 192.168.77.0/24 via 203.0.113.1']
      : []),
    ...(families.includes('6')
      ? [`addr add ${outsideIPs[6]}/64 dev eth0 nodad`, 'route add fd00:77::/64 via 2001:db8:113::1']
      : []),
  ])
}

async function makeNodeLink(lab: string, node: LabNode): Promise<void> {
  const isV6 = (ip: string) => ip.includes(':')
  await ipBatch(netnsName(lab, node.name), [
    'link set lo up',
    'link set eth0 up',
    ...node.internalIPs.map((ip) => (isV6(ip) ? `addr add ${ip}/64 dev eth0 nodad` : `addr add ${ip}/24 dev eth0`)),
    ...node.internalIPs.map((ip) => `route add default via ${isV6(ip) ? 'fd00:77::1' : '192.168.77.1'}`),
  ])
}

/** Pulls or plugs the fabric link of a node. */
export async function setNodeLink(lab: string, node: string, up: boolean): Promise<void> {
  await ipBatch(netnsName(lab, 'fabric'), [`link set ${node} ${up ? 'up' : 'down'}`])
}

/** A pod's own network namespace, with only its loopback up, as a runtime prepares it before ADD. */
export async function makePodNetns(lab: string, place: string): Promise<void> {
  await runTool(['ip', 'netns', 'add', netnsName(lab, place)])
  await ipBatch(netnsName(lab, place), ['link set lo up'])
}

export async function deleteNetns(netns: readonly string[]): Promise<void> {
  await ipBatch(
    null,
    netns.map((name) => `netns del ${name}`),
  )
}

async function setSysctls(lab: string, place: string, values: Readonly<Record<string, string>>): Promise<void> {
  const script = Object.entries(values)
    .map(([key, value]) => `echo ${value} >/proc/sys/${key}`)
    .join(' && ')
  await runTool(['nsenter', `--net=${netnsPath(lab, place)}`, '--', 'sh', '-c', script])
}
