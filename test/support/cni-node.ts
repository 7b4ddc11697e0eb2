// SPDX-License-Identifier: Apache-2.0
// A node for test/cni: the CNI server with real addresses and real veth pairs, but no programs and no World. Runs in the
// network namespace that is the node; prints "ready" when it serves and one JSON line for each request.
// Usage: cni-node.ts '{"socket": PATH, "journal": PATH, "pools": [PREFIX], "hang": "wire" | "join"}'

import { createHandlers } from '../../src/cni/handlers.ts'
import { serveCni } from '../../src/cni/server.ts'
import type { Prefix } from '../../src/core/address.ts'
import { bootClock, openIpam } from '../../src/ipam/ipam.ts'
import { diskFile, bootId as readBootId } from '../../src/ipam/journal.ts'
import { inspectPod } from '../../src/kernel/inspect.ts'
import { loadAddon } from '../../src/kernel/load-addon.ts'
import { NodeNetwork } from '../../src/kernel/node-network.ts'
import { podGateway, unwirePod, wirePod } from '../../src/kernel/veth.ts'

interface Options {
  readonly socket: string
  readonly journal: string
  readonly pools: readonly string[]
  /** The step that never ends. */
  readonly hang?: 'wire' | 'join'
}

const MTU = 1450

const { socket, journal, pools, hang } = JSON.parse(process.argv[2]!) as Options
const addon = loadAddon()
const node = new NodeNetwork(addon)
const bootId = await readBootId()
const ipam = await openIpam({
  file: diskFile(journal),
  source: { pools: () => pools.map((prefix) => ({ prefix: prefix as Prefix, reserved: [] })), problems: () => [] },
  now: bootClock(bootId),
})

function maybeHang(step: 'wire' | 'join'): Promise<void> {
  if (hang !== step) return Promise.resolve()
  process.stdout.write(`hanging in ${step}\n`)
  return new Promise(() => {})
}

const handlers = createHandlers({
  ipam,
  bootId,
  wiring: {
    wire: (site, addresses) => {
      const { wired, done } = wirePod(node, { ...site, addresses, nodeAddresses: [], mtu: MTU }, () => [])
      return { wired, done: done.then(() => maybeHang('wire')) }
    },
    unwire: (hostIfname) => unwirePod(node, hostIfname),
    inspect: (site) => inspectPod(node, site),
    gateway: podGateway,
  },
  endpoints: {
    join: () => maybeHang('join'),
    leave: () => Promise.resolve(),
  },
  unavailable: () => null,
  report: (event) => process.stdout.write(`${JSON.stringify(event)}\n`),
})
await handlers.collect()
const server = await serveCni(socket, handlers, addon)
process.stdout.write('ready\n')

process.once('SIGTERM', async () => {
  await server.close()
  await ipam.close()
  node[Symbol.dispose]()
})
