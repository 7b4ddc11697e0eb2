// SPDX-License-Identifier: Apache-2.0
// What the network may bring: bare sources and tunnel packets are proven before they are looked up (DESIGN 12).

import { epoch, native, pod, tunnelled, without, world } from './cluster.ts'
import { delivered, dropped, fromNetdev, packet, passed } from './row.ts'
import { echoRequest, frame, tcp, udp, vxlan } from './vocabulary.ts'

const ecn = { 'Not-ECT': 0, 'ECT(1)': 1, 'ECT(0)': 2, CE: 3 }
const cluster = world(pod('cart'), pod('web'))

packet("another node's pod reaches a local pod natively", {
  world: cluster,
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: delivered('web', tcp('away:4000', 'web:80', 'S', { hopLimit: 63 })),
})

packet("another node's pod reaches a local pod by VXLAN", {
  config: tunnelled,
  world: cluster,
  when: fromNetdev(vxlan('n2', 'n1', tcp('away:4000', 'web:80', 'S'))),
  then: delivered('web', tcp('away:4000', 'web:80', 'S', { hopLimit: 63 })),
})

packet('another node reaches a local pod natively', {
  world: cluster,
  when: fromNetdev(tcp('n2:4000', 'web:80', 'S')),
  then: delivered('web'),
})

packet('another node reaches a local pod by VXLAN', {
  config: tunnelled,
  world: cluster,
  when: fromNetdev(vxlan('n2', 'n1', tcp('n2:4000', 'web:80', 'S'))),
  then: delivered('web'),
})

packet('the outside reaches a local pod natively', {
  world: cluster,
  when: fromNetdev(tcp('outside:4000', 'web:80', 'S')),
  then: delivered('web'),
})

for (const [whose, source] of [
  ['this node', 'n1'],
  ['a local pod', 'cart'],
  ['an unallocated pod address of this node', 'vacant'],
  ['a Service', 'shop'],
] as const) {
  for (const config of [native, tunnelled]) {
    packet(`nobody on the network is ${whose} (${config === native ? 'native' : 'vxlan'})`, {
      config,
      world: cluster,
      when: fromNetdev(tcp(`${source}:4000`, 'web:80', 'S')),
      then: dropped('BARE_SOURCE'),
    })
  }
}

packet("in VXLAN mode another node's pod does not come bare", {
  config: tunnelled,
  world: cluster,
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: dropped('BARE_SOURCE'),
})

packet('a tunnel packet of no known node is dropped', {
  config: tunnelled,
  world: cluster,
  when: fromNetdev(vxlan('neighbour', 'n1', tcp('away:4000', 'web:80', 'S'))),
  then: dropped('TUNNEL_SOURCE'),
})

packet('a tunnel packet of a node that has just gone is dropped', {
  config: tunnelled,
  world: cluster,
  given: [fromNetdev(vxlan('n2', 'n1', tcp('away:4000', 'web:80', 'S')))],
  changed: without('nodes', world(pod('cart'), pod('web'), epoch(8))),
  when: fromNetdev(vxlan('n2', 'n1', tcp('away:4000', 'web:80', 'S'))),
  then: dropped('TUNNEL_SOURCE'),
})

packet('a tunnel packet that claims to come from this node is dropped', {
  config: tunnelled,
  world: cluster,
  when: fromNetdev(vxlan('n1', 'n1', tcp('cart:4000', 'web:80', 'S'))),
  then: dropped('TUNNEL_SOURCE'),
})

for (const [whose, source] of [
  ['a pod of a third node', 'far'],
  ['a local pod', 'cart'],
  ['this node', 'n1'],
  ['a third node', 'n3'],
  ['a Service', 'shop'],
  ['the outside', 'outside'],
] as const) {
  packet(`a node does not bring ${whose} in its tunnel`, {
    config: tunnelled,
    world: cluster,
    when: fromNetdev(vxlan('n2', 'n1', tcp(`${source}:4000`, 'web:80', 'S'))),
    then: dropped('TUNNEL_INNER'),
  })
}

packet('a tunnel inside the tunnel is an ordinary packet to the pod', {
  config: tunnelled,
  world: cluster,
  when: fromNetdev(vxlan('n2', 'n1', vxlan('away', 'web', tcp('cart:1', 'web:80', 'S')))),
  then: delivered('web'),
})

packet('in native mode the tunnel port is a port of the node like others', {
  world: cluster,
  when: fromNetdev(vxlan('n2', 'n1', tcp('away:4000', 'web:80', 'S'))),
  then: passed(),
})

packet('a foreign network id on the tunnel port is not our tunnel', {
  config: tunnelled,
  world: cluster,
  when: fromNetdev(vxlan('n2', 'n1', tcp('away:4000', 'web:80', 'S'), { vni: 99 })),
  then: dropped('PARSE'),
})

packet('the tunnel to an unallocated address ends at its owner', {
  config: tunnelled,
  world: cluster,
  when: fromNetdev(vxlan('n2', 'n1', tcp('away:4000', 'vacant:80', 'S'))),
  then: dropped('NO_ENDPOINT'),
})

packet('an unallocated address of the own pod CIDR is dropped by its owner', {
  world: cluster,
  when: fromNetdev(tcp('away:4000', 'vacant:80', 'S')),
  then: dropped('NO_ENDPOINT'),
})

packet('the node itself is reached as without us', {
  world: cluster,
  when: fromNetdev(tcp('n2:4000', 'n1:6443', 'S')),
  then: passed(tcp('n2:4000', 'n1:6443', 'S')),
})

packet('the node itself is reached from the outside as without us', {
  world: cluster,
  when: fromNetdev(udp('outside:4000', 'n1:123')),
  then: passed(udp('outside:4000', 'n1:123')),
})

packet('ping to the node passes', {
  world: cluster,
  when: fromNetdev(echoRequest('outside', 'n1', 5)),
  then: passed(),
})

packet('ARP of the node passes', {
  world: cluster,
  when: fromNetdev(frame(0x0806)),
  then: passed(),
})

packet('what is for somebody else passes', {
  world: cluster,
  when: fromNetdev(tcp('outside:4000', 'neighbour:80', 'S')),
  then: passed(),
})

// What the stack forwards for a local pod, to_netdev sends as that pod's: so nobody may hand it such a packet.
for (const [whose, source] of [
  ['a local pod', 'cart'],
  ['this node', 'n1'],
  ['a Service', 'shop'],
] as const) {
  for (const [where, destination] of [
    ["another node's pod", 'away'],
    ['another node', 'n2'],
    ['the outside', 'outside'],
  ] as const) {
    packet(`nobody sends to ${where} through this node as ${whose}`, {
      config: tunnelled,
      world: cluster,
      when: fromNetdev(tcp(`${source}:4000`, `${destination}:80`, 'S')),
      then: dropped('BARE_SOURCE'),
    })
  }
}

packet('a node does not send through this node as a local pod', {
  config: tunnelled,
  world: cluster,
  when: fromNetdev(vxlan('n2', 'n1', tcp('cart:4000', 'far:80', 'S'))),
  then: dropped('TUNNEL_INNER'),
})

packet("another holder of this node's address is heard", {
  world: cluster,
  when: fromNetdev(udp('n1:4000', 'group:5353')),
  then: passed(),
})

packet('multicast for the node passes', {
  world: cluster,
  when: fromNetdev(udp('n2:4000', 'group:5353')),
  then: passed(),
})

packet('the last hop to a local pod is answered by the stack', {
  world: cluster,
  when: fromNetdev(udp('away:4000', 'web:33434', { hopLimit: 1 })),
  then: passed(udp('away:4000', 'web:33434', { hopLimit: 1 })),
})

for (const [outer, inner, becomes] of [
  ['Not-ECT', 'Not-ECT', 'Not-ECT'],
  ['ECT(0)', 'ECT(0)', 'ECT(0)'],
  ['CE', 'ECT(0)', 'CE'],
  ['CE', 'ECT(1)', 'CE'],
  ['CE', 'CE', 'CE'],
] as const) {
  packet(`congestion in the tunnel reaches the pod: ${outer} outside, ${inner} inside`, {
    config: tunnelled,
    world: cluster,
    when: fromNetdev(
      vxlan('n2', 'n1', udp('away:4000', 'web:53', { trafficClass: ecn[inner] }), {}, { trafficClass: ecn[outer] }),
    ),
    then: delivered('web', udp('away:4000', 'web:53', { trafficClass: ecn[becomes], hopLimit: 63 })),
  })
}

packet('congestion in the tunnel that the inner packet cannot tell drops it', {
  config: tunnelled,
  world: cluster,
  when: fromNetdev(vxlan('n2', 'n1', udp('away:4000', 'web:53'), {}, { trafficClass: ecn.CE })),
  then: dropped('TUNNEL_ECN'),
})
