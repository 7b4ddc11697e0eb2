// SPDX-License-Identifier: Apache-2.0
// Services per packet, for what the socket hooks miss: DNAT on the way there, the Service's address on the way back, a
// pod that reaches itself, refusal, and flows that keep their backend.

import { allow, deny, egress, epoch, ingress, pod, service, udpService, world } from './cluster.ts'
import { delivered, dropped, fromNetdev, fromPod, packet, passed, refused, sent, toNetdev } from './row.ts'
import { echoRequest, firstFragment, fresh, icmpError, tcp, udp } from './vocabulary.ts'

const syn = fromPod('cart', tcp('cart:4000', 'shop:80', 'S'))
const synAck = fromPod('web', tcp('web:8080', 'cart:4000', 'SA'))

const local = world(pod('cart'), pod('web'), service('shop:80', 'web:8080'))
const remote = world(pod('cart'), service('shop:80', 'away:8080'))

packet('a Service leads to its local backend', {
  world: local,
  when: syn,
  then: delivered('web', tcp('cart:4000', 'web:8080', 'S', { hopLimit: 63 })),
})

packet('the reply of a local backend comes from the Service', {
  world: local,
  given: [syn],
  when: synAck,
  then: delivered('cart', tcp('shop:80', 'cart:4000', 'SA', { hopLimit: 63 })),
})

packet('a Service leads to a backend of another node', {
  world: remote,
  when: syn,
  then: sent('n2', tcp('cart:4000', 'away:8080', 'S', { hopLimit: 63 })),
})

packet('the reply of a remote backend comes from the Service', {
  world: remote,
  given: [syn],
  when: fromNetdev(tcp('away:8080', 'cart:4000', 'SA')),
  then: delivered('cart', tcp('shop:80', 'cart:4000', 'SA', { hopLimit: 63 })),
})

packet('a UDP Service leads to its backend', {
  world: world(pod('cart'), udpService('shop:53', 'away:5353')),
  when: fromPod('cart', udp('cart:4000', 'shop:53')),
  then: sent('n2', udp('cart:4000', 'away:5353', { hopLimit: 63 })),
})

packet('the reply of a UDP backend comes from the Service', {
  world: world(pod('cart'), udpService('shop:53', 'away:5353')),
  given: [fromPod('cart', udp('cart:4000', 'shop:53'))],
  when: fromNetdev(udp('away:5353', 'cart:4000')),
  then: delivered('cart', udp('shop:53', 'cart:4000', { hopLimit: 63 })),
})

packet('one of several backends is chosen', {
  world: world(pod('cart'), pod('web'), pod('bare'), service('shop:80', 'web:8080', 'bare:8080', 'web:8081')),
  when: syn,
  then: { verdict: 'redirect' },
})

packet('a flow keeps its backend although the Service has changed', {
  world: local,
  given: [syn, synAck, fromPod('cart', tcp('cart:4000', 'shop:80', 'A'))],
  changed: world(pod('cart'), pod('web'), pod('bare'), service('shop:80', 'bare:8080')),
  when: fromPod('cart', tcp('cart:4000', 'shop:80', 'A')),
  then: delivered('web', tcp('cart:4000', 'web:8080', 'A', { hopLimit: 63 })),
})

packet('a new connection from the same port goes to a backend that is listed now', {
  world: local,
  given: [syn, synAck, fromPod('cart', tcp('cart:4000', 'shop:80', 'RA'))],
  changed: world(pod('cart'), pod('web'), pod('bare'), service('shop:80', 'bare:8080')),
  when: syn,
  then: delivered('bare', tcp('cart:4000', 'bare:8080', 'S', { hopLimit: 63 })),
})

packet('policy judges the backend, not the Service', {
  world: world(
    pod('cart', { egress: egress('e', allow('8080', 'any', 'TCP/8080')) }),
    pod('web'),
    service('shop:80', 'web:8080'),
  ),
  when: syn,
  then: delivered('web'),
})

packet('a backend that policy denies is not reached through its Service', {
  world: world(
    pod('cart'),
    pod('web', { ingress: ingress('s', deny('8080', 'any', 'TCP/8080')) }),
    service('shop:80', 'web:8080'),
  ),
  when: syn,
  then: dropped('POLICY_INGRESS', '8080'),
})

packet('a translated flow that a new epoch denies is cut', {
  world: local,
  given: [syn, synAck, fromPod('cart', tcp('cart:4000', 'shop:80', 'A'))],
  changed: world(pod('cart', { egress: egress('e') }), pod('web'), service('shop:80', 'web:8080'), epoch(8)),
  when: fromPod('cart', tcp('cart:4000', 'shop:80', 'A')),
  then: dropped('POLICY_EGRESS', null),
})

const empty = world(pod('cart'), service('empty:80'), udpService('empty:53'))
const extensions = [{ header: 60, bytes: 8 }]
packet('a Service without endpoints resets a connection', {
  world: empty,
  when: fromPod('cart', tcp('cart:4000', 'empty:80', 'S')),
  then: refused('NO_BACKEND', fresh(tcp('empty:80', 'cart:4000', 'RA'))),
})

packet('also one that brings data', {
  world: empty,
  when: fromPod('cart', tcp('cart:4000', 'empty:80', 'S', { payloadBytes: 333 })),
  then: refused('NO_BACKEND', fresh(tcp('empty:80', 'cart:4000', 'RA'))),
})

packet('what belongs to no connection is not answered', {
  world: empty,
  when: fromPod('cart', tcp('cart:4000', 'empty:80', 'A')),
  then: dropped('NO_BACKEND'),
})

for (const payloadBytes of [0, 12, 1400]) {
  packet(`a Service without endpoints says so to a datagram of ${payloadBytes} bytes`, {
    world: empty,
    when: fromPod('cart', udp('cart:4000', 'empty:53', { payloadBytes })),
    then: refused(
      'NO_BACKEND',
      fresh(icmpError('port unreachable', 'empty', udp('cart:4000', 'empty:53', { payloadBytes: 0 }))),
    ),
  })
}

packet('a fragment is not answered', {
  world: empty,
  when: fromPod('cart', firstFragment(udp('cart:4000', 'empty:53'), 9)),
  then: dropped('NO_BACKEND'),
})

packet('nor is a packet with headers that the answer would have to repeat', {
  world: empty,
  when: fromPod('cart', (family) =>
    udp('cart:4000', 'empty:53', family === 4 ? { optionBytes: 8 } : { extensions })(family),
  ),
  then: dropped('NO_BACKEND'),
})

packet('a port that the Service does not have leads nowhere', {
  world: local,
  when: fromPod('cart', tcp('cart:4000', 'shop:81', 'S')),
  then: dropped('NO_FRONTEND'),
})

packet('a protocol that the Service does not have leads nowhere', {
  world: local,
  when: fromPod('cart', udp('cart:4000', 'shop:80')),
  then: dropped('NO_FRONTEND'),
})

packet('an address of the Service range that is no Service leads nowhere', {
  world: local,
  when: fromPod('cart', tcp('cart:4000', 'nothing:80', 'S')),
  then: dropped('NO_FRONTEND'),
})

packet('a Service address does not answer pings', {
  world: local,
  when: fromPod('cart', echoRequest('cart', 'shop', 5)),
  then: dropped('NO_FRONTEND'),
})

packet('a pod reaches itself through its Service', {
  world: local,
  when: fromPod('web', tcp('web:4000', 'shop:80', 'S')),
  then: delivered('web', tcp('shop:4000', 'web:8080', 'S', { hopLimit: 63 })),
})

packet('a pod answers itself through its Service', {
  world: local,
  given: [fromPod('web', tcp('web:4000', 'shop:80', 'S'))],
  when: fromPod('web', tcp('web:8080', 'shop:4000', 'SA')),
  then: delivered('web', tcp('shop:80', 'web:4000', 'SA', { hopLimit: 63 })),
})

packet('a pod reaches itself through its Service although policy denies everything', {
  world: world(
    pod('web', { egress: egress('nothing'), ingress: ingress('default-deny') }),
    service('shop:80', 'web:8080'),
  ),
  when: fromPod('web', tcp('web:4000', 'shop:80', 'S')),
  then: delivered('web'),
})

packet('a Service leads to the own node', {
  world: world(pod('cart'), service('shop:443', 'n1:6443')),
  when: fromPod('cart', tcp('cart:4000', 'shop:443', 'S')),
  then: passed(tcp('cart:4000', 'n1:6443', 'S')),
})

packet('a Service leads to another node', {
  world: world(pod('cart'), service('shop:443', 'n2:6443')),
  when: fromPod('cart', tcp('cart:4000', 'shop:443', 'S')),
  then: { verdict: 'redirect' },
})

packet('what a socket hook missed reaches the Service from the own node', {
  world: remote,
  when: toNetdev(tcp('n1:4000', 'shop:80', 'S')),
  then: sent('n2', tcp('n1:4000', 'away:8080', 'S')),
})

packet('the reply to the own node comes from the Service', {
  world: remote,
  given: [toNetdev(tcp('n1:4000', 'shop:80', 'S'))],
  when: fromNetdev(tcp('away:8080', 'n1:4000', 'SA')),
  then: passed(tcp('shop:80', 'n1:4000', 'SA')),
})

packet('the reply of another node to the own node comes from the Service', {
  world: world(service('shop:443', 'n2:6443')),
  given: [fromNetdev(tcp('n2:6443', 'n1:4001', 'A')), toNetdev(tcp('n1:4000', 'shop:443', 'S'))],
  when: fromNetdev(tcp('n2:6443', 'n1:4000', 'SA')),
  then: passed(tcp('shop:443', 'n1:4000', 'SA')),
})

packet('the stack answers the last hop of a packet that already has its backend', {
  world: remote,
  when: fromPod('cart', tcp('cart:4000', 'shop:80', 'S', { hopLimit: 1 })),
  then: passed(tcp('cart:4000', 'away:8080', 'S', { hopLimit: 1 })),
})

packet('a process of the node reaches a local backend that its socket hook missed', {
  world: local,
  when: toNetdev(tcp('n1:4000', 'shop:80', 'S')),
  then: { verdict: 'redirect', ifindex: 22 },
})

packet('a process of the node finds no port that the Service does not have', {
  world: local,
  when: toNetdev(tcp('n1:4000', 'shop:81', 'S')),
  then: dropped('NO_FRONTEND'),
})
