// SPDX-License-Identifier: Apache-2.0
// What a control plane does for Services: ClusterIPs for those that ask for none, and EndpointSlices from selectors.
// Pure: objects in, objects out.

import type { Container, KubeManifest, PodManifest, ServiceManifest } from './objects.ts'
import type { Families } from './state.ts'

export const serviceCIDRs = { 4: '10.96.0.0/16', 6: 'fd00:96::/108' } as const

/** The first numbers of a Service CIDR stay free for well-known Services (the API server's is .1). */
const firstOffset = 10

/** The Service with clusterIP, clusterIPs and ipFamilies filled in, as the API server does: one family unless the
 *  Service asks for two. A ClusterIP that `previous` had is kept. Source: ServiceSpec of core/v1. */
export function assignClusterIPs(
  service: ServiceManifest,
  previous: ServiceManifest | undefined,
  taken: ReadonlySet<string>,
  families: Families,
): ServiceManifest {
  const spec = service.spec
  if (spec.type === 'ExternalName' || spec.clusterIP === 'None' || spec.clusterIPs?.[0] === 'None') return service
  const kept = previous?.spec.clusterIPs ?? []
  const given = spec.clusterIPs ?? (spec.clusterIP ? [spec.clusterIP] : [])
  const clusterIPs = wantedFamilies(service, families, given).map(
    (family) =>
      given.find((ip) => familyOf(ip) === family) ??
      kept.find((ip) => ip !== 'None' && familyOf(ip) === family) ??
      freeClusterIP(family, taken),
  )
  return {
    ...service,
    spec: { ...spec, clusterIP: clusterIPs[0]!, clusterIPs, ipFamilies: clusterIPs.map((ip) => `IPv${familyOf(ip)}`) },
  } as ServiceManifest
}

function wantedFamilies(service: ServiceManifest, families: Families, given: readonly string[]): (4 | 6)[] {
  const cluster = [...families].map(Number) as (4 | 6)[]
  const asked = service.spec.ipFamilies?.map((name) => (name === 'IPv4' ? 4 : 6) as 4 | 6)
  const first = asked ?? (given.length > 0 ? given.map(familyOf) : [cluster[0]!])
  const dual = ['PreferDualStack', 'RequireDualStack'].includes(service.spec.ipFamilyPolicy ?? '')
  return dual ? [...new Set([...first, ...cluster])] : first
}

function freeClusterIP(family: 4 | 6, taken: ReadonlySet<string>): string {
  for (let offset = firstOffset; offset < 65_535; offset++) {
    const ip = family === 4 ? `10.96.${offset >> 8}.${offset & 255}` : `fd00:96::${offset.toString(16)}`
    if (!taken.has(ip)) return ip
  }
  throw new Error(`no free ClusterIP in ${serviceCIDRs[family]}`)
}

const NODE_PORTS = { first: 30_000, last: 32_767 } as const

/** The Service with the node ports that it asks for without naming them, as the API server does; one that it had before is
 *  kept. `taken`: node ports of all others. */
export function assignNodePorts(
  service: ServiceManifest,
  previous: ServiceManifest | undefined,
  taken: ReadonlySet<number>,
): ServiceManifest {
  const { spec } = service
  const isBalanced = spec.type === 'LoadBalancer'
  const wantsPorts = spec.type === 'NodePort' || (isBalanced && spec.allocateLoadBalancerNodePorts !== false)
  const used = new Set([...taken, ...nodePortsOf(service)])
  const allocate = (kept: number | undefined): number => {
    const port = kept ?? freeNodePort(used)
    used.add(port)
    return port
  }
  const ports = (spec.ports ?? []).map((port) => {
    if (!wantsPorts || (port.nodePort ?? 0) !== 0) return port
    const before = previous?.spec.ports?.find((each) => each.name === port.name && each.port === port.port)
    return { ...port, nodePort: allocate(before?.nodePort) }
  })
  const wantsHealth = isBalanced && spec.externalTrafficPolicy === 'Local' && (spec.healthCheckNodePort ?? 0) === 0
  const healthCheck = wantsHealth ? { healthCheckNodePort: allocate(previous?.spec.healthCheckNodePort) } : {}
  return { ...service, spec: { ...spec, ...(spec.ports === undefined ? {} : { ports }), ...healthCheck } }
}

/** Node ports that a Service has, its health check's too. */
export function nodePortsOf({ spec }: ServiceManifest): number[] {
  return [...(spec.ports ?? []).map(({ nodePort }) => nodePort), spec.healthCheckNodePort].filter(
    (port): port is number => port !== undefined && port !== 0,
  )
}

function freeNodePort(used: ReadonlySet<number>): number {
  for (let port: number = NODE_PORTS.first; port <= NODE_PORTS.last; port++) if (!used.has(port)) return port
  throw new Error(`no free node port in ${NODE_PORTS.first}-${NODE_PORTS.last}`)
}

/** EndpointSlices of every Service that has a selector and no slice of the user's own, one per family of the Service and
 *  set of resolved target ports. A pod is listed once it has an address; ready as its Ready condition says. */
export function makeEndpointSlices(objects: readonly KubeManifest[], leaving: ReadonlySet<string>): KubeManifest[] {
  const pods = objects.filter((object): object is PodManifest => object.kind === 'Pod')
  const zones = new Map(
    objects
      .filter(({ kind }) => kind === 'Node')
      .map(({ metadata }) => [metadata.name, metadata.labels?.['topology.kubernetes.io/zone']]),
  )
  const ownSlices = new Set(
    objects
      .filter((object) => object.kind === 'EndpointSlice' && !isMadeByLab(object))
      .map((object) => `${object.metadata.namespace}/${object.metadata.labels?.['kubernetes.io/service-name']}`),
  )
  return objects
    .filter((object): object is ServiceManifest => object.kind === 'Service')
    .filter((service) => service.spec.selector && Object.keys(service.spec.selector).length > 0)
    .filter((service) => !ownSlices.has(`${service.metadata.namespace}/${service.metadata.name}`))
    .flatMap((service) => slicesOf(service, pods, leaving, zones))
}

/** By node. */
type Zones = ReadonlyMap<string, string | undefined>

const managedBy = 'endpointslice.kubernetes.io/managed-by'

export function isMadeByLab(object: KubeManifest): boolean {
  return object.kind === 'EndpointSlice' && object.metadata.labels?.[managedBy] === 'heddle-lab'
}

function slicesOf(
  service: ServiceManifest,
  pods: readonly PodManifest[],
  leaving: ReadonlySet<string>,
  zones: Zones,
): KubeManifest[] {
  const { namespace, name } = service.metadata
  const backends = pods
    .filter((pod) => pod.metadata.namespace === namespace)
    .filter((pod) => !leaving.has(`${namespace}/${pod.metadata.name}`))
    .filter((pod) => matches(service.spec.selector!, pod.metadata.labels ?? {}))
    .filter((pod) => !['Succeeded', 'Failed'].includes(pod.status?.phase ?? ''))
  const families = new Set((service.spec.clusterIPs ?? service.spec.ipFamilies ?? ['IPv4']).map(sliceFamily))
  return [...families].flatMap((family) => {
    const groups = Map.groupBy(backends, (pod) => JSON.stringify(resolvePorts(service, pod)))
    return [...groups].map(([ports, members], index) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: `${name}-ipv${family}${index === 0 ? '' : `-${index}`}`,
        namespace,
        labels: { 'kubernetes.io/service-name': name, [managedBy]: 'heddle-lab' },
      },
      addressType: `IPv${family}`,
      ports: JSON.parse(ports) as unknown,
      endpoints: members.flatMap((pod) => endpointOf(service, pod, family, zones)),
    }))
  })
}

function sliceFamily(text: string): 4 | 6 {
  if (text === 'IPv4' || text === 'IPv6') return text === 'IPv4' ? 4 : 6
  return text === 'None' ? 4 : familyOf(text)
}

function endpointOf({ spec }: ServiceManifest, pod: PodManifest, family: 4 | 6, zones: Zones): unknown[] {
  const address = pod.status?.podIPs?.find(({ ip }) => familyOf(ip) === family)?.ip
  if (!address) return []
  const ready = spec.publishNotReadyAddresses === true || isReady(pod)
  const hints = hintsOf(spec.trafficDistribution, pod, zones)
  return [
    {
      addresses: [address],
      conditions: { ready, serving: ready, terminating: false },
      nodeName: pod.spec.nodeName,
      ...(hints === undefined ? {} : { hints }),
      targetRef: { kind: 'Pod', namespace: pod.metadata.namespace, name: pod.metadata.name },
    },
  ]
}

/** Of trafficDistribution: an endpoint is meant for its own zone, and with PreferSameNode for its own node. */
function hintsOf(distribution: string | undefined, pod: PodManifest, zones: Zones): unknown {
  if (distribution === undefined) return undefined
  const zone = zones.get(pod.spec.nodeName ?? '')
  const forZones = zone === undefined ? {} : { forZones: [{ name: zone }] }
  if (distribution === 'PreferSameNode') return { ...forZones, forNodes: [{ name: pod.spec.nodeName }] }
  return zone === undefined ? undefined : forZones
}

export function isReady(pod: PodManifest): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false
}

function resolvePorts(service: ServiceManifest, pod: PodManifest): unknown[] {
  return (service.spec.ports ?? []).flatMap(({ name, port, targetPort = port, protocol = 'TCP' }) => {
    const number = typeof targetPort === 'number' ? targetPort : portNumber(pod.spec.containers ?? [], targetPort)
    return number === undefined ? [] : [{ ...(name === undefined ? {} : { name }), port: number, protocol }]
  })
}

/** The number of a container port's name; undefined where no container has it. */
export function portNumber(containers: readonly Container[], name: string): number | undefined {
  return containers.flatMap((container) => container.ports ?? []).find((port) => port.name === name)?.containerPort
}

function matches(selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value)
}

export function familyOf(ip: string): 4 | 6 {
  return ip.includes(':') ? 6 : 4
}
