// SPDX-License-Identifier: Apache-2.0
// `policyRefuse`: what policy denies is answered where the sender is, so that connect and send fail at once. Off, there is
// silence: every other row of policy says so.

import { Protocol } from '../../src/core/protocol.ts'
import { allow, config, deny, egress, epoch, ingress, pod, serviceOf, tunnelled, UPLINK, world } from './cluster.ts'
import { delivered, dropped, fromNetdev, fromPod, limited, packet, refused, toAll, toPod } from './row.ts'
import { echoRequest, fresh, icmpError, opaque, tcp, udp, vxlan } from './vocabulary.ts'

const refusing = config({ refuseDenied: 1 })
const refusingInTunnel = { ...tunnelled, refuseDenied: 1 }
const closed = world(pod('cart', { egress: egress('e') }), pod('web', { ingress: ingress('s') }))

// -- To a pod of this node, which is refused where it sends --------------------------------------------------------

packet('a denied egress is reset', {
  config: refusing,
  world: closed,
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S')),
  then: refused('POLICY_EGRESS', fresh(tcp('away:80', 'cart:4000', 'RA'))),
})

packet('a denied ingress of another local pod is reset from that pod', {
  config: refusing,
  world: world(pod('cart'), pod('web', { ingress: ingress('s', deny('80', 'any', 'TCP/80')) })),
  when: fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
  then: refused('POLICY_INGRESS', fresh(tcp('web:80', 'cart:4000', 'RA'))),
})

packet('a denied datagram hears that it is prohibited', {
  config: refusing,
  world: closed,
  when: fromPod('cart', udp('cart:4000', 'outside:53', { payloadBytes: 300 })),
  then: refused(
    'POLICY_EGRESS',
    fresh(icmpError('prohibited', 'outside', udp('cart:4000', 'outside:53', { payloadBytes: 0 }))),
  ),
})

packet('what is denied behind a Service is refused by the Service', {
  config: refusing,
  world: world(
    pod('cart', { egress: egress('e') }),
    pod('web'),
    serviceOf('shop:80', { backends: ['web:8080'] }),
    serviceOf('shop:53', { protocol: Protocol.UDP, backends: ['web:5353'] }),
  ),
  when: fromPod('cart', tcp('cart:4000', 'shop:80', 'S')),
  then: refused('POLICY_EGRESS', fresh(tcp('shop:80', 'cart:4000', 'RA'))),
})

packet('a connection that a new policy forbids is reset at its next packet', {
  config: refusing,
  world: world(pod('cart')),
  given: [fromPod('cart', tcp('cart:4000', 'away:80', 'S')), fromNetdev(tcp('away:80', 'cart:4000', 'SA'))],
  changed: world(pod('cart', { egress: egress('e') }), epoch(8)),
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'A', { payloadBytes: 900 })),
  then: refused('POLICY_EGRESS', fresh(tcp('away:80', 'cart:4000', 'R', { payloadBytes: 0 }))),
})

// -- To the network ------------------------------------------------------------------------------------------------

packet('a denied client of the world is reset', {
  config: refusing,
  world: closed,
  when: fromNetdev(tcp('outside:4000', 'web:80', 'S')),
  then: refused('POLICY_INGRESS', fresh(tcp('web:80', 'outside:4000', 'RA'))),
})

packet('and its datagram hears that it is prohibited', {
  config: refusing,
  world: closed,
  when: fromNetdev(udp('outside:4000', 'web:53', { payloadBytes: 20 })),
  then: refused(
    'POLICY_INGRESS',
    fresh(icmpError('prohibited', 'web', udp('outside:4000', 'web:53', { payloadBytes: 0 }))),
  ),
})

packet('a denied pod of another node is answered in the tunnel it came by', {
  config: refusingInTunnel,
  world: closed,
  when: fromNetdev(vxlan('n2', 'n1', tcp('away:4000', 'web:80', 'S'))),
  then: refused('POLICY_INGRESS', fresh(vxlan('n1', 'n2', fresh(tcp('web:80', 'away:4000', 'RA')), { sourcePort: 0 }))),
})

packet('the reset of a pod elsewhere reaches the pod that asked', {
  config: refusing,
  world: world(pod('cart', { ingress: ingress('s'), egress: egress('e', allow('all', 'any')) })),
  given: [fromPod('cart', tcp('cart:4000', 'away:80', 'S'))],
  when: fromNetdev(tcp('away:80', 'cart:4000', 'RA')),
  then: delivered('cart'),
})

packet('so does the error about its datagram', {
  config: refusing,
  world: world(pod('cart', { ingress: ingress('s'), egress: egress('e', allow('all', 'any')) })),
  given: [fromPod('cart', udp('cart:4000', 'away:53'))],
  when: fromNetdev(icmpError('prohibited', 'away', udp('cart:4000', 'away:53'))),
  then: delivered('cart'),
})

// -- What is not one host's, and what is too much ------------------------------------------------------------------

for (const source of ['group', 'loopback', 'nobody', 'everybody'] as const) {
  for (const sends of [udp, (from: string, to: string) => tcp(from, to, 'S')]) {
    packet(`what pretends to come from ${source} is not answered`, {
      config: refusing,
      world: closed,
      when: fromNetdev(sends(`${source}:53`, 'web:80')),
      then: dropped('POLICY_INGRESS', null),
    })
  }
}

packet('nor is what a Service would refuse', {
  world: world(pod('web'), serviceOf('n1:30080', { backends: [], external: [] })),
  when: fromNetdev(tcp('group:53', 'n1:30080', 'S')),
  then: dropped('NO_BACKEND'),
})

packet('nor a frame that went to all of the link', {
  config: refusing,
  world: closed,
  when: toAll(fromNetdev(udp('outside:4000', 'web:53'))),
  then: dropped('POLICY_INGRESS', null),
})

packet('a node that has sent as many ICMP errors as it may sends no more', {
  config: refusing,
  world: closed,
  isAnswerLimited: true,
  when: fromNetdev(udp('outside:4000', 'web:53')),
  then: limited('POLICY_INGRESS'),
})

packet('but resets', {
  config: refusing,
  world: closed,
  isAnswerLimited: true,
  when: fromNetdev(tcp('outside:4000', 'web:80', 'S')),
  then: refused('POLICY_INGRESS', fresh(tcp('web:80', 'outside:4000', 'RA'))),
})

// -- What stays silent ---------------------------------------------------------------------------------------------

packet('a reset is not answered', {
  config: refusing,
  world: world(pod('cart', { egress: egress('e'), ingress: ingress('s') })),
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'RA')),
  then: dropped('POLICY_EGRESS', null),
})

packet('a packet without ACK that opens nothing is not answered', {
  config: refusing,
  world: world(pod('cart', { egress: egress('e'), ingress: ingress('s') })),
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'F')),
  then: dropped('POLICY_EGRESS', null),
})

packet('a denied ping is not answered', {
  config: refusing,
  world: closed,
  when: fromNetdev(echoRequest('outside', 'web', 5)),
  then: dropped('POLICY_INGRESS', null),
})

packet('another transport is not answered', {
  config: refusing,
  world: closed,
  when: fromNetdev(opaque('outside', 'web', 47)),
  then: dropped('POLICY_INGRESS', null),
})

packet('what the stack forwards to a pod is not answered', {
  config: refusing,
  world: closed,
  when: toPod('web', tcp('away:4000', 'web:80', 'S'), UPLINK),
  then: dropped('POLICY_INGRESS', null),
})

packet('a pod whose policy is not in force yet is not answered: it may be let in soon', {
  config: refusing,
  world: world(pod('web', { isolated: true })),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: dropped('NOT_READY'),
})

packet('without the option there is silence', {
  world: closed,
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S')),
  then: dropped('POLICY_EGRESS', null),
})
