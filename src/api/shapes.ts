// SPDX-License-Identifier: Apache-2.0
// Which fields of API JSON the readers of this room look at. Whoever decodes a stream may drop all others unseen: a test
// reads whole objects and shaped ones and wants the same.

import type { Kind } from '../world/objects.ts'
import { BALANCING_ANNOTATION, WEIGHTS_ANNOTATION } from './balancing.ts'
import { TRIGGER_TIME_ANNOTATION } from './endpoint-slice.ts'
import { AUDIT_ANNOTATION } from './fields.ts'
import { CAPABILITIES_ANNOTATION, MIRROR_ANNOTATION } from './object.ts'
import { SOURCE_RANGES_ANNOTATION } from './service.ts'

/** What is kept of a value: all of it (KEEP), or of an object these fields. A list has the shape of its items; text,
 *  numbers and null are kept wherever a shape stands. */
export type Shape = typeof KEEP | { readonly [field: string]: Shape }

export const KEEP = 'keep'

/** Shape of the fields that are not named. */
export const OTHERS = '*'

const metadata = {
  name: KEEP,
  namespace: KEEP,
  uid: KEEP,
  resourceVersion: KEEP,
  creationTimestamp: KEEP,
  labels: KEEP,
} as const

const policyMetadata = { ...metadata, annotations: { [AUDIT_ANNOTATION]: KEEP } } as const

const ports = { name: KEEP, port: KEEP, protocol: KEEP } as const

const containerPorts = { name: KEEP, containerPort: KEEP, protocol: KEEP } as const

const policyLists = { ingress: { [OTHERS]: KEEP }, egress: { [OTHERS]: KEEP }, [OTHERS]: KEEP } as const
const ciliumSpec = {
  endpointSelector: KEEP,
  ...policyLists,
  ingressDeny: { [OTHERS]: KEEP },
  egressDeny: { [OTHERS]: KEEP },
} as const
const ciliumPolicy = { metadata: policyMetadata, spec: ciliumSpec, specs: ciliumSpec } as const

export const shapes: Readonly<Record<Kind, { readonly [field: string]: Shape }>> = {
  Namespace: { metadata },
  Node: {
    metadata: { ...metadata, deletionTimestamp: KEEP, annotations: { [CAPABILITIES_ANNOTATION]: KEEP } },
    spec: { podCIDR: KEEP, podCIDRs: KEEP, taints: { key: KEEP } },
    status: { addresses: { type: KEEP, address: KEEP } },
  },
  Pod: {
    metadata: { ...metadata, annotations: { [MIRROR_ANNOTATION]: KEEP } },
    spec: {
      nodeName: KEEP,
      hostNetwork: KEEP,
      initContainers: { restartPolicy: KEEP, ports: containerPorts },
      containers: { ports: containerPorts },
    },
    status: { phase: KEEP, podIP: KEEP, podIPs: { ip: KEEP } },
  },
  Service: {
    metadata: {
      ...metadata,
      annotations: { [SOURCE_RANGES_ANNOTATION]: KEEP, [BALANCING_ANNOTATION]: KEEP, [WEIGHTS_ANNOTATION]: KEEP },
    },
    spec: {
      type: KEEP,
      clusterIP: KEEP,
      clusterIPs: KEEP,
      ports: { ...ports, nodePort: KEEP },
      externalIPs: KEEP,
      loadBalancerSourceRanges: KEEP,
      externalTrafficPolicy: KEEP,
      internalTrafficPolicy: KEEP,
      sessionAffinity: KEEP,
      sessionAffinityConfig: { clientIP: { timeoutSeconds: KEEP } },
      healthCheckNodePort: KEEP,
    },
    status: { loadBalancer: { ingress: { ip: KEEP, ipMode: KEEP } } },
  },
  EndpointSlice: {
    metadata: { ...metadata, annotations: { [TRIGGER_TIME_ANNOTATION]: KEEP } },
    addressType: KEEP,
    ports,
    endpoints: {
      addresses: KEEP,
      nodeName: KEEP,
      conditions: { ready: KEEP, serving: KEEP, terminating: KEEP },
      hints: { forZones: { name: KEEP }, forNodes: { name: KEEP } },
    },
  },
  ClusterNetworkPolicy: {
    metadata: policyMetadata,
    spec: { subject: KEEP, ...policyLists },
  },
  CiliumNetworkPolicy: ciliumPolicy,
  CiliumClusterwideNetworkPolicy: ciliumPolicy,
  ServiceCIDR: { metadata, spec: { cidrs: KEEP } },
  NetworkPolicy: {
    metadata: policyMetadata,
    // Fields that nobody knows too: they decide what a rule means. Lists have a shape, so that they can be cut.
    spec: {
      podSelector: KEEP,
      policyTypes: KEEP,
      ...policyLists,
    },
  },
}
