// SPDX-License-Identifier: Apache-2.0
// What the node's stack sends on to a pod after it has changed where it goes, as the portmap plugin does for a hostPort:
// a client on this node or on another speaks to the node's address, iptables makes the pod of it. Its source was proven
// where it came in. What the pod answers must take the same way, so that the stack can put the node's address back.

import { allow, config, deny, epoch, ingress, native, pod, podIfindex, tunnelled, UPLINK, world } from './cluster.ts'
import { delivered, dropped, fromNetdev, fromPod, packet, passed, sent, toPod } from './row.ts'
import { tcp, udp } from './vocabulary.ts'

const cluster = world(pod('cart'), pod('web'), pod('bare'))
const ELSEWHERE = 99

packet('a pod of this node reaches the pod behind its hostPort', {
  world: cluster,
  when: toPod('web', tcp('cart:4000', 'web:8080', 'S'), podIfindex.cart),
  then: passed(),
})

packet('policy judges the client, not the node', {
  world: world(pod('cart'), pod('web', { ingress: ingress('i', deny('8080', 'any', 'TCP/8080')) })),
  when: toPod('web', tcp('cart:4000', 'web:8080', 'S'), podIfindex.cart),
  then: dropped('POLICY_INGRESS', '8080'),
})

for (const [whose, from] of [
  ['of another pod', podIfindex.bare],
  ['of another network', ELSEWHERE],
  ['of this node itself', 0],
] as const) {
  packet(`a pod's address is not proven by the device ${whose}`, {
    world: cluster,
    when: toPod('web', tcp('cart:4000', 'web:8080', 'S'), from),
    then: dropped('BARE_SOURCE'),
  })
}

for (const [mode, config] of [
  ['native', native],
  ['vxlan', tunnelled],
] as const) {
  packet(`a pod of another node reaches the pod behind a hostPort (${mode})`, {
    config,
    world: cluster,
    when: toPod('web', tcp('away:4000', 'web:8080', 'S'), UPLINK),
    then: passed(),
  })
}

for (const [mode, config] of [
  ['native', native],
  ['vxlan', tunnelled],
] as const) {
  packet(`the uplink does not prove the address of a pod of this node (${mode})`, {
    config,
    world: cluster,
    when: toPod('web', tcp('cart:4000', 'web:8080', 'S'), UPLINK),
    then: dropped('BARE_SOURCE'),
  })
}

packet('beside the tunnel, only the uplink proves the address of another node’s pod', {
  config: tunnelled,
  world: cluster,
  when: toPod('web', tcp('away:4000', 'web:8080', 'S'), ELSEWHERE),
  then: dropped('BARE_SOURCE'),
})

const asked = [toPod('web', tcp('cart:4000', 'web:8080', 'S'), podIfindex.cart)]

packet('the answer to a pod of this node goes back to the stack', {
  world: cluster,
  given: asked,
  when: fromPod('web', tcp('web:8080', 'cart:4000', 'SA')),
  then: passed(tcp('web:8080', 'cart:4000', 'SA')),
})

packet('and so does every later one', {
  world: cluster,
  given: [
    ...asked,
    fromPod('web', tcp('web:8080', 'cart:4000', 'SA')),
    toPod('web', tcp('cart:4000', 'web:8080', 'A'), podIfindex.cart),
    fromPod('web', tcp('web:8080', 'cart:4000', 'A')),
  ],
  when: fromPod('web', tcp('web:8080', 'cart:4000', 'A')),
  then: passed(tcp('web:8080', 'cart:4000', 'A')),
})

packet('also after the flow was judged again', {
  world: cluster,
  given: [...asked, fromPod('web', tcp('web:8080', 'cart:4000', 'SA'))],
  changed: world(pod('cart'), pod('web', { ingress: ingress('i', allow('8080', 'any', 'TCP/8080')) }), epoch(8)),
  when: fromPod('web', tcp('web:8080', 'cart:4000', 'A')),
  then: passed(tcp('web:8080', 'cart:4000', 'A')),
})

packet('the answer to a pod of another node goes back to the stack', {
  world: cluster,
  given: [toPod('web', udp('away:4000', 'web:53'), UPLINK)],
  when: fromPod('web', udp('web:53', 'away:4000')),
  then: passed(udp('web:53', 'away:4000')),
})

packet('a flow that comes past the stack from now on is answered past it', {
  world: cluster,
  given: [
    toPod('web', tcp('away:4000', 'web:8080', 'S'), UPLINK),
    fromPod('web', tcp('web:8080', 'away:4000', 'SA')),
    fromNetdev(tcp('away:4000', 'web:8080', 'A')),
  ],
  when: fromPod('web', tcp('web:8080', 'away:4000', 'A')),
  then: sent('n2'),
})

packet('what a pod opens itself is none of this', {
  config: config(),
  world: cluster,
  given: [fromPod('web', tcp('web:4000', 'cart:8080', 'S'))],
  when: fromPod('cart', tcp('cart:8080', 'web:4000', 'SA')),
  then: delivered('web'),
})
