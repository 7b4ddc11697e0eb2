// SPDX-License-Identifier: Apache-2.0
// Who may speak: a pod only with its own addresses (DESIGN 12). Without this, policy could be talked around.

import { native, pod, service, tunnelled, world } from './cluster.ts'
import { delivered, dropped, fromNetdev, fromPod, packet, passed, sent } from './row.ts'
import { echoRequest, only, opaque, tcp, udp, vxlan } from './vocabulary.ts'

const cluster = world(pod('cart'), pod('web'), service('shop:80', 'web:8080'))

packet('a pod speaks with its own address', {
  world: cluster,
  when: fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
  then: delivered('web', tcp('cart:4000', 'web:80', 'S', { hopLimit: 63 })),
})

for (const [whose, source] of [
  ['another local pod', 'web'],
  ['an unallocated pod address of this node', 'vacant'],
  ["another node's pod", 'away'],
  ['a Service', 'shop'],
  ['this node', 'n1'],
  ['another node', 'n2'],
  ['the outside', 'outside'],
  ['the gateway', 'linklocal'],
  ['loopback', 'loopback'],
] as const) {
  packet(`a pod cannot speak with the address of ${whose}`, {
    world: cluster,
    when: fromPod('cart', tcp(`${source}:4000`, 'web:80', 'S')),
    then: dropped('SOURCE'),
  })
}

packet("a pod cannot speak with another pod's address on a flow that is established", {
  world: cluster,
  given: [
    fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
    fromPod('web', tcp('web:80', 'cart:4000', 'SA')),
    fromPod('cart', tcp('cart:4000', 'web:80', 'A')),
  ],
  when: fromPod('web', tcp('cart:4000', 'web:80', 'A')),
  then: dropped('SOURCE'),
})

packet('a pod cannot speak to the node with the address of another', {
  world: cluster,
  when: fromPod('cart', udp('web:4000', 'n1:53')),
  then: dropped('SOURCE'),
})

packet('a pod cannot ping with the address of another', {
  world: cluster,
  when: fromPod('cart', echoRequest('web', 'away', 9)),
  then: dropped('SOURCE'),
})

packet('a pod cannot send a transport without ports with the address of another', {
  world: cluster,
  when: fromPod('cart', opaque('web', 'away', 47)),
  then: dropped('SOURCE'),
})

packet('an IPv6 packet with an IPv4-mapped source is nobody', {
  world: cluster,
  when: fromPod('cart', only(4, tcp('cart:4000', 'web:80', 'S', { family: 6 }))),
  then: dropped('MAPPED_ADDRESS'),
  families: [6],
})

packet('an IPv6 packet from node to node with IPv4-mapped addresses is nobody', {
  world: cluster,
  when: fromNetdev(only(4, tcp('n2:4000', 'n1:80', 'S', { family: 6 }))),
  then: dropped('MAPPED_ADDRESS'),
  families: [6],
})

packet('nor is one from a mapped address to the node’s own', {
  world: cluster,
  when: fromNetdev(() => ({
    ...only(4, tcp('n2:4000', 'n1:80', 'S', { family: 6 }))(6),
    destination: only(6, tcp('n2:4000', 'n1:80', 'S'))(6).destination,
  })),
  then: dropped('MAPPED_ADDRESS'),
  families: [6],
})

packet('an IPv6 packet to an IPv4-mapped destination goes nowhere', {
  world: cluster,
  when: fromPod('cart', () => ({
    ...only(6, tcp('cart:4000', 'web:80', 'S'))(6),
    destination: only(4, tcp('cart:4000', 'web:80', 'S'))(4).destination,
  })),
  then: dropped('MAPPED_ADDRESS'),
  families: [6],
})

for (const config of [native, tunnelled]) {
  const mode = config === native ? 'native' : 'vxlan'
  packet(`a pod cannot forge a tunnel packet to another node (${mode})`, {
    config,
    world: cluster,
    when: fromPod('cart', vxlan('cart', 'n2', tcp('web:4000', 'away:80', 'S'))),
    then: mode === 'vxlan' ? dropped('TUNNEL_FORGED') : sent('n2'),
  })

  packet(`a pod cannot forge a tunnel packet to its own node (${mode})`, {
    config,
    world: cluster,
    when: fromPod('cart', vxlan('cart', 'n1', tcp('web:4000', 'away:80', 'S'))),
    then: mode === 'vxlan' ? dropped('TUNNEL_FORGED') : passed(),
  })
}
