// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import type { Address } from '../core/address.ts'
import { encode } from '../core/codec.ts'
import { Protocol } from '../core/protocol.ts'
import { DropReason, type Event, EventType, event, Hook, PolicyDirection } from '../generated/abi.ts'
import { decodeEvents, describeEvent, type Names, reasonText } from './events.ts'

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
    expect(describeEvent(dropped, names, 1_000_000)).toEqual({
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
    })
  })

  test('a rule that denies is named; an id that nobody knows any more stays an id', () => {
    expect(describeEvent({ ...dropped, rule: 9n }, names, 0).rule).toBe('shop/web ingress[0]')
    const unknown = describeEvent({ ...dropped, rule: 8n, pod: 1n, service: 2n }, names, 0)
    expect([unknown.rule, unknown.pod, unknown.service]).toEqual([
      '0000000000000008',
      '0000000000000001',
      '0000000000000002',
    ])
    expect(describeEvent({ ...dropped, set: 1n }, names, 0).rule).toBe('0000000000000001')
  })

  test('what an audited policy would deny is told as that, and its isolation by those policies too', () => {
    const audited = { ...dropped, type: EventType.AUDIT }
    expect(describeEvent({ ...audited, rule: 9n }, names, 0)).toMatchObject({
      type: 'audit',
      reason: 'policy-ingress',
      rule: 'shop/web ingress[0]',
    })
    expect(describeEvent(audited, names, 0).rule).toBe(
      'no rule allows it; isolated by shop/audited, shop/deny, shop/web',
    )
  })

  test('what policy did not decide names none', () => {
    const spoofed = { ...dropped, reason: DropReason.SOURCE, direction: 0, set: 0n, pod: 0n } as Event
    expect(describeEvent(spoofed, names, 0)).toMatchObject({ reason: 'source', direction: null, rule: null, pod: null })
  })

  test('records come back to back, and a reason that this build does not know keeps its number', () => {
    const bytes = new Uint8Array(2 * event.size)
    bytes.set(encode(event, dropped))
    bytes.set(encode(event, { ...dropped, length: 60 }), event.size)
    expect(decodeEvents(bytes, 2).map(({ length }) => length)).toEqual([74, 60])
    expect(reasonText(63)).toBe('63')
  })
})
