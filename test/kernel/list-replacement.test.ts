// SPDX-License-Identifier: Apache-2.0
// A packet that is between its frontend and its backend when the list is replaced finds the list that replaced it.

import { expect, test } from 'vitest'
import type { Address, Port } from '../../src/core/address.ts'
import { encode } from '../../src/core/codec.ts'
import { Protocol } from '../../src/core/protocol.ts'
import {
  backend,
  backendKey,
  DropReason,
  dropCount,
  endpoint,
  endpointKey,
  frontend,
  frontendKey,
  u32,
} from '../../src/generated/abi.ts'
import type { Fd } from '../../src/kernel/addon.ts'
import { loadAddon } from '../../src/kernel/load-addon.ts'
import { type LoadedObject, loadShipped } from '../support/maps.ts'
import { udp } from '../support/packet.ts'
import { packetBytes } from '../support/packet-bytes.ts'
import { soak } from '../support/soak.ts'

const addon = loadAddon()
const ANY = 0
const LOOPBACK = 1
const IFINDEX_OFFSET = 40
const pod = '10.1.0.5' as Address
const cluster = { address: '10.96.0.1' as Address, port: 80 as Port, protocol: Protocol.UDP }
const RUN_PACKETS = 200_000
const runs = soak(12, 400)

/** As the plan orders it: the new list, the frontend, and then the old list goes. */
function replacer(frontends: Fd, backends: Fd): () => void {
  let list = 1n
  return () => {
    const old = list++
    const slot = (backendList: bigint) => encode(backendKey, { backendList, slot: 0 })
    addon.mapUpdate(backends, slot(list), encode(backend, { address: '10.1.0.9' as Address, port: 80 as Port }), ANY)
    const value = {
      backendList: list,
      count: 1,
      flags: 0,
      service: 7n,
      externalList: 0n,
      externalCount: 0,
      affinitySeconds: 0,
    }
    addon.mapUpdate(frontends, encode(frontendKey, cluster), encode(frontend, value), ANY)
    addon.mapDelete(backends, slot(old))
  }
}

function dropsOf(object: LoadedObject, reason: number): number {
  const perCpu = addon.mapLookup(object.map('drops'), encode(u32, reason))!
  let packets = 0
  for (let at = 0; at < perCpu.length; at += dropCount.size) packets += Number(dropCount.read(perCpu, at).packets)
  return packets
}

test('no packet is refused while lists are replaced as fast as can be', async () => {
  using object = await loadShipped(addon, 'from_pod', 4096)
  // Nothing of the pod may leave: the packet ends behind the choice, unchanged, and can run again.
  const isolated = {
    netnsCookie: 1n,
    egressSet: 0n,
    ingressSet: 0n,
    ifindex: LOOPBACK,
    egressLevels: 0,
    ingressLevels: 0,
    isolated: 1,
    pod: 1n,
  }
  addon.mapUpdate(object.map('endpoints'), encode(endpointKey, { address: pod }), encode(endpoint, isolated), ANY)
  const replace = replacer(object.map('frontends'), object.map('backends'))
  replace()
  const context = new Uint8Array(192)
  new DataView(context.buffer).setUint32(IFINDEX_OFFSET, LOOPBACK, true)
  const packet = packetBytes(udp(`${pod}:4000`, `${cluster.address}:${cluster.port}`))
  let replaced = 0
  for (let run = 0; run < runs; run++) {
    let isRunning = true
    const running = addon.testRun(object.program('from_pod'), packet, context, RUN_PACKETS).finally(() => {
      isRunning = false
    })
    while (isRunning) {
      for (let i = 0; i < 200; i++) replace()
      replaced += 200
      await new Promise(setImmediate)
    }
    await running
  }
  const chosen = dropsOf(object, DropReason.NOT_READY)
  console.log(`${replaced} replacements, ${chosen} choices`)
  expect(dropsOf(object, DropReason.NO_BACKEND)).toBe(0)
  expect(chosen).toBe(runs * RUN_PACKETS)
})
