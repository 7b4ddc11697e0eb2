// SPDX-License-Identifier: Apache-2.0
// The Services of a benchmark: one that is measured, and a crowd that nobody calls.

import type { KubeManifest } from '../src/lab/objects.ts'

/** For netperf, its control connection and its data; the data port is the same everywhere, since netserver is told it.
 *  Sources of the numbers: the lab's Service CIDR, and the default range of node ports. */
export const measuredService = {
  address: '10.96.255.1',
  controlPort: 12_865,
  dataPort: 30_020,
  nodeControlPort: 30_865,
} as const

/** A Service of type NodePort whose only endpoint is `backend`. */
export function measured(backend: string): readonly KubeManifest[] {
  const { address, controlPort, dataPort, nodeControlPort } = measuredService
  const ports = [
    { port: controlPort, nodePort: nodeControlPort },
    { port: dataPort, nodePort: dataPort },
  ]
  return service('measured', address, ports, [backend])
}

/** `count` Services of two ports with four endpoints each, none of which exists. */
export function crowd(count: number): readonly KubeManifest[] {
  return Array.from({ length: count }, (_, index) => {
    const endpoints = [1, 2, 3, 4].map((last) => `10.250.${index % 250}.${last}`)
    return service(`other-${index}`, `10.96.${index >> 8}.${index & 255}`, crowdPorts, endpoints)
  }).flat()
}

const crowdPorts = [{ port: 80 }, { port: 443 }]

/** Another one like those of the crowd, with as many endpoints. */
export function oneMore(endpointCount: number): readonly KubeManifest[] {
  const endpoints = Array.from({ length: endpointCount }, (_, index) => `10.250.251.${index + 1}`)
  return service('one-more', '10.96.254.1', crowdPorts, endpoints)
}

function service(
  name: string,
  clusterIP: string,
  numbers: readonly { readonly port: number; readonly nodePort?: number }[],
  endpoints: readonly string[],
): readonly KubeManifest[] {
  const metadata = { namespace: 'default', name }
  const ports = numbers.map(({ port }) => ({ name: `port-${port}`, protocol: 'TCP', port }))
  const type = numbers.some(({ nodePort }) => nodePort !== undefined) ? 'NodePort' : 'ClusterIP'
  const servicePorts = numbers.map(({ nodePort }, index) => ({ ...ports[index], ...(nodePort && { nodePort }) }))
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { type, clusterIP, clusterIPs: [clusterIP], ports: servicePorts },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { ...metadata, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports,
      endpoints: endpoints.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    },
  ]
}
