// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import { highestCgroupMount, maySortFragments, missingCapabilities } from './preflight.ts'

const mount = (root: string, point: string, type = 'cgroup2') =>
  `36 35 0:29 ${root} ${point} rw,nosuid shared:9 - ${type} cgroup2 rw,nsdelegate`

test.each([
  ['a host', [mount('/', '/sys/fs/cgroup')], '/sys/fs/cgroup'],
  ['a host with both versions', [mount('/', '/sys/fs/cgroup', 'tmpfs'), mount('/', '/cg/unified')], '/cg/unified'],
  ['a container', [mount('/', '/sys/fs/cgroup'), mount('/../../..', '/host/cgroup')], '/host/cgroup'],
  ['a part that is mounted too', [mount('/kubepods', '/part'), mount('/', '/sys/fs/cgroup')], '/sys/fs/cgroup'],
  ['no cgroup2', [mount('/', '/sys/fs/cgroup', 'cgroup')], undefined],
])('sockets of other pods would miss Services below the root: %s', (_, lines, expected) => {
  expect(highestCgroupMount(lines.join('\n'))).toBe(expected)
})

test.each([
  ['000001ffffffffff', []],
  ['0000000000201000', []],
  ['0000000000200000', ['NET_ADMIN']],
  ['0000000000001000', ['SYS_ADMIN']],
  ['000001ffffdfefff', ['NET_ADMIN', 'SYS_ADMIN']],
])('a container without what the agent needs is told what it lacks: %s', (effective, missing) => {
  const status = `Name:\tnode\nCapPrm:\t000001ffffffffff\nCapEff:\t${effective}\nCapBnd:\t000001ffffffffff\n`
  expect(missingCapabilities(status)).toEqual(missing)
})

test('where nothing is said of capabilities there are none', () => {
  expect(missingCapabilities('')).toEqual(['NET_ADMIN', 'SYS_ADMIN'])
})

test.each([
  ['6.1.0-28-amd64', false],
  ['6.6.58', false],
  ['6.6.59-rc1', true],
  ['6.8.0-49-generic', false],
  ['6.11.5', false],
  ['6.11.6', true],
  ['6.12.0', true],
  ['7.0.0', true],
])('a kernel that is harmed by a netfilter link gets none: %s', (version, may) => {
  expect(maySortFragments(version)).toBe(may)
})
