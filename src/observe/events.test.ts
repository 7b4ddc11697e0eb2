// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import type { Address } from '../core/address.ts'
import { encode } from '../core/codec.ts'
import { Protocol } from '../core/protocol.ts'
import { DropReason, type Event, EventType, event, Hook, PolicyDirection } from '../generated/abi.ts'
import { describeEvent, type Names, type PacketEvent, reasonText, sampleEvents } from './events.ts'

const dropped: Event = {
  timeNs: 1_500_000_000n,
  source: '10.1.0.5' as Address,
  destination: '10.2.0.9' as Address,
  sourcePort: 40_000,
  destinationPort: 80,
  protocol: Protocol.TCP,
  tcpFlags: 0x12,
  type: EventType.DROP,
  reason: DropReason.POLICY_INGRESS,
  hook: Hook.FROM_POD,
  direction: PolicyDirection.INGRESS,
  ifindex: 7,
  length: 74,
  epoch: 3,
  rule: 0n,
  set: 0xabcn,
  peerClass: 5n,
  pod: 0x11n,
  service: 0n,
}

function described(raw: Event, bootMs = 0): PacketEvent {
  return describeEvent({ raw, count: 1 }, names, bootMs)
}

const names: Names = {
  pod: (id) => (id === 0x11n ? 'shop/cart' : undefined),
  rule: (id) => (id === 9n ? 'shop/web ingress[0]' : undefined),
  isolating: (set, audited) =>
    set === 0xabcn ? [...(audited ? ['shop/audited'] : []), 'shop/deny', 'shop/web'] : undefined,
  service: () => undefined,
  address: (address) => (address === '10.2.0.9' ? 'shop/cart' : undefined),
}

describe('a drop that does not say who and why cannot be acted on', () => {
  test('ids and addresses become names; where no rule matched, the policies that isolate are named', () => {
    expect(described(dropped, 1_000_000)).toEqual({
      time: '1970-01-01T00:16:41.500Z',
      type: 'drop',
      reason: 'policy-ingress',
      hook: 'from_pod',
      direction: 'ingress',
      source: '10.1.0.5',
      sourcePort: 40_000,
      destination: '10.2.0.9',
      destinationPort: 80,
      protocol: 'TCP',
      tcpFlags: 'S.',
      ifindex: 7,
      length: 74,
      pod: 'shop/cart',
      sourceName: null,
      destinationName: 'shop/cart',
      rule: 'no rule allows it; isolated by shop/deny, shop/web',
      service: null,
      count: 1,
    })
  })

  test('a rule that denies is named; an id that nobody knows any more stays an id', () => {
    expect(described({ ...dropped, rule: 9n }).rule).toBe('shop/web ingress[0]')
    const unknown = described({ ...dropped, rule: 8n, pod: 1n, service: 2n })
    expect([unknown.rule, unknown.pod, unknown.service]).toEqual([
      '0000000000000008',
      '0000000000000001',
      '0000000000000002',
    ])
    expect(described({ ...dropped, set: 1n }).rule).toBe('0000000000000001')
  })

  test('what an audited policy would deny is told as that, and its isolation by those policies too', () => {
    const audited = { ...dropped, type: EventType.AUDIT }
    expect(described({ ...audited, rule: 9n })).toMatchObject({
      type: 'audit',
      reason: 'policy-ingress',
      rule: 'shop/web ingress[0]',
    })
    expect(described(audited).rule).toBe('no rule allows it; isolated by shop/audited, shop/deny, shop/web')
  })

  test('what policy did not decide names none', () => {
    const spoofed = { ...dropped, reason: DropReason.SOURCE, direction: 0, set: 0n, pod: 0n } as Event
    expect(described(spoofed)).toMatchObject({ reason: 'source', direction: null, rule: null, pod: null })
  })

  test('a reason that this build does not know keeps its number', () => {
    expect(reasonText(63)).toBe('63')
  })
})

describe('a flood whose every packet is told is told too late', () => {
  /** With the length of each as its number. */
  function records(count: number): Uint8Array {
    const bytes = new Uint8Array(count * event.size)
    for (let i = 0; i < count; i++) bytes.set(encode(event, { ...dropped, length: i }), i * event.size)
    return bytes
  }

  test('few are told one by one', () => {
    for (const count of [0, 1, 256])
      expect(sampleEvents(records(count), count).map(({ raw, count }) => [raw.length, count])).toEqual(
        Array.from({ length: count }, (_, i) => [i, 1]),
      )
  })

  test('of many a sample is told, which stands for all of them', () => {
    for (const count of [257, 511, 512, 4_096]) {
      const samples = sampleEvents(records(count), count)
      expect(samples.length).toBeLessThanOrEqual(256)
      let next = 0
      for (const { raw, count: stands } of samples) {
        expect(raw.length).toBe(next)
        next += stands
      }
      expect(next).toBe(count)
    }
  })
})
