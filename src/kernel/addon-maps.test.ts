// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LoadedObject, loadShipped } from '../../test/support/maps.ts'
import type { Address } from '../core/address.ts'
import { encode } from '../core/codec.ts'
import { classKey, maps, nodeKey, peerClass, prefix } from '../generated/abi.ts'
import type { Fd } from './addon.ts'
import { loadAddon } from './load-addon.ts'

const addon = loadAddon()
const CAPACITY = 5000
let object: LoadedObject

beforeAll(async () => {
  object = await loadShipped(addon, 'from_pod', CAPACITY)
})
afterAll(() => object[Symbol.dispose]())

const classes = (): Fd => object.map('classes')
const keyOf = (n: number) =>
  encode(classKey, { address: `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}` as Address })
const entryOf = (n: number) => encode(peerClass, { classId: BigInt(n), realm: 1 })
const joined = (parts: readonly Uint8Array[]) => Buffer.concat(parts)
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

async function contents(fd: Fd, keySize: number, valueSize: number): Promise<Map<string, string>> {
  const { keys, values, count } = await addon.mapDump(fd)
  const entries = Array.from({ length: count }, (_, i): [string, string] => [
    hex(keys.subarray(i * keySize, (i + 1) * keySize)),
    hex(values.subarray(i * valueSize, (i + 1) * valueSize)),
  ])
  expect(new Set(entries.map(([key]) => key)).size, 'no key twice').toBe(count)
  return new Map(entries)
}

async function clear(fd: Fd): Promise<void> {
  const { keys, count } = await addon.mapDump(fd)
  await addon.mapDeleteBatch(fd, keys, count)
}

describe('batches of a hash map', () => {
  test('whatever is written and deleted, a dump shows exactly what a plain Map holds', async () => {
    const numbers = fc.uniqueArray(fc.integer({ min: 0, max: 3000 }), { maxLength: 2500 })
    const step = fc.record({
      kind: fc.constantFrom('put', 'delete'),
      numbers,
      generation: fc.integer({ min: 1, max: 9 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 6 }), async (steps) => {
        await clear(classes())
        const model = new Map<string, string>()
        for (const { kind, numbers, generation } of steps) {
          const keys = numbers.map(keyOf)
          if (kind === 'put') {
            const values = numbers.map((n) => entryOf(n * 10 + generation))
            expect(await addon.mapUpdateBatch(classes(), joined(keys), joined(values), keys.length)).toBe(keys.length)
            for (const [i, key] of keys.entries()) model.set(hex(key), hex(values[i]!))
          } else {
            const present = keys.filter((key) => model.delete(hex(key))).length
            expect(await addon.mapDeleteBatch(classes(), joined(keys), keys.length)).toBe(present)
          }
        }
        expect(await contents(classes(), 16, 16)).toEqual(model)
      }),
      { numRuns: 15 },
    )
  })

  test('a full map refuses the batch, says how many it took, and keeps them', async () => {
    await clear(classes())
    const all = Array.from({ length: CAPACITY + 10 }, (_, i) => i)
    const batch = addon.mapUpdateBatch(classes(), joined(all.map(keyOf)), joined(all.map(entryOf)), all.length)
    await expect(batch).rejects.toMatchObject({ code: 'E2BIG', done: CAPACITY })
    expect((await addon.mapDump(classes())).count).toBe(CAPACITY)
    await clear(classes())
  })

  test('memory shorter than the count says is never read', async () => {
    const key = keyOf(1)
    const value = entryOf(1)
    await expect(addon.mapUpdateBatch(classes(), key, value, 2)).rejects.toMatchObject({ code: 'EINVAL', done: 0 })
    await expect(addon.mapDeleteBatch(classes(), key, 2)).rejects.toMatchObject({ code: 'EINVAL' })
    expect(() => addon.mapUpdate(classes(), key.subarray(1), value, 0)).toThrow(/key has another length/)
    expect(() => addon.mapUpdate(classes(), key, value.subarray(1), 0)).toThrow(/value has another length/)
    expect(() => addon.mapLookup(classes(), key.subarray(1))).toThrow(/key has another length/)
    expect(() => addon.mapDelete(classes(), key.subarray(1))).toThrow(/key has another length/)
  })
})

describe('other kinds of maps', () => {
  test('a longest-prefix trie takes batches, dumps whole and deletes', async () => {
    const fd = object.map('class_prefixes')
    const networks = Array.from({ length: 1300 }, (_, i) => `fd00:0:0:${i.toString(16)}::` as Address)
    const keys = networks.flatMap((address) => [
      encode(prefix, { length: 64, address }),
      encode(prefix, { length: 128, address }),
    ])
    const values = keys.map((_, i) => entryOf(i))
    await addon.mapUpdateBatch(fd, joined(keys), joined(values), keys.length)
    const expected = new Map(keys.map((key, i) => [hex(key), hex(values[i]!)]))
    expect(await contents(fd, 20, 16)).toEqual(expected)
    await clear(fd)
    expect((await addon.mapDump(fd)).count).toBe(0)
  })

  test('an array dumps every index; a per-CPU value has eight bytes aligned parts for each CPU', async () => {
    const epoch = await addon.mapDump(object.map('policy_epoch'))
    expect(epoch).toMatchObject({ count: 1, keys: new Uint8Array(4) })
    const drops = await addon.mapDump(object.map('drops'))
    expect(drops.count).toBe(maps.drops.maxEntries)
    expect(drops.values.length).toBe(drops.count * maps.drops.valueSize * addon.possibleCpus())
    expect(addon.mapLookup(object.map('drops'), new Uint8Array(4))!.length).toBe(
      maps.drops.valueSize * addon.possibleCpus(),
    )
  })

  test('single calls: flags, absent keys', () => {
    const fd = object.map('nodes')
    const key = encode(nodeKey, { address: '192.0.2.1' as Address })
    const value = new Uint8Array(maps.nodes.valueSize).fill(7)
    expect(addon.mapLookup(fd, key)).toBeNull()
    expect(addon.mapDelete(fd, key)).toBe(false)
    expect(() => addon.mapUpdate(fd, key, value, 2)).toThrow(expect.objectContaining({ code: 'ENOENT' }))
    addon.mapUpdate(fd, key, value, 1)
    expect(() => addon.mapUpdate(fd, key, value, 1)).toThrow(expect.objectContaining({ code: 'EEXIST' }))
    expect(addon.mapLookup(fd, key)).toEqual(value)
    expect(addon.mapDelete(fd, key)).toBe(true)
  })
})
