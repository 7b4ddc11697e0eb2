// SPDX-License-Identifier: Apache-2.0
// core/v1 Service.

import { type Address, type Prefix, parsePrefix, specialAddress } from '../core/address.ts'
import type { Service } from '../world/objects.ts'
import { readBalancing } from './balancing.ts'
import {
  address,
  BadField,
  type Cursor,
  choice,
  field,
  integer,
  isMissing,
  labels,
  list,
  parsed,
  port,
  text,
  timeMs,
} from './cursor.ts'
import { isAnothersToServe, readMetadata, readProtocol } from './fields.ts'

/** What spec.loadBalancerSourceRanges was before it was a field: a list with commas. The field goes before it. */
export const SOURCE_RANGES_ANNOTATION = 'service.beta.kubernetes.io/load-balancer-source-ranges'
/** ClientIPConfig.timeoutSeconds. */
const AFFINITY_SECONDS = { initial: 10_800, max: 86_400 } as const

const NONE: readonly never[] = []
const policies = { Cluster: false, Local: true } as const
type Type = 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName'
const types: Readonly<Record<Type, Type>> = {
  ClusterIP: 'ClusterIP',
  NodePort: 'NodePort',
  LoadBalancer: 'LoadBalancer',
  ExternalName: 'ExternalName',
}

export function readService(object: Cursor): Service | null {
  const metadata = field(object, 'metadata')
  if (isAnothersToServe(labels(field(metadata, 'labels')))) return null
  const spec = field(object, 'spec')
  const type = choice(field(spec, 'type'), types, 'ClusterIP')
  const externalIPs = kept(list(field(spec, 'externalIPs')).map(externalIP))
  const isExternal = type === 'NodePort' || type === 'LoadBalancer' || externalIPs.length > 0
  const externalLocal = choice(field(spec, 'externalTrafficPolicy'), policies, 'Cluster') && isExternal
  return {
    kind: 'Service',
    ...readMetadata(object),
    createdMs: timeMs(field(metadata, 'creationTimestamp')),
    clusterIPs: type === 'ExternalName' ? NONE : readClusterIPs(spec),
    ports: list(field(spec, 'ports')).map((item) => ({
      name: text(field(item, 'name'), ''),
      protocol: readProtocol(item),
      port: port(field(item, 'port')),
      nodePort: portOrNone(field(item, 'nodePort')),
    })),
    externalIPs,
    loadBalancerIPs: kept(list(field(field(field(object, 'status'), 'loadBalancer'), 'ingress')).flatMap(virtualIP)),
    sourceRanges: readSourceRanges(spec, metadata),
    internalLocal: choice(field(spec, 'internalTrafficPolicy'), policies, 'Cluster'),
    externalLocal,
    affinitySeconds: readAffinity(spec),
    balancing: readBalancing(metadata),
    healthCheckNodePort:
      type === 'LoadBalancer' && externalLocal ? portOrNone(field(spec, 'healthCheckNodePort')) : null,
  }
}

function readClusterIPs(spec: Cursor): Address[] {
  const clusterIPs = list(field(spec, 'clusterIPs'), 2)
  const clusterIP = field(spec, 'clusterIP')
  const written = clusterIPs.length > 0 || isMissing(clusterIP) ? clusterIPs : [clusterIP]
  return written.filter((item) => text(item) !== 'None' && text(item) !== '').map(address)
}

function externalIP(item: Cursor): Address {
  const value = address(item)
  const special = specialAddress(value)
  if (special !== null) throw new BadField(item, `"${value}" is ${special}`)
  return value
}

/** An ingress address that nodes must answer themselves; none where the load balancer is a proxy, or known by name. */
function virtualIP(ingress: Cursor): Address[] {
  const ip = field(ingress, 'ip')
  const isVirtual = choice(field(ingress, 'ipMode'), { VIP: true, Proxy: false }, 'VIP')
  return isVirtual && text(ip, '') !== '' ? [address(ip)] : []
}

function readSourceRanges(spec: Cursor, metadata: Cursor): readonly Prefix[] | null {
  const ranges = list(field(spec, 'loadBalancerSourceRanges'))
  if (ranges.length > 0) return ranges.map((item) => rangeOf(item, text(item)))
  const annotation = field(field(metadata, 'annotations'), SOURCE_RANGES_ANNOTATION)
  const written = text(annotation, '').trim()
  return written === '' ? null : written.split(',').map((range) => rangeOf(annotation, range))
}

/** The API takes blanks around a range. */
function rangeOf(at: Cursor, written: string): Prefix {
  return parsed(at, parsePrefix(written.trim()))
}

function readAffinity(spec: Cursor): number {
  const isSticky = choice(field(spec, 'sessionAffinity'), { None: false, ClientIP: true }, 'None')
  if (!isSticky) return 0
  const timeout = field(field(field(spec, 'sessionAffinityConfig'), 'clientIP'), 'timeoutSeconds')
  return isMissing(timeout) ? AFFINITY_SECONDS.initial : integer(timeout, 1, AFFINITY_SECONDS.max)
}

function portOrNone(cursor: Cursor): Service['healthCheckNodePort'] {
  return isMissing(cursor) || cursor.value === 0 ? null : port(cursor)
}

/** Most Services have none of most lists: one empty list serves all. */
function kept<T>(items: readonly T[]): readonly T[] {
  return items.length === 0 ? NONE : items
}
