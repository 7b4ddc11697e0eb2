// SPDX-License-Identifier: Apache-2.0
// Ports of rules as nested prefixes over (protocol, port), the tail of the policies table's key (bpf/abi/policy.h).

import { Protocol } from '../core/protocol.ts'
import { POLICY_PROTOCOL_BITS } from '../generated/abi.ts'
import type { Pod, PolicyPort } from '../world/objects.ts'

/** Any two are nested or disjoint. Bits beyond the length are 0. */
export interface PortPrefix {
  readonly protocol: number
  readonly port: number
  /** 0: every protocol, ICMP included; 16: every port of the protocol; 32: one port. */
  readonly length: number
}

export const EVERYTHING: PortPrefix = { protocol: 0, port: 0, length: 0 }

/** What the named ports of a pod resolve to, by namedPort; a name that the pod lacks is absent. */
export type NamedPorts = ReadonlyMap<string, readonly number[]>

export const NO_PORTS: NamedPorts = new Map()

/** Key of NamedPorts: "http/TCP". */
export function namedPort(port: PolicyPort): string {
  return `${port.port}/${protocolText(port.protocol)}`
}

export function portPrefixes(port: PolicyPort, named: NamedPorts): readonly PortPrefix[] {
  const { protocol, port: first, endPort } = port
  if (first === null) return [anyPort(port)]
  if (typeof first === 'string') {
    return (named.get(namedPort(port)) ?? []).map((resolved) => onePort(protocol, resolved))
  }
  return endPort === null ? [onePort(protocol, first)] : range(protocol, first, endPort)
}

/** Every port of its protocol. */
export function anyPort({ protocol }: PolicyPort): PortPrefix {
  return { protocol, port: 0, length: POLICY_PROTOCOL_BITS }
}

/** Every name and protocol that the pod's containers give a port to, limited to the wanted ones. */
export function resolveNamedPorts(pod: Pod, wanted: ReadonlySet<string>): NamedPorts {
  if (wanted.size === 0) return NO_PORTS
  const resolved = new Map<string, readonly number[]>()
  for (const { name, port, protocol } of pod.containerPorts) {
    const key = `${name}/${protocolText(protocol)}`
    if (!wanted.has(key)) continue
    resolved.set(
      key,
      [...new Set([...(resolved.get(key) ?? []), port])].sort((a, b) => a - b),
    )
  }
  return resolved
}

/** "http/TCP=80,8080"; '' where nothing resolves. */
export function namedPortsText(named: NamedPorts): string {
  return [...named]
    .map(([name, ports]) => `${name}=${ports.join(',')}`)
    .sort()
    .join(' ')
}

export function covers(outer: PortPrefix, inner: PortPrefix): boolean {
  if (outer.length > inner.length) return false
  if (outer.length === 0) return true
  if (outer.protocol !== inner.protocol) return false
  return (outer.port ^ inner.port) >>> (POLICY_PROTOCOL_BITS + 16 - outer.length) === 0
}

/** "TCP/80", "TCP/8000-8999", "UDP", "http/TCP", "ICMP/8" (its type), "all". */
export function portText(port: PolicyPort | null): string {
  if (port === null) return 'all'
  if (typeof port.port === 'string') return namedPort(port)
  if (port.port !== null && isIcmp(port.protocol)) return `${protocolText(port.protocol)}/${port.port >> 8}`
  const end = port.endPort === null ? '' : `-${port.endPort}`
  return port.port === null ? protocolText(port.protocol) : `${protocolText(port.protocol)}/${port.port}${end}`
}

export function isIcmp(protocol: number): boolean {
  return protocol === Protocol.ICMP || protocol === Protocol.ICMPv6
}

export function protocolText(protocol: number): string {
  return Object.entries(Protocol).find(([, number]) => number === protocol)?.[0] ?? String(protocol)
}

function onePort(protocol: number, port: number): PortPrefix {
  return { protocol, port, length: POLICY_PROTOCOL_BITS + 16 }
}

/** The fewest prefixes that make up first..last: at most 30. */
function range(protocol: number, first: number, last: number): readonly PortPrefix[] {
  const prefixes: PortPrefix[] = []
  for (let at = first; at <= last; ) {
    let bits = 0
    while (bits < 16 && at % 2 ** (bits + 1) === 0 && at + 2 ** (bits + 1) - 1 <= last) bits++
    prefixes.push({ protocol, port: at, length: POLICY_PROTOCOL_BITS + 16 - bits })
    at += 2 ** bits
  }
  return prefixes
}
