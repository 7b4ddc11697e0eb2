// SPDX-License-Identifier: Apache-2.0
// Random clusters as API objects, and queries about them. Few names, few labels, nested prefixes, ranges that cross: what
// can go wrong with policy goes wrong where things overlap, are empty, or are missing.

import fc from 'fast-check'
import type { ApiObject, ModelPlace, ModelQuery, ModelSettings } from './policy-model.ts'

export interface PolicyWorld {
  readonly objects: readonly ApiObject[]
  readonly queries: readonly ModelQuery[]
  /** Absent: the defaults. */
  readonly settings?: ModelSettings
}

const podAddresses = {
  4: ['10.1.0.1', '10.1.0.2', '10.1.0.3', '10.1.0.4', '10.2.0.1', '10.2.0.2'],
  6: ['fd00:1::1', 'fd00:1::2', 'fd00:1::3', 'fd00:1::4', 'fd00:2::1', 'fd00:2::2'],
} as const
const nodeAddresses = { n1: ['192.0.2.1', 'fd00:f::1'], n2: ['192.0.2.2', 'fd00:f::2'], n3: ['fd00:f::3'] } as const
const strangers = ['10.1.0.9', '192.0.2.77', '203.0.113.7', '1.0.0.1', 'fd00:1::9', '2001:db8::7', '::fffe:0:1']

const cidrs = {
  4: [
    '0.0.0.0/0',
    '10.0.0.0/8',
    '10.1.0.0/16',
    '10.1.0.0/30',
    '10.1.0.2/31',
    '10.1.0.3/32',
    '128.0.0.0/1',
    '192.0.2.0/24',
  ],
  6: ['::/0', 'fd00::/8', 'fd00:1::/32', 'fd00:1::/126', 'fd00:1::2/127', 'fd00:1::3/128', '::/64', 'fd00:f::/64'],
} as const
const ports = [1, 53, 80, 81, 443, 8000, 8080, 8191, 8192, 65535]
const portNames = ['http', 'dns', 'both']

const namespaceName = fc.constantFrom('a', 'b', 'default')
const protocol = fc.constantFrom('TCP', 'UDP', 'SCTP', undefined)
const labels = fc.record(
  { app: fc.constantFrom('p', 'q', ''), tier: fc.constantFrom('x', 'y') },
  { requiredKeys: [] },
) as fc.Arbitrary<Record<string, string>>

const expression = fc.oneof(
  fc.record({
    key: fc.constantFrom('app', 'tier', 'constructor', 'kubernetes.io/metadata.name'),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.uniqueArray(fc.constantFrom('p', 'q', '', 'x', 'a'), { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ key: fc.constantFrom('app', 'tier', 'toString'), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
)

const selector: fc.Arbitrary<object> = fc.oneof(
  { weight: 2, arbitrary: fc.constantFrom({}, { matchLabels: {} }, { matchExpressions: [] }, { matchLabels: null }) },
  { weight: 3, arbitrary: fc.record({ matchLabels: labels }) },
  {
    weight: 2,
    arbitrary: fc.record({ matchLabels: labels, matchExpressions: fc.array(expression, { maxLength: 2 }) }),
  },
)

/** A strict part, as the API wants an except to be. */
function isPart(inner: string, outer: string): boolean {
  const length = (cidr: string) => Number(cidr.split('/')[1])
  const parts: Readonly<Record<string, readonly string[]>> = {
    '10.0.0.0/8': ['10.'],
    '10.1.0.0/16': ['10.1.'],
    '10.1.0.0/30': ['10.1.0.'],
    '10.1.0.2/31': ['10.1.0.3/'],
    'fd00::/8': ['fd00:'],
    'fd00:1::/32': ['fd00:1:'],
    'fd00:1::/126': ['fd00:1::'],
    'fd00:1::2/127': ['fd00:1::3/'],
  }
  return (
    length(inner) > length(outer) &&
    (length(outer) === 0 || (parts[outer] ?? []).some((each) => inner.startsWith(each)))
  )
}

const ipBlock = fc.constantFrom(...cidrs[4], ...cidrs[6]).chain((cidr) => {
  const inner = cidrs[cidr.includes(':') ? 6 : 4].filter((each) => isPart(each, cidr))
  const except = inner.length === 0 ? fc.constant(undefined) : fc.option(fc.subarray(inner), { nil: undefined })
  return except.map((excepts) => (excepts === undefined ? { cidr } : { cidr, except: excepts }))
})

const peer = fc.oneof(
  { weight: 3, arbitrary: fc.record({ ipBlock }) },
  { weight: 2, arbitrary: fc.record({ podSelector: selector }) },
  { weight: 2, arbitrary: fc.record({ namespaceSelector: selector }) },
  { weight: 2, arbitrary: fc.record({ podSelector: selector, namespaceSelector: selector }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom({ planet: 'mars' }, { podSelector: {}, ipBlock: null, serviceAccounts: {} }),
  },
)

const policyPort = fc.oneof(
  fc.record({ protocol }),
  fc.record({ protocol, port: fc.constantFrom(...ports) }),
  fc.record({ protocol, port: fc.constantFrom(...portNames) }),
  fc
    .tuple(protocol, fc.constantFrom(...ports), fc.constantFrom(...ports))
    .map(([of, a, b]) => ({ protocol: of, port: Math.min(a, b), endPort: Math.max(a, b) })),
  fc
    .record({ port: fc.constantFrom(1, 80, 8000), endPort: fc.constantFrom(81, 8191, 65535) })
    .filter(({ port, endPort }) => endPort >= port),
)

function rules(peers: 'from' | 'to'): fc.Arbitrary<readonly object[] | null> {
  const list = <T>(item: fc.Arbitrary<T>) =>
    fc.oneof(
      { weight: 1, arbitrary: fc.constantFrom([], null) },
      { weight: 3, arbitrary: fc.array(item, { minLength: 1, maxLength: 3 }) },
    )
  const rule = fc.record({ [peers]: list(peer), ports: list(policyPort) }, { requiredKeys: [] })
  const strange = fc.constantFrom(
    { [peers === 'from' ? 'to' : 'from']: [{ podSelector: {} }] },
    { ports: [{ port: 80, l7: 1 }] },
  )
  return fc.oneof(
    { weight: 1, arbitrary: fc.constantFrom([], null) },
    {
      weight: 5,
      arbitrary: fc.array(fc.oneof({ weight: 12, arbitrary: rule }, { weight: 1, arbitrary: strange }), {
        maxLength: 3,
      }),
    },
  )
}

/** Most policies are enforced. */
const annotations = fc.constantFrom(
  undefined,
  undefined,
  undefined,
  { 'heddle.network/audit': 'true' },
  { 'heddle.network/audit': 'True' },
)

const policy: fc.Arbitrary<ApiObject> = fc
  .record({
    namespace: namespaceName,
    annotations,
    name: fc.constantFrom('deny', 'web', 'zone', 'web-2'),
    spec: fc.record(
      {
        podSelector: fc.oneof(fc.constant({}), selector),
        policyTypes: fc.constantFrom(['Ingress'], ['Egress'], ['Ingress', 'Egress'], ['Egress', 'Ingress'], [], null),
        ingress: rules('from'),
        egress: rules('to'),
      },
      { requiredKeys: ['podSelector'] },
    ),
  })
  .map(({ namespace, name, annotations, spec }) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name, ...(annotations && { annotations }) },
    spec,
  }))

const namespacedPod = fc.record({ namespaceSelector: selector, podSelector: selector })
const subject = fc.oneof(fc.record({ namespaces: selector }), fc.record({ pods: namespacedPod }))
const strangePeer = fc.constantFrom({}, { planet: 'mars' }, { pods: null })

const transport = fc
  .tuple(
    fc.constantFrom('tcp', 'tcp', 'udp', 'sctp'),
    fc.oneof(
      fc.record({ number: fc.constantFrom(...ports) }),
      fc
        .tuple(fc.constantFrom(...ports), fc.constantFrom(...ports))
        .filter(([start, end]) => start < end)
        .map(([start, end]) => ({ range: { start, end } })),
    ),
  )
  .map(([of, destinationPort]) => ({ [of]: { destinationPort } }))
const protocolMatch = fc.oneof(
  { weight: 3, arbitrary: transport },
  { weight: 1, arbitrary: fc.record({ destinationNamedPort: fc.constantFrom(...portNames) }) },
)

/** Networks and nodes have no port names. */
function tierRules(peers: 'from' | 'to'): fc.Arbitrary<readonly object[]> {
  const ofPods = fc.oneof(
    { weight: 4, arbitrary: fc.record({ namespaces: selector }) },
    { weight: 4, arbitrary: fc.record({ pods: namespacedPod }) },
    { weight: 1, arbitrary: strangePeer },
  )
  const ofOthers = fc.oneof(
    fc.record({ networks: fc.subarray([...cidrs[4], ...cidrs[6]], { minLength: 1, maxLength: 3 }) }),
    fc.record({ nodes: selector }),
  )
  const rule = (peer: fc.Arbitrary<object>, match: fc.Arbitrary<object>) =>
    fc.record(
      {
        name: fc.constantFrom('first', 'a "rule"', ''),
        action: fc.constantFrom('Accept', 'Deny', 'Pass'),
        [peers]: fc.array(peer, { minLength: 1, maxLength: 2 }),
        protocols: fc.array(match, { minLength: 1, maxLength: 3 }),
      },
      { requiredKeys: ['action', peers] },
    )
  const any = rule(ofPods, protocolMatch)
  const all = peers === 'to' ? fc.oneof(any, rule(fc.oneof(ofPods, ofOthers), transport)) : any
  return fc.array(all, { maxLength: 3 })
}

const tierPolicy: fc.Arbitrary<ApiObject> = fc
  .record({
    name: fc.constantFrom('ban', 'open', 'default'),
    annotations,
    spec: fc.record(
      {
        tier: fc.constantFrom('Admin', 'Baseline'),
        priority: fc.constantFrom(0, 7, 7, 1000),
        subject,
        ingress: tierRules('from'),
        egress: tierRules('to'),
      },
      { requiredKeys: ['tier', 'priority', 'subject'] },
    ),
  })
  .map(({ name, annotations, spec }) => ({
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: { name, ...(annotations && { annotations }) },
    spec,
  }))

const ciliumTerms = fc.oneof(
  { weight: 2, arbitrary: fc.constant({}) },
  {
    weight: 4,
    arbitrary: fc.record(
      {
        app: fc.constantFrom('p', 'q', ''),
        'k8s:tier': fc.constantFrom('x', 'y'),
        'any:app': fc.constantFrom('p', 'q'),
      },
      { requiredKeys: [] },
    ),
  },
)
const ciliumPlaces = fc.oneof(
  { weight: 4, arbitrary: fc.constant({}) },
  {
    weight: 3,
    arbitrary: fc.record(
      {
        'k8s:io.kubernetes.pod.namespace': namespaceName,
        'io.cilium.k8s.namespace.labels.tier': fc.constantFrom('x', 'y'),
        'k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name': namespaceName,
      },
      { requiredKeys: [] },
    ),
  },
)
const ciliumExpression = fc.oneof(
  fc.record({
    key: fc.constantFrom('app', 'k8s:tier', 'constructor'),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.uniqueArray(fc.constantFrom('p', 'q', '', 'x'), { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ key: fc.constantFrom('app', 'any:tier'), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
)
const ciliumPlaceExpression = fc.oneof(
  fc.record({
    key: fc.constantFrom('io.kubernetes.pod.namespace', 'io.cilium.k8s.namespace.labels.app'),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.uniqueArray(fc.constantFrom('a', 'b', 'p', 'q'), { minLength: 1, maxLength: 2 }),
  }),
  fc.record({
    key: fc.constantFrom('any:io.kubernetes.pod.namespace', 'io.cilium.k8s.namespace.labels.tier'),
    operator: fc.constantFrom('Exists', 'DoesNotExist'),
  }),
)

/** Of a policy with a namespace the subject cannot say where. */
function endpoints(saysWhere: boolean): fc.Arbitrary<object> {
  const expressions = saysWhere ? fc.oneof(ciliumExpression, ciliumPlaceExpression) : ciliumExpression
  return fc.oneof(
    { weight: 2, arbitrary: fc.constantFrom({}, { matchLabels: {} }) },
    {
      weight: 4,
      arbitrary: fc
        .tuple(ciliumTerms, saysWhere ? ciliumPlaces : fc.constant({}))
        .map(([terms, places]) => ({ matchLabels: { ...terms, ...places } })),
    },
    {
      weight: 2,
      arbitrary: fc.record({ matchLabels: ciliumTerms, matchExpressions: fc.array(expressions, { maxLength: 2 }) }),
    },
  )
}

const ciliumPort = fc.oneof(
  fc.record(
    {
      port: fc.constantFrom(...ports, ...portNames).map(String),
      protocol: fc.constantFrom('TCP', 'UDP', 'SCTP', 'ANY', ''),
    },
    { requiredKeys: ['port'] },
  ),
  fc.record({ port: fc.constant('0'), protocol: fc.constantFrom('TCP', 'UDP') }),
  fc
    .tuple(fc.constantFrom(...ports), fc.constantFrom(...ports), fc.constantFrom('TCP', 'UDP', undefined))
    .map(([a, b, of]) => ({ port: String(Math.min(a, b)), endPort: Math.max(a, b), protocol: of })),
  fc.record({ port: fc.constantFrom(...portNames), endPort: fc.constant(9000) }),
)
const icmpField = fc.oneof(
  fc.record({ family: fc.constantFrom('IPv4', 'IPv6'), type: fc.constantFrom(8, 13, 128, 129, '8', 'EchoRequest') }),
  fc.record({ type: fc.constantFrom(8, 'Timestamp', 0) }),
)
const someOf = <T>(item: fc.Arbitrary<T>, maxLength: number) => fc.array(item, { minLength: 1, maxLength })

/** One kind of peers, ports or ICMP types, or none of it. */
function ciliumRules(side: 'from' | 'to'): fc.Arbitrary<readonly object[]> {
  const allCidrs = [...cidrs[4], ...cidrs[6]]
  const anyEndpoints = { weight: 6, arbitrary: endpoints(true) }
  const special = fc
    .constantFrom('world', 'host', 'remote-node', 'kube-apiserver', 'health')
    .map((name): object => ({ matchLabels: { [`reserved:${name}`]: '' } }))
  const peers = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        [`${side}Endpoints`]: someOf(fc.oneof(anyEndpoints, { weight: 1, arbitrary: special }), 2),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        [`${side}Entities`]: someOf(
          fc.constantFrom('world', 'cluster', 'host', 'remote-node', 'kube-apiserver', 'health', 'all'),
          2,
        ),
      }),
    },
    { weight: 1, arbitrary: fc.record({ [`${side}CIDR`]: someOf(fc.constantFrom(...allCidrs, ...strangers), 2) }) },
    { weight: 2, arbitrary: fc.record({ [`${side}CIDRSet`]: someOf(ipBlock, 2) }) },
    { weight: 2, arbitrary: fc.constant({}) },
  )
  const target = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom({}, { toPorts: [] }) },
    { weight: 3, arbitrary: fc.record({ toPorts: someOf(fc.record({ ports: someOf(ciliumPort, 2) }), 2) }) },
    { weight: 1, arbitrary: fc.record({ icmps: someOf(fc.record({ fields: someOf(icmpField, 2) }), 2) }) },
  )
  return fc.array(
    fc.tuple(peers, target).map(([a, b]) => ({ ...a, ...b })),
    { maxLength: 2 },
  )
}

function ciliumSpec(saysWhere: boolean): fc.Arbitrary<object> {
  return fc.record(
    {
      endpointSelector: endpoints(saysWhere),
      ingress: ciliumRules('from'),
      egress: ciliumRules('to'),
      ingressDeny: ciliumRules('from'),
      egressDeny: ciliumRules('to'),
      enableDefaultDeny: fc.record({ ingress: fc.boolean(), egress: fc.boolean() }, { requiredKeys: [] }),
      description: fc.constant('as it is'),
    },
    { requiredKeys: ['endpointSelector'] },
  )
}

const ciliumPolicy: fc.Arbitrary<ApiObject> = fc.boolean().chain((isClusterwide) => {
  const spec = ciliumSpec(isClusterwide)
  return fc
    .record({
      namespace: namespaceName,
      name: fc.constantFrom('deny', 'web', 'zone'),
      annotations,
      body: fc.oneof(
        { weight: 5, arbitrary: fc.record({ spec }) },
        { weight: 1, arbitrary: fc.record({ specs: someOf(spec, 2) }) },
        { weight: 1, arbitrary: fc.record({ spec, specs: someOf(spec, 2) }) },
      ),
    })
    .map(({ namespace, name, annotations, body }) => ({
      apiVersion: 'cilium.io/v2',
      kind: isClusterwide ? 'CiliumClusterwideNetworkPolicy' : 'CiliumNetworkPolicy',
      metadata: { ...(isClusterwide ? {} : { namespace }), name, ...(annotations && { annotations }) },
      ...body,
    }))
})

/** Where the API servers are: at nodes, pods and strangers. */
const serverSlice: fc.Arbitrary<ApiObject> = fc
  .subarray(['192.0.2.1', '192.0.2.2', '203.0.113.7', '10.1.0.1', '10.1.0.9'], { minLength: 1, maxLength: 3 })
  .map((addresses) => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace: 'default', name: 'kubernetes', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: 'IPv4',
    endpoints: addresses.map((address) => ({ addresses: [address] })),
  }))

const containerPort = fc.record(
  {
    name: fc.constantFrom(...portNames),
    containerPort: fc.constantFrom(...ports),
    protocol: fc.constantFrom('TCP', 'UDP', 'SCTP'),
  },
  { requiredKeys: ['containerPort'] },
)
const container = fc.record({ ports: fc.array(containerPort, { maxLength: 3 }) })

const pod: fc.Arbitrary<ApiObject> = fc
  .record({
    namespace: namespaceName,
    name: fc.constantFrom('one', 'two', 'three', 'four'),
    labels: fc.option(labels, { nil: undefined }),
    nodeName: fc.constantFrom('n1', 'n1', 'n2', 'n3', undefined),
    hostNetwork: fc.constantFrom(undefined, undefined, undefined, undefined, true),
    containers: fc.array(container, { maxLength: 2 }),
    initContainers: fc.array(
      container.map((each) => ({ ...each, restartPolicy: 'Always' })),
      { maxLength: 1 },
    ),
    phase: fc.constantFrom('Running', 'Running', 'Running', 'Pending', 'Succeeded', 'Failed'),
    v4: fc.constantFrom(...podAddresses[4]),
    v6: fc.constantFrom(...podAddresses[6]),
    families: fc.constantFrom('4', '6', '46', '64'),
    created: fc.constantFrom(undefined, '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
  })
  .map(({ namespace, name, labels: of, created, phase, v4, v6, families, ...spec }) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace,
      name,
      ...(of && { labels: of }),
      ...(created !== undefined && { creationTimestamp: created }),
    },
    spec,
    status: { phase, podIPs: [...families].map((each) => ({ ip: each === '4' ? v4 : v6 })) },
  }))

const podCIDRs = {
  n1: ['10.1.0.0/24', 'fd00:1::/64'],
  n2: ['10.2.0.0/24'],
  n3: ['10.1.0.0/29', 'fd00:2::/64'],
} as const
const node: fc.Arbitrary<ApiObject> = fc
  .tuple(fc.constantFrom('n1', 'n2', 'n3'), labels, fc.boolean())
  .map(([name, of, hasPods]) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: of },
    ...(hasPods && { spec: { podCIDRs: podCIDRs[name as keyof typeof podCIDRs] } }),
    status: {
      addresses: nodeAddresses[name as keyof typeof nodeAddresses].map((address) => ({ type: 'InternalIP', address })),
    },
  }))

const namespace: fc.Arbitrary<ApiObject> = fc
  .record({ name: namespaceName, labels: fc.option(labels, { nil: undefined }) })
  .map(({ name, labels: of }) => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, ...(of && { labels: of }) },
  }))

const allObjects = fc.uniqueArray(
  fc.oneof(
    { weight: 5, arbitrary: pod },
    { weight: 6, arbitrary: policy },
    { weight: 3, arbitrary: tierPolicy },
    { weight: 5, arbitrary: ciliumPolicy },
    { weight: 1, arbitrary: serverSlice },
    { weight: 1, arbitrary: node },
    { weight: 1, arbitrary: namespace },
  ),
  {
    minLength: 6,
    maxLength: 28,
    size: 'max',
    selector: ({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`,
  },
)

const target = fc.oneof(
  fc.record({
    protocol: fc.constantFrom('TCP' as const, 'TCP' as const, 'UDP' as const, 'SCTP' as const),
    port: fc.constantFrom(...ports, 79, 8001, 8190, 65534),
  }),
  fc.record({ protocol: fc.constant('ICMP' as const), type: fc.constantFrom(8, 128, 129, 13) }),
)

/** Every pod, every node, addresses that nobody has, and those that pods have, written as addresses. */
function placesOf(objects: readonly ApiObject[]): readonly ModelPlace[] {
  const pods = objects.filter(({ kind }) => kind === 'Pod')
  return [
    ...pods.map(({ metadata }) => ({ pod: `${metadata.namespace}/${metadata.name}` })),
    ...objects.filter(({ kind }) => kind === 'Node').map(({ metadata }) => ({ node: metadata.name })),
    ...[...strangers, ...podAddresses[4], ...podAddresses[6]].map((ip) => ({ ip })),
  ]
}

const settings: fc.Arbitrary<ModelSettings> = fc.record({
  auditAll: fc.constantFrom(false, false, false, true),
  defaultDeny: fc.constantFrom([], [], [], ['a'], ['*'], ['default', 'b']),
  defaultAllow: fc.constantFrom([], ['b'], ['a', 'default']),
})

/** A cluster and so many queries, most of which begin or end at a pod. */
export function policyWorlds(queryCount: number): fc.Arbitrary<PolicyWorld> {
  return allObjects.chain((objects) => {
    const places = placesOf(objects)
    const pods = places.filter((place) => 'pod' in place)
    const any = fc.constantFrom(...places)
    const aPod = pods.length === 0 ? any : fc.constantFrom<ModelPlace>(...pods)
    const ends = fc.oneof(fc.tuple(aPod, aPod), fc.tuple(aPod, any), fc.tuple(any, aPod), fc.tuple(any, any))
    const query = fc
      .record({ ends, of: target, family: fc.constantFrom(undefined, undefined, 'IPv4' as const, 'IPv6' as const) })
      .map(({ ends: [from, to], of, family }): ModelQuery => ({ from, to, ...of, ...(family && { family }) }))
    return fc.record({
      objects: fc.constant(objects),
      settings,
      queries: fc.array(query, { minLength: 1, maxLength: queryCount, size: 'max' }),
    })
  })
}
