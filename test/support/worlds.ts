// SPDX-License-Identifier: Apache-2.0
// Random small worlds for property tests: few names, few labels and nested prefixes, so that everything overlaps.

import fc from 'fast-check'
import type { Address, Port, Prefix } from '../../src/core/address.ts'
import { Protocol } from '../../src/core/protocol.ts'
import {
  API_SERVERS,
  type CiliumDirection,
  type CiliumPeer,
  type CiliumPolicy,
  type CiliumSpec,
  type ClusterNetworkPolicy,
  type ClusterPeer,
  type ClusterPolicyRule,
  type Endpoint,
  type EndpointSlice,
  type KubeObject,
  type LabelSelector,
  type Labels,
  type NetworkPolicy,
  type Pod,
  type PolicyPeer,
  type PolicyPort,
  type PolicyRule,
} from '../../src/world/objects.ts'

const addresses = [
  ...[
    '10.1.0.1',
    '10.1.0.2',
    '10.1.0.3',
    '10.1.0.4',
    '10.1.0.9',
    '10.2.0.1',
    '192.0.2.7',
    '0.0.0.0',
    '255.255.255.255',
  ],
  ...['fd00:1::1', 'fd00:1::2', 'fd00:1::3', 'fd00:1::9', 'fd00:2::1', '2001:db8::7', '::1', '::fffe:ffff:ffff'],
] as Address[]

const prefixes = {
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
  6: ['::/0', 'fd00::/8', 'fd00:1::/32', 'fd00:1::/126', 'fd00:1::2/127', 'fd00:1::3/128', '::/64', '2001:db8::/32'],
} as Readonly<Record<4 | 6, Prefix[]>>

const ports = [1, 80, 81, 443, 8000, 8080, 65535] as Port[]
const protocol = fc.constantFrom(Protocol.TCP, Protocol.UDP, Protocol.SCTP)
const portName = fc.constantFrom('http', 'dns')
const namespaceName = fc.constantFrom('a', 'b', 'c')

const labels: fc.Arbitrary<Labels> = fc.record(
  { app: fc.constantFrom('p', 'q'), tier: fc.constantFrom('x', 'y') },
  { requiredKeys: [] },
) as fc.Arbitrary<Labels>

const requirement = fc.oneof(
  fc.record({
    key: fc.constantFrom('app', 'tier', 'constructor'),
    operator: fc.constantFrom('In' as const, 'NotIn' as const),
    values: fc.uniqueArray(fc.constantFrom('p', 'q', 'x'), { minLength: 1 }),
  }),
  fc.record({
    key: fc.constantFrom('app', 'tier', 'constructor'),
    operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const),
    values: fc.constant([]),
  }),
)

const selector: fc.Arbitrary<LabelSelector> = fc.oneof(
  fc.constant({ matchLabels: {}, matchExpressions: [] }),
  fc.record({ matchLabels: labels, matchExpressions: fc.array(requirement, { maxLength: 1 }) }),
)

const block: fc.Arbitrary<PolicyPeer> = fc.constantFrom(4 as const, 6 as const).chain((family) =>
  fc.record({
    ipBlock: fc.record({
      cidr: fc.constantFrom(...prefixes[family]),
      // An except outside its cidr is refused at the edge, but must not confuse the compiler either.
      except: fc.uniqueArray(fc.constantFrom(...prefixes[family]), { maxLength: 2 }),
    }),
  }),
)

const peer: fc.Arbitrary<PolicyPeer> = fc.oneof(
  block,
  fc
    .record({ podSelector: fc.option(selector), namespaceSelector: fc.option(selector) })
    .filter(({ podSelector, namespaceSelector }) => podSelector !== null || namespaceSelector !== null),
)

const port: fc.Arbitrary<PolicyPort> = fc.oneof(
  fc.record({ protocol, port: fc.constant(null), endPort: fc.constant(null) }),
  fc.record({ protocol, port: fc.constantFrom(...ports), endPort: fc.constant(null) }),
  fc.record({ protocol, port: portName, endPort: fc.constant(null) }),
  fc
    .tuple(protocol, fc.constantFrom(...ports), fc.constantFrom(...ports))
    .map(([of, a, b]) => ({ protocol: of, port: Math.min(a, b) as Port, endPort: Math.max(a, b) as Port })),
)

const rule: fc.Arbitrary<PolicyRule> = fc.record({
  peers: fc.option(fc.array(peer, { minLength: 1, maxLength: 3 })),
  ports: fc.option(fc.array(port, { minLength: 1, maxLength: 3 })),
})

const policy: fc.Arbitrary<NetworkPolicy> = fc.record({
  kind: fc.constant('NetworkPolicy' as const),
  namespace: namespaceName,
  name: fc.constantFrom('deny', 'web', 'zone'),
  podSelector: selector,
  ingress: fc.option(fc.array(rule, { maxLength: 3 })),
  egress: fc.option(fc.array(rule, { maxLength: 3 })),
})

const ciliumPeer: fc.Arbitrary<CiliumPeer> = fc.oneof(
  fc.record({ podSelector: selector, namespaceSelector: fc.option(selector) }),
  fc.record({
    outsideBlock: fc.record({ cidr: fc.constantFrom(...prefixes[4], ...prefixes[6]), except: fc.constant([]) }),
  }),
  fc.record({
    entity: fc.constantFrom(
      'world' as const,
      'cluster' as const,
      'host' as const,
      'remote-node' as const,
      'kube-apiserver' as const,
    ),
  }),
)

const ciliumRule = fc.record({
  action: fc.constantFrom('Accept' as const, 'Accept' as const, 'Deny' as const),
  peers: fc.option(fc.array(ciliumPeer, { maxLength: 2 })),
  ports: fc.option(fc.array(port, { minLength: 1, maxLength: 2 })),
})

function ciliumDirection(name: string): fc.Arbitrary<CiliumDirection> {
  return fc.record({
    isolates: fc.boolean(),
    rules: fc
      .array(ciliumRule, { maxLength: 2 })
      .map((rules) => rules.map((each, index) => ({ place: `${name}[${index}]`, ...each }))),
  })
}

const ciliumPolicy: fc.Arbitrary<CiliumPolicy> = fc
  .record({
    namespace: fc.oneof(namespaceName, fc.constant('')),
    name: fc.constantFrom('deny', 'web'),
    podSelector: selector,
    namespaceSelector: selector,
    ingress: ciliumDirection('ingress'),
    egress: ciliumDirection('egress'),
  })
  .map(({ namespace, name, podSelector, namespaceSelector, ingress, egress }) => {
    const isClusterwide = namespace === ''
    const spec: CiliumSpec = {
      policy: isClusterwide ? name : `${namespace}/${name}`,
      namespace,
      subject: { podSelector, namespaceSelector: isClusterwide ? namespaceSelector : null },
      ingress,
      egress,
    }
    const kind = isClusterwide ? 'CiliumClusterwideNetworkPolicy' : 'CiliumNetworkPolicy'
    return { kind, namespace, name, specs: [spec] }
  })

const [serverNamespace, serverName] = API_SERVERS.split('/') as [string, string]
const serverSlice: fc.Arbitrary<EndpointSlice> = fc
  .uniqueArray(fc.constantFrom(...addresses), { maxLength: 3 })
  .map((servers) => ({
    kind: 'EndpointSlice',
    namespace: serverNamespace,
    name: serverName,
    serviceName: serverName,
    family: 4,
    ports: [],
    endpoints: servers.map((address) => ({
      address,
      ready: true,
      serving: true,
      terminating: false,
      nodeName: '',
      hints: null,
    })),
    triggeredMs: 0,
  }))

export const pod: fc.Arbitrary<Pod> = fc.record({
  kind: fc.constant('Pod' as const),
  namespace: namespaceName,
  name: fc.constantFrom('one', 'two', 'three'),
  uid: fc.constantFrom('', 'u1', 'u2'),
  labels,
  nodeName: fc.constantFrom('n1', 'n2', ''),
  hostNetwork: fc.constantFrom(false, false, false, true),
  podIPs: fc.uniqueArray(fc.constantFrom(...addresses.slice(0, 6), ...addresses.slice(9, 14)), { maxLength: 2 }),
  finished: fc.constantFrom(false, false, false, true),
  createdMs: fc.constantFrom(0, 1, 2),
  containerPorts: fc.array(fc.record({ name: portName, port: fc.constantFrom(...ports), protocol }), { maxLength: 3 }),
})

const others: fc.Arbitrary<KubeObject> = fc.oneof(
  fc.record({ kind: fc.constant('Namespace' as const), name: namespaceName, labels }),
  fc.record({
    kind: fc.constant('Node' as const),
    name: fc.constantFrom('n1', 'n2', 'n3'),
    labels,
    internalIPs: fc.constantFrom([], ['192.0.2.7'], ['2001:db8::7', '192.0.2.7']) as fc.Arbitrary<Address[]>,
    podCIDRs: fc.constantFrom([], ['10.1.0.0/24'], ['10.2.0.0/24', 'fd00:2::/64']) as fc.Arbitrary<Prefix[]>,
    createdMs: fc.constantFrom(0, 1),
  }),
)

const clusterPeer: fc.Arbitrary<ClusterPeer> = fc.oneof(
  block,
  fc.record({ podSelector: fc.option(selector), namespaceSelector: selector }),
  fc.record({ nodeSelector: selector }),
)

const clusterRules: fc.Arbitrary<ClusterPolicyRule[]> = fc.array(
  fc.record({
    name: fc.constant(''),
    action: fc.constantFrom('Accept' as const, 'Deny' as const, 'Pass' as const),
    peers: fc.option(fc.array(clusterPeer, { maxLength: 2 })),
    ports: fc.option(fc.array(port, { minLength: 1, maxLength: 2 })),
  }),
  { maxLength: 2 },
)

const clusterPolicy: fc.Arbitrary<ClusterNetworkPolicy> = fc.record({
  kind: fc.constant('ClusterNetworkPolicy' as const),
  name: fc.constantFrom('first', 'second'),
  tier: fc.constantFrom('Admin' as const, 'Baseline' as const),
  priority: fc.constantFrom(1, 2),
  subject: fc.record({ namespaceSelector: selector, podSelector: selector }),
  ingress: clusterRules,
  egress: clusterRules,
})

export const object: fc.Arbitrary<KubeObject> = fc.oneof(
  pod,
  policy,
  policy,
  pod,
  others,
  ciliumPolicy,
  clusterPolicy,
  serverSlice,
)

/** Objects with distinct kinds and names, at least one pod and one policy among them most of the time. */
export const objects: fc.Arbitrary<KubeObject[]> = fc.uniqueArray(object, {
  minLength: 4,
  maxLength: 16,
  selector: (each) => `${each.kind} ${'namespace' in each ? each.namespace : ''}/${each.name}`,
})

/** The attachments that a CNI plugin would have made for a node's pods. */
export function endpointsOf(world: readonly KubeObject[]): readonly Endpoint[] {
  return world
    .filter((object): object is Pod => object.kind === 'Pod' && object.nodeName === 'n1')
    .map((local, index) => ({
      containerId: `${local.namespace}-${local.name}`,
      ifname: 'eth0',
      namespace: local.namespace,
      name: local.name,
      uid: '',
      addresses: [],
      ifindex: index + 10,
      hostIfname: `h${index}`,
      netnsCookie: BigInt(index + 1),
    }))
}
