// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import { highestCgroupMount } from './preflight.ts'

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
