// SPDX-License-Identifier: Apache-2.0
// CHECK: whether the pod still has what ADD gave it. Later plugins of the chain may have added to it.

import { type Address, family } from '../core/address.ts'
import type { Attachment } from '../ipam/attachment.ts'
import type { InspectedInterface } from './interfaces.ts'
import type { CniResult } from './results.ts'

/** The first thing that is not as it should be, or null. `gateways` are those of the attachment's addresses. */
export function checkAttachment(
  attachment: Attachment,
  gateways: readonly Address[],
  previous: CniResult,
  inspected: InspectedInterface | null,
): string | null {
  const { ifname, wired, addresses } = attachment
  if (wired === null) return 'its ADD was never completed'
  if (!previous.interfaces.some(({ name, sandbox }) => name === ifname && sandbox !== undefined && sandbox !== '')) {
    return `prevResult has no interface ${ifname} in the container`
  }
  const missing = addresses.find((address) => !previous.ips.some((ip) => ip.address.split('/')[0] === address))
  if (missing !== undefined) return `prevResult does not have the address ${missing}`
  if (inspected === null) return `the interface ${ifname} is gone`
  if (!inspected.peerIsOurs) return `the interface ${ifname} does not lead to ${attachment.hostIfname}`
  if (!inspected.up) return `the interface ${ifname} is down`
  if (inspected.mac !== wired.podMac)
    return `the interface ${ifname} has the MAC address ${inspected.mac}, not ${wired.podMac}`
  for (const [i, address] of addresses.entries()) {
    if (!inspected.addresses.includes(address)) return `the interface ${ifname} has lost the address ${address}`
    const everywhere = family(address) === 4 ? '0.0.0.0/0' : '::/0'
    const hasRoute = inspected.routes.some(
      ({ destination, gateway }) => destination === everywhere && gateway === gateways[i],
    )
    if (!hasRoute) return `the interface ${ifname} has lost the default route through ${gateways[i]}`
  }
  return null
}
