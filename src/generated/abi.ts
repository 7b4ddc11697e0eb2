// SPDX-License-Identifier: Apache-2.0
// Generated from bpf/abi by tools/generate-abi.ts. Never edited.

import { type Address, readAddress, writeAddress } from '../core/address.ts'
import type { Codec } from '../core/codec.ts'

export const DROPS_CAPACITY = 64
export const OPENINGS = 65536
export const POLICY_FIXED_BITS = 160
export const POLICY_PROTOCOL_BITS = 16
export const SLOT_TABLE_SIZE = 16381
export const SLOT_CHUNK_SIZE = 964
export const LOAD_SCALE = 65536
export const SOURCE_RANGE_FIXED_BITS = 96

export const Realm = {
  WORLD: 1,
  POD: 2,
  NODE: 3,
  OWN_HOST: 4,
  POD_RANGE: 5,
} as const
export type Realm = (typeof Realm)[keyof typeof Realm]

export const DsrTransports = {
  TCP: 1,
} as const
export type DsrTransports = (typeof DsrTransports)[keyof typeof DsrTransports]

export const TunnelMode = {
  NONE: 0,
  VXLAN: 1,
} as const
export type TunnelMode = (typeof TunnelMode)[keyof typeof TunnelMode]

export const PacketMark = {
  MARK: 1212499020,
  SORTED: 1212499021,
} as const
export type PacketMark = (typeof PacketMark)[keyof typeof PacketMark]

export const FlowFlags = {
  ORIGIN_HIGH: 1,
  REPLIED: 2,
  TRANSLATED: 16,
  BY_STACK: 32,
} as const
export type FlowFlags = (typeof FlowFlags)[keyof typeof FlowFlags]

export const PolicyLevels = {
  CLASS: 1,
  REALM: 2,
  ANY: 4,
} as const
export type PolicyLevels = (typeof PolicyLevels)[keyof typeof PolicyLevels]

export const DropReason = {
  NONE: 0,
  PARSE: 1,
  ETHERTYPE: 2,
  MULTICAST: 3,
  MAPPED_ADDRESS: 4,
  SOURCE: 5,
  FRAGMENT: 6,
  POLICY_EGRESS: 7,
  POLICY_INGRESS: 8,
  NO_ENDPOINT: 9,
  NO_BACKEND: 10,
  NO_FRONTEND: 11,
  NO_NEXTHOP: 12,
  TUNNEL_SOURCE: 13,
  TUNNEL_INNER: 14,
  TUNNEL_FORGED: 15,
  BARE_SOURCE: 16,
  TRANSLATIONS_FULL: 17,
  NAT_PORTS: 18,
  FLOWS_FULL: 19,
  HEADER_WRITE: 20,
  NOT_READY: 21,
  IP_OPTIONS: 22,
  EVENT_LOST: 23,
  TUNNEL_ECN: 24,
  NO_LOCAL_BACKEND: 25,
  SOURCE_RANGE: 26,
  NO_PORT: 27,
  TOO_LARGE: 28,
  HOP_LIMIT: 29,
  PORT_IN_USE: 30,
  AUDIT_EGRESS: 31,
  AUDIT_INGRESS: 32,
  ANSWER_LIMIT: 33,
  REASONS: 34,
} as const
export type DropReason = (typeof DropReason)[keyof typeof DropReason]

export const EventType = {
  DROP: 1,
  AUDIT: 2,
} as const
export type EventType = (typeof EventType)[keyof typeof EventType]

export const Hook = {
  FROM_POD: 1,
  TO_POD: 2,
  FROM_NETDEV: 3,
  TO_NETDEV: 4,
  SOCK: 5,
} as const
export type Hook = (typeof Hook)[keyof typeof Hook]

export const TranslationFlags = {
  REVERSE: 1,
  REPLIED: 2,
  CLOSING: 4,
  HOST: 8,
  OPENING: 16,
  DSR: 32,
} as const
export type TranslationFlags = (typeof TranslationFlags)[keyof typeof TranslationFlags]

export const PolicyDirection = {
  EGRESS: 1,
  INGRESS: 2,
} as const
export type PolicyDirection = (typeof PolicyDirection)[keyof typeof PolicyDirection]

export const PolicyVerdict = {
  ALLOW: 1,
  DENY: 2,
} as const
export type PolicyVerdict = (typeof PolicyVerdict)[keyof typeof PolicyVerdict]

export const PolicyFlags = {
  AUDIT: 1,
} as const
export type PolicyFlags = (typeof PolicyFlags)[keyof typeof PolicyFlags]

export const RouteKind = {
  OWN_PODS: 1,
  PODS: 2,
  SERVICES: 3,
} as const
export type RouteKind = (typeof RouteKind)[keyof typeof RouteKind]

export const RouteFlags = {
  DSR: 1,
} as const
export type RouteFlags = (typeof RouteFlags)[keyof typeof RouteFlags]

export const NodeFlags = {
  OWN: 1,
} as const
export type NodeFlags = (typeof NodeFlags)[keyof typeof NodeFlags]

export const FrontendFlags = {
  EXTERNAL: 1,
  INTERNAL_DROPS: 2,
  EXTERNAL_DROPS: 4,
  SOURCE_RANGES: 8,
  BY_SOURCE: 16,
  IN_TURN: 32,
  SLOT_TABLE: 64,
  BY_LOAD: 128,
} as const
export type FrontendFlags = (typeof FrontendFlags)[keyof typeof FrontendFlags]

/** Index of an array map. */
export const u32: Codec<number> = {
  name: '__u32',
  size: 4,
  write(bytes, offset, value) {
    new DataView(bytes.buffer, bytes.byteOffset + offset, 4).setUint32(0, value, true)
  },
  read(bytes, offset) {
    return new DataView(bytes.buffer, bytes.byteOffset + offset, 4).getUint32(0, true)
  },
}

/** 16 bytes; all zero, "none", reads as '::'. */
export const address: Codec<Address> = { name: 'address', size: 16, write: writeAddress, read: readAddress }

export interface Prefix {
  readonly length: number
  readonly address: Address
}

export const prefix: Codec<Prefix> = {
  name: 'prefix',
  size: 20,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 20)
    bytes.fill(0, offset, offset + 20)
    view.setUint32(0, value.length, true)
    address.write(bytes, offset + 4, value.address)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 20)
    return {
      length: view.getUint32(0, true),
      address: address.read(bytes, offset + 4),
    }
  },
}

export interface ClassKey {
  readonly address: Address
}

export const classKey: Codec<ClassKey> = {
  name: 'class_key',
  size: 16,
  write(bytes, offset, value) {
    bytes.fill(0, offset, offset + 16)
    address.write(bytes, offset + 0, value.address)
  },
  read(bytes, offset) {
    return {
      address: address.read(bytes, offset + 0),
    }
  },
}

export interface PeerClass {
  readonly classId: bigint
  readonly realm: number
}

export const peerClass: Codec<PeerClass> = {
  name: 'peer_class',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setBigUint64(0, value.classId, true)
    view.setUint32(8, value.realm, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      classId: view.getBigUint64(0, true),
      realm: view.getUint32(8, true),
    }
  },
}

export interface NodeConfig {
  readonly ipv4: Address
  readonly ipv6: Address
  readonly node: bigint
  readonly netnsCookie: bigint
  readonly uplink: number
  readonly vni: number
  readonly tunnelPort: number
  readonly tunnelMode: number
  readonly masquerade: number
  readonly natPortMin: number
  readonly natPortMax: number
  readonly refuseDenied: number
  readonly dsr: number
  readonly sorter: number
  readonly seed: readonly [bigint, bigint, bigint, bigint]
}

export const nodeConfig: Codec<NodeConfig> = {
  name: 'node_config',
  size: 104,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 104)
    bytes.fill(0, offset, offset + 104)
    address.write(bytes, offset + 0, value.ipv4)
    address.write(bytes, offset + 16, value.ipv6)
    view.setBigUint64(32, value.node, true)
    view.setBigUint64(40, value.netnsCookie, true)
    view.setUint32(48, value.uplink, true)
    view.setUint32(52, value.vni, true)
    view.setUint16(56, value.tunnelPort)
    view.setUint8(58, value.tunnelMode)
    view.setUint8(59, value.masquerade)
    view.setUint16(60, value.natPortMin, true)
    view.setUint16(62, value.natPortMax, true)
    view.setUint8(64, value.refuseDenied)
    view.setUint8(65, value.dsr)
    view.setUint32(68, value.sorter, true)
    view.setBigUint64(72, value.seed[0], true)
    view.setBigUint64(80, value.seed[1], true)
    view.setBigUint64(88, value.seed[2], true)
    view.setBigUint64(96, value.seed[3], true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 104)
    return {
      ipv4: address.read(bytes, offset + 0),
      ipv6: address.read(bytes, offset + 16),
      node: view.getBigUint64(32, true),
      netnsCookie: view.getBigUint64(40, true),
      uplink: view.getUint32(48, true),
      vni: view.getUint32(52, true),
      tunnelPort: view.getUint16(56),
      tunnelMode: view.getUint8(58),
      masquerade: view.getUint8(59),
      natPortMin: view.getUint16(60, true),
      natPortMax: view.getUint16(62, true),
      refuseDenied: view.getUint8(64),
      dsr: view.getUint8(65),
      sorter: view.getUint32(68, true),
      seed: [view.getBigUint64(72, true), view.getBigUint64(80, true), view.getBigUint64(88, true), view.getBigUint64(96, true)],
    }
  },
}

export interface FlowKey {
  readonly low: Address
  readonly high: Address
  readonly lowPort: number
  readonly highPort: number
  readonly protocol: number
}

export const flowKey: Codec<FlowKey> = {
  name: 'flow_key',
  size: 40,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 40)
    bytes.fill(0, offset, offset + 40)
    address.write(bytes, offset + 0, value.low)
    address.write(bytes, offset + 16, value.high)
    view.setUint16(32, value.lowPort)
    view.setUint16(34, value.highPort)
    view.setUint8(36, value.protocol)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 40)
    return {
      low: address.read(bytes, offset + 0),
      high: address.read(bytes, offset + 16),
      lowPort: view.getUint16(32),
      highPort: view.getUint16(34),
      protocol: view.getUint8(36),
    }
  },
}

export interface FlowSide {
  readonly ifindexIn: number
  readonly ifindexOut: number
  readonly node: bigint
}

export const flowSide: Codec<FlowSide> = {
  name: 'flow_side',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setUint32(0, value.ifindexIn, true)
    view.setUint32(4, value.ifindexOut, true)
    view.setBigUint64(8, value.node, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      ifindexIn: view.getUint32(0, true),
      ifindexOut: view.getUint32(4, true),
      node: view.getBigUint64(8, true),
    }
  },
}

export interface Flow {
  readonly seenNs: bigint
  readonly epoch: number
  readonly flags: number
  readonly side: readonly [FlowSide, FlowSide]
}

export const flow: Codec<Flow> = {
  name: 'flow',
  size: 56,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 56)
    bytes.fill(0, offset, offset + 56)
    view.setBigUint64(0, value.seenNs, true)
    view.setUint32(8, value.epoch, true)
    view.setUint32(12, value.flags, true)
    flowSide.write(bytes, offset + 16, value.side[0])
    flowSide.write(bytes, offset + 32, value.side[1])
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 56)
    return {
      seenNs: view.getBigUint64(0, true),
      epoch: view.getUint32(8, true),
      flags: view.getUint32(12, true),
      side: [flowSide.read(bytes, offset + 16), flowSide.read(bytes, offset + 32)],
    }
  },
}

export interface EndpointKey {
  readonly address: Address
}

export const endpointKey: Codec<EndpointKey> = {
  name: 'endpoint_key',
  size: 16,
  write(bytes, offset, value) {
    bytes.fill(0, offset, offset + 16)
    address.write(bytes, offset + 0, value.address)
  },
  read(bytes, offset) {
    return {
      address: address.read(bytes, offset + 0),
    }
  },
}

export interface Endpoint {
  readonly netnsCookie: bigint
  readonly egressSet: bigint
  readonly ingressSet: bigint
  readonly ifindex: number
  readonly egressLevels: number
  readonly ingressLevels: number
  readonly isolated: number
  readonly pod: bigint
}

export const endpoint: Codec<Endpoint> = {
  name: 'endpoint',
  size: 48,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 48)
    bytes.fill(0, offset, offset + 48)
    view.setBigUint64(0, value.netnsCookie, true)
    view.setBigUint64(8, value.egressSet, true)
    view.setBigUint64(16, value.ingressSet, true)
    view.setUint32(24, value.ifindex, true)
    view.setUint8(28, value.egressLevels)
    view.setUint8(29, value.ingressLevels)
    view.setUint8(30, value.isolated)
    view.setBigUint64(32, value.pod, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 48)
    return {
      netnsCookie: view.getBigUint64(0, true),
      egressSet: view.getBigUint64(8, true),
      ingressSet: view.getBigUint64(16, true),
      ifindex: view.getUint32(24, true),
      egressLevels: view.getUint8(28),
      ingressLevels: view.getUint8(29),
      isolated: view.getUint8(30),
      pod: view.getBigUint64(32, true),
    }
  },
}

export interface EndpointCookieKey {
  readonly netnsCookie: bigint
}

export const endpointCookieKey: Codec<EndpointCookieKey> = {
  name: 'endpoint_cookie_key',
  size: 8,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8)
    bytes.fill(0, offset, offset + 8)
    view.setBigUint64(0, value.netnsCookie, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8)
    return {
      netnsCookie: view.getBigUint64(0, true),
    }
  },
}

export interface EndpointAddresses {
  readonly ipv4: Address
  readonly ipv6: Address
}

export const endpointAddresses: Codec<EndpointAddresses> = {
  name: 'endpoint_addresses',
  size: 32,
  write(bytes, offset, value) {
    bytes.fill(0, offset, offset + 32)
    address.write(bytes, offset + 0, value.ipv4)
    address.write(bytes, offset + 16, value.ipv6)
  },
  read(bytes, offset) {
    return {
      ipv4: address.read(bytes, offset + 0),
      ipv6: address.read(bytes, offset + 16),
    }
  },
}

export interface DropCount {
  readonly packets: bigint
  readonly bytes: bigint
}

export const dropCount: Codec<DropCount> = {
  name: 'drop_count',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setBigUint64(0, value.packets, true)
    view.setBigUint64(8, value.bytes, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      packets: view.getBigUint64(0, true),
      bytes: view.getBigUint64(8, true),
    }
  },
}

export interface Event {
  readonly timeNs: bigint
  readonly source: Address
  readonly destination: Address
  readonly sourcePort: number
  readonly destinationPort: number
  readonly protocol: number
  readonly tcpFlags: number
  readonly type: number
  readonly reason: number
  readonly hook: number
  readonly direction: number
  readonly ifindex: number
  readonly length: number
  readonly epoch: number
  readonly rule: bigint
  readonly set: bigint
  readonly peerClass: bigint
  readonly pod: bigint
  readonly service: bigint
}

export const event: Codec<Event> = {
  name: 'event',
  size: 112,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 112)
    bytes.fill(0, offset, offset + 112)
    view.setBigUint64(0, value.timeNs, true)
    address.write(bytes, offset + 8, value.source)
    address.write(bytes, offset + 24, value.destination)
    view.setUint16(40, value.sourcePort)
    view.setUint16(42, value.destinationPort)
    view.setUint8(44, value.protocol)
    view.setUint8(45, value.tcpFlags)
    view.setUint8(46, value.type)
    view.setUint8(47, value.reason)
    view.setUint8(48, value.hook)
    view.setUint8(49, value.direction)
    view.setUint32(52, value.ifindex, true)
    view.setUint32(56, value.length, true)
    view.setUint32(60, value.epoch, true)
    view.setBigUint64(64, value.rule, true)
    view.setBigUint64(72, value.set, true)
    view.setBigUint64(80, value.peerClass, true)
    view.setBigUint64(88, value.pod, true)
    view.setBigUint64(96, value.service, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 112)
    return {
      timeNs: view.getBigUint64(0, true),
      source: address.read(bytes, offset + 8),
      destination: address.read(bytes, offset + 24),
      sourcePort: view.getUint16(40),
      destinationPort: view.getUint16(42),
      protocol: view.getUint8(44),
      tcpFlags: view.getUint8(45),
      type: view.getUint8(46),
      reason: view.getUint8(47),
      hook: view.getUint8(48),
      direction: view.getUint8(49),
      ifindex: view.getUint32(52, true),
      length: view.getUint32(56, true),
      epoch: view.getUint32(60, true),
      rule: view.getBigUint64(64, true),
      set: view.getBigUint64(72, true),
      peerClass: view.getBigUint64(80, true),
      pod: view.getBigUint64(88, true),
      service: view.getBigUint64(96, true),
    }
  },
}

export interface Tuple {
  readonly source: Address
  readonly destination: Address
  readonly sourcePort: number
  readonly destinationPort: number
  readonly protocol: number
}

export const tuple: Codec<Tuple> = {
  name: 'tuple',
  size: 40,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 40)
    bytes.fill(0, offset, offset + 40)
    address.write(bytes, offset + 0, value.source)
    address.write(bytes, offset + 16, value.destination)
    view.setUint16(32, value.sourcePort)
    view.setUint16(34, value.destinationPort)
    view.setUint8(36, value.protocol)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 40)
    return {
      source: address.read(bytes, offset + 0),
      destination: address.read(bytes, offset + 16),
      sourcePort: view.getUint16(32),
      destinationPort: view.getUint16(34),
      protocol: view.getUint8(36),
    }
  },
}

export interface Translation {
  readonly to: Tuple
  readonly flags: number
  readonly seenNs: bigint
  readonly service: bigint
}

export const translation: Codec<Translation> = {
  name: 'translation',
  size: 72,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 72)
    bytes.fill(0, offset, offset + 72)
    tuple.write(bytes, offset + 0, value.to)
    view.setUint32(40, value.flags, true)
    view.setBigUint64(48, value.seenNs, true)
    view.setBigUint64(56, value.service, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 72)
    return {
      to: tuple.read(bytes, offset + 0),
      flags: view.getUint32(40, true),
      seenNs: view.getBigUint64(48, true),
      service: view.getBigUint64(56, true),
    }
  },
}

export interface NatKinds {
  readonly betweenNodes: number
}

export const natKinds: Codec<NatKinds> = {
  name: 'nat_kinds',
  size: 4,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 4)
    bytes.fill(0, offset, offset + 4)
    view.setUint32(0, value.betweenNodes, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 4)
    return {
      betweenNodes: view.getUint32(0, true),
    }
  },
}

export interface OpeningEnds {
  readonly newest: bigint
  readonly oldest: bigint
}

export const openingEnds: Codec<OpeningEnds> = {
  name: 'opening_ends',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setBigUint64(0, value.newest, true)
    view.setBigUint64(8, value.oldest, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      newest: view.getBigUint64(0, true),
      oldest: view.getBigUint64(8, true),
    }
  },
}

export interface FragmentKey {
  readonly source: Address
  readonly destination: Address
  readonly identification: number
  readonly protocol: number
}

export const fragmentKey: Codec<FragmentKey> = {
  name: 'fragment_key',
  size: 40,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 40)
    bytes.fill(0, offset, offset + 40)
    address.write(bytes, offset + 0, value.source)
    address.write(bytes, offset + 16, value.destination)
    view.setUint32(32, value.identification)
    view.setUint8(36, value.protocol)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 40)
    return {
      source: address.read(bytes, offset + 0),
      destination: address.read(bytes, offset + 16),
      identification: view.getUint32(32),
      protocol: view.getUint8(36),
    }
  },
}

export interface Fragment {
  readonly sourcePort: number
  readonly destinationPort: number
  readonly sorting: number
}

export const fragment: Codec<Fragment> = {
  name: 'fragment',
  size: 8,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8)
    bytes.fill(0, offset, offset + 8)
    view.setUint16(0, value.sourcePort)
    view.setUint16(2, value.destinationPort)
    view.setUint8(4, value.sorting)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8)
    return {
      sourcePort: view.getUint16(0),
      destinationPort: view.getUint16(2),
      sorting: view.getUint8(4),
    }
  },
}

export interface PolicyKey {
  readonly prefixLength: number
  readonly direction: number
  readonly level: number
  readonly set: bigint
  readonly scope: bigint
  readonly protocol: number
  readonly port: number
}

export const policyKey: Codec<PolicyKey> = {
  name: 'policy_key',
  size: 32,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 32)
    bytes.fill(0, offset, offset + 32)
    view.setUint32(0, value.prefixLength, true)
    view.setUint8(4, value.direction)
    view.setUint8(5, value.level)
    view.setBigUint64(8, value.set, true)
    view.setBigUint64(16, value.scope, true)
    view.setUint8(24, value.protocol)
    view.setUint16(26, value.port)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 32)
    return {
      prefixLength: view.getUint32(0, true),
      direction: view.getUint8(4),
      level: view.getUint8(5),
      set: view.getBigUint64(8, true),
      scope: view.getBigUint64(16, true),
      protocol: view.getUint8(24),
      port: view.getUint16(26),
    }
  },
}

export interface PolicyEntry {
  readonly verdict: number
  readonly flags: number
  readonly l7: number
  readonly rule: bigint
}

export const policyEntry: Codec<PolicyEntry> = {
  name: 'policy_entry',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setUint8(0, value.verdict)
    view.setUint8(1, value.flags)
    view.setUint16(2, value.l7, true)
    view.setBigUint64(8, value.rule, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      verdict: view.getUint8(0),
      flags: view.getUint8(1),
      l7: view.getUint16(2, true),
      rule: view.getBigUint64(8, true),
    }
  },
}

export interface PolicyEpoch {
  readonly epoch: number
}

export const policyEpoch: Codec<PolicyEpoch> = {
  name: 'policy_epoch',
  size: 4,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 4)
    bytes.fill(0, offset, offset + 4)
    view.setUint32(0, value.epoch, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 4)
    return {
      epoch: view.getUint32(0, true),
    }
  },
}

export interface RuleUseKey {
  readonly rule: bigint
}

export const ruleUseKey: Codec<RuleUseKey> = {
  name: 'rule_use_key',
  size: 8,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8)
    bytes.fill(0, offset, offset + 8)
    view.setBigUint64(0, value.rule, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8)
    return {
      rule: view.getBigUint64(0, true),
    }
  },
}

export interface RuleUse {
  readonly sinceNs: bigint
  readonly usedNs: bigint
  readonly meaning: bigint
}

export const ruleUse: Codec<RuleUse> = {
  name: 'rule_use',
  size: 24,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 24)
    bytes.fill(0, offset, offset + 24)
    view.setBigUint64(0, value.sinceNs, true)
    view.setBigUint64(8, value.usedNs, true)
    view.setBigUint64(16, value.meaning, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 24)
    return {
      sinceNs: view.getBigUint64(0, true),
      usedNs: view.getBigUint64(8, true),
      meaning: view.getBigUint64(16, true),
    }
  },
}

export interface Route {
  readonly kind: number
  readonly flags: number
  readonly node: bigint
}

export const route: Codec<Route> = {
  name: 'route',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setUint32(0, value.kind, true)
    view.setUint32(4, value.flags, true)
    view.setBigUint64(8, value.node, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      kind: view.getUint32(0, true),
      flags: view.getUint32(4, true),
      node: view.getBigUint64(8, true),
    }
  },
}

export interface NodeKey {
  readonly address: Address
}

export const nodeKey: Codec<NodeKey> = {
  name: 'node_key',
  size: 16,
  write(bytes, offset, value) {
    bytes.fill(0, offset, offset + 16)
    address.write(bytes, offset + 0, value.address)
  },
  read(bytes, offset) {
    return {
      address: address.read(bytes, offset + 0),
    }
  },
}

export interface Node {
  readonly node: bigint
  readonly flags: number
}

export const node: Codec<Node> = {
  name: 'node',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setBigUint64(0, value.node, true)
    view.setUint32(8, value.flags, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      node: view.getBigUint64(0, true),
      flags: view.getUint32(8, true),
    }
  },
}

export interface NexthopKey {
  readonly node: bigint
  readonly family: number
}

export const nexthopKey: Codec<NexthopKey> = {
  name: 'nexthop_key',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setBigUint64(0, value.node, true)
    view.setUint32(8, value.family, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      node: view.getBigUint64(0, true),
      family: view.getUint32(8, true),
    }
  },
}

export interface Nexthop {
  readonly gateway: Address
  readonly tunnel: Address
  readonly ifindex: number
}

export const nexthop: Codec<Nexthop> = {
  name: 'nexthop',
  size: 40,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 40)
    bytes.fill(0, offset, offset + 40)
    address.write(bytes, offset + 0, value.gateway)
    address.write(bytes, offset + 16, value.tunnel)
    view.setUint32(32, value.ifindex, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 40)
    return {
      gateway: address.read(bytes, offset + 0),
      tunnel: address.read(bytes, offset + 16),
      ifindex: view.getUint32(32, true),
    }
  },
}

export interface FrontendKey {
  readonly address: Address
  readonly port: number
  readonly protocol: number
}

export const frontendKey: Codec<FrontendKey> = {
  name: 'frontend_key',
  size: 20,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 20)
    bytes.fill(0, offset, offset + 20)
    address.write(bytes, offset + 0, value.address)
    view.setUint16(16, value.port)
    view.setUint8(18, value.protocol)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 20)
    return {
      address: address.read(bytes, offset + 0),
      port: view.getUint16(16),
      protocol: view.getUint8(18),
    }
  },
}

export interface Frontend {
  readonly backendList: bigint
  readonly count: number
  readonly flags: number
  readonly service: bigint
  readonly externalList: bigint
  readonly externalCount: number
  readonly affinitySeconds: number
}

export const frontend: Codec<Frontend> = {
  name: 'frontend',
  size: 48,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 48)
    bytes.fill(0, offset, offset + 48)
    view.setBigUint64(0, value.backendList, true)
    view.setUint32(8, value.count, true)
    view.setUint32(12, value.flags, true)
    view.setBigUint64(16, value.service, true)
    view.setBigUint64(24, value.externalList, true)
    view.setUint32(32, value.externalCount, true)
    view.setUint32(36, value.affinitySeconds, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 48)
    return {
      backendList: view.getBigUint64(0, true),
      count: view.getUint32(8, true),
      flags: view.getUint32(12, true),
      service: view.getBigUint64(16, true),
      externalList: view.getBigUint64(24, true),
      externalCount: view.getUint32(32, true),
      affinitySeconds: view.getUint32(36, true),
    }
  },
}

export interface BackendKey {
  readonly backendList: bigint
  readonly slot: number
}

export const backendKey: Codec<BackendKey> = {
  name: 'backend_key',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setBigUint64(0, value.backendList, true)
    view.setUint32(8, value.slot, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      backendList: view.getBigUint64(0, true),
      slot: view.getUint32(8, true),
    }
  },
}

export interface Backend {
  readonly address: Address
  readonly port: number
}

export const backend: Codec<Backend> = {
  name: 'backend',
  size: 24,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 24)
    bytes.fill(0, offset, offset + 24)
    address.write(bytes, offset + 0, value.address)
    view.setUint16(16, value.port)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 24)
    return {
      address: address.read(bytes, offset + 0),
      port: view.getUint16(16),
    }
  },
}

export interface SlotChunkKey {
  readonly backendList: bigint
  readonly chunk: number
}

export const slotChunkKey: Codec<SlotChunkKey> = {
  name: 'slot_chunk_key',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setBigUint64(0, value.backendList, true)
    view.setUint32(8, value.chunk, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      backendList: view.getBigUint64(0, true),
      chunk: view.getUint32(8, true),
    }
  },
}

export interface SlotChunk {
  readonly slots: ArrayLike<number>
}

export const slotChunk: Codec<SlotChunk> = {
  name: 'slot_chunk',
  size: 1928,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 1928)
    bytes.fill(0, offset, offset + 1928)
    for (let i = 0; i < 964; i++) view.setUint16(0 + i * 2, value.slots[i]!, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 1928)
    return {
      slots: Array.from({ length: 964 }, (_, i) => view.getUint16(0 + i * 2, true)),
    }
  },
}

export interface Load {
  readonly load: bigint
  readonly step: bigint
}

export const load: Codec<Load> = {
  name: 'load',
  size: 16,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    bytes.fill(0, offset, offset + 16)
    view.setBigUint64(0, value.load, true)
    view.setBigUint64(8, value.step, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 16)
    return {
      load: view.getBigUint64(0, true),
      step: view.getBigUint64(8, true),
    }
  },
}

export interface TurnKey {
  readonly backendList: bigint
}

export const turnKey: Codec<TurnKey> = {
  name: 'turn_key',
  size: 8,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8)
    bytes.fill(0, offset, offset + 8)
    view.setBigUint64(0, value.backendList, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8)
    return {
      backendList: view.getBigUint64(0, true),
    }
  },
}

export interface Turn {
  readonly next: number
}

export const turn: Codec<Turn> = {
  name: 'turn',
  size: 4,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 4)
    bytes.fill(0, offset, offset + 4)
    view.setUint32(0, value.next, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 4)
    return {
      next: view.getUint32(0, true),
    }
  },
}

export interface SourceRangeKey {
  readonly prefixLength: number
  readonly service: bigint
  readonly address: Address
}

export const sourceRangeKey: Codec<SourceRangeKey> = {
  name: 'source_range_key',
  size: 32,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 32)
    bytes.fill(0, offset, offset + 32)
    view.setUint32(0, value.prefixLength, true)
    view.setBigUint64(8, value.service, true)
    address.write(bytes, offset + 16, value.address)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 32)
    return {
      prefixLength: view.getUint32(0, true),
      service: view.getBigUint64(8, true),
      address: address.read(bytes, offset + 16),
    }
  },
}

export interface SourceRange {
  readonly allowed: number
}

export const sourceRange: Codec<SourceRange> = {
  name: 'source_range',
  size: 4,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 4)
    bytes.fill(0, offset, offset + 4)
    view.setUint32(0, value.allowed, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 4)
    return {
      allowed: view.getUint32(0, true),
    }
  },
}

export interface AffinityKey {
  readonly service: bigint
  readonly address: Address
  readonly netnsCookie: bigint
  readonly family: number
}

export const affinityKey: Codec<AffinityKey> = {
  name: 'affinity_key',
  size: 40,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 40)
    bytes.fill(0, offset, offset + 40)
    view.setBigUint64(0, value.service, true)
    address.write(bytes, offset + 8, value.address)
    view.setBigUint64(24, value.netnsCookie, true)
    view.setUint8(32, value.family)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 40)
    return {
      service: view.getBigUint64(0, true),
      address: address.read(bytes, offset + 8),
      netnsCookie: view.getBigUint64(24, true),
      family: view.getUint8(32),
    }
  },
}

export interface Affinity {
  readonly address: Address
  readonly port: number
  readonly slot: number
  readonly seenNs: bigint
}

export const affinity: Codec<Affinity> = {
  name: 'affinity',
  size: 32,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 32)
    bytes.fill(0, offset, offset + 32)
    address.write(bytes, offset + 0, value.address)
    view.setUint16(16, value.port)
    view.setUint32(20, value.slot, true)
    view.setBigUint64(24, value.seenNs, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 32)
    return {
      address: address.read(bytes, offset + 0),
      port: view.getUint16(16),
      slot: view.getUint32(20, true),
      seenNs: view.getBigUint64(24, true),
    }
  },
}

export interface SockPeerKey {
  readonly socketCookie: bigint
  readonly address: Address
  readonly port: number
  readonly protocol: number
}

export const sockPeerKey: Codec<SockPeerKey> = {
  name: 'sock_peer_key',
  size: 32,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 32)
    bytes.fill(0, offset, offset + 32)
    view.setBigUint64(0, value.socketCookie, true)
    address.write(bytes, offset + 8, value.address)
    view.setUint16(24, value.port)
    view.setUint8(26, value.protocol)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 32)
    return {
      socketCookie: view.getBigUint64(0, true),
      address: address.read(bytes, offset + 8),
      port: view.getUint16(24),
      protocol: view.getUint8(26),
    }
  },
}

export interface SockPeer {
  readonly address: Address
  readonly port: number
  readonly backendList: bigint
}

export const sockPeer: Codec<SockPeer> = {
  name: 'sock_peer',
  size: 32,
  write(bytes, offset, value) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 32)
    bytes.fill(0, offset, offset + 32)
    address.write(bytes, offset + 0, value.address)
    view.setUint16(16, value.port)
    view.setBigUint64(24, value.backendList, true)
  },
  read(bytes, offset) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 32)
    return {
      address: address.read(bytes, offset + 0),
      port: view.getUint16(16),
      backendList: view.getBigUint64(24, true),
    }
  },
}

/** type, flags: enum bpf_map_type, BPF_F_*. layout: changes when an entry means something else. */
export const maps = {
  affinity: {
    name: 'affinity',
    type: 9,
    keySize: 40,
    valueSize: 32,
    maxEntries: 65536,
    flags: 0,
    layout: 'a6f82555',
    key: affinityKey,
    value: affinity,
  },
  backends: {
    name: 'backends',
    type: 1,
    keySize: 16,
    valueSize: 24,
    maxEntries: 1048576,
    flags: 1,
    layout: '326ce224',
    key: backendKey,
    value: backend,
  },
  class_prefixes: {
    name: 'class_prefixes',
    type: 11,
    keySize: 20,
    valueSize: 16,
    maxEntries: 65536,
    flags: 1,
    layout: '45c7bd0f',
    key: prefix,
    value: peerClass,
  },
  classes: {
    name: 'classes',
    type: 1,
    keySize: 16,
    valueSize: 16,
    maxEntries: 262144,
    flags: 1,
    layout: 'e07f5fe1',
    key: classKey,
    value: peerClass,
  },
  drops: {
    name: 'drops',
    type: 6,
    keySize: 4,
    valueSize: 16,
    maxEntries: 64,
    flags: 0,
    layout: '1496ab90',
    key: u32,
    value: dropCount,
  },
  endpoint_cookie: {
    name: 'endpoint_cookie',
    type: 1,
    keySize: 8,
    valueSize: 32,
    maxEntries: 4096,
    flags: 0,
    layout: '4c65033a',
    key: endpointCookieKey,
    value: endpointAddresses,
  },
  endpoints: {
    name: 'endpoints',
    type: 1,
    keySize: 16,
    valueSize: 48,
    maxEntries: 4096,
    flags: 0,
    layout: 'b574eeeb',
    key: endpointKey,
    value: endpoint,
  },
  events: {
    name: 'events',
    type: 27,
    keySize: 0,
    valueSize: 0,
    maxEntries: 1048576,
    flags: 0,
    layout: 'b5dfb876',
    key: null,
    value: null,
  },
  flows: {
    name: 'flows',
    type: 9,
    keySize: 40,
    valueSize: 56,
    maxEntries: 262144,
    flags: 0,
    layout: '8bd7961b',
    key: flowKey,
    value: flow,
  },
  flows_opening: {
    name: 'flows_opening',
    type: 9,
    keySize: 40,
    valueSize: 56,
    maxEntries: 65536,
    flags: 0,
    layout: '8bd7961b',
    key: flowKey,
    value: flow,
  },
  fragments: {
    name: 'fragments',
    type: 9,
    keySize: 40,
    valueSize: 8,
    maxEntries: 8192,
    flags: 0,
    layout: 'a4090646',
    key: fragmentKey,
    value: fragment,
  },
  frontends: {
    name: 'frontends',
    type: 1,
    keySize: 20,
    valueSize: 48,
    maxEntries: 131072,
    flags: 1,
    layout: '7f9a44de',
    key: frontendKey,
    value: frontend,
  },
  loads: {
    name: 'loads',
    type: 1,
    keySize: 16,
    valueSize: 16,
    maxEntries: 65536,
    flags: 1,
    layout: '459ea901',
    key: backendKey,
    value: load,
  },
  nat_kinds: {
    name: 'nat_kinds',
    type: 2,
    keySize: 4,
    valueSize: 4,
    maxEntries: 1,
    flags: 0,
    layout: 'b8c489fb',
    key: u32,
    value: natKinds,
  },
  nexthops: {
    name: 'nexthops',
    type: 1,
    keySize: 16,
    valueSize: 40,
    maxEntries: 32768,
    flags: 0,
    layout: '0188c6c8',
    key: nexthopKey,
    value: nexthop,
  },
  nodes: {
    name: 'nodes',
    type: 1,
    keySize: 16,
    valueSize: 16,
    maxEntries: 16384,
    flags: 0,
    layout: 'add0695c',
    key: nodeKey,
    value: node,
  },
  opening_ends: {
    name: 'opening_ends',
    type: 2,
    keySize: 4,
    valueSize: 16,
    maxEntries: 1,
    flags: 0,
    layout: '34036b10',
    key: u32,
    value: openingEnds,
  },
  openings: {
    name: 'openings',
    type: 2,
    keySize: 4,
    valueSize: 40,
    maxEntries: 65536,
    flags: 0,
    layout: 'e9e6d80e',
    key: u32,
    value: tuple,
  },
  policies: {
    name: 'policies',
    type: 11,
    keySize: 32,
    valueSize: 16,
    maxEntries: 262144,
    flags: 1,
    layout: 'cb433b6f',
    key: policyKey,
    value: policyEntry,
  },
  policy_epoch: {
    name: 'policy_epoch',
    type: 2,
    keySize: 4,
    valueSize: 4,
    maxEntries: 1,
    flags: 0,
    layout: 'd29aa7d8',
    key: u32,
    value: policyEpoch,
  },
  routes: {
    name: 'routes',
    type: 11,
    keySize: 20,
    valueSize: 16,
    maxEntries: 16384,
    flags: 1,
    layout: 'aa69109f',
    key: prefix,
    value: route,
  },
  rule_uses: {
    name: 'rule_uses',
    type: 1,
    keySize: 8,
    valueSize: 24,
    maxEntries: 32768,
    flags: 1,
    layout: '9b20371e',
    key: ruleUseKey,
    value: ruleUse,
  },
  slot_tables: {
    name: 'slot_tables',
    type: 1,
    keySize: 16,
    valueSize: 1928,
    maxEntries: 8704,
    flags: 1,
    layout: 'a125cfd3',
    key: slotChunkKey,
    value: slotChunk,
  },
  sock_backends: {
    name: 'sock_backends',
    type: 9,
    keySize: 32,
    valueSize: 32,
    maxEntries: 131072,
    flags: 0,
    layout: '7b389c72',
    key: sockPeerKey,
    value: sockPeer,
  },
  sock_frontends: {
    name: 'sock_frontends',
    type: 9,
    keySize: 32,
    valueSize: 32,
    maxEntries: 131072,
    flags: 0,
    layout: '7b389c72',
    key: sockPeerKey,
    value: sockPeer,
  },
  source_ranges: {
    name: 'source_ranges',
    type: 11,
    keySize: 32,
    valueSize: 4,
    maxEntries: 65536,
    flags: 1,
    layout: 'd21cd95c',
    key: sourceRangeKey,
    value: sourceRange,
  },
  translations: {
    name: 'translations',
    type: 1,
    keySize: 40,
    valueSize: 72,
    maxEntries: 131072,
    flags: 0,
    layout: 'da864e5d',
    key: tuple,
    value: translation,
  },
  turns: {
    name: 'turns',
    type: 9,
    keySize: 8,
    valueSize: 4,
    maxEntries: 2048,
    flags: 0,
    layout: '31d5624f',
    key: turnKey,
    value: turn,
  },
} as const

export type MapName = keyof typeof maps
