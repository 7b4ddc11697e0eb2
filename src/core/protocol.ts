// SPDX-License-Identifier: Apache-2.0
// Transport protocols by their IANA numbers.

export const Protocol = { ICMP: 1, TCP: 6, UDP: 17, ICMPv6: 58, SCTP: 132 } as const
export type Protocol = (typeof Protocol)[keyof typeof Protocol]

/** Whether its header begins with two ports. */
export function hasPorts(protocol: number): boolean {
  return protocol === Protocol.TCP || protocol === Protocol.UDP || protocol === Protocol.SCTP
}
