// SPDX-License-Identifier: Apache-2.0
// A full table of translations refuses what has been answered and counts it; what it holds goes on. What nobody has
// answered takes none of its places: a flood of SYNs fills it no more than one does.

import { emptyFlowState, type FlowState, tupleText } from '../../src/datapath/trace-tables.ts'
import { TranslationFlags, type Tuple } from '../../src/generated/abi.ts'
import { address } from '../support/packet.ts'
import { addressOf, MAX_ENTRIES, pod, service, serviceOf, world } from './cluster.ts'
import { dropped, fromNetdev, fromPod, packet, passed, sent, toNetdev } from './row.ts'
import { echoReply, echoRequest, type InFamily, tcp, udp } from './vocabulary.ts'

const cluster = world(pod('cart'), service('shop:80', 'away:8080'))
const nodePort = world(serviceOf('n1:30080', { external: ['away:8080'] }))

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
  given: [fromPod('cart', tcp('cart:40000', 'outside:443', 'S')), fromNetdev(tcp('outside:443', 'n1:40000', 'SA'))],
  when: fromPod('cart', tcp('cart:40000', 'outside:443', 'A')),
  then: sent(null),
})

for (const [places, count] of [
  ['one free place is', MAX_ENTRIES - 1],
  ['no free place is', MAX_ENTRIES],
] as const) {
  packet(`${places} too little for masquerading`, {
    world: cluster,
    state: others(count),
    given: [fromPod('cart', tcp('cart:40000', 'outside:443', 'S')), fromNetdev(tcp('outside:443', 'n1:40000', 'SA'))],
    when: fromPod('cart', tcp('cart:40000', 'outside:443', 'A')),
    then: dropped('TRANSLATIONS_FULL'),
  })

  packet(`${places} too little for a Service`, {
    world: cluster,
    state: others(count),
    given: [fromPod('cart', tcp('cart:40000', 'shop:80', 'S')), fromNetdev(tcp('away:8080', 'cart:40000', 'SA'))],
    when: fromPod('cart', tcp('cart:40000', 'shop:80', 'A')),
    then: dropped('TRANSLATIONS_FULL'),
  })

  packet(`${places} too little for the answer to a datagram`, {
    world: cluster,
    state: others(count),
    given: [fromPod('cart', udp('cart:40000', 'outside:53'))],
    when: fromNetdev(udp('outside:53', 'n1:40000')),
    then: dropped('TRANSLATIONS_FULL'),
  })

  packet(`${places} too little for the answer to a ping`, {
    world: cluster,
    state: others(count),
    given: [fromPod('cart', echoRequest('cart', 'outside', 7))],
    when: fromNetdev(echoReply('outside', 'n1', 7)),
    then: dropped('TRANSLATIONS_FULL'),
  })

  packet(`${places} too little for the node's own connection, which goes on without`, {
    world: cluster,
    state: others(count),
    given: [toNetdev(tcp('n1:40000', 'outside:443', 'S')), fromNetdev(tcp('outside:443', 'n1:40000', 'SA'))],
    when: toNetdev(tcp('n1:40000', 'outside:443', 'A')),
    then: passed(tcp('n1:40000', 'outside:443', 'A')),
  })
}

packet('a translated connection goes on while the table is full', {
  world: cluster,
  state: others(MAX_ENTRIES - 2),
  given: [
    fromPod('cart', tcp('cart:40000', 'outside:443', 'S')),
    fromNetdev(tcp('outside:443', 'n1:40000', 'SA')),
    fromPod('cart', tcp('cart:40000', 'outside:443', 'A')),
    fromPod('cart', tcp('cart:40001', 'outside:443', 'S')),
    fromNetdev(tcp('outside:443', 'n1:40001', 'SA')),
    fromPod('cart', tcp('cart:40001', 'outside:443', 'A')),
  ],
  when: fromPod('cart', tcp('cart:40000', 'outside:443', 'A')),
  then: sent(null, tcp('n1:40000', 'outside:443', 'A', { hopLimit: 63 })),
})

// -- Nobody goes on ------------------------------------------------------------------------------------------------

/** SYNs of forged clients to a node port, and the backend's answers, which nobody awaits. */
const forged = [40001, 40002, 40003, 40004].flatMap((port) => [
  fromNetdev(tcp(`client:${port}`, 'n1:30080', 'S')),
  fromNetdev(tcp('away:8080', `n1:${port}`, 'SA')),
])
const handshake = [fromNetdev(tcp('outside:40000', 'n1:30080', 'S')), fromNetdev(tcp('away:8080', 'n1:40000', 'SA'))]

packet('SYNs whose answers nobody awaits leave the last places to a client who does', {
  world: nodePort,
  state: others(MAX_ENTRIES - 2),
  given: [...forged, ...handshake],
  when: fromNetdev(tcp('outside:40000', 'n1:30080', 'A')),
  then: sent('n2', tcp('n1:40000', 'away:8080', 'A', { hopLimit: 63 })),
})

packet('a forged client that exists after all resets what it did not ask for, and takes no place', {
  world: nodePort,
  state: others(MAX_ENTRIES),
  given: handshake,
  when: fromNetdev(tcp('outside:40000', 'n1:30080', 'R')),
  then: sent('n2', tcp('n1:40000', 'away:8080', 'R', { hopLimit: 63 })),
})

// -- One entry of a translation that nobody has answered was evicted -------------------------------------------------

/** What is left of outside:40000 at the node port; the port that it got may be another client's now. */
function left(which: 'forward' | 'reverse', owner?: 'client'): InFamily<FlowState> {
  return (family) => {
    const [client, node, backend] = [addressOf('outside', family), addressOf('n1', family), addressOf('away', family)]
    const forward = { source: client, sourcePort: 40000, destination: node, destinationPort: 30080, protocol: 6 }
    const reverse = { source: backend, sourcePort: 8080, destination: node, destinationPort: 40000, protocol: 6 }
    const back = { source: node, sourcePort: 30080, destination: client, destinationPort: 40000, protocol: 6 }
    const there = { source: node, sourcePort: 40000, destination: backend, destinationPort: 8080, protocol: 6 }
    const seen = { seenNs: process.hrtime.bigint() - 5_000_000_000n, service: 0n }
    const state = emptyFlowState()
    const enter = (key: Tuple, to: Tuple, flags: number) =>
      state.nat_opening.set(tupleText(key), [key, { ...seen, to, flags }])
    if (which === 'forward') enter(forward, there, 0)
    if (which === 'reverse') enter(reverse, back, TranslationFlags.REVERSE)
    if (owner) enter(reverse, { ...back, destination: addressOf(owner, family) }, TranslationFlags.REVERSE)
    return state
  }
}

packet('a SYN that comes again makes the entry of its answer again', {
  world: nodePort,
  state: left('forward'),
  given: [fromNetdev(tcp('outside:40000', 'n1:30080', 'S'))],
  when: fromNetdev(tcp('away:8080', 'n1:40000', 'SA')),
  then: sent(null, tcp('n1:30080', 'outside:40000', 'SA', { hopLimit: 63 })),
})

packet('a SYN that comes again does not take the port of whom it is by now', {
  world: nodePort,
  state: left('forward', 'client'),
  given: [fromNetdev(tcp('outside:40000', 'n1:30080', 'S'))],
  when: fromNetdev(tcp('away:8080', 'n1:40000', 'SA')),
  then: passed(tcp('away:8080', 'n1:40000', 'SA')),
})

packet('an answer whose question is forgotten is refused by the stack', {
  world: nodePort,
  state: left('reverse'),
  when: fromNetdev(tcp('away:8080', 'n1:40000', 'SA')),
  then: passed(tcp('away:8080', 'n1:40000', 'SA')),
})
