// SPDX-License-Identifier: Apache-2.0
// IP fragments: the first brings the ports, later ones find them. One before its first goes by the sorter, with all of its
// datagram, or is dropped and counted where there is none.

import { Protocol } from '../../src/core/protocol.ts'
import { allow, egress, ingress, pod, serviceOf, sorting, tunnelled, tunnelledSorting, world } from './cluster.ts'
import {
  type At,
  delivered,
  dropped,
  fromNetdev,
  fromPod,
  packet,
  passed,
  sent,
  sentToSorter,
  sorted,
  toPod,
} from './row.ts'
import { echoRequest, firstFragment, laterFragment, opaque, tcp, udp, vxlan } from './vocabulary.ts'

const datagram = udp('away:4000', 'web:53', { payloadBytes: 64 })
const out = udp('cart:4000', 'away:53', { payloadBytes: 64 })
const cluster = world(pod('cart'), pod('web'))
const only53 = world(pod('web', { ingress: ingress('s', allow('dns', 'any', 'UDP/53')) }))

packet('the first fragment is judged like a whole packet', {
  world: only53,
  when: fromNetdev(firstFragment(datagram, 0x1234)),
  then: delivered('web'),
})

packet('a later fragment follows its first', {
  world: only53,
  given: [fromNetdev(firstFragment(datagram, 0x1234))],
  when: fromNetdev(laterFragment(datagram, 0x1234)),
  then: delivered('web'),
})

packet('a later fragment in the middle follows its first', {
  world: only53,
  given: [fromNetdev(firstFragment(datagram, 0x1234))],
  when: fromNetdev(laterFragment(datagram, 0x1234, 128, true)),
  then: delivered('web'),
})

packet('a first fragment without its ports is dropped', {
  world: only53,
  when: fromNetdev(firstFragment(opaque('away', 'web', 6, { payloadBytes: 16 }), 0x1234)),
  then: dropped('PARSE'),
})

packet('a fragment before its first is dropped', {
  world: only53,
  when: fromNetdev(laterFragment(datagram, 0x1234)),
  then: dropped('FRAGMENT'),
})

packet('a fragment with another identification has no first', {
  world: only53,
  given: [fromNetdev(firstFragment(datagram, 0x1234))],
  when: fromNetdev(laterFragment(datagram, 0x1235)),
  then: dropped('FRAGMENT'),
})

packet('a fragment from another source has no first', {
  world: only53,
  given: [fromNetdev(firstFragment(datagram, 0x1234))],
  when: fromNetdev(laterFragment(udp('other:4000', 'web:53'), 0x1234)),
  then: dropped('FRAGMENT'),
})

packet('the fragments of a denied packet are denied', {
  world: only53,
  given: [fromNetdev(firstFragment(udp('away:4000', 'web:54', { payloadBytes: 64 }), 0x1234))],
  when: fromNetdev(laterFragment(datagram, 0x1234)),
  then: dropped('POLICY_INGRESS', null),
})

packet('a pod sends fragments to another node', {
  world: cluster,
  given: [fromPod('cart', firstFragment(out, 77))],
  when: fromPod('cart', laterFragment(out, 77)),
  then: sent('n2'),
})

packet('a pod sends a fragment before its first', {
  world: cluster,
  when: fromPod('cart', laterFragment(out, 77)),
  then: dropped('FRAGMENT'),
})

packet("a pod cannot plant ports for another pod's fragments", {
  world: world(pod('cart', { egress: egress('e', allow('dns', 'any', 'UDP/53')) }), pod('web')),
  given: [fromPod('web', firstFragment(out, 77))],
  when: fromPod('cart', laterFragment(out, 77)),
  then: dropped('FRAGMENT'),
})

packet('fragments travel by VXLAN', {
  config: tunnelled,
  world: only53,
  given: [fromNetdev(vxlan('n2', 'n1', firstFragment(datagram, 9)))],
  when: fromNetdev(vxlan('n2', 'n1', laterFragment(datagram, 9))),
  then: delivered('web'),
})

packet('a ping in fragments', {
  world: cluster,
  given: [fromPod('cart', firstFragment(echoRequest('cart', 'away', 5, { payloadBytes: 56 }), 3))],
  when: fromPod('cart', laterFragment(echoRequest('cart', 'away', 5), 3)),
  then: sent('n2'),
})

packet('fragments for the node itself are its own business, early ones as well', {
  world: cluster,
  when: fromNetdev(laterFragment(udp('away:4000', 'n1:53'), 3)),
  then: passed(),
})

packet('a TCP packet in fragments', {
  world: cluster,
  given: [fromPod('cart', firstFragment(tcp('cart:4000', 'away:80', 'A', { payloadBytes: 44 }), 3))],
  when: fromPod('cart', laterFragment(tcp('cart:4000', 'away:80', 'A'), 3)),
  then: sent('n2'),
})

// -- Out of order ------------------------------------------------------------------------------------------------------

const first = firstFragment(datagram, 0x1234)
const later = laterFragment(datagram, 0x1234)

packet('a fragment before its first goes by the sorter', {
  config: sorting,
  world: only53,
  when: fromNetdev(later),
  then: sentToSorter(),
})

packet('the first follows the later ones that came before it, and is not judged yet', {
  config: sorting,
  world: only53,
  given: [fromNetdev(laterFragment(udp('away:4000', 'web:54'), 0x1234))],
  when: fromNetdev(firstFragment(udp('away:4000', 'web:54', { payloadBytes: 64 }), 0x1234)),
  then: sentToSorter(),
})

packet('another later one follows too, though the first has come', {
  config: sorting,
  world: only53,
  given: [fromNetdev(later), fromNetdev(first)],
  when: fromNetdev(laterFragment(datagram, 0x1234, 128, true)),
  then: sentToSorter(),
})

packet('what is in order never goes by the sorter', {
  config: sorting,
  world: only53,
  given: [fromNetdev(first)],
  when: fromNetdev(later),
  then: delivered('web'),
})

packet('the first is judged when it comes back', {
  config: sorting,
  world: only53,
  given: [fromNetdev(later), fromNetdev(first)],
  when: sorted(fromNetdev(first)),
  then: delivered('web'),
})

packet('later ones follow it', {
  config: sorting,
  world: only53,
  given: [fromNetdev(later), fromNetdev(first), sorted(fromNetdev(first))],
  when: sorted(fromNetdev(later)),
  then: delivered('web'),
})

packet('what is denied in order is denied out of order', {
  config: sorting,
  world: only53,
  given: [fromNetdev(later)],
  when: sorted(fromNetdev(firstFragment(udp('away:4000', 'web:54', { payloadBytes: 64 }), 0x1234))),
  then: dropped('POLICY_INGRESS', null),
})

packet('what has been by the sorter does not go there again', {
  config: sorting,
  world: only53,
  when: sorted(fromNetdev(later)),
  then: dropped('FRAGMENT'),
})

packet("a pod's early fragment goes by the sorter with its own source only", {
  config: sorting,
  world: cluster,
  when: fromPod('web', laterFragment(out, 77)),
  then: dropped('SOURCE'),
})

packet("and a pod's own early fragment", {
  config: sorting,
  world: cluster,
  when: fromPod('cart', laterFragment(out, 77)),
  then: sentToSorter(),
})

packet('it comes back to the hook of its pod', {
  config: sorting,
  world: cluster,
  given: [fromPod('cart', laterFragment(out, 77)), sorted(fromPod('cart', firstFragment(out, 77)))],
  when: sorted(fromPod('cart', laterFragment(out, 77))),
  then: sent('n2'),
})

packet('a pod plants nothing among the early fragments of another', {
  config: sorting,
  world: cluster,
  given: [fromPod('web', laterFragment(out, 77))],
  when: fromPod('cart', firstFragment(out, 77)),
  then: sent('n2'),
})

packet('a bare source that must not be bare does not reach the sorter', {
  config: sorting,
  world: cluster,
  when: fromNetdev(laterFragment(udp('cart:4000', 'web:53'), 3)),
  then: dropped('BARE_SOURCE'),
})

packet('out of the tunnel a fragment goes by the sorter', {
  config: tunnelledSorting,
  world: only53,
  when: fromNetdev(vxlan('n2', 'n1', later)),
  then: sentToSorter(),
})

packet('out of the tunnel only what belongs to its node', {
  config: tunnelledSorting,
  world: only53,
  when: fromNetdev(vxlan('n3', 'n1', later)),
  then: dropped('TUNNEL_INNER'),
})

packet('what came in the tunnel comes back bare, and stays what came in it', {
  config: tunnelledSorting,
  world: only53,
  given: [fromNetdev(vxlan('n2', 'n1', later)), sorted(fromNetdev(first))],
  when: sorted(fromNetdev(later)),
  then: delivered('web'),
})

packet("another node's own fragments came in the tunnel where they are for a pod", {
  config: tunnelledSorting,
  world: cluster,
  given: [sorted(fromNetdev(firstFragment(udp('n2:4000', 'web:53', { payloadBytes: 64 }), 5)))],
  when: sorted(fromNetdev(laterFragment(udp('n2:4000', 'web:53'), 5))),
  then: delivered('web'),
})

packet('nobody else may say that it came in the tunnel', {
  config: tunnelledSorting,
  world: only53,
  when: fromNetdev(first),
  then: dropped('BARE_SOURCE'),
})

packet('a whole packet may come back too: what was cut small fits one', {
  config: tunnelledSorting,
  world: only53,
  when: sorted(fromNetdev(datagram)),
  then: delivered('web'),
})

packet("early fragments for the node itself may be a Service's: they go by the sorter", {
  config: sorting,
  world: cluster,
  when: fromNetdev(laterFragment(udp('client:4000', 'n1:53'), 3)),
  then: sentToSorter(),
})

packet("and are the stack's if they are none", {
  config: sorting,
  world: cluster,
  given: [sorted(fromNetdev(firstFragment(udp('client:4000', 'n1:53', { payloadBytes: 64 }), 3)))],
  when: sorted(fromNetdev(laterFragment(udp('client:4000', 'n1:53'), 3))),
  then: passed(),
})

const noHosts: readonly (readonly [string, At])[] = [
  ['for a group', fromNetdev(laterFragment(udp('client:4000', 'group:53'), 3))],
  ['from a loopback address', fromNetdev(laterFragment(udp('loopback:4000', 'web:53'), 3))],
  ['from nobody', fromNetdev(laterFragment(udp('nobody:4000', 'web:53'), 3))],
]
for (const [name, when] of noHosts) {
  packet(`the sorter takes nothing ${name}`, { config: sorting, world: cluster, when, then: dropped('FRAGMENT') })
}

packet('of what the stack sends to a pod the first never goes back', {
  config: sorting,
  world: cluster,
  given: [fromNetdev(later)],
  when: toPod('web', first, 10),
  then: passed(),
})

// -- Too large for the tunnel ------------------------------------------------------------------------------------------

const at = 'n1:30080'
const behind = world(serviceOf(at, { protocol: Protocol.UDP, external: ['away:8080'] }))
const large = firstFragment(udp('outside:40000', at, { payloadBytes: 1472 }), 7)
const small = firstFragment(udp('outside:40000', at, { payloadBytes: 1400 }), 7)

packet('a datagram in pieces that do not fit the tunnel goes by the sorter, which cuts it', {
  config: tunnelledSorting,
  world: behind,
  when: fromNetdev(large),
  then: sentToSorter(),
  families: [4],
})

packet('its later pieces follow', {
  config: tunnelledSorting,
  world: behind,
  given: [fromNetdev(large)],
  when: fromNetdev(laterFragment(udp('outside:40000', at), 7, 1480)),
  then: sentToSorter(),
  families: [4],
})

packet('and it comes back in pieces that fit', {
  config: tunnelledSorting,
  world: behind,
  given: [fromNetdev(large)],
  when: sorted(fromNetdev(small)),
  then: { ...sent('n2'), tunnel: true },
  families: [4],
})

packet('what still does not fit is dropped', {
  config: tunnelledSorting,
  world: behind,
  given: [fromNetdev(large)],
  when: sorted(fromNetdev(large)),
  then: dropped('TOO_LARGE'),
  families: [4],
})

packet('nobody cuts what must not be cut', {
  config: tunnelledSorting,
  world: behind,
  when: fromNetdev((family) => ({ ...large(family), dontFragment: true })),
  then: dropped('TOO_LARGE'),
  families: [4],
})

packet('nobody but its sender cuts a datagram of IPv6', {
  config: tunnelledSorting,
  world: behind,
  when: fromNetdev(large),
  then: dropped('TOO_LARGE'),
  families: [6],
})
