// SPDX-License-Identifier: Apache-2.0
// A full table of translations gives up the oldest half-open connection, or else refuses what is new and counts it; what is
// established goes on.

import { emptyFlowState, type FlowState, tupleText } from '../../src/datapath/trace-tables.ts'
import type { Tuple } from '../../src/generated/abi.ts'
import { address } from '../support/packet.ts'
import { MAX_ENTRIES, pod, service, world } from './cluster.ts'
import { delivered, dropped, fromNetdev, fromPod, packet, passed, sent, toNetdev } from './row.ts'
import { tcp, udp } from './vocabulary.ts'

const cluster = world(pod('cart'), service('shop:80', 'away:8080'))

/** `count` translations of others. */
function others(count: number): () => FlowState {
  return () => {
    const state = emptyFlowState()
    for (let i = 0; i < count; i++) {
      const key: Tuple = {
        source: address('10.9.9.9'),
        destination: address('10.8.8.8'),
        sourcePort: i,
        destinationPort: 80,
        protocol: 6,
      }
      const nothing = { to: key, flags: 0, seenNs: process.hrtime.bigint() - 5_000_000_000n, service: 0n }
      state.translations.set(tupleText(key), [key, nothing])
    }
    return state
  }
}

packet('two free places are enough for a new translation', {
  world: cluster,
  state: others(MAX_ENTRIES - 2),
  when: fromPod('cart', tcp('cart:40000', 'outside:443', 'S')),
  then: sent(null),
})

for (const [places, count] of [
  ['one free place is', MAX_ENTRIES - 1],
  ['no free place is', MAX_ENTRIES],
] as const) {
  packet(`${places} too little for masquerading`, {
    world: cluster,
    state: others(count),
    when: fromPod('cart', tcp('cart:40000', 'outside:443', 'S')),
    then: dropped('TRANSLATIONS_FULL'),
  })

  packet(`${places} too little for a Service`, {
    world: cluster,
    state: others(count),
    when: fromPod('cart', tcp('cart:40000', 'shop:80', 'S')),
    then: dropped('TRANSLATIONS_FULL'),
  })

  packet(`${places} too little to enter the node's own connection, which goes on without`, {
    world: cluster,
    state: others(count),
    when: toNetdev(tcp('n1:40000', 'outside:443', 'S')),
    then: passed(tcp('n1:40000', 'outside:443', 'S')),
  })
}

packet('a translated connection goes on while the table is full', {
  world: cluster,
  state: others(MAX_ENTRIES - 2),
  given: [
    fromPod('cart', tcp('cart:40000', 'outside:443', 'S')),
    fromNetdev(tcp('outside:443', 'n1:40000', 'SA')),
    fromPod('cart', tcp('cart:40001', 'outside:443', 'S')),
  ],
  when: fromPod('cart', tcp('cart:40000', 'outside:443', 'A')),
  then: sent(null, tcp('n1:40000', 'outside:443', 'A', { hopLimit: 63 })),
})

const synFlood = Array.from({ length: 20 }, (_, i) => fromPod('cart', tcp(`cart:${41000 + i}`, 'outside:443', 'S')))
const fills = MAX_ENTRIES - 2 * synFlood.length

packet('a new connection takes the place of the oldest half-open one', {
  world: cluster,
  state: others(fills),
  given: synFlood,
  when: fromPod('cart', tcp('cart:42000', 'outside:443', 'S')),
  then: sent(null, tcp('n1:42000', 'outside:443', 'S', { hopLimit: 63 })),
})

packet('the answer to what was given up is nobody’s', {
  world: cluster,
  state: others(fills),
  given: [...synFlood, fromPod('cart', tcp('cart:42000', 'outside:443', 'S'))],
  when: fromNetdev(tcp('outside:443', 'n1:41000', 'SA')),
  then: passed(tcp('outside:443', 'n1:41000', 'SA')),
})

packet('an answer alone keeps no TCP connection: a backend answers a forged SYN too', {
  world: cluster,
  state: others(fills),
  given: [
    ...synFlood,
    fromNetdev(tcp('outside:443', 'n1:41000', 'SA')),
    fromPod('cart', tcp('cart:42000', 'outside:443', 'S')),
  ],
  when: fromNetdev(tcp('outside:443', 'n1:41000', 'SA')),
  then: passed(tcp('outside:443', 'n1:41000', 'SA')),
})

packet('a connection whose client has gone on is not given up', {
  world: cluster,
  state: others(fills),
  given: [
    ...synFlood,
    fromNetdev(tcp('outside:443', 'n1:41000', 'SA')),
    fromPod('cart', tcp('cart:41000', 'outside:443', 'A')),
    fromPod('cart', tcp('cart:42000', 'outside:443', 'S')),
  ],
  when: fromNetdev(tcp('outside:443', 'n1:41000', 'A')),
  then: delivered('cart', tcp('outside:443', 'cart:41000', 'A', { hopLimit: 63 })),
})

packet('UDP is not given up, answered or not', {
  world: cluster,
  state: others(MAX_ENTRIES - 2),
  given: [fromPod('cart', udp('cart:40000', 'outside:53'))],
  when: fromPod('cart', udp('cart:40001', 'outside:53')),
  then: dropped('TRANSLATIONS_FULL'),
})

packet('a connection that its ACK has entered is not given up', {
  world: cluster,
  state: others(fills),
  given: [fromPod('cart', tcp('cart:40900', 'outside:443', 'A')), ...synFlood],
  when: fromPod('cart', tcp('cart:40900', 'outside:443', 'A')),
  then: sent(null, tcp('n1:40900', 'outside:443', 'A', { hopLimit: 63 })),
})
