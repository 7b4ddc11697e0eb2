// SPDX-License-Identifier: Apache-2.0
// Who sends from a Service's address opens a flow, where policy allows it, and yet takes the Service from no pod.

import { Protocol } from '../../src/core/protocol.ts'
import { pod, serviceOf, world } from './cluster.ts'
import { fromNetdev, fromPod, packet, sent } from './row.ts'
import { tcp, udp } from './vocabulary.ts'

for (const at of ['vip', 'n2'] as const) {
  const cluster = world(
    pod('cart'),
    serviceOf(`${at}:30053`, { protocol: Protocol.UDP, backends: ['away:5353'] }),
    serviceOf(`${at}:30080`, { backends: ['away:8080'] }),
  )
  packet(`UDP ${at}, a datagram from the Service’s address before the pod asks`, {
    world: cluster,
    given: [fromNetdev(udp(`${at}:30053`, 'cart:4000'))],
    when: fromPod('cart', udp('cart:4000', `${at}:30053`)),
    then: sent('n2', udp('cart:4000', 'away:5353', { hopLimit: 63 })),
  })
  packet(`UDP ${at}, a datagram from the Service’s address after the pod has asked`, {
    world: cluster,
    given: [fromPod('cart', udp('cart:4000', `${at}:30053`)), fromNetdev(udp(`${at}:30053`, 'cart:4000'))],
    when: fromPod('cart', udp('cart:4000', `${at}:30053`)),
    then: sent('n2', udp('cart:4000', 'away:5353', { hopLimit: 63 })),
  })
  packet(`TCP ${at}, a SYN from the Service’s address into a connection`, {
    world: cluster,
    given: [
      fromPod('cart', tcp('cart:4000', `${at}:30080`, 'S')),
      fromNetdev(tcp('away:8080', 'cart:4000', 'SA')),
      fromPod('cart', tcp('cart:4000', `${at}:30080`, 'A')),
      fromNetdev(tcp(`${at}:30080`, 'cart:4000', 'S')),
    ],
    when: fromPod('cart', tcp('cart:4000', `${at}:30080`, 'A')),
    then: sent('n2', tcp('cart:4000', 'away:8080', 'A', { hopLimit: 63 })),
  })
}
