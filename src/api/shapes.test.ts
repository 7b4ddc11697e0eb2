// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import { isRecord, root } from './cursor.ts'
import { readers } from './object.ts'
import { KEEP, OTHERS, type Shape, shapes } from './shapes.ts'

/** Every path that a reader asks for, list items as one. */
function pathsRead(apiVersion: string, object: Record<string, unknown> & { kind: string }): ReadonlySet<string> {
  const asked = new Set<string>()
  const spy = (value: unknown, path: string): unknown => {
    if (Array.isArray(value)) return value.map((item) => spy(item, path))
    if (!isRecord(value)) return value
    const noted = (key: string | symbol): string => {
      const at = path === '' ? String(key) : `${path}.${String(key)}`
      asked.add(at)
      return at
    }
    return new Proxy(value, {
      getOwnPropertyDescriptor: (target, key) => {
        noted(key)
        return Reflect.getOwnPropertyDescriptor(target, key)
      },
      get: (target, key) => spy(Reflect.get(target, key), noted(key)),
    })
  }
  readers[`${apiVersion} ${object.kind}`]!(root(spy(object, '')))
  return asked
}

function isKept(path: string, shape: Shape): boolean {
  const [first = '', ...rest] = path.split('.')
  if (shape === KEEP) return true
  const inner = Object.hasOwn(shape, first) ? shape[first] : shape[OTHERS]
  return inner !== undefined && (rest.length === 0 || isKept(rest.join('.'), inner))
}

const metadata = { name: 'a', namespace: 'b', uid: 'c', labels: { x: 'y' }, creationTimestamp: '2026-01-02T03:04:05Z' }
const selector = { matchLabels: { a: 'b' }, matchExpressions: [{ key: 'a', operator: 'In', values: ['b'] }] }
const block = { ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }
const rule = { ports: [{ protocol: 'TCP', port: 80, endPort: 90 }] }
const peer = { podSelector: selector, namespaceSelector: selector }

test.each([
  ['v1', { kind: 'Namespace', metadata }],
  [
    'v1',
    {
      kind: 'Node',
      metadata,
      spec: { podCIDRs: ['10.1.0.0/24'], taints: [{ key: 'a', effect: 'NoSchedule' }] },
      status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
    },
  ],
  [
    'v1',
    {
      kind: 'Pod',
      metadata,
      spec: {
        nodeName: 'n1',
        hostNetwork: false,
        initContainers: [{ restartPolicy: 'Always', ports: [{ name: 'mesh', containerPort: 15001, protocol: 'TCP' }] }],
        containers: [{ ports: [{ name: 'http', containerPort: 80, protocol: 'TCP' }] }],
      },
      status: { phase: 'Running', podIP: '10.1.0.1', podIPs: [{ ip: '10.1.0.1' }] },
    },
  ],
  [
    'v1',
    {
      kind: 'Service',
      metadata,
      spec: {
        type: 'LoadBalancer',
        clusterIP: '10.96.0.1',
        clusterIPs: ['10.96.0.1'],
        ports: [{ name: 'a', port: 80, protocol: 'TCP', nodePort: 30080 }],
        externalIPs: ['203.0.113.1'],
        externalTrafficPolicy: 'Local',
        internalTrafficPolicy: 'Local',
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
        healthCheckNodePort: 31000,
      },
      status: { loadBalancer: { ingress: [{ ip: '203.0.113.7', ipMode: 'VIP' }] } },
    },
  ],
  [
    'discovery.k8s.io/v1',
    {
      kind: 'EndpointSlice',
      metadata,
      addressType: 'IPv4',
      ports: [{ name: 'a', port: 80, protocol: 'TCP' }],
      endpoints: [
        {
          addresses: ['10.1.0.1'],
          conditions: { ready: true, serving: true, terminating: false },
          nodeName: 'n1',
          hints: { forZones: [{ name: 'z1' }], forNodes: [{ name: 'n1' }] },
        },
      ],
    },
  ],
  ['networking.k8s.io/v1', { kind: 'ServiceCIDR', metadata, spec: { cidrs: ['10.96.0.0/16'] } }],
  [
    'networking.k8s.io/v1',
    {
      kind: 'NetworkPolicy',
      metadata,
      spec: {
        podSelector: selector,
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ from: [peer, block], ...rule }],
        egress: [{ to: [peer, block], ...rule }],
      },
    },
  ],
  [
    'policy.networking.k8s.io/v1alpha2',
    {
      kind: 'ClusterNetworkPolicy',
      metadata,
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: { pods: peer },
        ingress: [{ name: 'a', action: 'Deny', from: [{ pods: peer }, { namespaces: selector }] }],
        egress: [
          {
            action: 'Accept',
            to: [{ networks: ['10.0.0.0/8'] }, { nodes: selector }],
            protocols: [{ tcp: { destinationPort: { range: { start: 1, end: 2 } } } }],
          },
        ],
      },
    },
  ],
  ...(['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy'] as const).map(
    (kind) =>
      [
        'cilium.io/v2',
        {
          kind,
          metadata,
          spec: {
            endpointSelector: selector,
            enableDefaultDeny: { ingress: true },
            ingress: [
              { fromEndpoints: [selector], toPorts: [{ ports: [{ port: '1', endPort: 2, protocol: 'TCP' }] }] },
            ],
            ingressDeny: [{ fromEntities: ['world'], icmps: [{ fields: [{ family: 'IPv6', type: 1 }] }] }],
            egress: [{ toCIDR: ['10.0.0.0/8'] }],
          },
          specs: [
            {
              endpointSelector: selector,
              egressDeny: [{ toCIDRSet: [{ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }] }],
            },
          ],
        },
      ] as const,
  ),
] as const)('%s: a decoder that keeps the shape drops nothing that the reader reads', (apiVersion, object) => {
  const read = pathsRead(apiVersion, object)
  expect(read.size).toBeGreaterThan(3)
  expect([...read].filter((path) => !isKept(path, shapes[object.kind]))).toEqual([])
})
