// SPDX-License-Identifier: Apache-2.0
// BIG TCP for IPv4 (Linux 6.3): TCP hands packets of more than 64 KiB to a device that cuts them into segments, or on to
// another pod. What an application writes at once then takes the way through the node at once (docs/adr/0011).
// Not for IPv6, whose packets get a jumbo header that drivers do not take out inside a tunnel.

import { attempt } from './kernel-error.ts'
import type { NodeNetwork } from './node-network.ts'
import { type Link, setGsoIPv4Max } from './rtnetlink.ts'

const USUAL_BYTES = 65_536 // GSO_LEGACY_MAX_SIZE
const BIG_BYTES = 2 * USUAL_BYTES

/** How large an IPv4 packet (bytes) pods may hand on, so that the uplink's driver can still cut it; undefined: as usual. */
export function bigTCPBytes({ tsoMaxBytes = 0, gsoIPv4MaxBytes }: Link): number | undefined {
  if (gsoIPv4MaxBytes === undefined || tsoMaxBytes <= USUAL_BYTES) return undefined
  return Math.max(gsoIPv4MaxBytes, Math.min(tsoMaxBytes, BIG_BYTES))
}

/** Has the uplink take what pods may hand on; idempotent. */
export async function enableBigTCP(network: NodeNetwork, { ifindex, gsoIPv4MaxBytes = 0 }: Link, bytes: number) {
  if (gsoIPv4MaxBytes >= bytes) return
  await attempt(`let ifindex ${ifindex} take IPv4 packets of ${bytes} bytes`, () =>
    network.request(setGsoIPv4Max(ifindex, bytes)),
  )
}

/** Takes back what enableBigTCP did, and nothing that another has chosen; idempotent. */
export async function disableBigTCP(network: NodeNetwork, { ifindex, gsoIPv4MaxBytes }: Link) {
  if (gsoIPv4MaxBytes !== BIG_BYTES) return
  await attempt(`let ifindex ${ifindex} take IPv4 packets of ${USUAL_BYTES} bytes`, () =>
    network.request(setGsoIPv4Max(ifindex, USUAL_BYTES)),
  )
}
