// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const WORKER = join(import.meta.dirname, 'datapath-worker.ts')

// biome-ignore lint/suspicious/noExplicitAny: each scenario prints a shape of its own
function observe(scenario: string): any {
  const args = ['--net', '--mount', '--propagation', 'private', process.execPath, WORKER, scenario]
  return JSON.parse(execFileSync('unshare', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }))
}

const LINKS = [
  'bind4-cgroup',
  'bind6-cgroup',
  'connect4-cgroup',
  'connect6-cgroup',
  'from_netdev-uplink',
  'from_pod-hdpod0',
  'getpeername4-cgroup',
  'getpeername6-cgroup',
  'recvmsg4-cgroup',
  'recvmsg6-cgroup',
  'sendmsg4-cgroup',
  'sendmsg6-cgroup',
  'to_netdev-uplink',
  'to_pod-hdpod0',
]

test('a restart keeps every map and link, and gives each link a new program', () => {
  const { before, after } = observe('adopt')
  expect(before).toMatchObject({ endpoints: 1, flows: 300, epoch: 7, links: LINKS, programsUse: LINKS.length })
  expect({ ...after, linkIds: 0 }).toEqual({ ...before, linkIds: 0 })
  for (const [i, link] of after.linkIds.entries()) {
    expect(link.link, link.name).toBe(before.linkIds[i].link)
    expect(link.program, link.name).not.toBe(before.linkIds[i].program)
  }
})

test('other sizes: new maps with the old entries, at the same pins, and back', () => {
  const { before, larger, back } = observe('resize')
  expect(larger).toMatchObject({ endpoints: 1, flows: 300, maxFlows: 8192, epoch: 7, pins: before.pins, links: LINKS })
  expect(larger.flowsId).not.toBe(before.flowsId)
  expect(back).toMatchObject({ endpoints: 1, flows: 300, maxFlows: before.maxFlows, epoch: 7, pins: before.pins })
})

test('what the programs before translated meanwhile is found by its next packet, then copied, then left alone', () => {
  const { byPacket, byCopy, afterwards, links } = observe('takeover')
  expect(byPacket).toEqual([1001, 1002])
  expect(byCopy).toEqual([1001, 1002, 1003])
  expect(afterwards).toEqual([1001, 1002, 1003])
  expect(links).toEqual(LINKS)
})

test('a pod has filters at once and links later, never neither; one that is gone by then gets none, and a DEL waits for one pod at most', () => {
  const links = ['from_pod-hdpod0', 'to_pod-hdpod0']
  const { atOnce, later, again, detached, leftOff } = observe('pod')
  expect(atOnce).toEqual({ filters: ['from_pod', 'to_pod'], links: [] })
  expect(later).toEqual({ filters: [], links })
  expect(again).toEqual(later)
  expect(detached).toEqual([])
  expect(leftOff).toEqual(links)
})

test('links whose device has gone are unpinned at the next start', () => {
  expect(observe('stale').links).toEqual(LINKS.filter((name) => name.endsWith('-cgroup')))
})

test('a removed pod leaves no pin, an uninstalled node no folder', () => {
  const { links, left } = observe('detach')
  expect(links).toEqual(LINKS.filter((name) => !name.endsWith('-hdpod0')))
  expect(left).toEqual([])
})

test('a start that fails changes nothing that is in force and leaks no descriptor', () => {
  const { error, leaked, before, after } = observe('refused')
  expect(error).toMatch(/ENOENT/)
  expect(leaked).toBe(0)
  expect(after).toEqual(before)
})
