// SPDX-License-Identifier: Apache-2.0
// Ports of this node that a process had bound when a Service took them: the process hears nothing from beyond the node any
// more, and nobody told it. Later binds are refused (bpf/hooks/sock.bpf.c).

import { type Address, family } from '../core/address.ts'
import { encodeText } from '../datapath/bytes.ts'
import type { TableStore } from '../datapath/desired.ts'
import { protocolText, readValue } from '../datapath/tables.ts'
import { FrontendFlags, frontendKey } from '../generated/abi.ts'
import type { BoundSocket } from '../kernel/sock-diag.ts'

export interface BoundPort {
  /** Id of the Service's port (core/names.ts serviceId). */
  readonly service: bigint
  readonly address: Address
  readonly port: number
  readonly protocol: string
}

/** Each once. own: addresses of this node. */
export function boundPorts(
  sockets: readonly BoundSocket[],
  { desired }: Pick<TableStore, 'desired'>,
  own: readonly Address[],
): BoundPort[] {
  const found = new Map<string, BoundPort>()
  for (const socket of sockets) {
    const { port, protocol } = socket
    for (const address of own.filter((each) => isBoundAt(socket, each))) {
      const key = encodeText(frontendKey, { address, port, protocol })
      const frontend = desired('frontends', key)
      if (frontend === undefined) continue
      const { service, flags } = readValue('frontends', frontend)
      if ((flags & FrontendFlags.EXTERNAL) !== 0)
        found.set(key, { service, address, port, protocol: protocolText(protocol) })
    }
  }
  return [...found.values()]
}

function isBoundAt(socket: BoundSocket, own: Address): boolean {
  if (socket.address === '0.0.0.0') return family(own) === 4
  if (socket.address === '::') return family(own) === 6 || !socket.isIPv6Only
  return socket.address === own
}
