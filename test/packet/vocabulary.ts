// SPDX-License-Identifier: Apache-2.0
// Packets of the rows: the constructors of test/support/packet.ts with the cluster's host names, bound to a family only
// when a row runs.

import type { Family } from '../../src/core/address.ts'
import type { IpPacket, Packet } from '../../src/datapath/trace-packet.ts'
import * as support from '../support/packet.ts'
import { resolve } from './cluster.ts'

export type InFamily<T> = (family: Family) => T

export const tcp =
  (from: string, to: string, flags: string, header?: support.Header): InFamily<IpPacket> =>
  (family) =>
    support.tcp(resolve(from, family), resolve(to, family), flags, header)

export const udp =
  (from: string, to: string, header?: support.Header): InFamily<IpPacket> =>
  (family) =>
    support.udp(resolve(from, family), resolve(to, family), header)

export const sctp =
  (from: string, to: string, header?: support.Header): InFamily<IpPacket> =>
  (family) =>
    support.sctp(resolve(from, family), resolve(to, family), header)

export const echoRequest =
  (from: string, to: string, identifier: number, header?: support.Header): InFamily<IpPacket> =>
  (family) =>
    support.echoRequest(resolve(from, family), resolve(to, family), identifier, header)

export const echoReply =
  (from: string, to: string, identifier: number, header?: support.Header): InFamily<IpPacket> =>
  (family) =>
    support.echoReply(resolve(from, family), resolve(to, family), identifier, header)

export const icmp =
  (from: string, to: string, type: number, code: number, header?: support.Header): InFamily<IpPacket> =>
  (family) =>
    support.icmp(resolve(from, family), resolve(to, family), type, code, header)

export const icmpError =
  (
    problem: support.IcmpProblem,
    from: string,
    quoted: InFamily<IpPacket>,
    header?: support.Header,
  ): InFamily<IpPacket> =>
  (family) =>
    support.icmpError(problem, resolve(from, family), quoted(family), header)

export const opaque =
  (from: string, to: string, protocol: number, header?: support.Header): InFamily<IpPacket> =>
  (family) =>
    support.opaque(resolve(from, family), resolve(to, family), protocol, header)

export const vxlan =
  (
    from: string,
    to: string,
    inner: InFamily<Packet>,
    tunnel?: support.Tunnel,
    header?: support.Header,
  ): InFamily<IpPacket> =>
  (family) =>
    support.vxlan(
      resolve(from, family),
      resolve(to, family),
      inner(family),
      tunnel?.asked === undefined ? tunnel : { ...tunnel, asked: resolve(tunnel.asked, family) },
      header,
    )

export const firstFragment =
  (packet: InFamily<IpPacket>, identification: number): InFamily<IpPacket> =>
  (family) =>
    support.firstFragment(packet(family), identification)

export const laterFragment =
  (packet: InFamily<IpPacket>, identification: number, offset?: number, more?: boolean): InFamily<IpPacket> =>
  (family) =>
    support.laterFragment(packet(family), identification, offset, more)

export const frame =
  (etherType: number): InFamily<Packet> =>
  () =>
    support.frame(etherType)

/** The packet of one family, whichever family the row runs in. */
export const only =
  <T>(family: Family, packet: InFamily<T>): InFamily<T> =>
  () =>
    packet(family)

/** As the data plane makes packets: they are not to be fragmented. */
export const fresh =
  (made: InFamily<IpPacket>): InFamily<IpPacket> =>
  (family) => ({ ...made(family), dontFragment: family === 4 })
