// SPDX-License-Identifier: Apache-2.0
// A client that a Service of this node led to a pod, and that comes to the pod itself from the same port: a port is taken
// again while the translation of its last use is kept.

import { Protocol } from '../../src/core/protocol.ts'
import { pod, serviceOf, udpService, world } from './cluster.ts'
import { delivered, fromNetdev, fromPod, packet, passed, sent } from './row.ts'
import { tcp, udp } from './vocabulary.ts'

const cluster = world(
  pod('web'),
  serviceOf('n1:30080', { backends: ['web:8080'] }),
  serviceOf('n1:30053', { protocol: Protocol.UDP, backends: ['web:5353'] }),
)
const asks = fromNetdev(udp('away:4000', 'n1:30053'))
const asksItself = fromNetdev(udp('away:4000', 'web:5353'))
const answers = fromPod('web', udp('web:5353', 'away:4000'))

packet('UDP: the answer to what came by the Service comes from it', {
  world: cluster,
  given: [asks],
  when: answers,
  then: sent('n2', udp('n1:30053', 'away:4000', { hopLimit: 63 })),
})

packet('UDP: the answer to what came to the pod itself comes from the pod', {
  world: cluster,
  given: [asks, answers, asksItself],
  when: answers,
  then: sent('n2', udp('web:5353', 'away:4000', { hopLimit: 63 })),
})

packet('UDP: what comes by the Service after it came to the pod itself is answered from the Service', {
  world: cluster,
  given: [asksItself, answers, asks],
  when: answers,
  then: sent('n2', udp('n1:30053', 'away:4000', { hopLimit: 63 })),
})

packet('UDP: what nobody has answered before it also came by the Service is answered from the Service', {
  world: cluster,
  given: [asksItself, asks],
  when: answers,
  then: sent('n2', udp('n1:30053', 'away:4000', { hopLimit: 63 })),
})

/** Enough that the CPU has met the flow both ways. */
const met = [asksItself, answers, asksItself, answers]

packet('UDP: within a second too, in which the CPU remembers that it went to the pod itself', {
  world: cluster,
  given: [...met, asks],
  when: answers,
  then: sent('n2', udp('n1:30053', 'away:4000', { hopLimit: 63 })),
})

packet('UDP: and what comes to the pod itself after that is answered by the pod', {
  world: cluster,
  given: [...met, asks, answers, asksItself],
  when: answers,
  then: sent('n2', udp('web:5353', 'away:4000', { hopLimit: 63 })),
})

packet('UDP: a pod that asks by a Service whom it has just asked itself is answered by the Service', {
  world: world(pod('cart'), udpService('shop:53', 'away:53')),
  given: [
    fromPod('cart', udp('cart:4000', 'away:53')),
    fromNetdev(udp('away:53', 'cart:4000')),
    fromPod('cart', udp('cart:4000', 'away:53')),
    fromNetdev(udp('away:53', 'cart:4000')),
    fromPod('cart', udp('cart:4000', 'shop:53')),
  ],
  when: fromNetdev(udp('away:53', 'cart:4000')),
  then: delivered('cart', udp('shop:53', 'cart:4000', { hopLimit: 63 })),
})

// -- A client outside the cluster, whose address anybody may forge --------------------------------------------------

const open = world(
  pod('web'),
  serviceOf('n1:30080', { backends: ['web:8080'], external: ['web:8080'] }),
  serviceOf('n1:30053', { protocol: Protocol.UDP, backends: ['web:5353'], external: ['web:5353'] }),
)
const clientAsks = fromNetdev(udp('client:4000', 'n1:30053'))
const clientAnswer = fromPod('web', udp('web:5353', 'client:4000'))

packet('UDP: a datagram to the pod that claims a client outside does not take its answers from the Service', {
  world: open,
  given: [clientAsks, clientAnswer, fromNetdev(udp('client:4000', 'web:5353'))],
  when: clientAnswer,
  then: sent(null, udp('n1:30053', 'client:4000', { hopLimit: 63 })),
})

const clientSends = (to: string, flags: string) => fromNetdev(tcp(`client:4000`, to, flags))
const podSends = (flags: string) => fromPod('web', tcp('web:8080', 'client:4000', flags))
const inService = [clientSends('n1:30080', 'S'), podSends('SA'), clientSends('n1:30080', 'A'), podSends('A')]

for (const flags of ['A', 'S', 'R']) {
  packet(`TCP: nor does a packet ${flags}`, {
    world: open,
    given: [...inService, clientSends('web:8080', flags)],
    when: podSends('A'),
    then: sent(null, tcp('n1:30080', 'client:4000', 'A', { hopLimit: 63 })),
  })
}

packet('TCP: nor do an RST to the Service and a SYN to the pod, which anybody can forge', {
  world: open,
  given: [...inService, clientSends('n1:30080', 'R'), clientSends('web:8080', 'S')],
  when: podSends('A'),
  then: sent(null, tcp('n1:30080', 'client:4000', 'A', { hopLimit: 63 })),
})

packet('TCP: a SYN does once the pod has ended the connection by the Service', {
  world: open,
  given: [...inService, clientSends('n1:30080', 'FA'), podSends('FA'), clientSends('web:8080', 'S'), podSends('SA')],
  when: podSends('A'),
  then: passed(tcp('web:8080', 'client:4000', 'A')),
})

packet('TCP: of a pod elsewhere a packet without SYN does not', {
  world: open,
  given: [
    ...['S', 'A'].map((flags) => fromNetdev(tcp('away:4000', 'n1:30080', flags))),
    fromPod('web', tcp('web:8080', 'away:4000', 'SA')),
    fromNetdev(tcp('away:4000', 'web:8080', 'A')),
  ],
  when: fromPod('web', tcp('web:8080', 'away:4000', 'A')),
  then: sent('n2', tcp('n1:30080', 'away:4000', 'A', { hopLimit: 63 })),
})

// -- TCP -----------------------------------------------------------------------------------------------------------

const syn = fromNetdev(tcp('away:4000', 'n1:30080', 'S'))
const synAck = fromPod('web', tcp('web:8080', 'away:4000', 'SA'))
const synToPod = fromNetdev(tcp('away:4000', 'web:8080', 'S'))

packet('TCP: the next connection from that port, to the pod itself, is answered by the pod', {
  world: cluster,
  given: [
    syn,
    synAck,
    fromNetdev(tcp('away:4000', 'n1:30080', 'A')),
    fromNetdev(tcp('away:4000', 'n1:30080', 'FA')),
    synToPod,
  ],
  when: synAck,
  then: sent('n2', tcp('web:8080', 'away:4000', 'SA', { hopLimit: 63 })),
})

packet('TCP: it goes on', {
  world: cluster,
  given: [syn, synAck, synToPod, synAck, fromNetdev(tcp('away:4000', 'web:8080', 'A'))],
  when: fromNetdev(tcp('away:4000', 'web:8080', 'A')),
  then: delivered('web', tcp('away:4000', 'web:8080', 'A', { hopLimit: 63 })),
})

const toPod = (flags: string) => fromNetdev(tcp('away:4000', 'web:8080', flags))
const data = fromPod('web', tcp('web:8080', 'away:4000', 'A'))

packet('TCP: a connection by the Service right after one to the pod itself', {
  world: cluster,
  given: [toPod('S'), synAck, toPod('A'), data, toPod('A'), data, toPod('FA'), syn, synAck],
  when: data,
  then: sent('n2', tcp('n1:30080', 'away:4000', 'A', { hopLimit: 63 })),
})
