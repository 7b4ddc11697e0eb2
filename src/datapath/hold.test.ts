// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import type { Address, Port } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import { Realm } from '../generated/abi.ts'
import { holdUnseen } from './hold.ts'
import { tableEntry } from './tables.ts'

const nobody = { ownerOf: () => undefined }
const somebody = { ownerOf: () => 'shop/cart' }
const frontend = tableEntry(
  'frontends',
  { address: '10.96.0.1' as Address, port: 80 as Port, protocol: Protocol.TCP },
  { backendList: 1n, count: 1, flags: 0, service: 2n, externalList: 0n, externalCount: 0, affinitySeconds: 0 },
)
const peer = tableEntry('classes', { address: '10.1.0.5' as Address }, { classId: 3n, realm: Realm.POD })

test('a frontend stays while a Service that was not seen may want it, and goes when all were seen', () => {
  const gone = { key: frontend.key, desired: undefined, actual: frontend.value }
  expect(holdUnseen(new Set(['EndpointSlice']), nobody)!('frontends', gone)).toBe(true)
  expect(holdUnseen(new Set(['Pod']), nobody)!('frontends', gone)).toBe(false)
  expect(holdUnseen(new Set(), nobody)).toBe(null)
})

test('an address keeps its class while pods were not seen, but not when somebody else has it now', () => {
  const gone = { key: peer.key, desired: undefined, actual: peer.value }
  expect(holdUnseen(new Set(['Pod']), nobody)!('classes', gone)).toBe(true)
  expect(holdUnseen(new Set(['Pod']), somebody)!('classes', gone)).toBe(false)
})

test.each([
  ['EndpointSlice', true],
  ['Node', true],
  ['NetworkPolicy', true],
  ['Pod', false],
] as const)('while %s was not seen, the class of a node that may be an API server too stays: %s', (kind, isHeld) => {
  const key = { address: '192.0.2.1' as Address }
  const [both, node] = [4n, 5n].map((classId) => tableEntry('classes', key, { classId, realm: Realm.NODE }))
  const changed = { key: both!.key, desired: node!.value, actual: both!.value }
  expect(holdUnseen(new Set([kind]), nobody)!('classes', changed)).toBe(isHeld)
  expect(holdUnseen(new Set([kind]), somebody)!('classes', changed)).toBe(false)
})

test('what is known is written meanwhile', () => {
  const come = { key: frontend.key, desired: frontend.value, actual: undefined }
  expect(holdUnseen(new Set(['Service']), nobody)!('frontends', come)).toBe(false)
})

test.each([
  ['policies', 'Node'],
  ['policies', 'EndpointSlice'],
  ['class_prefixes', 'Node'],
] as const)('%s stay while a %s that was not seen may make them', (table, kind) => {
  const gone = { key: peer.key, desired: undefined, actual: peer.value }
  expect(holdUnseen(new Set([kind]), nobody)!(table, gone)).toBe(true)
})
