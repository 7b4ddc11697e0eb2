// SPDX-License-Identifier: Apache-2.0
// The wires of a cluster.
//
//    [n1] eth0 --- n1 \
//    [n2] eth0 --- n2 - br0 172.18.0.1, fd00:18::1 [fabric]
//    [control] eth0 - control /
//
// The default route leads to the fabric, which knows neither pods nor Services: a process cannot look up a Service
// address without some route to it, and what leaves a node for a Service untranslated is lost, as it should be.

import { ipBatch, runTool } from '../../src/lab/process.ts'
import type { Families } from '../../src/lab/state.ts'
import { netnsName, netnsPath } from './names.ts'

export const podCIDRs = { 4: '10.244.0.0/16', 6: 'fd00:10:244::/56' } as const
export const serviceCIDRs = { 4: '10.96.0.0/16', 6: 'fd00:10:96::/112' } as const
/** First addresses of the Service ranges: Service default/kubernetes. */
export const kubernetesIPs = { 4: '10.96.0.1', 6: 'fd00:10:96::1' } as const
export const dnsIPs = { 4: '10.96.0.10', 6: 'fd00:10:96::a' } as const

export function familiesOf(families: Families): (4 | 6)[] {
  return [...families].map((family) => (family === '4' ? 4 : 6))
}

/** Addresses of a place on the fabric, in the order of the families. */
export function addressesOf(place: string, families: Families): string[] {
  const number = place === 'control' ? 10 : 10 + Number(place.slice(1))
  return familiesOf(families).map((family) => (family === 4 ? `172.18.0.${number}` : `fd00:18::${number}`))
}

export async function makeNetwork(cluster: string, families: Families, places: readonly string[]): Promise<void> {
  const all = ['fabric', ...places]
  await ipBatch(
    null,
    all.map((place) => `netns add ${netnsName(cluster, place)}`),
  )
  await Promise.all(all.map((place) => prepareNetns(cluster, place)))
  await ipBatch(netnsName(cluster, 'fabric'), [
    'link set lo up',
    'link add br0 type bridge mcast_snooping 0',
    'link set br0 up',
    ...(families.includes('4') ? ['addr add 172.18.0.1/24 dev br0'] : []),
    ...(families.includes('6') ? ['addr add fd00:18::1/64 dev br0 nodad'] : []),
    ...places.flatMap((place) => [
      `link add ${place} type veth peer name eth0 netns ${netnsName(cluster, place)}`,
      `link set ${place} master br0 up`,
    ]),
  ])
  await Promise.all(
    places.map((place) =>
      ipBatch(netnsName(cluster, place), [
        'link set lo up',
        'link set eth0 up',
        ...addressesOf(place, families).flatMap((ip) =>
          ip.includes(':')
            ? [`addr add ${ip}/64 dev eth0 nodad`, 'route add default via fd00:18::1']
            : [`addr add ${ip}/24 dev eth0`, 'route add default via 172.18.0.1'],
        ),
      ]),
    ),
  )
}

/** Nodes and the control plane forward; nobody waits for duplicate address detection on these wires. A node that sends back
 *  where it came from, to a backend elsewhere, would tell of a better way, and the kernel counts that against the ICMP errors
 *  that it may send to one host. */
async function prepareNetns(cluster: string, place: string): Promise<void> {
  const settings = [
    'ipv6/conf/default/accept_dad=0',
    'ipv6/conf/default/accept_ra=0',
    'ipv4/conf/all/send_redirects=0',
    'ipv4/conf/default/send_redirects=0',
    ...(place === 'fabric' ? [] : ['ipv4/ip_forward=1', 'ipv6/conf/all/forwarding=1']),
  ].map((setting) => setting.split('='))
  const script = settings.map(([key, value]) => `echo ${value} >/proc/sys/net/${key}`).join(' && ')
  await runTool(['nsenter', `--net=${netnsPath(cluster, place)}`, '--', 'sh', '-c', script])
}

/** Routes at `place` to the pods of a node. */
export async function routePods(
  cluster: string,
  place: string,
  cidrs: readonly string[],
  nodeIPs: readonly string[],
): Promise<void> {
  const via = (cidr: string) => nodeIPs.find((ip) => ip.includes(':') === cidr.includes(':'))!
  await ipBatch(
    netnsName(cluster, place),
    cidrs.map((cidr) => `route replace ${cidr} via ${via(cidr)}`),
  )
}

/** Pulls or plugs the fabric link of a node. */
export async function setNodeLink(cluster: string, node: string, up: boolean): Promise<void> {
  await ipBatch(netnsName(cluster, 'fabric'), [`link set ${node} ${up ? 'up' : 'down'}`])
}
