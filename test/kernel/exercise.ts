// SPDX-License-Identifier: Apache-2.0
// Calls every function of the addon, with success and with failure, under `unshare --net`; for the sanitized build, which
// sees what a result does not show. With the argument "overflow" it only makes the mistake that the build must see.

import assert from 'node:assert/strict'
import { mkdirSync, rmdirSync, rmSync } from 'node:fs'
import type { Fd } from '../../src/kernel/addon.ts'
import { loadAddon } from '../../src/kernel/load-addon.ts'
import { concat, message, parseMessage, textAttribute } from '../../src/kernel/netlink.ts'
import { createVeth, dumpLinks, getLink, linkIndex, parseLink, setUp } from '../../src/kernel/rtnetlink.ts'
import { loadShipped } from '../support/maps.ts'

const addon = loadAddon()
const NOT_OPEN = 1_000_000 as Fd
const TCX_INGRESS = 46
const RTNLGRP_LINK = 1

async function objectsAndMaps(): Promise<void> {
  using object = await loadShipped(addon, 'from_pod', 4000)
  const classes = object.map('classes')
  const { keySize, valueSize } = addon.mapInfo(classes)
  const COUNT = 3000
  const keys = new Uint8Array(COUNT * keySize)
  for (let i = 0; i < COUNT; i++) new DataView(keys.buffer).setUint32(i * keySize, i)
  const values = new Uint8Array(COUNT * valueSize)
  assert.equal(await addon.mapUpdateBatch(classes, keys, values, COUNT), COUNT)
  assert.equal((await addon.mapDump(classes)).count, COUNT)
  assert.equal(await addon.mapCount(classes, COUNT * 2), COUNT)
  assert.equal(await addon.mapCount(classes, 10), 10)
  await assert.rejects(addon.mapCount(NOT_OPEN, 10), { code: /^E/ })
  assert.equal(await addon.mapDeleteBatch(classes, keys, COUNT), COUNT)
  await assert.rejects(addon.mapUpdateBatch(classes, keys, values, COUNT + 1), { code: 'EINVAL' })
  await assert.rejects(addon.mapDump(NOT_OPEN), { code: /^E/ })

  const key = keys.subarray(0, keySize)
  addon.mapUpdate(classes, key, values.subarray(0, valueSize), 0)
  assert.ok(addon.mapLookup(classes, key))
  assert.ok(addon.mapDelete(classes, key))
  assert.equal((await addon.mapDump(object.map('drops'))).values.length % addon.possibleCpus(), 0)

  const program = object.program('from_pod')
  assert.ok(addon.programInfo(program).mapIds.length > 0)
  const arrived = Promise.withResolvers<void>()
  let records = 0
  const ring = addon.openRing(object.map('events'), 100, 5, (_bytes, count) => {
    records += count
    if (records === COUNT) arrived.resolve()
  })
  await addon.testRun(program, new Uint8Array(64), new Uint8Array(192), COUNT)
  await arrived.promise
  ring.close()
  await links(program)
}

async function links(program: Fd): Promise<void> {
  const socket = addon.openNetlink(0, null)
  const netns = addon.openNetns('/proc/self/ns/net')
  const pair = {
    ifindex: 100,
    peerIfindex: 101,
    name: 'one',
    mac: '02:00:00:00:00:01',
    peerName: 'two',
    peerMac: '02:00:00:00:00:02',
    mtu: 1400,
  }
  await socket.request(createVeth({ ...pair, peerNetns: netns }))
  const { ifindex } = parseLink((await socket.request(getLink('one')))[0]!)
  const link = await addon.linkCreate(program, ifindex, TCX_INGRESS)
  addon.linkUpdate(link, program)
  assert.equal(addon.linkInfo(link).ifindex, ifindex)
  addon.closeFd(link)

  const heard = Promise.withResolvers<Uint8Array>()
  const listener = addon.openNetlink(0, netns)
  const ofPeer = { offset: 20, value: pair.peerIfindex } // behind nlmsghdr and the first word of ifinfomsg
  listener.subscribe(RTNLGRP_LINK, ofPeer, heard.resolve)
  await socket.request(concat([setUp(ifindex), setUp(pair.peerIfindex)]))
  assert.equal(linkIndex(parseMessage(await heard.promise).body), pair.peerIfindex)
  listener.close()
  assert.equal((await socket.request(dumpLinks())).length, 3)
  const wrong = message(16, 0, new Uint8Array(16), [textAttribute(3, 'none')])
  await assert.rejects(socket.request(wrong), { code: 'ENODEV' })
  assert.throws(() => socket.request(new Uint8Array(7)), { code: 'EINVAL' })
  const look = { netns, messages: getLink('one') }
  const [before, none, after] = await addon.configure([
    look,
    { netns, sysctl: '/proc/sys/net/ipv4/conf/one/forwarding', value: '0' },
    { netns, messages: concat([setUp(ifindex + 1), getLink('two'), getLink('one')]) },
  ])
  assert.deepEqual([before!.length, none!.length, after!.length], [1, 0, 2])
  const failing = [{ netns, messages: concat([wrong, setUp(ifindex)]) }, look]
  await assert.rejects(addon.configure(failing), { code: 'ENODEV' })
  assert.throws(() => addon.configure([look, { netns, messages: new Uint8Array(7) }]), { code: 'EINVAL' })
  socket.close()
  assert.ok(addon.netnsCookie(netns) > 0n)
  addon.writeSysctl(netns, '/proc/sys/net/ipv4/ip_forward', '1')
  assert.throws(() => addon.writeSysctl(netns, '/proc/sys/net/../kernel/hostname', 'x'), { code: 'EINVAL' })
  addon.closeFd(netns)
}

function files(): void {
  const path = `/tmp/heddle-test-lock-${process.pid}`
  const lock = addon.lockFile(path)
  assert.throws(() => addon.lockFile(path), { code: 'EAGAIN' })
  addon.closeFd(lock)
  rmSync(path)
  mkdirSync(path)
  const folder = addon.lockDirectory(path)
  assert.throws(() => addon.lockDirectory(path), { code: 'EAGAIN' })
  addon.closeFd(folder)
  rmdirSync(path)
  addon.closeFd(addon.openDirectory('/tmp'))
  assert.throws(() => addon.mountBpffs('/nonexistent'), { code: 'ENOENT' })
  addon.trimMemory()
  assert.throws(() => addon.openDirectory('/nonexistent'), { code: 'ENOENT' })
  assert.throws(() => addon.openPinned('/nonexistent'), { code: 'ENOENT' })
  assert.throws(() => addon.pin(NOT_OPEN, '/nonexistent'), { code: /^E/ })
  assert.throws(() => addon.openObject(new Uint8Array(64), 'none'), { code: /^E/ })
}

if (process.argv[2] === 'overflow') {
  ;(addon as unknown as { overflowOnPurpose(size: number): void }).overflowOnPurpose(16)
} else {
  await objectsAndMaps()
  files()
}
process.stdout.write('done\n')
