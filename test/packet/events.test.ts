// SPDX-License-Identifier: Apache-2.0
// What a drop tells: one counter, one event, and in it everything that an operator asks for.

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Family } from '../../src/core/address.ts'
import { id64 } from '../../src/core/id64.ts'
import { serviceId } from '../../src/core/names.ts'
import { emptyFlowState, type Tables } from '../../src/datapath/trace-tables.ts'
import { DropReason, type Event, Hook, PolicyDirection } from '../../src/generated/abi.ts'
import { packetBytes } from '../support/packet-bytes.ts'
import {
  addressOf,
  allow,
  classIdOf,
  deny,
  egress,
  ingress,
  native,
  peer,
  pod,
  ruleIdOf,
  service,
  UPLINK,
  world,
} from './cluster.ts'
import { type Kernel, startKernel } from './kernel.ts'
import { type At, fromNetdev, fromPod, runStage } from './row.ts'
import { tcp, udp } from './vocabulary.ts'

let kernel: Kernel

beforeAll(async () => {
  kernel = await startKernel()
})
afterAll(() => kernel?.[Symbol.asyncDispose]())

async function eventOf(tables: Tables, at: At, family: Family): Promise<Event> {
  const stage = { config: native, tables, state: emptyFlowState(), family, ats: [at] }
  const [outcome] = await runStage(kernel, stage)
  expect(outcome!.ran.events).toHaveLength(1)
  return outcome!.ran.events[0]!
}

test.each<Family>([4, 6])(
  'a denied connection from the network names pod, peer, policy and rule (IPv%i)',
  async (family) => {
    const isolated = pod('web', { ingress: ingress('s', allow('all', 'any'), deny('not-away', { class: 'away' })) })
    const event = await eventOf(world(peer('away'), isolated), fromNetdev(tcp('away:4000', 'web:80', 'S')), family)
    expect(event).toMatchObject({
      source: addressOf('away', family),
      sourcePort: 4000,
      destination: addressOf('web', family),
      destinationPort: 80,
      protocol: 6,
      tcpFlags: 2,
      reason: DropReason.POLICY_INGRESS,
      hook: Hook.FROM_NETDEV,
      direction: PolicyDirection.INGRESS,
      ifindex: UPLINK,
      length: 14 + (family === 4 ? 20 : 40) + 20,
      epoch: 7,
      rule: ruleIdOf('not-away'),
      set: id64('set s'),
      peerClass: classIdOf('away'),
      pod: id64('pod web'),
      service: 0n,
    })
  },
)

test.each<Family>([4, 6])(
  'a denied connection to a Service names the Service and its backend (IPv%i)',
  async (family) => {
    const tables = world(pod('cart', { egress: egress('e') }), pod('web'), service('shop:80', 'web:8080'))
    const event = await eventOf(tables, fromPod('cart', tcp('cart:4000', 'shop:80', 'S')), family)
    expect(event).toMatchObject({
      destination: addressOf('web', family),
      destinationPort: 8080,
      reason: DropReason.POLICY_EGRESS,
      hook: Hook.FROM_POD,
      direction: PolicyDirection.EGRESS,
      ifindex: 21,
      rule: 0n,
      set: id64('set e'),
      peerClass: classIdOf('pods'),
      pod: id64('pod cart'),
      service: serviceId('shop:80'),
    })
  },
)

test.each<Family>([4, 6])('a forged source is told as it was sent (IPv%i)', async (family) => {
  const event = await eventOf(world(pod('cart')), fromPod('cart', udp('away:4000', 'outside:53')), family)
  expect(event).toMatchObject({
    source: addressOf('away', family),
    destination: addressOf('outside', family),
    reason: DropReason.SOURCE,
    direction: 0,
    rule: 0n,
    set: 0n,
    peerClass: 0n,
  })
})

test('events that find the ring full are counted, and the drops are counted exactly', async () => {
  const { hook, ifindex, ingressIfindex, mark, packet } = fromPod('cart', udp('away:4000', 'outside:53'))
  const step = { hook, ifindex, ingressIfindex, mark, bytes: packetBytes(packet(4)), repeat: 100_000 }
  const tables = world(pod('cart'))
  const [flooded] = await kernel.run({ config: native, tables, state: emptyFlowState(), steps: [step] })
  const { drops, events } = flooded!
  const lost = drops.get(DropReason.EVENT_LOST)!
  expect(drops.get(DropReason.SOURCE)).toBe(100_000)
  expect(lost).toBeGreaterThan(0)
  expect(events.length + lost).toBe(100_000)
})
