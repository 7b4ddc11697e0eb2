// SPDX-License-Identifier: Apache-2.0
// IP fragments: the first brings the ports, later ones find them; one before its first is dropped and counted.

import { allow, egress, ingress, pod, tunnelled, world } from './cluster.ts'
import { delivered, dropped, fromNetdev, fromPod, packet, passed, sent } from './row.ts'
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
