// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import type { Address, Port } from '../core/address.ts'
import { type Id64, id64 } from '../core/id64.ts'
import { Protocol } from '../core/protocol.ts'
import { Realm } from '../generated/abi.ts'
import { serverClassId } from '../policy/classes.ts'
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
  expect(holdUnseen(new Set(['EndpointSlice']), nobody, new Map())!('frontends', gone)).toBe(true)
  expect(holdUnseen(new Set(['Pod']), nobody, new Map())!('frontends', gone)).toBe(false)
  expect(holdUnseen(new Set(), nobody, new Map())).toBe(null)
})

test('an address keeps its class while pods were not seen, but not when somebody else has it now', () => {
  const gone = { key: peer.key, desired: undefined, actual: peer.value }
  expect(holdUnseen(new Set(['Pod']), nobody, new Map())!('classes', gone)).toBe(true)
  expect(holdUnseen(new Set(['Pod']), somebody, new Map())!('classes', gone)).toBe(false)
})

test.each([
  ['EndpointSlice', true, false],
  ['Node', true, true],
  ['NetworkPolicy', true, true],
  ['Pod', false, false],
] as const)(
  'while %s was not seen, the class of a node that may be an API server too stays: %s; any other change of it: %s',
  (kind, isServerHeld, isOtherHeld) => {
    const key = { address: '192.0.2.1' as Address }
    const text = 'node; nodes where name=a'
    const entry = (classId: Id64) => tableEntry('classes', key, { classId, realm: Realm.NODE })
    const node = entry(id64(`class ${text}`))
    const names = new Map([[id64(`class ${text}`), text]])
    const isHeld = (actual: Id64, world = nobody as Parameters<typeof holdUnseen>[1]) =>
      holdUnseen(new Set([kind]), world, names)!('classes', {
        key: node.key,
        desired: node.value,
        actual: entry(actual).value,
      })
    expect(isHeld(serverClassId(text))).toBe(isServerHeld)
    expect(isHeld(serverClassId(text), somebody)).toBe(false)
    expect(isHeld(5n as Id64)).toBe(isOtherHeld)
  },
)

test('what is known is written meanwhile', () => {
  const come = { key: frontend.key, desired: frontend.value, actual: undefined }
  expect(holdUnseen(new Set(['Service']), nobody, new Map())!('frontends', come)).toBe(false)
})

test.each([
  ['policies', 'Node'],
  ['policies', 'EndpointSlice'],
  ['class_prefixes', 'Node'],
] as const)('%s stay while a %s that was not seen may make them', (table, kind) => {
  const gone = { key: peer.key, desired: undefined, actual: peer.value }
  expect(holdUnseen(new Set([kind]), nobody, new Map())!(table, gone)).toBe(true)
})
