// SPDX-License-Identifier: Apache-2.0
// How a new connection's backend is chosen, where it is not at random. That the programs choose as `trace` does, by the
// client's address, each row compares by itself.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Family } from '../../src/core/address.ts'
import { emptyFlowState, type Tables } from '../../src/datapath/trace-tables.ts'
import { addressOf, native, pod, type ServiceShape, serviceOf, world } from './cluster.ts'
import { type Kernel, startKernel } from './kernel.ts'
import { type At, fromNetdev, fromPod, packet, refused, runStage } from './row.ts'
import { fresh, tcp } from './vocabulary.ts'

const pods = [pod('cart'), pod('web'), pod('bare')]
const backends = ['web:8080', 'web:8081', 'bare:8080', 'bare:8081']
const clients = ['outside', 'client', 'neighbour', 'away', 'far'] as const

const shopBy = (shape: ServiceShape): Tables =>
  world(...pods, ...['shop:80', 'n1:30080'].map((at) => serviceOf(at, { backends, external: backends, ...shape })))
/** Connections of one pod, one after the other. */
const connections = (count: number, to = 'shop:80', firstPort = 4000): At[] =>
  Array.from({ length: count }, (_, i) => fromPod('cart', tcp(`cart:${firstPort + i}`, to, 'S')))

for (const algorithm of ['maglev', 'source-hash'] as const) {
  for (const client of clients) {
    packet(`${algorithm}: ${client} gets the backend of its address`, {
      world: shopBy({ algorithm }),
      when: fromNetdev(tcp(`${client}:4000`, 'n1:30080', 'S')),
      then: { verdict: 'redirect' },
      families: [4, 6],
    })
  }
}

packet('a client that has been there before keeps its backend, whatever its address says', {
  world: shopBy({ algorithm: 'maglev', affinitySeconds: 60 }),
  given: connections(1),
  when: fromPod('cart', tcp('cart:5000', 'shop:80', 'S')),
  then: { verdict: 'redirect' },
})

packet('a client whose list has just lost its table gets a backend all the same', {
  world: { ...shopBy({ algorithm: 'maglev' }), slot_tables: [] },
  when: fromNetdev(tcp('outside:4000', 'n1:30080', 'S')),
  then: { verdict: 'redirect' },
})

for (const algorithm of ['random', 'round-robin', 'source-hash', 'maglev'] as const) {
  packet(`${algorithm}: a Service without backends refuses`, {
    world: world(...pods, serviceOf('shop:80', { algorithm, weights: [] })),
    when: fromPod('cart', tcp('cart:4000', 'shop:80', 'S')),
    then: refused('NO_BACKEND', fresh(tcp('shop:80', 'cart:4000', 'RA'))),
  })
}

let kernel: Kernel
beforeAll(async () => {
  kernel = await startKernel()
})
afterAll(() => kernel?.[Symbol.asyncDispose]())

/** Backends that connections get, by index of `backends`. */
async function chosenOf(family: Family, tables: Tables, ats: readonly At[]): Promise<number[]> {
  const outcomes = await runStage(kernel, { config: native, tables, state: emptyFlowState(), family, ats })
  const texts = backends.map((backend) => {
    const [host, port] = backend.split(':')
    return `${addressOf(host as 'web' | 'bare', family)} ${port}`
  })
  return outcomes.map(({ traced: { packet } }) => {
    if (packet.kind !== 'ip' || packet.transport.kind !== 'tcp') throw new Error('no TCP packet came out')
    return texts.indexOf(`${packet.destination} ${packet.transport.destinationPort}`)
  })
}

const timesOf = (chosen: readonly number[]): number[] =>
  backends.map((_, backend) => chosen.filter((each) => each === backend).length)

describe.each([4, 6] as const)('IPv%i', (family) => {
  test.each(['maglev', 'source-hash'] as const)(
    '%s: a client gets one backend, by any address of the Service',
    async (algorithm) => {
      const tables = shopBy({ algorithm })
      const chosen = await chosenOf(family, tables, [...connections(4), ...connections(4, 'n1:30080', 5000)])
      expect(new Set(chosen).size).toBe(1)
    },
  )

  test('in turn: each backend once a round, for clients inside and outside together', async () => {
    const ats = [
      ...connections(6),
      fromNetdev(tcp('outside:1', 'n1:30080', 'S')),
      fromNetdev(tcp('client:1', 'n1:30080', 'S')),
    ]
    const chosen = await chosenOf(family, shopBy({ algorithm: 'round-robin' }), ats)
    for (let round = 0; round < chosen.length; round += 4) {
      expect(new Set(chosen.slice(round, round + 4)).size).toBe(4)
    }
  })

  test('in turn by weight: as the weights say, but for where the table begins anew', async () => {
    const tables = shopBy({ algorithm: 'round-robin', weights: [3, 1, 1, 1] })
    const times = timesOf(await chosenOf(family, tables, connections(60)))
    for (const [index, expected] of [30, 10, 10, 10].entries()) {
      expect(Math.abs(times[index]! - expected), times.join(' ')).toBeLessThanOrEqual(2)
    }
  })

  test('at random by weight: 100 beside 1 shows', async () => {
    const tables = shopBy({ weights: [100, 1, 1, 1] })
    const [heavy] = timesOf(await chosenOf(family, tables, connections(40)))
    // 39 of 40 are expected; fewer than 30 come once in 10^8 runs.
    expect(heavy).toBeGreaterThanOrEqual(30)
  })
})
