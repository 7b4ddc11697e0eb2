// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { compileBpf, loadShipped } from '../../test/support/maps.ts'
import { DropReason, event } from '../generated/abi.ts'
import type { Fd } from './addon.ts'
import { loadAddon } from './load-addon.ts'
import { getLink } from './rtnetlink.ts'

const addon = loadAddon()
const NOT_OPEN = 1_000_000 as Fd
const HERE = addon.openNetns('/proc/self/ns/net')
const openDescriptors = () => readdirSync('/proc/self/fd').length

/** Reads beyond a map's value: the verifier refuses it. */
const REFUSED = `
#include "abi/event.h"
SEC("tc") int refused(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct drop_count *count = bpf_map_lookup_elem(&drops, &key);
	return count ? *(int *)((char *)count + skb->len) : 0;
}
char LICENSE[] SEC("license") = "Dual BSD/GPL";`

const COUNTED = `
#include "abi/event.h"
const volatile __u32 answer = 1;
SEC("tc") int counted(struct __sk_buff *skb)
{
	return answer;
}
char LICENSE[] SEC("license") = "Dual BSD/GPL";`

/** Two events at one moment, as two CPUs or an interrupted one have them. */
const TWO_AT_ONCE = `
#include "lib/event.h"
SEC("tc") int two_at_once(struct __sk_buff *skb)
{
	struct event *first = event_reserve(), *second = event_reserve();

	if (second) event_submit(second);
	if (first) event_submit(first);
	return 0;
}
char LICENSE[] SEC("license") = "Dual BSD/GPL";`

describe('an object', () => {
  test("a refused program rejects with the verifier's log and leaves nothing loaded", async () => {
    const object = addon.openObject(compileBpf(REFUSED), 'refused')
    const error = await object.load().then(
      () => undefined,
      (reason) => reason,
    )
    object.close()
    expect(error).toMatchObject({ code: 'EACCES', errno: 13, syscall: 'bpf(BPF_PROG_LOAD)' })
    expect(error.verifierLog).toMatch(/unbounded memory access/)
    expect(error.message).toMatch(/refused/)
  })

  test('const volatile data is set by name and size before the load', async () => {
    const object = addon.openObject(compileBpf(COUNTED), 'counted')
    expect(object.programs).toEqual([{ name: 'counted', section: 'tc' }])
    expect(() => object.setRodata('answer', new Uint8Array(3))).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    expect(() => object.setRodata('question', new Uint8Array(4))).toThrow(expect.objectContaining({ code: 'ENOENT' }))
    object.setRodata('answer', Uint8Array.of(42, 0, 0, 0))
    await object.load()
    const program = object.programFd('counted')
    object.close()
    expect(await addon.testRun(program, new Uint8Array(64), null, 10)).toMatchObject({ retval: 42 })
    expect(addon.programInfo(program)).toMatchObject({ name: 'counted' })
    expect(addon.programInfo(program).verifiedInstructions).toBeGreaterThan(0)
    addon.closeFd(program)
  })

  test('bytes that are no object are refused; a closed object says so', () => {
    expect(() => addon.openObject(new Uint8Array(100), 'none')).toThrow(
      expect.objectContaining({ syscall: 'bpf_object__open_mem' }),
    )
    const object = addon.openObject(compileBpf(COUNTED), 'counted')
    object.close()
    object.close()
    expect(() => object.load()).toThrow(expect.objectContaining({ code: 'EBADF' }))
    expect(() => object.maps).toThrow(expect.objectContaining({ code: 'EBADF' }))
  })
})

test('every event of a burst larger than one call arrives, in batches of 4096 at most', async () => {
  using object = await loadShipped(addon, 'from_pod', 1000)
  const BURST = 8_000 // what the ring holds
  const arrived = Promise.withResolvers<void>()
  const sizes: number[] = []
  let total = 0
  const ring = addon.openRing(object.map('events'), event.size, 10, (bytes, count) => {
    expect(bytes.length).toBe(count * event.size)
    for (let i = 0; i < count; i++) expect(event.read(bytes, i * event.size).reason).toBe(DropReason.ETHERTYPE)
    sizes.push(count)
    total += count
    if (total >= BURST) arrived.resolve()
  })
  const noEthertype = new Uint8Array(64)
  await addon.testRun(object.program('from_pod'), noEthertype, null, BURST)
  await arrived.promise
  ring.close()
  ring.close()
  expect(total).toBe(BURST)
  expect(Math.max(...sizes)).toBeLessThanOrEqual(4096)
})

test('two events that find the ring empty at one moment wake the reader', async () => {
  const object = addon.openObject(compileBpf(TWO_AT_ONCE), 'two_at_once')
  await object.load()
  const [map, program] = [object.mapFd('events'), object.programFd('two_at_once')]
  const arrived = Promise.withResolvers<number>()
  const ring = addon.openRing(map, event.size, 1, (_, count) => arrived.resolve(count))
  await sleep(50) // asleep by now
  await addon.testRun(program, new Uint8Array(64), null, 1)
  expect(await arrived.promise).toBe(2)
  ring.close()
  object.close()
})

/** Each must fail; a descriptor that it leaves open is one for good in the agent. */
const failures: readonly { readonly name: string; readonly attempt: () => unknown }[] = [
  { name: 'openPinned', attempt: () => addon.openPinned('/sys/fs/bpf/heddle-test-none') },
  { name: 'pin', attempt: () => addon.pin(NOT_OPEN, '/sys/fs/bpf/heddle-test-none') },
  { name: 'closeFd', attempt: () => addon.closeFd(NOT_OPEN) },
  { name: 'listenAt', attempt: () => addon.listenAt('/no/such/folder/socket') },
  { name: 'acceptFrom', attempt: () => addon.acceptFrom(NOT_OPEN) },
  { name: 'watch', attempt: () => addon.watch(NOT_OPEN, 'readable', () => {}) },
  { name: 'openNetns of what is none', attempt: () => addon.openNetns('/etc/passwd') },
  { name: 'openNetns of another kind', attempt: () => addon.openNetns('/proc/self/ns/mnt') },
  { name: 'netnsCookie', attempt: () => addon.netnsCookie(NOT_OPEN) },
  { name: 'writeSysctl', attempt: () => addon.writeSysctl(NOT_OPEN, '/proc/sys/net/ipv4/ip_forward', '1') },
  { name: 'configure elsewhere', attempt: () => addon.configure([{ netns: NOT_OPEN, messages: getLink(1) }]) },
  {
    name: 'configure without messages',
    attempt: () => addon.configure([{ netns: HERE, messages: new Uint8Array(8) }]),
  },
  { name: 'configure what is not there', attempt: () => addon.configure([{ netns: HERE, messages: getLink('none') }]) },
  {
    name: 'configure no setting',
    attempt: () => addon.configure([{ netns: HERE, sysctl: '/proc/sys/net/no', value: '' }]),
  },
  { name: 'openNetlink elsewhere', attempt: () => addon.openNetlink(0, NOT_OPEN) },
  { name: 'openNetlink of no protocol', attempt: () => addon.openNetlink(9999, null) },
  { name: 'mountBpffs', attempt: () => addon.mountBpffs('/nonexistent') },
  { name: 'openDirectory', attempt: () => addon.openDirectory('/etc/passwd') },
  { name: 'lockFile', attempt: () => addon.lockFile('/proc/self/heddle-test-none') },
  { name: 'lockDirectory', attempt: () => addon.lockDirectory('/etc/passwd') },
  { name: 'openRing of none', attempt: () => addon.openRing(NOT_OPEN, 8, 1, () => {}) },
  { name: 'openObject', attempt: () => addon.openObject(new Uint8Array(64), 'none') },
  { name: 'linkCreate', attempt: () => addon.linkCreate(NOT_OPEN, 1, 46) },
  { name: 'mapInfo', attempt: () => addon.mapInfo(NOT_OPEN) },
  { name: 'programInfo', attempt: () => addon.programInfo(NOT_OPEN) },
  { name: 'mapDump', attempt: () => addon.mapDump(NOT_OPEN) },
  { name: 'testRun', attempt: () => addon.testRun(NOT_OPEN, new Uint8Array(64), null, 1) },
  { name: 'mapUpdateBatch', attempt: () => addon.mapUpdateBatch(NOT_OPEN, new Uint8Array(4), new Uint8Array(4), 1) },
]

describe('no descriptor is left open', () => {
  const refused = compileBpf(REFUSED)

  async function failOnce(attempt: () => unknown, name: string): Promise<void> {
    const error = await (async () => attempt())().then(
      () => undefined,
      (reason) => reason,
    )
    expect(error, name).toMatchObject({ code: expect.stringMatching(/^E/), syscall: expect.any(String) })
  }

  async function failAll(): Promise<void> {
    for (const { name, attempt } of failures) await failOnce(attempt, name)
    const socket = addon.openNetlink(0, null)
    await failOnce(() => socket.request(new Uint8Array(16)), 'request')
    socket.close()
  }

  test('by 1,000 failures of every kind', async () => {
    await failAll()
    const before = openDescriptors()
    for (let i = 0; i < Math.ceil(1000 / failures.length); i++) await failAll()
    expect(openDescriptors()).toBe(before)
  })

  test('by 50 refused loads, closed during the load', async () => {
    const loadAndClose = async () => {
      const object = addon.openObject(refused, 'refused')
      const loading = object.load()
      object.close()
      await expect(loading).rejects.toMatchObject({ code: 'EACCES' })
    }
    await loadAndClose()
    const before = openDescriptors()
    for (let i = 0; i < 50; i++) await loadAndClose()
    expect(openDescriptors()).toBe(before)
  })

  test('by rings and subscriptions that are closed', async () => {
    using object = await loadShipped(addon, 'from_pod', 100)
    const events = object.map('events')
    const openAndClose = async () => {
      const ring = addon.openRing(events, event.size, 1, () => {})
      const socket = addon.openNetlink(0, null)
      socket.subscribe(1, null, () => {})
      expect(() => socket.request(new Uint8Array(16))).toThrow(expect.objectContaining({ code: 'EBUSY' }))
      ring.close()
      socket.close()
      await new Promise((resolve) => setImmediate(resolve))
    }
    await openAndClose()
    const before = openDescriptors()
    for (let i = 0; i < 50; i++) await openAndClose()
    await expect.poll(openDescriptors).toBe(before)
  })
})
