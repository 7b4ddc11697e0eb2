// SPDX-License-Identifier: Apache-2.0
// ICMP errors about an allowed flow pass, whoever sends them; about nothing that is known they are judged like others.

import type { IpPacket } from '../../src/datapath/trace-packet.ts'
import { addressOf, egress, epoch, ingress, pod, service, tunnelled, world } from './cluster.ts'
import { delivered, dropped, fromNetdev, fromPod, packet, passed, sent, toPod } from './row.ts'
import { echoRequest, type InFamily, icmpError, tcp, udp, vxlan } from './vocabulary.ts'

const closed = world(pod('cart', { ingress: ingress('default-deny') }), pod('web'))

packet('the target says that nobody listens', {
  world: closed,
  given: [fromPod('cart', udp('cart:4000', 'away:53'))],
  when: fromNetdev(icmpError('port unreachable', 'away', udp('cart:4000', 'away:53'))),
  then: delivered('cart', icmpError('port unreachable', 'away', udp('cart:4000', 'away:53'), { hopLimit: 63 })),
})

packet('a router on the way says that the packet is too big', {
  world: closed,
  given: [fromPod('cart', tcp('cart:4000', 'far:80', 'S'))],
  when: fromNetdev(icmpError('packet too big', 'router', tcp('cart:4000', 'far:80', 'A'))),
  then: delivered('cart'),
})

packet('a node on the way says that the hop limit is used up', {
  world: closed,
  given: [fromPod('cart', udp('cart:4000', 'away:33434', { hopLimit: 2 }))],
  when: fromNetdev(icmpError('time exceeded', 'n2', udp('cart:4000', 'away:33434', { hopLimit: 1 }))),
  then: delivered('cart'),
})

packet('by VXLAN as well', {
  config: tunnelled,
  world: closed,
  given: [fromPod('cart', udp('cart:4000', 'away:33434', { hopLimit: 2 }))],
  when: fromNetdev(vxlan('n2', 'n1', icmpError('time exceeded', 'n2', udp('cart:4000', 'away:33434')))),
  then: delivered('cart'),
})

packet('the own node says that the hop limit is used up', {
  world: closed,
  given: [fromPod('cart', udp('cart:4000', 'away:33434', { hopLimit: 1 }))],
  when: toPod('cart', icmpError('time exceeded', 'n1', udp('cart:4000', 'away:33434', { hopLimit: 1 }))),
  then: passed(),
})

packet('an error about a ping', {
  world: closed,
  given: [fromPod('cart', echoRequest('cart', 'away', 5))],
  when: fromNetdev(icmpError('port unreachable', 'n2', echoRequest('cart', 'away', 5))),
  then: delivered('cart'),
})

packet('an error about an answer', {
  world: world(pod('web', { egress: egress('nothing') })),
  given: [fromNetdev(udp('away:4000', 'web:53')), fromPod('web', udp('web:53', 'away:4000'))],
  when: fromNetdev(icmpError('port unreachable', 'away', udp('web:53', 'away:4000'))),
  then: delivered('web'),
})

packet('a pod says that nobody listens although its egress is denied', {
  world: world(pod('web', { egress: egress('nothing') })),
  given: [fromNetdev(udp('away:4000', 'web:53'))],
  when: fromPod('web', icmpError('port unreachable', 'web', udp('away:4000', 'web:53'))),
  then: sent('n2'),
})

packet('between local pods as well', {
  world: world(pod('cart', { ingress: ingress('default-deny') }), pod('web', { egress: egress('nothing') })),
  given: [fromPod('cart', udp('cart:4000', 'web:53'))],
  when: fromPod('web', icmpError('port unreachable', 'web', udp('cart:4000', 'web:53'))),
  then: delivered('cart'),
})

packet('an error about no flow is judged by policy', {
  world: closed,
  when: fromNetdev(icmpError('port unreachable', 'away', udp('cart:4000', 'away:53'))),
  then: dropped('POLICY_INGRESS', null),
})

packet('an error about the flow of another is judged by policy', {
  world: closed,
  given: [fromPod('web', udp('web:4000', 'away:53'))],
  when: fromNetdev(icmpError('port unreachable', 'away', udp('cart:4000', 'away:53'))),
  then: dropped('POLICY_INGRESS', null),
})

packet('an error leaves no flow behind', {
  world: world(pod('cart'), pod('web')),
  when: fromPod('cart', icmpError('port unreachable', 'cart', udp('away:4000', 'cart:53'))),
  then: sent('n2'),
})

packet('a pod reports no error about what was not sent to it, though the flow that it quotes is allowed', {
  world: world(pod('cart'), pod('web', { egress: egress('nothing') })),
  given: [fromPod('cart', udp('cart:4000', 'away:53')), fromNetdev(udp('away:53', 'cart:4000'))],
  when: fromPod('web', icmpError('port unreachable', 'web', udp('away:53', 'cart:4000'))),
  then: dropped('POLICY_EGRESS', null),
})

packet('a pod does not speak for another in an error', {
  world: closed,
  given: [fromPod('cart', udp('cart:4000', 'away:53'))],
  when: fromPod('web', icmpError('port unreachable', 'away', udp('cart:4000', 'away:53'))),
  then: dropped('SOURCE'),
})

const shop = world(pod('cart', { ingress: ingress('default-deny') }), service('shop:80', 'away:8080'))

packet('an error of a backend comes from the Service, and quotes what the client sent', {
  world: shop,
  given: [fromPod('cart', tcp('cart:4000', 'shop:80', 'S'))],
  when: fromNetdev(icmpError('port unreachable', 'away', tcp('cart:4000', 'away:8080', 'S'))),
  then: delivered('cart', icmpError('port unreachable', 'shop', tcp('cart:4000', 'shop:80', 'S'), { hopLimit: 63 })),
})

packet('an error of a router about a translated packet quotes what the client sent', {
  world: shop,
  given: [fromPod('cart', tcp('cart:4000', 'shop:80', 'S'))],
  when: fromNetdev(icmpError('packet too big', 'n2', tcp('cart:4000', 'away:8080', 'A'))),
  then: delivered('cart', icmpError('packet too big', 'n2', tcp('cart:4000', 'shop:80', 'A'), { hopLimit: 63 })),
})

packet('the own node tells the client of a Service about its hop limit', {
  world: shop,
  given: [fromPod('cart', tcp('cart:4000', 'shop:80', 'S'))],
  when: toPod('cart', icmpError('time exceeded', 'n1', tcp('cart:4000', 'away:8080', 'S'))),
  then: passed(icmpError('time exceeded', 'n1', tcp('cart:4000', 'shop:80', 'S'))),
})

const misdirected: InFamily<IpPacket> = (family) => ({
  ...icmpError('port unreachable', 'away', udp('web:4000', 'away:53'))(family),
  destination: addressOf('cart', family),
})

packet("an error does not reach a pod by quoting another's flow", {
  world: closed,
  given: [fromPod('web', udp('web:4000', 'away:53'))],
  when: fromNetdev(misdirected),
  then: dropped('POLICY_INGRESS', null),
})

packet('an error about a flow of an older epoch is judged by policy', {
  world: closed,
  given: [fromPod('cart', udp('cart:4000', 'away:53'))],
  changed: world(pod('cart', { ingress: ingress('default-deny') }), epoch(8)),
  when: fromNetdev(icmpError('port unreachable', 'away', udp('cart:4000', 'away:53'))),
  then: dropped('POLICY_INGRESS', null),
})
