// SPDX-License-Identifier: Apache-2.0
// Takes Heddle off a node: what an agent leaves in force when it stops goes here.

import { disableBigTCP } from '../kernel/big-tcp.ts'
import { Links } from '../kernel/links.ts'
import { loadAddon } from '../kernel/load-addon.ts'
import { NodeNetwork } from '../kernel/node-network.ts'
import { deleteOwnRoutes, readLinks } from '../kernel/routes.ts'
import { closeSorter } from '../kernel/sorter.ts'
import { removePins } from '../kernel/uninstall.ts'
import { unwirePod } from '../kernel/veth.ts'
import { removeNetworkConfiguration } from './cni-files.ts'
import type { Config } from './config.ts'
import { takeLock } from './lock.ts'

/** Host side of a pod's wire, as src/cni/handlers.ts names it. */
const podDevice = /^hd[0-9a-f]{12}$/

/** Takes the network configuration away, detaches the programs, then removes pods' devices, routes and pinned tables. Refused while an agent runs; idempotent.
 *  Returns the devices that it removed. */
export async function uninstall(config: Config): Promise<readonly string[]> {
  const addon = loadAddon()
  using _lock = takeLock(addon, config)
  await removeNetworkConfiguration(config) // first: the runtime starts no more pods
  using network = new NodeNetwork(addon, config)
  const devices = await readLinks(network)
  const pods = devices.filter(({ name }) => podDevice.test(name))
  // Pods lose their wire before the programs that judge them, so that nothing passes unjudged.
  for (const { name } of pods) await unwirePod(network, name)
  using links = new Links(addon, config.bpffs)
  for (const device of devices.filter(({ name }) => !podDevice.test(name))) {
    for (const direction of ['ingress', 'egress'] as const) await links.detachFilter(device.ifindex, direction)
    await disableBigTCP(network, device)
  }
  await closeSorter(network, config.bpffs)
  removePins(config.bpffs)
  await deleteOwnRoutes(network)
  return pods.map(({ name }) => name)
}
