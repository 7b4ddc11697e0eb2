// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import { BadField, pathText, root } from './cursor.ts'
import { readers } from './object.ts'

function readAs(type: string, object: unknown): unknown {
  try {
    return readers[type]!(root(object))
  } catch (error) {
    if (error instanceof BadField) return `${pathText(error.path)}: ${error.message}`
    throw error
  }
}

const service = (spec: object, rest: object = {}): unknown =>
  readAs('v1 Service', { metadata: { name: 'web', namespace: 'shop' }, spec, ...rest })

describe('a Service that is read wrongly is open to the wrong people, or to none', () => {
  test('everything that is read of one', () => {
    expect(
      service(
        {
          type: 'LoadBalancer',
          clusterIPs: ['10.96.0.1', 'fd00:96::1'],
          ports: [
            { name: 'web', port: 80, nodePort: 30080 },
            { name: 's', protocol: 'SCTP', port: 36412 },
          ],
          externalIPs: ['203.0.113.1'],
          loadBalancerSourceRanges: ['198.51.100.0/24 ', '2001:db8::/32'],
          externalTrafficPolicy: 'Local',
          internalTrafficPolicy: 'Local',
          sessionAffinity: 'ClientIP',
          sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
          healthCheckNodePort: 31000,
        },
        {
          status: {
            loadBalancer: {
              ingress: [
                { ip: '203.0.113.7' },
                { ip: '203.0.113.8', ipMode: 'VIP' },
                { ip: '203.0.113.9', ipMode: 'Proxy' },
                { hostname: 'lb.example' },
              ],
            },
          },
        },
      ),
    ).toEqual({
      kind: 'Service',
      namespace: 'shop',
      name: 'web',
      createdMs: 0,
      clusterIPs: ['10.96.0.1', 'fd00:96::1'],
      ports: [
        { name: 'web', protocol: 6, port: 80, nodePort: 30080 },
        { name: 's', protocol: 132, port: 36412, nodePort: null },
      ],
      externalIPs: ['203.0.113.1'],
      loadBalancerIPs: ['203.0.113.7', '203.0.113.8'],
      sourceRanges: ['198.51.100.0/24', '2001:db8::/32'],
      internalLocal: true,
      externalLocal: true,
      affinitySeconds: 60,
      balancing: { algorithm: 'random', weights: null },
      healthCheckNodePort: 31000,
    })
  })

  test.each([
    [
      'externalTrafficPolicy without an external address says nothing',
      { externalTrafficPolicy: 'Local' },
      { externalLocal: false },
    ],
    [
      'it counts for external IPs',
      { externalTrafficPolicy: 'Local', externalIPs: ['203.0.113.1'] },
      { externalLocal: true },
    ],
    [
      'health checks are for load balancers',
      { type: 'NodePort', externalTrafficPolicy: 'Local', healthCheckNodePort: 31000 },
      { healthCheckNodePort: null },
    ],
    [
      'affinity lasts three hours unless it says otherwise',
      { sessionAffinity: 'ClientIP' },
      { affinitySeconds: 10_800 },
    ],
    ['headless', { clusterIP: 'None' }, { clusterIPs: [] }],
    ['ExternalName', { type: 'ExternalName', clusterIP: '10.96.0.1' }, { clusterIPs: [] }],
    [
      'a node port of 0 is none',
      { ports: [{ port: 80, nodePort: 0 }] },
      { ports: [{ name: '', protocol: 6, port: 80, nodePort: null }] },
    ],
  ])('%s', (_, spec, expected) => {
    expect(service(spec)).toMatchObject(expected)
  })

  test.each([
    [{ ports: [{ port: 0 }] }, 'spec.ports[0].port: "0": not a port (1..65535)'],
    [{ ports: [{ port: 80, nodePort: 70000 }] }, 'spec.ports[0].nodePort: "70000": not a port (1..65535)'],
    [{ type: 'Balancer' }, 'spec.type: "Balancer" is none of ClusterIP, NodePort, LoadBalancer, ExternalName'],
    [
      { loadBalancerSourceRanges: ['10.0.0.0/33'] },
      'spec.loadBalancerSourceRanges[0]: "10.0.0.0/33": prefix length not in 0..32',
    ],
    [{ externalIPs: ['127.0.0.1'] }, 'spec.externalIPs[0]: "127.0.0.1" is loopback'],
    [{ externalTrafficPolicy: 'local' }, 'spec.externalTrafficPolicy: "local" is none of Cluster, Local'],
    [
      { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 0 } } },
      'spec.sessionAffinityConfig.clientIP.timeoutSeconds: expected a whole number from 1 to 86400, found number 0 (unquoted?)',
    ],
  ])('%j is refused by field', (spec, message) => {
    expect(service(spec)).toBe(message)
  })

  describe('balancing', () => {
    const annotated = (annotations: Record<string, unknown>): unknown =>
      service({}, { metadata: { name: 'web', annotations } })
    const at = 'metadata.annotations.service.heddle.network'

    test.each([
      ['random', 'random'],
      ['round-robin', 'round-robin'],
      ['rr', 'round-robin'],
      ['wrr', 'round-robin'],
      ['source-hash', 'source-hash'],
      ['sh', 'source-hash'],
      ['maglev', 'maglev'],
      ['mh', 'maglev'],
      ['lc', 'least-connections'],
      ['wlc', 'least-connections'],
    ])('%s is %s', (written, algorithm) => {
      const balancing = annotated({ 'service.heddle.network/balancing': written })
      expect(balancing).toMatchObject({ balancing: { algorithm, weights: null } })
    })

    test('weights by node, with blanks around them', () => {
      const balancing = annotated({ 'service.heddle.network/weights': 'n1=3, n2=100,constructor=1' })
      const weights = { n1: 3, n2: 100, constructor: 1 }
      expect(balancing).toMatchObject({ balancing: { algorithm: 'random', weights } })
    })

    test.each([
      [
        'balancing',
        'fair',
        '"fair" is none of random, round-robin, rr, wrr, source-hash, sh, maglev, mh, least-connections, lc, wlc',
      ],
      [
        'balancing',
        '',
        '"" is none of random, round-robin, rr, wrr, source-hash, sh, maglev, mh, least-connections, lc, wlc',
      ],
      ['balancing', 1, 'expected a text, found number 1 (unquoted?)'],
      ['weights', 'n1', '"n1": expected NODE=WEIGHT, with a weight from 1 to 100'],
      ['weights', 'n1=0', '"n1=0": expected NODE=WEIGHT, with a weight from 1 to 100'],
      ['weights', 'n1=101', '"n1=101": expected NODE=WEIGHT, with a weight from 1 to 100'],
      ['weights', 'n1=1,', '"": expected NODE=WEIGHT, with a weight from 1 to 100'],
      ['weights', 'n1=1,n1=2', '"n1" has two weights'],
    ])('%s: %s is refused by name', (name, written, message) => {
      expect(annotated({ [`service.heddle.network/${name}`]: written })).toBe(`${at}/${name}: ${message}`)
    })
  })

  test('the annotation before the field: a list with commas, refused as a whole, and second to the field', () => {
    const annotated = (ranges: string, spec: object = {}): unknown =>
      service(spec, {
        metadata: { name: 'web', annotations: { 'service.beta.kubernetes.io/load-balancer-source-ranges': ranges } },
      })
    expect(annotated('10.0.0.0/8, 192.0.2.0/24')).toMatchObject({ sourceRanges: ['10.0.0.0/8', '192.0.2.0/24'] })
    expect(annotated('')).toMatchObject({ sourceRanges: null })
    expect(annotated('10.0.0.0/8', { loadBalancerSourceRanges: ['192.0.2.0/24'] })).toMatchObject({
      sourceRanges: ['192.0.2.0/24'],
    })
    expect(annotated('10.0.0.0/8,everywhere')).toBe(
      'metadata.annotations.service.beta.kubernetes.io/load-balancer-source-ranges: "everywhere": not a prefix (address/length)',
    )
  })
})

test.each(['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless'])(
  'what is labelled %s is another proxy’s',
  (label) => {
    const metadata = { name: 'web', labels: { [label]: 'x' } }
    expect(readAs('v1 Service', { metadata, spec: { clusterIP: '10.96.0.1' } })).toBeNull()
    expect(readAs('discovery.k8s.io/v1 EndpointSlice', { metadata, addressType: 'IPv4' })).toBeNull()
  },
)

test('a slice: conditions as the API defaults them, the first address, hints', () => {
  const slice = {
    metadata: {
      name: 'web-1',
      namespace: 'shop',
      labels: { 'kubernetes.io/service-name': 'web' },
      annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-02T03:04:05.678901Z' },
    },
    addressType: 'IPv4',
    ports: [{ name: 'web', port: 8080 }, { name: 'all' }],
    endpoints: [
      { addresses: ['10.1.0.1', '10.1.0.2'], nodeName: 'n1' },
      { addresses: ['fd00::1'], conditions: { ready: false, terminating: true, serving: true } },
      { addresses: ['10.1.0.3'], hints: { forZones: [{ name: 'z1' }], forNodes: [{ name: 'n1' }] } },
      { addresses: [] },
    ],
  }
  const ready = { ready: true, serving: true, terminating: false, nodeName: '', hints: null }
  expect(readAs('discovery.k8s.io/v1 EndpointSlice', slice)).toMatchObject({
    serviceName: 'web',
    triggeredMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
    ports: [{ name: 'web', port: 8080, protocol: 6 }],
    endpoints: [
      { ...ready, address: '10.1.0.1', nodeName: 'n1' },
      { ...ready, address: 'fd00::1', ready: false, terminating: true },
      { ...ready, address: '10.1.0.3', hints: { zones: ['z1'], nodes: ['n1'] } },
    ],
  })
})

test.each([
  [{}, undefined],
  [{ metadata: { name: 'n1', deletionTimestamp: '2026-01-02T03:04:05Z' } }, true],
  [{ spec: { taints: [{ key: 'x' }, { key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }] } }, true],
])('a node that is about to go: %j', (parts, leaving) => {
  expect((readAs('v1 Node', { metadata: { name: 'n1' }, ...parts }) as { leaving?: true }).leaving).toBe(leaving)
})

test.each(['yesterday', 5, null])('a trigger time of %j is none', (time) => {
  const annotations = { 'endpoints.kubernetes.io/last-change-trigger-time': time }
  const slice = { metadata: { name: 'web-1', annotations }, addressType: 'IPv4' }
  expect(readAs('discovery.k8s.io/v1 EndpointSlice', slice)).toMatchObject({ triggeredMs: 0 })
})
