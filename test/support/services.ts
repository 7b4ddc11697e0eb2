// SPDX-License-Identifier: Apache-2.0
// Services and slices of World with what a test does not say filled in, and such as come about.

import fc from 'fast-check'
import type { Address, Port, Prefix } from '../../src/core/address.ts'
import { Protocol } from '../../src/core/protocol.ts'
import {
  AT_RANDOM,
  type Balancing,
  type EndpointSlice,
  type KubeObject,
  type Service,
  type ServicePort,
  type SliceEndpoint,
} from '../../src/world/objects.ts'

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
    balancing: AT_RANDOM,
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

const names = ['a', 'b', 'c']
const protocols = fc.constantFrom(Protocol.TCP, Protocol.UDP, Protocol.SCTP)

const services = fc
  .record({
    name: fc.constantFrom(...names),
    createdMs: fc.nat(2),
    clusterIPs: fc.constantFrom<string[]>([], ['10.96.0.1'], ['10.96.0.2'], ['10.96.0.2', 'fd00:96::1']),
    ports: fc.constantFrom([80], [80, 81], [30080]),
    hasNodePorts: fc.boolean(),
    externalIPs: fc.constantFrom<string[]>([], ['203.0.113.1'], ['203.0.113.2', '2001:db8:1::2']),
    loadBalancerIPs: fc.constantFrom<string[]>([], ['10.96.0.1'], ['203.0.113.1', '2001:db8:1::1']),
    healthCheckNodePort: fc.constantFrom(null, 32_000),
    sourceRanges: fc.constantFrom<string[] | null>(null, ['198.51.100.0/24', '2001:db8::/32']),
    internalLocal: fc.boolean(),
    externalLocal: fc.boolean(),
    affinitySeconds: fc.constantFrom(0, 60),
    balancing: fc.constantFrom<Balancing>(
      AT_RANDOM,
      { algorithm: 'maglev', weights: null },
      { algorithm: 'round-robin', weights: null },
      { algorithm: 'random', weights: { n1: 3 } },
    ),
    protocol: protocols,
  })
  .map(
    ({
      ports,
      hasNodePorts,
      protocol,
      clusterIPs,
      externalIPs,
      loadBalancerIPs,
      healthCheckNodePort,
      sourceRanges,
      ...parts
    }) =>
      serviceWith({
        ...parts,
        clusterIPs: clusterIPs as Address[],
        externalIPs: externalIPs as Address[],
        healthCheckNodePort: healthCheckNodePort as Port | null,
        loadBalancerIPs: loadBalancerIPs as Address[],
        sourceRanges: sourceRanges as Prefix[] | null,
        ports: ports.map((port) => servicePort('http', port, protocol, hasNodePorts ? 30_000 + port : null)),
      }),
  )

const endpoints = fc
  .record({
    address: fc.constantFrom('10.2.0.1', '10.2.0.2', '10.2.0.3', '127.0.0.1', 'fd00::1'),
    ready: fc.boolean(),
    serving: fc.boolean(),
    terminating: fc.boolean(),
    nodeName: fc.constantFrom('n1', 'n2'),
    hints: fc.constantFrom(null, { zones: ['z1'], nodes: [] }, { zones: ['z2'], nodes: ['n1'] }),
  })
  .map(({ address, ...parts }) => sliceEndpoint(address, parts))

const slices = fc
  .record({
    name: fc.constantFrom(...names),
    part: fc.constantFrom('1', '2'),
    family: fc.constantFrom(4, 6),
    protocol: protocols,
    port: fc.constantFrom(8080, 80),
    endpoints: fc.array(endpoints, { maxLength: 4 }),
  })
  .map(({ name, part, family, protocol, port, endpoints }) =>
    sliceWith({
      name: `${name}-${part}`,
      serviceName: name,
      family,
      ports: [{ name: 'http', port: port as Port, protocol }],
      endpoints,
    }),
  )

const ownNode = fc.constantFrom('z1', 'z2', 'z3').map((zone) => ({
  kind: 'Node' as const,
  name: 'n1',
  labels: { 'topology.kubernetes.io/zone': zone },
  internalIPs: ['192.168.0.1' as Address],
  podCIDRs: [],
  createdMs: 0,
}))

/** Services that contend for addresses and their slices, of all kinds and ages; now and then node n1 in another zone. */
export const serviceObjects: fc.Arbitrary<KubeObject> = fc.oneof(
  { arbitrary: services, weight: 3 },
  { arbitrary: slices, weight: 3 },
  { arbitrary: ownNode, weight: 1 },
)
