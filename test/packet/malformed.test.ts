// SPDX-License-Identifier: Apache-2.0
// What is no packet of ours: other EtherTypes, multicast, broken headers. Pods send none of it; the node may.

import { allow, egress, native, pod, world } from './cluster.ts'
import { dropped, fromNetdev, fromPod, packet, passed, sent, toNetdev, toPod } from './row.ts'
import { firstFragment, frame, icmp, laterFragment, only, opaque, tcp, udp } from './vocabulary.ts'

const cluster = world(pod('cart'))

function set(at: number, value: number): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => bytes.with(at, value)
}

packet('a pod does not send ARP', {
  world: cluster,
  when: fromPod('cart', frame(0x0806)),
  then: dropped('ETHERTYPE'),
  families: [4],
})

packet('a pod does not send an EtherType that nobody knows', {
  world: cluster,
  when: fromPod('cart', frame(0x88cc)),
  then: dropped('ETHERTYPE'),
  families: [4],
})

packet('a pod is sent no EtherType but IP', {
  world: cluster,
  when: toPod('cart', frame(0x0806)),
  then: dropped('ETHERTYPE'),
  families: [4],
})

packet('the node sends what it likes', {
  world: cluster,
  when: toNetdev(frame(0x0806)),
  then: passed(),
  families: [4],
})

packet('a pod does not send multicast', {
  world: cluster,
  when: fromPod('cart', udp('cart:4000', 'group:5353')),
  then: dropped('MULTICAST'),
})

packet('a pod does not send to the limited broadcast', {
  world: cluster,
  when: fromPod('cart', only(4, udp('cart:4000', '255.255.255.255:67'))),
  then: dropped('MULTICAST'),
  families: [4],
})

packet('a pod does not receive multicast from the stack', {
  world: cluster,
  when: toPod('cart', udp('n1:4000', 'group:5353')),
  then: dropped('MULTICAST'),
})

packet('a pod that asks for its gateway is left to the stack', {
  world: cluster,
  when: fromPod('cart', icmp('cart', 'linklocal', 135, 0, { hopLimit: 255 })),
  then: passed(),
  families: [6],
})

packet('a neighbour solicitation that was forwarded is none', {
  world: cluster,
  when: fromPod('cart', icmp('away', 'linklocal', 135, 0, { hopLimit: 254 })),
  then: dropped('SOURCE'),
  families: [6],
})

packet('a router solicitation is multicast', {
  world: cluster,
  when: fromPod('cart', icmp('linklocal', 'group', 133, 0, { hopLimit: 255 })),
  then: dropped('MULTICAST'),
  families: [6],
})

for (const [what, families, broken] of [
  ['whose version is another', [4, 6], set(14, 0x55)],
  ['whose header is too short', [4], set(14, 0x44)],
  ['that says no length and is not to be segmented', [4], set(17, 0)],
  ['that ends in its header, it says', [4], set(17, 19)],
  ['that is shorter than it says', [4, 6], (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 4)],
] as const) {
  packet(`a packet ${what} is no packet`, {
    world: cluster,
    when: { ...fromPod('cart', tcp('cart:4000', 'away:80', 'S')), broken },
    then: dropped('PARSE'),
    families,
  })

  packet(`a packet ${what} is left to the stack when it comes from the network`, {
    world: cluster,
    when: { ...fromNetdev(tcp('away:4000', 'cart:80', 'S')), broken },
    then: passed(),
    families,
  })
}

for (const [transport, protocol, bytes] of [
  ['TCP', 6, 19],
  ['UDP', 17, 7],
  ['SCTP', 132, 7],
] as const) {
  packet(`a packet that ends in its ${transport} header is no packet`, {
    world: cluster,
    when: fromPod('cart', opaque('cart', 'away', protocol, { payloadBytes: bytes })),
    then: dropped('PARSE'),
  })
}

packet('a packet that ends in its ICMP header is no packet', {
  world: cluster,
  when: fromPod('cart', opaque('cart', 'away', 1, { payloadBytes: 7 })),
  then: dropped('PARSE'),
  families: [4],
})

packet('a packet that ends in its ICMPv6 header is no packet', {
  world: cluster,
  when: fromPod('cart', opaque('cart', 'away', 58, { payloadBytes: 7 })),
  then: dropped('PARSE'),
  families: [6],
})

packet('IPv4 options do not hide the ports', {
  config: native,
  world: cluster,
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S', { optionBytes: 8 })),
  then: sent('n2', tcp('cart:4000', 'away:80', 'S', { optionBytes: 8, hopLimit: 63 })),
  families: [4],
})

const padding = { header: 60, bytes: 8 }
const four = [{ header: 0, bytes: 16 }, padding, padding, padding]

packet('IPv6 extension headers do not hide the ports', {
  world: world(pod('cart', { egress: egress('e', allow('80', 'any', 'TCP/80')) })),
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S', { extensions: four })),
  then: sent('n2', tcp('cart:4000', 'away:80', 'S', { extensions: four, hopLimit: 63 })),
  families: [6],
})

packet('more IPv6 extension headers than anybody needs', {
  world: cluster,
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S', { extensions: [...four, padding] })),
  then: dropped('IP_OPTIONS'),
  families: [6],
})

packet('an IPv6 routing header', {
  world: cluster,
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S', { extensions: [{ header: 43, bytes: 8 }] })),
  then: dropped('IP_OPTIONS'),
  families: [6],
})

for (const [what, extensions] of [
  ['more extension headers than we read', [...four, padding]],
  ['a routing header', [{ header: 43, bytes: 8 }]],
] as const) {
  packet(`${what}, for the node itself: its stack decides`, {
    world: cluster,
    when: fromNetdev(tcp('outside:4000', 'n1:80', 'S', { extensions })),
    then: passed(tcp('outside:4000', 'n1:80', 'S', { extensions })),
    families: [6],
  })

  packet(`${what}, for the node itself, with the address of a pod`, {
    world: cluster,
    when: fromNetdev(tcp('cart:4000', 'n1:80', 'S', { extensions })),
    then: dropped('BARE_SOURCE'),
    families: [6],
  })

  packet(`${what}, for a pod`, {
    world: cluster,
    when: fromNetdev(tcp('outside:4000', 'cart:80', 'S', { extensions })),
    then: dropped('IP_OPTIONS'),
    families: [6],
  })
}

packet('a fragment of a packet with extension headers', {
  world: cluster,
  given: [fromPod('cart', firstFragment(udp('cart:4000', 'away:53', { extensions: [padding] }), 8))],
  when: fromPod('cart', laterFragment(udp('cart:4000', 'away:53', { extensions: [padding] }), 8)),
  then: sent('n2'),
  families: [6],
})
