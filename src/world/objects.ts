// SPDX-License-Identifier: Apache-2.0
// The objects that Heddle knows: trimmed to the fields that are read, validated and canonical. The two sources
// (src/manifests, src/kube) make them from API JSON with src/api; nothing behind them sees API JSON.

import type { Address, Port, Prefix } from '../core/address.ts'
import type { Protocol } from '../core/protocol.ts'

/** "namespace/name"; cluster-scoped objects are "name". */
export type ObjectName = string

export type Labels = Readonly<Record<string, string>>

export interface Namespace {
  readonly kind: 'Namespace'
  readonly name: string
  readonly labels: Labels
}

export interface Node {
  readonly kind: 'Node'
  readonly name: string
  readonly labels: Labels
  /** status.addresses of type InternalIP. */
  readonly internalIPs: readonly Address[]
  /** spec.podCIDRs. */
  readonly podCIDRs: readonly Prefix[]
  /** metadata.creationTimestamp, milliseconds; 0 in manifests that have none. The older owner of a prefix keeps it. */
  readonly createdMs: number
  /** It is being deleted, or the cluster autoscaler is about to: load balancers are told to look elsewhere. */
  readonly leaving?: true
  /** Its programs answer clients whom another node has led to its pods. */
  readonly dsr?: true
}

export interface Pod {
  readonly kind: 'Pod'
  readonly namespace: string
  readonly name: string
  /** metadata.uid; '' in manifests that have none. */
  readonly uid: string
  readonly labels: Labels
  /** spec.nodeName; '' while unscheduled. */
  readonly nodeName: string
  readonly hostNetwork: boolean
  /** status.podIPs. */
  readonly podIPs: readonly Address[]
  /** Succeeded or Failed: its addresses are no longer its own. One that is being removed still runs and has them. */
  readonly finished: boolean
  /** metadata.creationTimestamp, milliseconds; the youngest owner of an address wins. */
  readonly createdMs: number
  /** Those that have a name. */
  readonly containerPorts: readonly { readonly name: string; readonly port: Port; readonly protocol: Protocol }[]
}

export interface ServicePort {
  readonly name: string
  readonly protocol: Protocol
  readonly port: Port
  /** null: none was allocated. */
  readonly nodePort: Port | null
}

/** How a backend is chosen for a new connection of a client that has none. */
export const Algorithm = {
  RANDOM: 'random',
  ROUND_ROBIN: 'round-robin',
  SOURCE_HASH: 'source-hash',
  MAGLEV: 'maglev',
  LEAST_CONNECTIONS: 'least-connections',
} as const
export type Algorithm = (typeof Algorithm)[keyof typeof Algorithm]

export interface Balancing {
  readonly algorithm: Algorithm
  /** By node of the endpoint, 1..100; of a node that is not named 1. null: all weigh the same. */
  readonly weights: Readonly<Record<string, number>> | null
}

export const AT_RANDOM: Balancing = { algorithm: Algorithm.RANDOM, weights: null }

export interface Service {
  readonly kind: 'Service'
  readonly namespace: string
  readonly name: string
  /** metadata.creationTimestamp, milliseconds; 0 in manifests that have none. The older keeps what two claim. */
  readonly createdMs: number
  /** spec.clusterIPs; empty when headless or ExternalName. */
  readonly clusterIPs: readonly Address[]
  readonly ports: readonly ServicePort[]
  readonly externalIPs: readonly Address[]
  /** status.loadBalancer.ingress of ipMode VIP. */
  readonly loadBalancerIPs: readonly Address[]
  /** spec.loadBalancerSourceRanges, or the annotation before it; null: everybody may come in. */
  readonly sourceRanges: readonly Prefix[] | null
  /** internalTrafficPolicy Local. */
  readonly internalLocal: boolean
  /** externalTrafficPolicy Local, of a Service that has an address for the world. */
  readonly externalLocal: boolean
  /** sessionAffinity ClientIP; 0: None. */
  readonly affinitySeconds: number
  readonly balancing: Balancing
  /** Where load balancers ask whether this node has an endpoint; null: nowhere. */
  readonly healthCheckNodePort: Port | null
}

/** For whom an endpoint is meant (trafficDistribution): names of zones and of nodes. */
export interface EndpointHints {
  readonly zones: readonly string[]
  readonly nodes: readonly string[]
}

export interface SliceEndpoint {
  /** May be of another family than the slice, or of a kind that no packet can be sent to: consumers judge. */
  readonly address: Address
  readonly ready: boolean
  readonly serving: boolean
  readonly terminating: boolean
  /** '' where it is on none. */
  readonly nodeName: string
  readonly hints: EndpointHints | null
}

export interface EndpointSlice {
  readonly kind: 'EndpointSlice'
  readonly namespace: string
  readonly name: string
  /** Name of the Service in the same namespace (label kubernetes.io/service-name). */
  readonly serviceName: string
  readonly family: 4 | 6
  readonly ports: readonly { readonly name: string; readonly port: Port; readonly protocol: Protocol }[]
  readonly endpoints: readonly SliceEndpoint[]
  /** When what it tells of last happened, milliseconds; 0: it does not say. For metrics. */
  readonly triggeredMs: number
}

/** metav1.LabelSelector. */
export interface LabelSelector {
  readonly matchLabels: Labels
  readonly matchExpressions: readonly {
    readonly key: string
    readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist'
    readonly values: readonly string[]
  }[]
}

/** NetworkPolicyPeer: either a CIDR or selectors (AND; a missing namespaceSelector means the policy's own namespace). */
export type PolicyPeer =
  | { readonly ipBlock: { readonly cidr: Prefix; readonly except: readonly Prefix[] } }
  | { readonly podSelector: LabelSelector | null; readonly namespaceSelector: LabelSelector | null }

/** NetworkPolicyPort; port null: all ports of the protocol. A name is resolved per destination pod. ICMP's ports are
 *  type << 8 | code. */
export interface PolicyPort {
  readonly protocol: Protocol
  readonly port: Port | string | null
  readonly endPort: Port | null
}

export interface PolicyRule {
  /** null: every peer (missing or empty list in the API); empty: nobody. */
  readonly peers: readonly PolicyPeer[] | null
  /** null: every port. */
  readonly ports: readonly PolicyPort[] | null
  /** A field of it, "spec.ingress[0].from[0].name", that Heddle does not know: it admits nobody. */
  readonly unknownField?: string
}

export interface NetworkPolicy {
  readonly kind: 'NetworkPolicy'
  readonly namespace: string
  readonly name: string
  readonly podSelector: LabelSelector
  /** null: the policy does not isolate that direction (policyTypes, after defaulting). */
  readonly ingress: readonly PolicyRule[] | null
  readonly egress: readonly PolicyRule[] | null
  /** It stands for one that cannot be read, and has no rule: what that one may select is isolated. */
  readonly unreadable?: true
  /** What it would deny passes, and is told. */
  readonly audited?: true
}

/** Of policy.networking.k8s.io: the tiers around NetworkPolicy. */
export type ClusterTier = 'Admin' | 'Baseline'
export type ClusterAction = 'Accept' | 'Deny' | 'Pass'

/** networks come as blocks, one each. */
export type ClusterPeer = PolicyPeer | { readonly nodeSelector: LabelSelector }

export interface ClusterPolicyRule {
  /** The rule's own name; '' where it has none. */
  readonly name: string
  readonly action: ClusterAction
  /** null: everybody, of a rule that was closed for an unknown peer; empty: nobody, for the same reason. */
  readonly peers: readonly ClusterPeer[] | null
  /** null: every port. */
  readonly ports: readonly PolicyPort[] | null
  /** "spec.ingress[0].from[0]": a peer of a kind that Heddle does not know, for which the rule fails closed. */
  readonly unknownField?: string
}

/** policy.networking.k8s.io/v1alpha2. */
export interface ClusterNetworkPolicy {
  readonly kind: 'ClusterNetworkPolicy'
  readonly name: string
  readonly tier: ClusterTier
  /** 0 to 1000, the lowest first. */
  readonly priority: number
  readonly subject: { readonly namespaceSelector: LabelSelector; readonly podSelector: LabelSelector }
  readonly ingress: readonly ClusterPolicyRule[]
  readonly egress: readonly ClusterPolicyRule[]
  /** It stands for one that cannot be read. */
  readonly unreadable?: true
  /** As NetworkPolicy's. */
  readonly audited?: true
}

/** Of cilium.io. `all` comes as no list of peers. */
export type CiliumEntity = 'world' | 'cluster' | 'host' | 'remote-node' | 'kube-apiserver'

/** namespaceSelector null: pods of the policy's own namespace. A block holds what is outside the cluster and nothing else:
 *  no pod's address and no node's. */
export type CiliumPeer =
  | { readonly podSelector: LabelSelector; readonly namespaceSelector: LabelSelector | null }
  | { readonly outsideBlock: { readonly cidr: Prefix; readonly except: readonly Prefix[] } }
  | { readonly entity: CiliumEntity }

export interface CiliumRule {
  /** Where it is written: "ingress[0]", "specs[1].egressDeny[2]". */
  readonly place: string
  readonly action: 'Accept' | 'Deny'
  /** null: everybody; empty: nobody. */
  readonly peers: readonly CiliumPeer[] | null
  /** null: every port, ICMP too. */
  readonly ports: readonly PolicyPort[] | null
}

export interface CiliumDirection {
  /** What no rule of any policy admits is denied to its subject. */
  readonly isolates: boolean
  readonly rules: readonly CiliumRule[]
}

/** The `spec` of a policy, or one of its `specs`: each selects for itself. */
export interface CiliumSpec {
  /** The policy's name. */
  readonly policy: ObjectName
  /** The policy's own; '' of a clusterwide one. */
  readonly namespace: string
  /** namespaceSelector null: pods of its own namespace. */
  readonly subject: { readonly namespaceSelector: LabelSelector | null; readonly podSelector: LabelSelector }
  readonly ingress: CiliumDirection
  readonly egress: CiliumDirection
  /** As NetworkPolicy's. */
  readonly audited?: true
}

/** cilium.io/v2, both kinds. */
export interface CiliumPolicy {
  readonly kind: 'CiliumNetworkPolicy' | 'CiliumClusterwideNetworkPolicy'
  /** '' of a clusterwide one. */
  readonly namespace: string
  readonly name: string
  readonly specs: readonly CiliumSpec[]
  /** It stands for one that cannot be read. */
  readonly unreadable?: true
  /** "specs[1]": of those that cannot be read, the ones of which nobody can tell whom they select. */
  readonly unselective?: readonly string[]
}

/** The Service whose endpoints are the API servers. */
export const API_SERVERS: ObjectName = 'default/kubernetes'

/** What ClusterIPs are allocated from. */
export interface ServiceCIDR {
  readonly kind: 'ServiceCIDR'
  readonly name: string
  /** spec.cidrs. */
  readonly cidrs: readonly Prefix[]
}

export type KubeObject =
  | Namespace
  | Node
  | ServiceCIDR
  | Pod
  | Service
  | EndpointSlice
  | NetworkPolicy
  | ClusterNetworkPolicy
  | CiliumPolicy
export type Kind = KubeObject['kind']

export const POLICY_KINDS: readonly Kind[] = [
  'NetworkPolicy',
  'ClusterNetworkPolicy',
  'CiliumNetworkPolicy',
  'CiliumClusterwideNetworkPolicy',
]
export const KINDS: readonly Kind[] = ['Namespace', 'Node', 'Pod', 'Service', 'EndpointSlice', ...POLICY_KINDS]

/** A pod of this node that the CNI plugin wired. Its policy is found by namespace/name in World. */
export interface Endpoint {
  readonly containerId: string
  readonly ifname: string
  readonly namespace: string
  readonly name: string
  /** pod UID from CNI_ARGS, '' when the runtime gave none. */
  readonly uid: string
  readonly addresses: readonly Address[]
  /** Host side of the veth. */
  readonly ifindex: number
  readonly hostIfname: string
  readonly netnsCookie: bigint
}
