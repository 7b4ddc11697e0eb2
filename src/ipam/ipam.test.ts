// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allocationRequest, DEATH, type MemoryFile, memoryFile } from '../../test/support/ipam.ts'
import { soak } from '../../test/support/soak.ts'
import type { Address, Prefix } from '../core/address.ts'
import { type Moment, type Pool, REST_MS } from './allocator.ts'
import { type Ipam, openIpam } from './ipam.ts'

const POOLS: readonly Pool[] = [
  { prefix: '10.1.0.0/29' as Prefix, reserved: [] },
  { prefix: 'fd00::/125' as Prefix, reserved: [] },
]
const CAPACITY = 6

function open(file: MemoryFile, now: () => Moment = () => ({ bootId: 'boot', ms: 0 })): Promise<Ipam> {
  // Replaces the file every few records, so that the tests meet it.
  return openIpam({ file, source: { pools: () => POOLS, problems: () => [] }, now, compactBytesMin: 2000 })
}

function id(containerId: string) {
  return { containerId, ifname: 'eth0' }
}

async function allocated(ipam: Ipam, containerId: string): Promise<readonly Address[]> {
  const attachment = await ipam.allocate(allocationRequest(containerId))
  if ('exhausted' in attachment) throw new Error('exhausted')
  return attachment.addresses
}

test('a pod gets one address of each family, and keeps both over a restart', async () => {
  const file = memoryFile()
  const before = await open(file)
  expect(await allocated(before, 'a')).toEqual(['10.1.0.1', 'fd00::1'])
  await before.completion(id('a'), {
    ifindex: 7,
    hostMac: '02:00:00:00:00:01',
    podMac: '02:00:00:00:00:02',
    mtu: 1450,
    netnsCookie: 2n ** 60n,
  })()

  const after = await open(file)
  expect(after.attachments()).toEqual(before.attachments())
  expect(after.get(id('a'))).toMatchObject({ answered: true, wired: { netnsCookie: 2n ** 60n } })
  expect(await allocated(after, 'b')).toEqual(['10.1.0.2', 'fd00::2'])
})

test('exhaustion of one family takes nothing of the other and names the pool', async () => {
  const ipam = await openIpam({
    file: memoryFile(),
    source: { pools: () => [{ prefix: '10.1.0.0/30' as Prefix, reserved: [] }, POOLS[1]!], problems: () => [] },
    now: () => ({ bootId: 'boot', ms: 0 }),
  })
  await allocated(ipam, 'a')
  await allocated(ipam, 'b')
  expect(await ipam.allocate(allocationRequest('c'))).toEqual({
    exhausted: { prefix: '10.1.0.0/30', capacity: 2n, used: 2, resting: 0 },
  })
  expect(ipam.status()[1]).toMatchObject({ prefix: 'fd00::/125', used: 2, resting: 0 })
})

test('an attachment that was not answered keeps its addresses when it is allocated again', async () => {
  const file = memoryFile()
  const addresses = await allocated(await open(file), 'a')
  const ipam = await open(file)
  expect(await allocated(ipam, 'a')).toEqual(addresses)
  expect(ipam.status()[0]!.used).toBe(1)
})

test('a refused write takes no address, and the next one that succeeds repairs the file', async () => {
  const file = memoryFile()
  const ipam = await open(file)
  await allocated(ipam, 'a')
  file.full = true
  await expect(ipam.allocate(allocationRequest('b'))).rejects.toThrow('ENOSPC')
  await expect(ipam.sync()).rejects.toThrow('ENOSPC')
  expect(ipam.attachments()).toHaveLength(1)
  file.full = false
  await ipam.sync()
  const after = await open(file)
  expect(after.damagedRecords).toBe(0)
  expect(after.attachments()).toEqual(ipam.attachments())
})

test('the file stays small over many comings and goings', async () => {
  const file = memoryFile()
  const ipam = await open(file)
  for (let i = 0; i < 300; i++) {
    await allocated(ipam, `c${i}`)
    await ipam.release(id(`c${i}`))
  }
  expect(file.contents.length).toBeLessThan(10_000)
})

describe('against a model', () => {
  const container = fc.integer({ min: 0, max: 8 })
  /** Requests at the same time, each for a container of its own. */
  const batch = fc.uniqueArray(
    fc.record({ container, kind: fc.constantFrom('add' as const, 'add' as const, 'del' as const), turns: fc.nat(3) }),
    { selector: (request) => request.container, minLength: 1, maxLength: 4 },
  )
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ batch }) },
    { weight: 2, arbitrary: fc.record({ wait: fc.integer({ min: 1, max: REST_MS }) }) },
    { weight: 1, arbitrary: fc.record({ gc: fc.uniqueArray(container) }) },
    { weight: 3, arbitrary: fc.record({ batch, diesAfter: fc.integer({ min: 1, max: 4000 }) }) },
    { weight: 1, arbitrary: fc.record({ keeps: fc.nat(2000), garbage: fc.uint8Array({ maxLength: 64 }) }) },
  )

  /** What must be true of one container's attachment. */
  type Expected =
    | { readonly is: 'there'; readonly addresses: readonly Address[] }
    | { readonly is: 'absent' }
    /** The process died while it was asked. */
    | { readonly is: 'either' }

  /** Everything that was promised, and when an address was given back. */
  class Model {
    readonly containers = new Map<number, Expected>()
    readonly releasedMs = new Map<Address, number>()
    nowMs = 0
    moment = (): Moment => ({ bootId: 'boot', ms: this.nowMs })

    async add(ipam: Ipam, container: number): Promise<void> {
      const before = new Set(ipam.attachments().flatMap(({ addresses }) => addresses))
      const found = ipam.get(id(`c${container}`))
      if (found !== undefined) return
      const status = ipam.status()
      this.containers.set(container, { is: 'either' })
      const attachment = await ipam.allocate(allocationRequest(`c${container}`))
      if ('exhausted' in attachment) {
        this.containers.set(container, { is: 'absent' })
        expect(status[0]!.used).toBe(CAPACITY)
        return
      }
      for (const [i, address] of attachment.addresses.entries()) {
        expect(before, 'an address is given twice').not.toContain(address)
        const rested = this.nowMs - (this.releasedMs.get(address) ?? Number.NEGATIVE_INFINITY)
        const capacity = Number(status[i]!.capacity)
        if (rested < REST_MS) expect(status[i]!.used + status[i]!.resting, 'rest cut short').toBe(capacity)
      }
      await ipam.sync()
      this.containers.set(container, { is: 'there', addresses: attachment.addresses })
    }

    async del(ipam: Ipam, container: number): Promise<void> {
      const addresses = ipam.get(id(`c${container}`))?.addresses ?? []
      this.containers.set(container, { is: 'either' })
      await ipam.release(id(`c${container}`))
      await ipam.sync()
      for (const address of addresses) this.releasedMs.set(address, this.nowMs)
      this.containers.set(container, { is: 'absent' })
    }

    check(ipam: Ipam): void {
      const attachments = ipam.attachments()
      const owned = attachments.flatMap(({ addresses }) => addresses)
      expect(new Set(owned).size, 'an address has two owners').toBe(owned.length)
      for (const [container, expected] of this.containers) {
        const found = ipam.get(id(`c${container}`))
        if (expected.is === 'there') expect(found?.addresses, 'an address is lost').toEqual(expected.addresses)
        if (expected.is === 'absent') expect(found, 'a released attachment is back').toBeUndefined()
      }
    }
  }

  /** turns: how much later than the batch a request begins. */
  interface Request {
    readonly container: number
    readonly kind: 'add' | 'del'
    readonly turns: number
  }

  /** Those that failed. */
  async function runBatch(model: Model, ipam: Ipam, requests: readonly Request[]) {
    const results = await Promise.allSettled(
      requests.map(async ({ container, kind, turns }) => {
        for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve))
        await model[kind](ipam, container)
      }),
    )
    return results.filter((result) => result.status === 'rejected')
  }

  function rethrow(failures: readonly PromiseRejectedResult[]): void {
    for (const { reason } of failures) throw reason
  }

  function isDeath(reason: unknown): boolean {
    return reason instanceof Error && reason.message === DEATH
  }

  test('no address is given twice, none is lost: ADD, DEL, GC, time, death at any byte, power loss', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (steps) => {
        const file = memoryFile()
        const model = new Model()
        let ipam = await open(file, model.moment)
        for (const one of steps) {
          if ('wait' in one) model.nowMs += one.wait
          else if ('gc' in one) {
            const stale = ipam.attachments().filter(({ containerId }) => !one.gc.includes(Number(containerId.slice(1))))
            for (const { containerId } of stale) await model.del(ipam, Number(containerId.slice(1)))
          } else if ('keeps' in one) {
            const kept = Math.max(file.syncedLength, file.contents.length - one.keeps)
            file.contents = Buffer.concat([file.contents.subarray(0, kept), one.garbage])
            ipam = await open(file, model.moment)
          } else if ('diesAfter' in one) {
            file.diesAfter = one.diesAfter
            const results = await runBatch(model, ipam, one.batch)
            rethrow(results.filter(({ reason }) => !isDeath(reason)))
            file.diesAfter = Number.POSITIVE_INFINITY
            ipam = await open(file, model.moment)
          } else {
            rethrow(await runBatch(model, ipam, one.batch))
          }
          model.check(ipam)
        }
        // Nothing leaked: when all are gone and rested, the whole pool can be given.
        for (const { containerId } of ipam.attachments()) await ipam.release(id(containerId))
        model.nowMs += REST_MS
        for (let i = 0; i < CAPACITY; i++) await allocated(ipam, `last${i}`)
      }),
      { numRuns: soak(300, 20_000) },
    )
  })
})
