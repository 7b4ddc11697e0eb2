// SPDX-License-Identifier: Apache-2.0
// Where a pod's packet goes: pods here, pods of other nodes natively or by VXLAN, nodes, nobody. Every hop costs a hop.

import { native, pod, tunnelled, without, world } from './cluster.ts'
import { delivered, dropped, fromPod, packet, passed, sent, toNetdev, toPod } from './row.ts'
import { echoRequest, sctp, tcp, udp, vxlan } from './vocabulary.ts'

const cluster = world(pod('cart'), pod('web'))

packet('a local pod is reached directly', {
  world: cluster,
  when: fromPod('cart', udp('cart:4000', 'web:53')),
  then: delivered('web', udp('cart:4000', 'web:53', { hopLimit: 63 })),
})

packet('a local pod is reached directly in VXLAN mode as well', {
  config: tunnelled,
  world: cluster,
  when: fromPod('cart', udp('cart:4000', 'web:53')),
  then: delivered('web', udp('cart:4000', 'web:53', { hopLimit: 63 })),
})

packet("another node's pod is reached natively", {
  world: cluster,
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S')),
  then: sent('n2', tcp('cart:4000', 'away:80', 'S', { hopLimit: 63 })),
})

packet('a node beyond a router is reached by its gateway', {
  world: cluster,
  when: fromPod('cart', tcp('cart:4000', 'far:80', 'S')),
  then: sent('router', tcp('cart:4000', 'far:80', 'S', { hopLimit: 63 })),
})

packet("another node's pod is reached by VXLAN", {
  config: tunnelled,
  world: cluster,
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S')),
  then: { ...sent('n2'), tunnel: true },
})

packet('VXLAN to a node beyond a router has that node as its outer destination', {
  config: tunnelled,
  world: cluster,
  when: fromPod('cart', tcp('cart:4000', 'far:80', 'S', { payloadBytes: 333 })),
  then: { ...sent('router'), tunnel: true },
})

for (const [name, ecn] of [
  ['Not-ECT', 0],
  ['ECT(1)', 1],
  ['ECT(0)', 2],
  ['CE', 3],
] as const) {
  packet(`the outer header tells congestion as the inner does: ${name}`, {
    config: tunnelled,
    world: cluster,
    when: fromPod('cart', udp('cart:4000', 'away:53', { trafficClass: 0x28 | ecn })),
    then: { ...sent('n2'), tunnel: true },
  })
}

packet('SCTP is forwarded like the rest', {
  world: cluster,
  when: fromPod('cart', sctp('cart:4000', 'away:80')),
  then: sent('n2'),
})

packet('ping to a pod of another node', {
  world: cluster,
  when: fromPod('cart', echoRequest('cart', 'away', 5)),
  then: sent('n2'),
})

packet('the own node is reached by its stack, no hop spent', {
  world: cluster,
  when: fromPod('cart', tcp('cart:4000', 'n1:10250', 'S', { hopLimit: 1 })),
  then: passed(tcp('cart:4000', 'n1:10250', 'S', { hopLimit: 1 })),
})

packet('an unallocated address of the own pod CIDR is dropped by its owner', {
  world: cluster,
  when: fromPod('cart', tcp('cart:4000', 'vacant:80', 'S')),
  then: dropped('NO_ENDPOINT'),
})

packet('a node without a nexthop cannot be reached', {
  world: without('nexthops', cluster),
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S')),
  then: dropped('NO_NEXTHOP'),
})

packet('a node without a nexthop cannot be reached by VXLAN', {
  config: tunnelled,
  world: without('nexthops', cluster),
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S')),
  then: dropped('NO_NEXTHOP'),
})

packet('the last hop to a local pod is answered by the stack', {
  world: cluster,
  when: fromPod('cart', udp('cart:4000', 'web:33434', { hopLimit: 1 })),
  then: passed(udp('cart:4000', 'web:33434', { hopLimit: 1 })),
})

packet('the last hop to a remote pod is answered by the stack', {
  world: cluster,
  when: fromPod('cart', udp('cart:4000', 'away:33434', { hopLimit: 1 })),
  then: passed(udp('cart:4000', 'away:33434', { hopLimit: 1 })),
})

packet('the last hop to a remote pod by VXLAN is answered by the stack', {
  config: tunnelled,
  world: cluster,
  when: fromPod('cart', udp('cart:4000', 'away:33434', { hopLimit: 1 })),
  then: passed(udp('cart:4000', 'away:33434', { hopLimit: 1 })),
})

packet('two hops to a remote pod suffice', {
  world: cluster,
  when: fromPod('cart', udp('cart:4000', 'away:33434', { hopLimit: 2 })),
  then: sent('n2', udp('cart:4000', 'away:33434', { hopLimit: 1 })),
})

packet('a packet of the own node to another node is not touched', {
  world: cluster,
  when: toNetdev(tcp('n1:4000', 'n2:6443', 'S')),
  then: passed(tcp('n1:4000', 'n2:6443', 'S')),
})

packet('a packet of the own node to a remote pod follows the kernel route', {
  world: cluster,
  when: toNetdev(tcp('n1:4000', 'away:80', 'S')),
  then: passed(tcp('n1:4000', 'away:80', 'S')),
})

packet('a packet of the own node to a remote pod is encapsulated in VXLAN mode', {
  config: tunnelled,
  world: cluster,
  when: toNetdev(tcp('n1:4000', 'away:80', 'S')),
  then: { verdict: 'pass' },
})

packet('a packet of the own node to its own pod passes', {
  world: cluster,
  when: toPod('cart', echoRequest('n1', 'cart', 5)),
  then: passed(),
})

packet('a tunnel packet of the own node to another node is not encapsulated again', {
  config: tunnelled,
  world: cluster,
  when: toNetdev(vxlan('n1', 'n2', tcp('cart:4000', 'away:80', 'S'))),
  then: passed(vxlan('n1', 'n2', tcp('cart:4000', 'away:80', 'S'))),
})

// The uplink carries 1500 bytes; VXLAN takes 50 of them over IPv4 and 70 over IPv6.
for (const [mode, config, overheadBytes] of [
  ['native', native, 0],
  ['vxlan', tunnelled, 50],
] as const) {
  for (const family of [4, 6] as const) {
    const header = family === 4 ? 28 : 48
    const overhead = overheadBytes === 0 ? 0 : overheadBytes + (family === 4 ? 0 : 20)
    const payloadBytes = 1500 - header - overhead

    packet(`the largest packet that the way carries is sent (${mode})`, {
      config,
      world: cluster,
      when: fromPod('cart', udp('cart:4000', 'away:53', { payloadBytes })),
      then: sent('n2'),
      families: [family],
    })

    packet(`the stack answers a packet that is larger than the way allows (${mode})`, {
      config,
      world: cluster,
      when: fromPod('cart', udp('cart:4000', 'away:53', { payloadBytes: payloadBytes + 1 })),
      then: passed(udp('cart:4000', 'away:53', { payloadBytes: payloadBytes + 1 })),
      families: [family],
    })
  }
}
