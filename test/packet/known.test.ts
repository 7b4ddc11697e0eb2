// SPDX-License-Identifier: Apache-2.0
// The short way (bpf/lib/known.h): a flow whose packets this CPU has met ends where the long way ends, and what is not plain
// takes the long way.

import { epoch, ingress, pod, tunnelled, world } from './cluster.ts'
import { type At, delivered, dropped, fromNetdev, fromPod, packet, passed, sent } from './row.ts'
import { tcp, udp, vxlan } from './vocabulary.ts'

const local = (flags: string, header = {}) => fromPod('cart', tcp('cart:4000', 'web:80', flags, header))
const answer = fromPod('web', tcp('web:80', 'cart:4000', 'A'))
const pair = world(pod('cart'), pod('web'))
/** Enough that the flow is in `flows` and this CPU has met it, both ways. */
const localFlow: readonly At[] = [
  local('S'),
  fromPod('web', tcp('web:80', 'cart:4000', 'SA')),
  local('A'),
  answer,
  local('A'),
]

const out = (header = {}) => fromPod('cart', udp('cart:4000', 'away:53', header))
const back = (header = {}) => fromNetdev(udp('away:53', 'cart:4000', header))
const remoteFlow: readonly At[] = [out(), back(), out(), back(), out(), back()]

const inTunnel = (node: 'n2' | 'n3') => fromNetdev(vxlan(node, 'n1', udp('away:53', 'cart:4000')))
const tunnelledFlow = [out(), inTunnel('n2'), out(), inTunnel('n2'), out(), inTunnel('n2')]

packet('between local pods each packet takes one from the hop limit', {
  world: pair,
  given: localFlow,
  when: local('A', { hopLimit: 9 }),
  then: delivered('web', tcp('cart:4000', 'web:80', 'A', { hopLimit: 8 })),
})

packet('to another node', {
  world: pair,
  given: remoteFlow,
  when: out({ hopLimit: 9 }),
  then: sent('n2', udp('cart:4000', 'away:53', { hopLimit: 8 })),
})

packet('from another node', {
  world: pair,
  given: remoteFlow,
  when: back({ hopLimit: 9 }),
  then: delivered('cart', udp('away:53', 'cart:4000', { hopLimit: 8 })),
})

packet('the last hop ends in the stack', {
  world: pair,
  given: localFlow,
  when: local('A', { hopLimit: 1 }),
  then: passed(tcp('cart:4000', 'web:80', 'A', { hopLimit: 1 })),
})

packet('the last hop from another node ends in the stack', {
  world: pair,
  given: remoteFlow,
  when: back({ hopLimit: 1 }),
  then: passed(udp('away:53', 'cart:4000', { hopLimit: 1 })),
})

packet('in the tunnel, from the node that it came from', {
  config: tunnelled,
  world: pair,
  given: tunnelledFlow,
  when: inTunnel('n2'),
  then: delivered('cart', udp('away:53', 'cart:4000', { hopLimit: 63 })),
})

packet('in the tunnel, from another node', {
  config: tunnelled,
  world: pair,
  given: tunnelledFlow,
  when: inTunnel('n3'),
  then: dropped('TUNNEL_INNER'),
})

packet('shorter than it says, it is no packet of the flow', {
  world: pair,
  given: remoteFlow,
  when: { ...out(), broken: (bytes) => bytes.subarray(0, bytes.length - 4) },
  then: dropped('PARSE'),
})

packet('what a new epoch denies is cut', {
  world: pair,
  given: localFlow,
  changed: world(pod('cart'), pod('web', { ingress: ingress('default-deny') }), epoch(8)),
  when: local('A'),
  then: dropped('POLICY_INGRESS', null),
})
