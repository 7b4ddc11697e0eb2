// SPDX-License-Identifier: Apache-2.0
// discovery.k8s.io/v1 EndpointSlice.

import type { Family } from '../core/address.ts'
import type { EndpointHints, EndpointSlice, SliceEndpoint } from '../world/objects.ts'
import { address, bool, type Cursor, choice, field, isMissing, labels, list, port, text } from './cursor.ts'
import { isAnothersToServe, readMetadata, readProtocol } from './fields.ts'

/** Set by the controller that writes slices; metrics read it, so a bad one is not worth refusing the slice. */
export const TRIGGER_TIME_ANNOTATION = 'endpoints.kubernetes.io/last-change-trigger-time'
const SERVICE_NAME_LABEL = 'kubernetes.io/service-name'

export function readEndpointSlice(object: Cursor): EndpointSlice | null {
  const type = choice<Family | null>(field(object, 'addressType'), { IPv4: 4, IPv6: 6, FQDN: null })
  const metadata = field(object, 'metadata')
  const sliceLabels = labels(field(metadata, 'labels'))
  if (type === null || isAnothersToServe(sliceLabels)) return null
  return {
    kind: 'EndpointSlice',
    ...readMetadata(object),
    serviceName: sliceLabels[SERVICE_NAME_LABEL] ?? '',
    family: type,
    // A port without a number means all ports, which no Service port asks for.
    ports: list(field(object, 'ports'))
      .filter((item) => !isMissing(field(item, 'port')))
      .map((item) => ({
        name: text(field(item, 'name'), ''),
        port: port(field(item, 'port')),
        protocol: readProtocol(item),
      })),
    endpoints: list(field(object, 'endpoints')).flatMap(readSliceEndpoint),
    triggeredMs: readTrigger(field(field(metadata, 'annotations'), TRIGGER_TIME_ANNOTATION)),
  }
}

function readTrigger({ value }: Cursor): number {
  return typeof value === 'string' ? Date.parse(value) || 0 : 0
}

/** Conditions that are missing read as the API says: ready, serving as ready, not terminating. Of several addresses
 *  consumers use the first. */
function readSliceEndpoint(item: Cursor): SliceEndpoint[] {
  const first = list(field(item, 'addresses'), 100)[0]
  if (first === undefined) return []
  const conditions = field(item, 'conditions')
  const ready = bool(field(conditions, 'ready'), true)
  return [
    {
      address: address(first),
      ready,
      serving: bool(field(conditions, 'serving'), ready),
      terminating: bool(field(conditions, 'terminating'), false),
      nodeName: text(field(item, 'nodeName'), ''),
      hints: readHints(field(item, 'hints')),
    },
  ]
}

function readHints(hints: Cursor): EndpointHints | null {
  const names = (key: string): string[] => list(field(hints, key), 100).map((item) => text(field(item, 'name')))
  const zones = names('forZones')
  const nodes = names('forNodes')
  return zones.length + nodes.length === 0 ? null : { zones, nodes }
}
