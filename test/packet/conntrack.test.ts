// SPDX-License-Identifier: Apache-2.0
// Conntrack (DESIGN 13): replies pass, denials are never cached, a SYN is always new, an epoch makes a flow prove
// itself again, and what was evicted is rebuilt.

import { allow, deny, egress, epoch, ingress, pod, world } from './cluster.ts'
import { flowOf } from './flow.ts'
import { delivered, dropped, fromNetdev, fromPod, packet, passed, sent, toPod } from './row.ts'
import { echoReply, echoRequest, tcp, udp } from './vocabulary.ts'

const syn = fromPod('cart', tcp('cart:4000', 'away:80', 'S'))
const synAck = fromNetdev(tcp('away:80', 'cart:4000', 'SA'))
const sends = fromPod('cart', tcp('cart:4000', 'away:80', 'A'))
const receives = fromNetdev(tcp('away:80', 'cart:4000', 'A'))

const isolatedCart = world(pod('cart', { ingress: ingress('default-deny') }), pod('web'))

packet('reply of an allowed flow passes although ingress is denied by default', {
  world: isolatedCart,
  given: [syn],
  when: synAck,
  then: delivered('cart'),
})

packet('a UDP reply of an allowed flow passes although ingress is denied by default', {
  world: isolatedCart,
  given: [fromPod('cart', udp('cart:4000', 'away:53'))],
  when: fromNetdev(udp('away:53', 'cart:4000')),
  then: delivered('cart'),
})

const webIsIsolated = pod('web', { ingress: ingress('default-deny') })
const toWeb = fromPod('cart', udp('cart:4000', 'web:53'))

packet('to an address that nobody has no flow is opened: the pod that gets it is not reached by it', {
  world: world(pod('cart')),
  given: [toWeb],
  changed: world(pod('cart'), webIsIsolated),
  when: toWeb,
  then: dropped('POLICY_INGRESS', null),
})

packet('nor is a flow to a pod that is gone renewed: the next pod of its address is not reached by it', {
  world: world(pod('cart'), epoch(8)),
  state: flowOf('flows', udp('cart:4000', 'web:53'), 30),
  given: [toWeb],
  changed: world(pod('cart'), webIsIsolated, epoch(8)),
  when: toWeb,
  then: dropped('POLICY_INGRESS', null),
})

packet('a reply from another port is no reply', {
  world: isolatedCart,
  given: [fromPod('cart', udp('cart:4000', 'away:53'))],
  when: fromNetdev(udp('away:54', 'cart:4000')),
  then: dropped('POLICY_INGRESS', null),
})

packet('a UDP packet without a flow is judged in its own direction only', {
  world: isolatedCart,
  when: fromNetdev(udp('away:53', 'cart:4000')),
  then: dropped('POLICY_INGRESS', null),
})

packet('a SYN in reply direction is a new flow', {
  world: isolatedCart,
  given: [syn, synAck, sends],
  when: fromNetdev(tcp('away:80', 'cart:4000', 'S')),
  then: dropped('POLICY_INGRESS', null),
})

packet('a denied SYN in reply direction does not cut the flow', {
  world: isolatedCart,
  given: [syn, synAck, fromNetdev(tcp('away:80', 'cart:4000', 'S'))],
  when: receives,
  then: delivered('cart'),
})

packet('a denied packet leaves no entry: its reply is denied as well', {
  world: world(pod('cart', { egress: egress('e', deny('no', 'any')), ingress: ingress('default-deny') })),
  given: [fromPod('cart', udp('cart:4000', 'away:53'))],
  when: fromNetdev(udp('away:53', 'cart:4000')),
  then: dropped('POLICY_INGRESS', null),
})

packet('the same SYN twice is one flow', {
  world: isolatedCart,
  given: [syn],
  when: syn,
  then: sent('n2'),
})

packet('FIN of both ends passes', {
  world: isolatedCart,
  given: [
    syn,
    synAck,
    fromPod('cart', tcp('cart:4000', 'away:80', 'FA')),
    fromNetdev(tcp('away:80', 'cart:4000', 'FA')),
  ],
  when: sends,
  then: sent('n2'),
})

packet('RST is remembered as an end', {
  world: isolatedCart,
  given: [syn],
  when: fromNetdev(tcp('away:80', 'cart:4000', 'RA')),
  then: delivered('cart'),
})

packet('after the ends of one connection its ports serve the next', {
  world: isolatedCart,
  given: [
    syn,
    synAck,
    fromPod('cart', tcp('cart:4000', 'away:80', 'FA')),
    fromNetdev(tcp('away:80', 'cart:4000', 'FA')),
    syn,
  ],
  when: synAck,
  then: delivered('cart'),
})

packet('an evicted TCP flow is rebuilt by a packet of its original direction', {
  world: isolatedCart,
  when: sends,
  then: sent('n2'),
})

packet('an evicted TCP flow is rebuilt by a reply', {
  world: isolatedCart,
  when: receives,
  then: delivered('cart'),
})

packet('a TCP packet without a flow that neither orientation allows is denied', {
  world: world(pod('cart', { egress: egress('e'), ingress: ingress('default-deny') })),
  when: receives,
  then: dropped('POLICY_INGRESS', null),
})

packet('a flow rebuilt in reply orientation goes on in both', {
  world: isolatedCart,
  given: [receives],
  when: sends,
  then: sent('n2'),
})

packet('an allowed flow between local pods: the reply passes both isolations', {
  world: world(
    pod('cart', { ingress: ingress('default-deny') }),
    pod('web', { egress: egress('nothing'), ingress: ingress('s', allow('80', 'any', 'TCP/80')) }),
  ),
  given: [fromPod('cart', tcp('cart:4000', 'web:80', 'S'))],
  when: fromPod('web', tcp('web:80', 'cart:4000', 'SA')),
  then: delivered('cart'),
})

packet('an established flow passes without policy', {
  world: isolatedCart,
  given: [syn, synAck, sends],
  changed: world(pod('cart', { egress: egress('nothing'), ingress: ingress('default-deny') }), pod('web')),
  when: sends,
  then: sent('n2'),
})

packet('after a new epoch an established flow that is now denied is cut', {
  world: isolatedCart,
  given: [syn, synAck, sends],
  changed: world(pod('cart', { egress: egress('nothing'), ingress: ingress('default-deny') }), epoch(8)),
  when: sends,
  then: dropped('POLICY_EGRESS', null),
})

packet('after a new epoch a reply is judged in the original direction: denied', {
  world: isolatedCart,
  given: [syn, synAck],
  changed: world(pod('cart', { egress: egress('nothing') }), epoch(8)),
  when: receives,
  then: dropped('POLICY_EGRESS', null),
})

packet('after a new epoch a reply is judged in the original direction: allowed', {
  world: isolatedCart,
  given: [syn, synAck],
  changed: world(pod('cart', { ingress: ingress('default-deny') }), epoch(8)),
  when: receives,
  then: delivered('cart'),
})

packet('after a new epoch a UDP reply is judged in the original direction', {
  world: isolatedCart,
  given: [fromPod('cart', udp('cart:4000', 'away:53')), fromNetdev(udp('away:53', 'cart:4000'))],
  changed: world(pod('cart', { egress: egress('nothing') }), epoch(8)),
  when: fromNetdev(udp('away:53', 'cart:4000')),
  then: dropped('POLICY_EGRESS', null),
})

packet('an echo reply passes although ingress is denied by default', {
  world: isolatedCart,
  given: [fromPod('cart', echoRequest('cart', 'away', 77))],
  when: fromNetdev(echoReply('away', 'cart', 77)),
  then: delivered('cart'),
})

packet('an allowed ping does not open the way back for a ping', {
  world: isolatedCart,
  given: [fromPod('cart', echoRequest('cart', 'away', 77)), fromNetdev(echoReply('away', 'cart', 77))],
  when: fromNetdev(echoRequest('away', 'cart', 77)),
  then: dropped('POLICY_INGRESS', null),
})

packet('an allowed ping does not open the way back for a ping from a lower address', {
  world: world(pod('cart', { egress: egress('nothing') }), pod('web')),
  given: [fromNetdev(echoRequest('away', 'cart', 77)), fromPod('cart', echoReply('cart', 'away', 77))],
  when: fromPod('cart', echoRequest('cart', 'away', 77)),
  then: dropped('POLICY_EGRESS', null),
})

packet('an echo reply with another identifier is no reply', {
  world: world(pod('cart', { egress: egress('nothing'), ingress: ingress('default-deny') })),
  when: fromNetdev(echoReply('away', 'cart', 78)),
  then: dropped('POLICY_INGRESS', null),
})

packet('the reply of a pod to its own node passes although egress is denied', {
  world: world(pod('web', { egress: egress('nothing'), ingress: ingress('default-deny') })),
  given: [toPod('web', tcp('n1:4000', 'web:80', 'S'))],
  when: fromPod('web', tcp('web:80', 'n1:4000', 'SA')),
  then: passed(),
})

packet('the reply of the own node to a pod passes', {
  world: isolatedCart,
  given: [fromPod('cart', tcp('cart:4000', 'n1:10250', 'S'))],
  when: toPod('cart', tcp('n1:10250', 'cart:4000', 'SA')),
  then: passed(),
})
