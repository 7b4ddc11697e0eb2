// SPDX-License-Identifier: Apache-2.0
// What leaves the cluster wears the node's address; the answer finds its pod; no port is used twice, not even one of
// the node's own sockets.

import type { FlowState } from '../../src/datapath/trace-tables.ts'
import { TranslationFlags } from '../../src/generated/abi.ts'
import { address } from '../support/packet.ts'
import { config, egress, ingress, pod, service, tunnelled, world } from './cluster.ts'
import { translationOf } from './flow.ts'
import {
  delivered,
  dropped,
  fromNetdev,
  fromPod,
  packet,
  passed,
  routedElsewhere,
  sent,
  toNetdev,
  toPod,
} from './row.ts'
import { echoReply, echoRequest, firstFragment, type InFamily, icmpError, tcp, udp } from './vocabulary.ts'

const syn = fromPod('cart', tcp('cart:40000', 'outside:443', 'S'))
const synAck = fromNetdev(tcp('outside:443', 'n1:40000', 'SA'))

const cluster = world(pod('cart'), pod('web'))
const twoPorts = config({ natPortMin: 40000, natPortMax: 40001 })
const onePort = config({ natPortMin: 40000, natPortMax: 40000 })
const unmasked = config({ masquerade: 0 })

packet('what goes outside wears the address of the node and keeps its port', {
  world: cluster,
  when: syn,
  then: sent(null, tcp('n1:40000', 'outside:443', 'S', { hopLimit: 63 })),
})

packet('in VXLAN mode as well', {
  config: tunnelled,
  world: cluster,
  when: fromPod('cart', udp('cart:40000', 'outside:53')),
  then: sent(null, udp('n1:40000', 'outside:53', { hopLimit: 63 })),
})

packet('without masquerading a pod keeps its address and the stack routes it', {
  config: unmasked,
  world: cluster,
  when: syn,
  then: passed(tcp('cart:40000', 'outside:443', 'S')),
})

packet('a source port outside the range is changed', {
  world: cluster,
  when: fromPod('cart', tcp('cart:80', 'outside:443', 'S')),
  then: sent(null),
})

packet('the answer finds its pod', {
  world: cluster,
  given: [syn],
  when: synAck,
  then: delivered('cart', tcp('outside:443', 'cart:40000', 'SA', { hopLimit: 63 })),
})

packet('the answer finds its pod although ingress is denied', {
  world: world(pod('cart', { ingress: ingress('default-deny') })),
  given: [fromPod('cart', udp('cart:40000', 'outside:53'))],
  when: fromNetdev(udp('outside:53', 'n1:40000')),
  then: delivered('cart', udp('outside:53', 'cart:40000', { hopLimit: 63 })),
})

packet('an answer from another port is for the node', {
  world: cluster,
  given: [fromPod('cart', udp('cart:40000', 'outside:53'))],
  when: fromNetdev(udp('outside:54', 'n1:40000')),
  then: passed(udp('outside:54', 'n1:40000')),
})

packet('an established connection goes on', {
  world: cluster,
  given: [syn, synAck, fromPod('cart', tcp('cart:40000', 'outside:443', 'A'))],
  when: fromPod('cart', tcp('cart:40000', 'outside:443', 'FA')),
  then: sent(null, tcp('n1:40000', 'outside:443', 'FA', { hopLimit: 63 })),
})

packet('ping outside and back', {
  world: cluster,
  given: [fromPod('cart', echoRequest('cart', 'outside', 40000))],
  when: fromNetdev(echoReply('outside', 'n1', 40000)),
  then: delivered('cart', echoReply('outside', 'cart', 40000, { hopLimit: 63 })),
})

packet('the same port of two pods to the same place becomes two ports', {
  config: twoPorts,
  world: cluster,
  given: [syn],
  when: fromPod('web', tcp('web:40000', 'outside:443', 'S')),
  then: sent(null, tcp('n1:40001', 'outside:443', 'S', { hopLimit: 63 })),
})

packet('the same port of two pods to two places may be the same', {
  config: onePort,
  world: cluster,
  given: [syn],
  when: fromPod('web', tcp('web:40000', 'outside:444', 'S')),
  then: sent(null, tcp('n1:40000', 'outside:444', 'S', { hopLimit: 63 })),
})

packet('no free port: refused and counted', {
  config: onePort,
  world: cluster,
  given: [syn],
  when: fromPod('web', tcp('web:40000', 'outside:443', 'S')),
  then: dropped('NAT_PORTS'),
})

/** A connection of another pod, whose forward entry has these flags. */
function opened(flags: number, ageSeconds = 5): InFamily<FlowState> {
  const asked = tcp('cart:50000', 'outside:443', 'S')
  return translationOf(asked, tcp('n1:40000', 'outside:443', 'S'), ageSeconds, flags)
}

packet('the only port is that of a half-open connection', {
  config: onePort,
  world: cluster,
  state: opened(TranslationFlags.OPENING),
  when: fromPod('web', tcp('web:40000', 'outside:443', 'S')),
  then: sent(null, tcp('n1:40000', 'outside:443', 'S', { hopLimit: 63 })),
})

packet('the only port is that of a connection whose client has gone on', {
  config: onePort,
  world: cluster,
  state: opened(0),
  when: fromPod('web', tcp('web:40000', 'outside:443', 'S')),
  then: dropped('NAT_PORTS'),
})

packet('the only port is that of a connection that may still go on', {
  config: onePort,
  world: cluster,
  state: opened(TranslationFlags.OPENING, 0),
  when: fromPod('web', tcp('web:40000', 'outside:443', 'S')),
  then: dropped('NAT_PORTS'),
})

packet('the next connection from a port does not end with the one before, whichever end closed that', {
  world: cluster,
  given: [
    syn,
    synAck,
    fromPod('cart', tcp('cart:40000', 'outside:443', 'A')),
    fromNetdev(tcp('outside:443', 'n1:40000', 'FA')),
  ],
  when: syn,
  then: {
    ...sent(null, tcp('n1:40000', 'outside:443', 'S', { hopLimit: 63 })),
    translationFlags: [0, TranslationFlags.REVERSE | TranslationFlags.REPLIED],
  },
})

packet("a port of the node's own connection is not used", {
  config: twoPorts,
  world: cluster,
  given: [toNetdev(tcp('n1:40000', 'outside:443', 'S'))],
  when: syn,
  then: sent(null, tcp('n1:40001', 'outside:443', 'S', { hopLimit: 63 })),
})

packet("the node's own connection keeps its port", {
  world: cluster,
  when: toNetdev(tcp('n1:40000', 'outside:443', 'S')),
  then: passed(tcp('n1:40000', 'outside:443', 'S')),
})

packet("the answer to the node's own connection is its own", {
  world: cluster,
  given: [toNetdev(tcp('n1:40000', 'outside:443', 'S'))],
  when: synAck,
  then: passed(tcp('outside:443', 'n1:40000', 'SA')),
})

packet("the node's own connection whose port a pod has is translated", {
  config: twoPorts,
  world: cluster,
  given: [syn],
  when: toNetdev(tcp('n1:40000', 'outside:443', 'S')),
  then: passed(tcp('n1:40001', 'outside:443', 'S')),
})

packet("the answer to the node's translated connection finds its socket", {
  config: twoPorts,
  world: cluster,
  given: [syn, toNetdev(tcp('n1:40000', 'outside:443', 'S'))],
  when: fromNetdev(tcp('outside:443', 'n1:40001', 'SA')),
  then: passed(tcp('outside:443', 'n1:40000', 'SA')),
})

packet('a denied packet takes no port', {
  world: world(pod('cart', { egress: egress('nothing') })),
  when: syn,
  then: dropped('POLICY_EGRESS', null),
})

for (const [what, comes, answer] of [
  ['a connection', tcp('outside:4000', 'web:80', 'S'), tcp('web:80', 'outside:4000', 'SA')],
  ['a datagram', udp('outside:4000', 'web:53'), udp('web:53', 'outside:4000')],
  ['a ping', echoRequest('outside', 'web', 7), echoReply('web', 'outside', 7)],
] as const) {
  packet(`the answer to ${what} from outside keeps the address that was asked`, {
    world: cluster,
    given: [fromNetdev(comes)],
    when: fromPod('web', answer),
    then: passed(answer),
  })

  packet(`the answer to ${what} that the stack has translated is the stack's to translate back`, {
    world: cluster,
    given: [toPod('web', comes)],
    when: fromPod('web', answer),
    then: passed(answer),
  })

  packet(`the answer to ${what} from outside also leaves the node as it is`, {
    world: cluster,
    given: [fromNetdev(comes), fromPod('web', answer)],
    when: toNetdev(answer, 22),
    then: passed(answer),
  })
}

packet('what a pod opens to an outside that came to it on another port is masqueraded', {
  world: cluster,
  given: [fromNetdev(tcp('outside:4000', 'web:80', 'S'))],
  when: fromPod('web', tcp('web:40000', 'outside:4000', 'S')),
  then: sent(null, tcp('n1:40000', 'outside:4000', 'S', { hopLimit: 63 })),
})

packet('other nodes see the address of the pod', {
  world: cluster,
  when: fromPod('cart', tcp('cart:40000', 'n2:6443', 'S')),
  then: sent('n2', tcp('cart:40000', 'n2:6443', 'S', { hopLimit: 63 })),
})

packet("a pod's packet that the stack sends outside is masqueraded there", {
  world: cluster,
  when: toNetdev(tcp('cart:40000', 'outside:443', 'S', { hopLimit: 63 }), 21),
  then: passed(tcp('n1:40000', 'outside:443', 'S', { hopLimit: 63 })),
})

packet('an unknown connection from outside to the node is its own', {
  world: cluster,
  when: fromNetdev(tcp('outside:4000', 'n1:40000', 'S')),
  then: passed(tcp('outside:4000', 'n1:40000', 'S')),
})

packet('an ICMP error about a masqueraded packet finds its pod, and quotes what the pod sent', {
  world: cluster,
  given: [fromPod('cart', udp('cart:40000', 'outside:53'))],
  when: fromNetdev(icmpError('port unreachable', 'outside', udp('n1:40000', 'outside:53'))),
  then: delivered('cart', icmpError('port unreachable', 'outside', udp('cart:40000', 'outside:53'), { hopLimit: 63 })),
})

packet('a router beyond may say that the packet is too big', {
  world: cluster,
  given: [syn],
  when: fromNetdev(icmpError('packet too big', 'router', tcp('n1:40000', 'outside:443', 'A'))),
  then: delivered(
    'cart',
    icmpError('packet too big', 'router', tcp('cart:40000', 'outside:443', 'A'), { hopLimit: 63 }),
  ),
})

packet("an ICMP error about the node's own packet is its own", {
  world: cluster,
  when: fromNetdev(icmpError('port unreachable', 'outside', udp('n1:40000', 'outside:53'))),
  then: passed(),
})

packet('the stack itself tells a pod about its packet that was too big', {
  world: cluster,
  given: [fromPod('cart', udp('cart:40000', 'outside:53'))],
  when: toPod('cart', icmpError('packet too big', 'n1', udp('cart:40000', 'outside:53'))),
  then: passed(),
})

packet('a Service outside the cluster: the node keeps even a port below the range', {
  world: world(service('shop:443', 'outside:443')),
  when: toNetdev(tcp('n1:1000', 'shop:443', 'S')),
  then: passed(tcp('n1:1000', 'outside:443', 'S')),
})

packet('a Service outside the cluster: a pod goes there by the address of the node', {
  world: world(pod('cart'), service('shop:443', 'outside:443')),
  when: fromPod('cart', tcp('cart:40000', 'shop:443', 'S')),
  then: sent(null, tcp('n1:40000', 'outside:443', 'S', { hopLimit: 63 })),
})

packet('a Service outside the cluster: the answer comes from the Service', {
  world: world(pod('cart'), service('shop:443', 'outside:443')),
  given: [fromPod('cart', tcp('cart:40000', 'shop:443', 'S'))],
  when: synAck,
  then: delivered('cart', tcp('shop:443', 'cart:40000', 'SA', { hopLimit: 63 })),
})

for (const [what, flags] of [
  ['the answer to a SYN from outside', 'SA'],
  ['a refusal', 'RA'],
] as const) {
  packet(`${what} enters nothing: a flood of them would fill the table`, {
    world: cluster,
    when: toNetdev(tcp('n1:40000', 'outside:443', flags)),
    then: passed(tcp('n1:40000', 'outside:443', flags)),
  })
}

packet("the node's own ping enters its identifier", {
  config: twoPorts,
  world: cluster,
  given: [toNetdev(echoRequest('n1', 'outside', 40000))],
  when: fromPod('cart', echoRequest('cart', 'outside', 40000)),
  then: sent(null, echoRequest('n1', 'outside', 40001, { hopLimit: 63 })),
})

packet('what the kernel routes elsewhere is left to the stack as it is', {
  config: routedElsewhere,
  world: cluster,
  when: syn,
  then: passed(tcp('cart:40000', 'outside:443', 'S')),
})

packet('what the stack answers for its size is left as it is, and translated when the stack sends it after all', {
  world: cluster,
  given: [fromPod('cart', udp('cart:40000', 'outside:53', { payloadBytes: 1600 }))],
  when: toNetdev(firstFragment(udp('cart:40000', 'outside:53', { payloadBytes: 800, hopLimit: 63 }), 7), 21),
  then: passed(firstFragment(udp('n1:40000', 'outside:53', { payloadBytes: 800, hopLimit: 63 }), 7)),
})

packet('the last hop to the world is answered by the stack', {
  world: cluster,
  when: fromPod('cart', udp('cart:40000', 'outside:33434', { hopLimit: 1 })),
  then: passed(udp('cart:40000', 'outside:33434', { hopLimit: 1 })),
})

packet('a node without an address of the family does not masquerade in it', {
  config: config({ ipv6: address('::') }),
  world: cluster,
  when: syn,
  then: passed(tcp('cart:40000', 'outside:443', 'S')),
  families: [6],
})
