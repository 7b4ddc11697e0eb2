// SPDX-License-Identifier: Apache-2.0
// sessionAffinity ClientIP per packet: a client comes back to its backend, while the Service has it and within the timeout.

import { UNSPECIFIED } from '../../src/core/address.ts'
import { serviceId } from '../../src/core/names.ts'
import { affinityText, emptyFlowState, type FlowState } from '../../src/datapath/trace-tables.ts'
import { addressOf, type Host, pod, serviceOf, world } from './cluster.ts'
import { delivered, fromNetdev, fromPod, packet, sent } from './row.ts'
import { type InFamily, tcp } from './vocabulary.ts'

const affinitySeconds = 60
const backends = ['bare:8080', 'away:8080', 'web:8080', 'far:8080', 'web:8081']
const shop = (...listed: readonly string[]) => serviceOf('shop:80', { backends: listed, affinitySeconds })
const pods = [pod('cart'), pod('web'), pod('bare')]
const syn = fromPod('cart', tcp('cart:4000', 'shop:80', 'S'))

/** The host was given the backend some time ago, where a list had it at this slot. */
function gave(host: Host, backend: Host, port: number, ageSeconds: number, slot = 0): InFamily<FlowState> {
  return (family) => {
    const key = { service: serviceId('shop:80'), address: addressOf(host, family), netnsCookie: 0n, family }
    const seenNs = process.hrtime.bigint() - BigInt(ageSeconds) * 1_000_000_000n
    const state = emptyFlowState()
    state.affinity.set(affinityText(key), [key, { address: addressOf(backend, family), port, slot, seenNs }])
    return state
  }
}

packet('the first connection of a client leaves where it went', {
  world: world(...pods, shop('web:8080')),
  when: syn,
  then: delivered('web'),
})

packet('a client comes back to its backend among many', {
  world: world(...pods, shop(...backends)),
  state: gave('cart', 'web', 8081, 59),
  when: syn,
  then: delivered('web', tcp('cart:4000', 'web:8081', 'S', { hopLimit: 63 })),
})

for (const slot of [0, 1, 2, 3, 4, 99]) {
  packet(`wherever the list had it before: slot ${slot}`, {
    world: world(...pods, shop(...backends)),
    state: gave('cart', 'away', 8080, 5, slot),
    when: syn,
    then: sent('n2', tcp('cart:4000', 'away:8080', 'S', { hopLimit: 63 })),
  })
}

packet('also the second client after the first has come back', {
  world: world(...pods, shop(...backends)),
  given: [syn, fromPod('cart', tcp('cart:4001', 'shop:80', 'S')), fromPod('cart', tcp('cart:4002', 'shop:80', 'S'))],
  when: fromPod('cart', tcp('cart:4003', 'shop:80', 'S')),
  then: { verdict: 'redirect' },
})

packet('each connection starts the timeout anew', {
  world: world(...pods, shop(...backends)),
  state: gave('cart', 'web', 8081, 59),
  given: [syn],
  when: fromPod('cart', tcp('cart:4001', 'shop:80', 'S')),
  then: delivered('web', tcp('cart:4001', 'web:8081', 'S', { hopLimit: 63 })),
})

packet('a client that stayed away longer than the timeout gets any backend', {
  world: world(...pods, shop('bare:8080')),
  state: gave('cart', 'web', 8080, 61),
  when: syn,
  then: delivered('bare', tcp('cart:4000', 'bare:8080', 'S', { hopLimit: 63 })),
})

packet('a backend that has left the Service is forgotten', {
  world: world(...pods, shop('bare:8080', 'bare:8081')),
  state: gave('cart', 'web', 8080, 5),
  when: syn,
  then: { verdict: 'redirect', ifindex: 23 },
})

packet('so is its address with another port', {
  world: world(...pods, shop('web:8081')),
  state: gave('cart', 'web', 8080, 5),
  when: syn,
  then: delivered('web', tcp('cart:4000', 'web:8081', 'S', { hopLimit: 63 })),
})

packet('the backend of another client is no backend of this one', {
  world: world(...pods, shop('bare:8080')),
  state: gave('web', 'web', 8080, 5),
  when: syn,
  then: delivered('bare'),
})

packet('a Service without affinity does not look', {
  world: world(...pods, serviceOf('shop:80', { backends: ['bare:8080'] })),
  state: gave('cart', 'web', 8080, 5),
  when: syn,
  then: delivered('bare'),
})

packet('what a socket was given is not what its packets are given', {
  world: world(...pods, shop('bare:8080', 'web:8080')),
  state: (family) => {
    const state = emptyFlowState()
    const key = { service: serviceId('shop:80'), address: UNSPECIFIED, netnsCookie: 1021n, family }
    const value = { address: addressOf('web', family), port: 8080, slot: 0, seenNs: process.hrtime.bigint() }
    state.affinity.set(affinityText(key), [key, value])
    return state
  },
  when: syn,
  then: { verdict: 'redirect' },
})

packet('a client outside comes back to its backend', {
  world: world(
    ...pods,
    serviceOf('shop:80', { backends, external: ['bare:8080', 'web:8080', 'web:8081'], affinitySeconds }),
  ),
  state: gave('outside', 'web', 8081, 59),
  when: fromNetdev(tcp('outside:4000', 'shop:80', 'S')),
  then: delivered('web', tcp('outside:4000', 'web:8081', 'S', { hopLimit: 63 })),
})
