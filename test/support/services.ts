// SPDX-License-Identifier: Apache-2.0
// Services and slices of World with what a test does not say filled in.

import type { Address, Port } from '../../src/core/address.ts'
import { Protocol } from '../../src/core/protocol.ts'
import type { EndpointSlice, Service, ServicePort, SliceEndpoint } from '../../src/world/objects.ts'

export function serviceWith(parts: Partial<Service>): Service {
  return {
    kind: 'Service',
    namespace: 'shop',
    name: 'cart',
    createdMs: 0,
    clusterIPs: [],
    ports: [],
    externalIPs: [],
    loadBalancerIPs: [],
    sourceRanges: null,
    internalLocal: false,
    externalLocal: false,
    affinitySeconds: 0,
    healthCheckNodePort: null,
    ...parts,
  }
}

export function servicePort(
  name: string,
  port: number,
  protocol: Protocol = Protocol.TCP,
  nodePort: number | null = null,
): ServicePort {
  return { name, protocol, port: port as Port, nodePort: nodePort as Port | null }
}

export function sliceWith(parts: Partial<EndpointSlice>): EndpointSlice {
  return {
    kind: 'EndpointSlice',
    namespace: 'shop',
    name: 'cart-1',
    serviceName: 'cart',
    family: 4,
    ports: [],
    endpoints: [],
    triggeredMs: 0,
    ...parts,
  }
}

/** Ready, on n1, for everybody. */
export function sliceEndpoint(address: string, parts: Partial<SliceEndpoint> = {}): SliceEndpoint {
  return {
    address: address as Address,
    ready: true,
    serving: true,
    terminating: false,
    nodeName: 'n1',
    hints: null,
    ...parts,
  }
}
