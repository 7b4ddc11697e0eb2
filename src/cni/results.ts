// SPDX-License-Identifier: Apache-2.0
// The success result of ADD (CNI specification, section 5) in the version that was asked for.
//
// What differs between versions: until 0.4.0 each entry of `ips` says its IP version; since 1.1.0 an interface has an MTU.

import { family, isParseError, parseAddress, parsePrefix } from '../core/address.ts'
import { invariant } from '../core/errors.ts'
import type { Attachment } from '../ipam/attachment.ts'
import type { CniVersion } from './protocol.ts'

type JsonObject = Readonly<Record<string, unknown>>

/** Members that we do not know are kept: a prevResult passes through. */
export interface CniResult {
  readonly interfaces: readonly (JsonObject & { readonly name: string })[]
  readonly ips: readonly (JsonObject & { readonly address: string; readonly interface?: number })[]
  readonly routes: readonly JsonObject[]
  /** null: none. */
  readonly dns: JsonObject | null
}

/** A result that a runtime passed in, or what is wrong with it. */
export function parseResult(raw: unknown): CniResult | string {
  if (!isObject(raw)) return 'it is not an object'
  const { interfaces, ips, routes, dns } = raw
  if (![interfaces, ips, routes].every(isListOrAbsent)) return 'interfaces, ips and routes must be lists of objects'
  if (dns !== undefined && dns !== null && !isObject(dns)) return 'dns is not an object'
  const result = { interfaces: interfaces ?? [], ips: ips ?? [], routes: routes ?? [], dns: dns ?? null } as CniResult
  if (!result.interfaces.every(({ name }) => typeof name === 'string')) return 'an interface has no name'
  for (const { address, interface: index } of result.ips) {
    if (typeof address !== 'string' || isParseError(parsePrefix(address)))
      return 'an entry of ips has no address/length'
    if (index !== undefined && !(Number.isInteger(index) && index >= 0 && index < result.interfaces.length)) {
      return 'an entry of ips names an interface that is not there'
    }
  }
  return result
}

/** What we made, behind what the plugins before us made. */
export function attachmentResult(
  attachment: Attachment,
  gateways: readonly string[],
  previous: CniResult | null,
  dns: JsonObject | null,
): CniResult {
  const { wired, hostIfname, ifname, netns, addresses } = attachment
  invariant(wired !== null, 'a result of an attachment that is not wired')
  const { interfaces = [], ips = [], routes = [], dns: previousDns = null } = previous ?? {}
  return {
    interfaces: [
      ...interfaces,
      { name: hostIfname, mac: wired.hostMac, mtu: wired.mtu },
      { name: ifname, mac: wired.podMac, mtu: wired.mtu, sandbox: netns.path },
    ],
    ips: [
      ...ips,
      ...addresses.map((address, i) => ({
        address: `${address}/${family(address) === 4 ? 32 : 128}`,
        gateway: gateways[i],
        interface: interfaces.length + 1,
      })),
    ],
    routes: [
      ...routes,
      ...addresses.map((address, i) => ({ dst: family(address) === 4 ? '0.0.0.0/0' : '::/0', gw: gateways[i] })),
    ],
    dns: previousDns !== null && Object.keys(previousDns).length > 0 ? previousDns : dns,
  }
}

export function formatResult(version: CniVersion, result: CniResult): string {
  const { interfaces, ips, routes, dns } = result
  return JSON.stringify({
    cniVersion: version,
    interfaces: version >= '1.1.0' ? interfaces : interfaces.map(({ mtu: _, ...rest }) => rest),
    ips: ips.map(({ version: _, ...rest }) =>
      version < '1.0.0' ? { version: ipVersion(rest.address), ...rest } : rest,
    ),
    routes,
    ...(dns === null ? {} : { dns }),
  })
}

function ipVersion(address: string): string {
  const parsed = parseAddress(address.slice(0, address.indexOf('/')))
  return isParseError(parsed) ? '' : String(family(parsed))
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isListOrAbsent(value: unknown): boolean {
  return value === undefined || value === null || (Array.isArray(value) && value.every(isObject))
}
