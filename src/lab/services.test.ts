// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest'
import type { KubeManifest, PodManifest, ServiceManifest } from './objects.ts'
import { assignClusterIPs, assignNodePorts, makeEndpointSlices, nodePortsOf } from './services.ts'

function service(spec: ServiceManifest['spec']): ServiceManifest {
  return { apiVersion: 'v1', kind: 'Service', metadata: { namespace: 'shop', name: 'web' }, spec }
}

function pod(name: string, podIPs: readonly string[], ready: boolean, ports: readonly number[] = [8080]): PodManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'shop', name, labels: { app: 'web' } },
    spec: {
      nodeName: 'n1',
      containers: [{ name: 'c', ports: ports.map((containerPort) => ({ name: 'http', containerPort })) }],
    },
    status: {
      phase: 'Running',
      podIPs: podIPs.map((ip) => ({ ip })),
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    },
  }
}

describe('ClusterIPs', () => {
  const assign = (spec: ServiceManifest['spec'], taken: string[] = [], previous?: ServiceManifest) =>
    assignClusterIPs(service(spec), previous, new Set(taken), '46').spec.clusterIPs

  test('one family unless two are asked for, the lowest free number', () => {
    expect(assign({})).toEqual(['10.96.0.10'])
    expect(assign({}, ['10.96.0.10', '10.96.0.11'])).toEqual(['10.96.0.12'])
    expect(assign({ ipFamilyPolicy: 'PreferDualStack' })).toEqual(['10.96.0.10', 'fd00:96::a'])
    expect(assign({ ipFamilies: ['IPv6', 'IPv4'] })).toEqual(['fd00:96::a', '10.96.0.10'])
  })

  test('an address that the Service names or had stays', () => {
    expect(assign({ clusterIP: '10.96.7.7' })).toEqual(['10.96.7.7'])
    expect(assign({ clusterIP: '10.96.7.7', ipFamilyPolicy: 'RequireDualStack' })).toEqual(['10.96.7.7', 'fd00:96::a'])
    expect(assign({}, ['10.96.0.99'], service({ clusterIPs: ['10.96.0.99'] }))).toEqual(['10.96.0.99'])
  })

  test('headless and ExternalName get none', () => {
    expect(assign({ clusterIP: 'None' })).toBeUndefined()
    expect(assign({ type: 'ExternalName' })).toBeUndefined()
  })
})

describe('node ports', () => {
  const ports = [
    { name: 'a', port: 80 },
    { name: 'b', port: 81, nodePort: 30_001 },
  ]
  const assign = (spec: ServiceManifest['spec'], taken: number[] = [], previous?: ServiceManifest['spec']) => {
    const before = previous === undefined ? undefined : service(previous)
    return nodePortsOf(assignNodePorts(service(spec), before, new Set(taken)))
  }

  test('the lowest free one for each port that names none, of the types that have them', () => {
    expect(assign({ type: 'NodePort', ports })).toEqual([30_000, 30_001])
    expect(assign({ type: 'LoadBalancer', ports }, [30_000, 30_002])).toEqual([30_003, 30_001])
    expect(assign({ ports: [{ port: 80 }] })).toEqual([])
    expect(assign({ type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] })).toEqual([])
  })

  test('what a Service had stays', () => {
    const previous = { type: 'NodePort', ports: [{ name: 'a', port: 80, nodePort: 31_000 }] }
    expect(assign({ type: 'NodePort', ports }, [], previous)).toEqual([31_000, 30_001])
  })

  test('a health check port for load balancers of policy Local', () => {
    const spec = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ports: [{ port: 80 }] }
    expect(assign(spec)).toEqual([30_000, 30_001])
    expect(assign({ ...spec, healthCheckNodePort: 32_000 })).toEqual([30_000, 32_000])
  })
})

describe('EndpointSlices', () => {
  const web = service({
    selector: { app: 'web' },
    clusterIPs: ['10.96.0.10'],
    ports: [{ port: 80, targetPort: 'http' }],
  })
  const addresses = (slices: readonly KubeManifest[]) =>
    slices.flatMap((slice) =>
      (slice.endpoints as { addresses: string[]; conditions: { ready: boolean } }[]).map(
        (endpoint) => `${endpoint.addresses[0]} ${endpoint.conditions.ready ? 'ready' : 'not ready'}`,
      ),
    )

  test('list matching pods by family, ready as they are', () => {
    const pods = [pod('a', ['10.244.1.2', 'fd00::2'], true), pod('b', ['10.244.1.3'], false), pod('c', [], true)]
    expect(addresses(makeEndpointSlices([web, ...pods], new Set()))).toEqual([
      '10.244.1.2 ready',
      '10.244.1.3 not ready',
    ])
  })

  test('pods whose named port has another number stand in a slice of their own', () => {
    const slices = makeEndpointSlices(
      [web, pod('a', ['10.244.1.2'], true), pod('b', ['10.244.1.3'], true, [9090])],
      new Set(),
    )
    expect(slices.map(({ metadata, ports }) => [metadata.name, ports])).toEqual([
      ['web-ipv4', [{ port: 8080, protocol: 'TCP' }]],
      ['web-ipv4-1', [{ port: 9090, protocol: 'TCP' }]],
    ])
  })

  test('trafficDistribution becomes hints for the zone of the pod’s node, and for the node', () => {
    const node: KubeManifest = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'n1', labels: { 'topology.kubernetes.io/zone': 'z1' } },
    }
    const hints = (trafficDistribution?: string) => {
      const asked = { ...web, spec: { ...web.spec, ...(trafficDistribution ? { trafficDistribution } : {}) } }
      const [slice] = makeEndpointSlices([asked, node, pod('a', ['10.244.1.2'], true)], new Set())
      return (slice!.endpoints as { hints?: unknown }[])[0]!.hints
    }
    expect(hints()).toBeUndefined()
    expect(hints('PreferClose')).toEqual({ forZones: [{ name: 'z1' }] })
    expect(hints('PreferSameNode')).toEqual({ forZones: [{ name: 'z1' }], forNodes: [{ name: 'n1' }] })
  })

  test('a leaving pod is no longer listed', () => {
    const slices = makeEndpointSlices([web, pod('a', ['10.244.1.2'], true)], new Set(['shop/a']))
    expect(addresses(slices)).toEqual([])
  })

  test("a Service with slices of the user's own, or without a selector, gets none", () => {
    const own: KubeManifest = {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace: 'shop', name: 'mine', labels: { 'kubernetes.io/service-name': 'web' } },
    }
    expect(makeEndpointSlices([web, own, pod('a', ['10.244.1.2'], true)], new Set())).toEqual([])
    expect(makeEndpointSlices([service({ clusterIPs: ['10.96.0.10'] })], new Set())).toEqual([])
  })
})
