// SPDX-License-Identifier: Apache-2.0
// Links, addresses, routes and neighbours: requests as messages, answers as values
// (include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour}.h).

import {
  type Address,
  addressBytes,
  addressFromBytes,
  type Family,
  family,
  type Prefix,
  splitPrefix,
} from '../core/address.ts'
import type { Fd } from './addon.ts'
import {
  attribute,
  type Bytes,
  Flag,
  findAttribute,
  message,
  nested,
  parseAttributes,
  parseMessage,
  putU16,
  putU32,
  textAttribute,
  textOf,
  u8Attribute,
  u32Attribute,
  u32Of,
  viewOf,
} from './netlink.ts'

const RTM_NEWLINK = 16
const RTM_DELLINK = 17
const RTM_GETLINK = 18
const RTM_NEWADDR = 20
const RTM_GETADDR = 22
const RTM_NEWROUTE = 24
const RTM_DELROUTE = 25
const RTM_GETROUTE = 26
const RTM_NEWNEIGH = 28

const AF_UNSPEC = 0
const AF_INET = 2
const AF_INET6 = 10
const IFF_UP = 1
const IF_OPER_UP = 6

const IFLA_ADDRESS = 1
const IFLA_IFNAME = 3
const IFLA_MTU = 4
const IFLA_LINK = 5
const IFLA_OPERSTATE = 16
const IFLA_LINKINFO = 18
const IFLA_AF_SPEC = 26
const IFLA_NET_NS_FD = 28
const IFLA_EXT_MASK = 29
const IFLA_TSO_MAX_SIZE = 59
const IFLA_NUM_TX_QUEUES = 31
const IFLA_NUM_RX_QUEUES = 32
const IFLA_GSO_IPV4_MAX_SIZE = 63
const RTEXT_FILTER_SKIP_STATS = 8
const IFLA_INFO_KIND = 1
const IFLA_INFO_DATA = 2
const VETH_INFO_PEER = 1
const IFLA_INET6_ADDR_GEN_MODE = 8
const IN6_ADDR_GEN_MODE_NONE = 1

const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_FLAGS = 8
const IFA_F_NODAD = 2

const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_PREFSRC = 7
const RTA_METRICS = 8
const RTA_TABLE = 15
const RTAX_MTU = 2
const RT_TABLE_MAIN = 254
const RT_SCOPE_UNIVERSE = 0
const RT_SCOPE_LINK = 253
const RT_SCOPE_NOWHERE = 255 // to delete: of any scope
const RTN_UNSPEC = 0
const RTN_UNICAST = 1
const RTN_BLACKHOLE = 6
const RTNH_F_ONLINK = 4

const NDA_DST = 1
const NDA_LLADDR = 2
const NUD_PERMANENT = 0x80

const IFINFOMSG_BYTES = 16
const IFADDRMSG_BYTES = 8
const RTMSG_BYTES = 12
const SCOPE_OFFSET = 6
const MAC_BYTES = 6

export interface Link {
  readonly ifindex: number
  readonly name: string
  readonly up: boolean
  /** Carries packets: up, its peer too, and its queues run (RFC 2863 operational state). */
  readonly running: boolean
  readonly mac: string
  readonly mtu: number
  /** ifindex of the other end of a veth pair, in its own namespace. */
  readonly peer: number | undefined
  /** Such as veth, vlan, bond; '': a device of hardware. */
  readonly kind: string
  /** Largest packet (bytes) that the driver cuts into segments; undefined before Linux 5.19. */
  readonly tsoMaxBytes: number | undefined
  /** Largest IPv4 packet (bytes) that TCP hands to the device uncut; undefined before Linux 6.3. */
  readonly gsoIPv4MaxBytes: number | undefined
}

export interface InterfaceAddress {
  readonly ifindex: number
  readonly address: Address
  readonly length: number
}

export interface RouteEntry {
  readonly destination: Prefix
  readonly gateway?: Address
  /** 0: the kernel's choice. */
  readonly ifindex: number
  /** Preferred source. */
  readonly source?: Address
  /** Bytes. */
  readonly mtu?: number
  readonly table: number
  /** Who made it (rtm_protocol). */
  readonly protocol: number
}

export interface VethRequest {
  /** Given, not the kernel's choice: what follows can be asked for at once. EBUSY: taken. */
  readonly ifindex: number
  readonly peerIfindex: number
  readonly name: string
  readonly mac: string
  readonly mtu: number
  readonly peerName: string
  readonly peerMac: string
  readonly peerNetns: Fd
  /** Link.gsoIPv4MaxBytes of both ends; undefined: the kernel's default. */
  readonly gsoIPv4MaxBytes?: number | undefined
}

/** Both ends down, with one queue each way: the kernel's default is one for each CPU, whose making (sysfs) takes up to half
 *  of an ADD on 2 CPUs and grows with them, and nothing in the way of a pod's packets uses more. EEXIST: a device of one
 *  of the names is there. */
export function createVeth({
  ifindex,
  peerIfindex,
  name,
  mac,
  mtu,
  peerName,
  peerMac,
  peerNetns,
  gsoIPv4MaxBytes,
}: VethRequest): Uint8Array {
  const size = gsoIPv4MaxBytes === undefined ? [] : [u32Attribute(IFLA_GSO_IPV4_MAX_SIZE, gsoIPv4MaxBytes)]
  const both = [
    u32Attribute(IFLA_MTU, mtu),
    u32Attribute(IFLA_NUM_TX_QUEUES, 1),
    u32Attribute(IFLA_NUM_RX_QUEUES, 1),
    ...size,
  ]
  const peer = [
    linkBody(peerIfindex, 0, 0),
    textAttribute(IFLA_IFNAME, peerName),
    attribute(IFLA_ADDRESS, macBytes(peerMac)),
    u32Attribute(IFLA_NET_NS_FD, peerNetns),
    ...both,
  ]
  return message(RTM_NEWLINK, Flag.CREATE | Flag.EXCLUDE, linkBody(ifindex, 0, 0), [
    textAttribute(IFLA_IFNAME, name),
    attribute(IFLA_ADDRESS, macBytes(mac)),
    ...both,
    nested(IFLA_LINKINFO, [
      textAttribute(IFLA_INFO_KIND, 'veth'),
      nested(IFLA_INFO_DATA, [attribute(VETH_INFO_PEER, ...peer)]),
    ]),
  ])
}

/** The kernel makes no IPv6 link-local address of its own. To be asked before the link goes up. */
export function withoutLinkLocal(ifindex: number): Uint8Array {
  const mode = u8Attribute(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)
  return message(RTM_NEWLINK, 0, linkBody(ifindex, 0, 0), [nested(IFLA_AF_SPEC, [nested(AF_INET6, [mode])])])
}

/** Link.gsoIPv4MaxBytes. EINVAL: beyond what the driver takes. */
export function setGsoIPv4Max(ifindex: number, bytes: number): Uint8Array {
  return message(RTM_NEWLINK, 0, linkBody(ifindex, 0, 0), [u32Attribute(IFLA_GSO_IPV4_MAX_SIZE, bytes)])
}

export function setUp(ifindex: number): Uint8Array {
  return message(RTM_NEWLINK, 0, linkBody(ifindex, IFF_UP, IFF_UP), [])
}

/** ENODEV: there is none. */
export function deleteLink(nameOrIndex: string | number): Uint8Array {
  return linkMessage(RTM_DELLINK, nameOrIndex, [])
}

/** ENODEV: there is none. Without its counters, which are half of the answer. */
export function getLink(nameOrIndex: string | number): Uint8Array {
  return linkMessage(RTM_GETLINK, nameOrIndex, [u32Attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)])
}

export function dumpLinks(): Uint8Array {
  return message(RTM_GETLINK, Flag.ROOT_AND_MATCH, linkBody(0, 0, 0), [])
}

/** ifindex of a link message's body; a node hears of each of its pods' devices several times. */
export function linkIndex(body: Uint8Array): number {
  return viewOf(body).getInt32(4, true)
}

/** Link.running, and nothing else of it. */
export function isRunning(bytes: Uint8Array): boolean {
  const { body } = parseMessage(bytes)
  return findAttribute(body, IFINFOMSG_BYTES, IFLA_OPERSTATE)?.[0] === IF_OPER_UP
}

export function parseLink(bytes: Uint8Array): Link {
  const { body } = parseMessage(bytes)
  const view = viewOf(body)
  const attributes = parseAttributes(body, IFINFOMSG_BYTES)
  return {
    ifindex: linkIndex(body),
    name: textOf(attributes.get(IFLA_IFNAME)),
    up: (view.getUint32(8, true) & IFF_UP) !== 0,
    running: attributes.get(IFLA_OPERSTATE)?.[0] === IF_OPER_UP,
    mac: macText(attributes.get(IFLA_ADDRESS) ?? new Uint8Array()),
    mtu: u32Of(attributes.get(IFLA_MTU)) ?? 0,
    peer: u32Of(attributes.get(IFLA_LINK)),
    kind: textOf(parseAttributes(attributes.get(IFLA_LINKINFO) ?? new Uint8Array(), 0).get(IFLA_INFO_KIND)),
    tsoMaxBytes: u32Of(attributes.get(IFLA_TSO_MAX_SIZE)),
    gsoIPv4MaxBytes: u32Of(attributes.get(IFLA_GSO_IPV4_MAX_SIZE)),
  }
}

/** A single address, usable at once: no duplicate address detection. */
export function addAddress(ifindex: number, address: Address): Uint8Array {
  const bytes = rawAddress(address)
  const body = new Uint8Array(IFADDRMSG_BYTES)
  body[0] = familyNumber(family(address))
  body[1] = bytes.length * 8
  putU32(body, 4, ifindex)
  return message(RTM_NEWADDR, Flag.CREATE | Flag.EXCLUDE, body, [
    attribute(IFA_LOCAL, bytes),
    attribute(IFA_ADDRESS, bytes),
    u32Attribute(IFA_FLAGS, IFA_F_NODAD),
  ])
}

export function dumpAddresses(): Uint8Array {
  return message(RTM_GETADDR, Flag.ROOT_AND_MATCH, new Uint8Array(IFADDRMSG_BYTES), [])
}

/** undefined for families other than IPv4 and IPv6. */
export function parseAddressMessage(bytes: Uint8Array): InterfaceAddress | undefined {
  const { body } = parseMessage(bytes)
  const attributes = parseAttributes(body, IFADDRMSG_BYTES)
  const address = addressOf(attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS))
  return address && { ifindex: viewOf(body).getUint32(4, true), address, length: body[1]! }
}

/** Creates or replaces. With a gateway the kernel need not find it on the link itself (onlink). */
export function putRoute(route: Omit<RouteEntry, 'table'>): Uint8Array {
  return message(RTM_NEWROUTE, Flag.CREATE | Flag.REPLACE, routeBody(route, RTN_UNICAST), routeAttributes(route))
}

/** Packets to addresses that no longer prefix covers end here. */
export function putBlackhole(destination: Prefix, protocol: number): Uint8Array {
  const route = { destination, protocol, ifindex: 0 }
  return message(RTM_NEWROUTE, Flag.CREATE | Flag.REPLACE, routeBody(route, RTN_BLACKHOLE), routeAttributes(route))
}

/** Whatever else it is like. ESRCH: there is none. */
export function deleteRoute(destination: Prefix, protocol: number): Uint8Array {
  const route = { destination, protocol, ifindex: 0 }
  const body = routeBody(route, RTN_UNSPEC)
  body[SCOPE_OFFSET] = RT_SCOPE_NOWHERE
  return message(RTM_DELROUTE, 0, body, routeAttributes(route))
}

/** Of the routes that `protocol` made; 0: of all. */
export function dumpRoutes(wanted: Family, protocol = 0): Uint8Array {
  const body = new Uint8Array(RTMSG_BYTES)
  body[0] = familyNumber(wanted)
  body[5] = protocol
  return message(RTM_GETROUTE, Flag.ROOT_AND_MATCH, body, [])
}

/** The kernel's choice for a packet of this node to that destination. ENETUNREACH, EHOSTUNREACH: none. */
export function lookupRoute(destination: Address): Uint8Array {
  const bytes = rawAddress(destination)
  const body = new Uint8Array(RTMSG_BYTES)
  body[0] = familyNumber(family(destination))
  body[1] = bytes.length * 8
  return message(RTM_GETROUTE, 0, body, [attribute(RTA_DST, bytes)])
}

/** undefined for families other than IPv4 and IPv6, and for multipath routes. */
export function parseRoute(bytes: Uint8Array): RouteEntry | undefined {
  const { body } = parseMessage(bytes)
  const wanted = body[0] === AF_INET ? 4 : body[0] === AF_INET6 ? 6 : undefined
  if (wanted === undefined) return undefined
  const attributes = parseAttributes(body, RTMSG_BYTES)
  const destination = addressOf(attributes.get(RTA_DST)) ?? (wanted === 4 ? '0.0.0.0' : '::')
  const gateway = addressOf(attributes.get(RTA_GATEWAY))
  const source = addressOf(attributes.get(RTA_PREFSRC))
  const metrics = attributes.get(RTA_METRICS)
  const mtu = metrics && u32Of(parseAttributes(metrics, 0).get(RTAX_MTU))
  return {
    destination: `${destination}/${body[1]}` as Prefix,
    ifindex: u32Of(attributes.get(RTA_OIF)) ?? 0,
    table: u32Of(attributes.get(RTA_TABLE)) ?? body[4]!,
    protocol: body[5]!,
    ...(gateway !== undefined && { gateway }),
    ...(source !== undefined && { source }),
    ...(mtu !== undefined && { mtu }),
  }
}

/** Creates or replaces a neighbour that never needs to be asked for. */
export function putNeighbour(ifindex: number, address: Address, mac: string): Uint8Array {
  const body = new Uint8Array(12)
  body[0] = familyNumber(family(address))
  putU32(body, 4, ifindex)
  putU16(body, 8, NUD_PERMANENT)
  return message(RTM_NEWNEIGH, Flag.CREATE | Flag.REPLACE, body, [
    attribute(NDA_DST, rawAddress(address)),
    attribute(NDA_LLADDR, macBytes(mac)),
  ])
}

function linkMessage(type: number, nameOrIndex: string | number, attributes: readonly Bytes[]): Uint8Array {
  return typeof nameOrIndex === 'number'
    ? message(type, 0, linkBody(nameOrIndex, 0, 0), attributes)
    : message(type, 0, linkBody(0, 0, 0), [textAttribute(IFLA_IFNAME, nameOrIndex), ...attributes])
}

function linkBody(ifindex: number, flags: number, change: number): Uint8Array {
  const body = new Uint8Array(IFINFOMSG_BYTES)
  body[0] = AF_UNSPEC
  putU32(body, 4, ifindex)
  putU32(body, 8, flags)
  putU32(body, 12, change)
  return body
}

type RouteKey = Pick<RouteEntry, 'destination' | 'protocol'> & Partial<RouteEntry>

function routeBody({ destination, gateway, ifindex, protocol }: RouteKey, type: number): Uint8Array {
  const { address, length } = splitPrefix(destination)
  const body = new Uint8Array(RTMSG_BYTES)
  body[0] = familyNumber(family(address))
  body[1] = length
  body[4] = RT_TABLE_MAIN
  body[5] = protocol
  body[SCOPE_OFFSET] = gateway === undefined && ifindex !== 0 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE
  body[7] = type
  if (gateway !== undefined) putU32(body, 8, RTNH_F_ONLINK)
  return body
}

function routeAttributes({ destination, gateway, ifindex, source, mtu }: RouteKey): Bytes[] {
  const { address, length } = splitPrefix(destination)
  const attributes = length === 0 ? [] : [attribute(RTA_DST, rawAddress(address))]
  if (gateway !== undefined) attributes.push(attribute(RTA_GATEWAY, rawAddress(gateway)))
  if (ifindex) attributes.push(u32Attribute(RTA_OIF, ifindex))
  if (source !== undefined) attributes.push(attribute(RTA_PREFSRC, rawAddress(source)))
  if (mtu !== undefined) attributes.push(nested(RTA_METRICS, [u32Attribute(RTAX_MTU, mtu)]))
  return attributes
}

function familyNumber(wanted: Family): number {
  return wanted === 4 ? AF_INET : AF_INET6
}

/** 4 or 16 bytes, as this interface wants them. */
function rawAddress(address: Address): Uint8Array {
  const bytes = addressBytes(address)
  return family(address) === 4 ? bytes.subarray(12) : bytes
}

function addressOf(payload: Uint8Array | undefined): Address | undefined {
  if (payload?.length === 16) return addressFromBytes(payload)
  if (payload?.length !== 4) return undefined
  const bytes = new Uint8Array(16)
  bytes.set([0xff, 0xff], 10)
  bytes.set(payload, 12)
  return addressFromBytes(bytes)
}

function macBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(MAC_BYTES)
  for (let i = 0; i < MAC_BYTES; i++) bytes[i] = Number.parseInt(text.slice(i * 3, i * 3 + 2), 16)
  return bytes
}

export function macText(bytes: Bytes): string {
  let text = ''
  for (let i = 0; i < bytes.length; i++)
    text += `${i === 0 ? '' : ':'}${bytes[i]! < 16 ? '0' : ''}${bytes[i]!.toString(16)}`
  return text
}
