// SPDX-License-Identifier: Apache-2.0
// The agent API: HTTP/1.1 and JSON on <runDir>/agent.sock (0600). Every reply is one of these types; a request that fails
// gets a status of 4xx or 5xx and ApiError. `src/cli` and `src/lab` are its readers.
//
//   GET  /v1/status                    Status
//   GET  /v1/endpoints                 EndpointRow[]       read back from the kernel's maps,
//   GET  /v1/services                  ServiceRow[]        with drift against what is desired
//   GET  /v1/service?name              ServiceDetail       one Service, NS/NAME: what is desired, and drift
//   GET  /v1/policies                  PolicyRow[]
//   GET  /v1/rule-uses                 RuleUse[]           when each rule last decided about a flow here
//   GET  /v1/policy-objects            PolicyObjects       namespaces, nodes, pods and policies that this node knows
//   GET  /v1/nodes                     NodeRow[]
//   GET  /v1/plan                      PlanReply           what would change in the kernel now
//   GET  /v1/trace?from&to&port&protocol   TraceReply      from and to as in CONTRACT.md
//   GET  /v1/events                    PacketEvent per line (NDJSON), until the client closes
//   POST /v1/sync                      SyncReply           reads every source again; replies when all is in force

import type { Address, Family, Prefix } from '../core/address.ts'
import type { PolicySettings } from '../policy/compile.ts'
import type { KubeObject } from '../world/objects.ts'
import type { SourcePart } from '../world/source.ts'

export interface ApiError {
  /** One sentence: what, where, what to do. */
  readonly error: string
}

/** How an entry of the kernel compares with what is desired. `missing` rows come from the desired state alone. */
export type Drift = 'none' | 'missing' | 'unexpected' | 'different'

export interface Version {
  readonly version: string
  /** '' when built outside a checkout. */
  readonly commit: string
  /** First characters of the hash over bpf/abi; pins carry it. */
  readonly abi: string
  /** uname -r. */
  readonly kernel: string
}

export interface KernelFeature {
  readonly name: string
  readonly found: boolean
  /** What Heddle does without it; the agent does not start where that is ''. */
  readonly without: string
}

export interface MapFill {
  readonly name: string
  /** What is desired to be in it; null for maps that the kernel side fills (conntrack, translations). */
  readonly desiredCount: number | null
  readonly maxEntries: number
}

/** A refused object or file: the others keep working, the last good version stays in force. */
export interface SourceProblem {
  readonly file: string
  /** 1-based index in the file. */
  readonly document: number
  /** Path such as spec.ports[0].port; '' when the whole document is meant. */
  readonly field: string
  readonly message: string
  /** Kind and name where they could be read. */
  readonly object: string
  /** Since when the last good version has been stale, milliseconds; null where there never was one. */
  readonly lastGoodAgeMs: number | null
  /** A policy that never was good: the pods that it may select are isolated. */
  readonly isolates: boolean
}

export interface SourceStatus {
  readonly name: string
  readonly synchronised: boolean
  /** What the API server is asked for; none for a folder. */
  readonly parts: readonly SourcePart[]
  /** How old the oldest part is; 0: all is up to date. */
  readonly ageMs: number
  /** Sent to and received from the API server since the start. */
  readonly requestCount: number
  readonly receivedBytes: number
  readonly objectCounts: Readonly<Record<string, number>>
  readonly problems: readonly SourceProblem[]
}

export interface PoolStatus {
  readonly prefix: Prefix
  readonly family: Family
  readonly allocated: number
  readonly resting: number
  readonly capacity: number
}

export interface DropCount {
  readonly reason: string
  readonly packets: number
  readonly bytes: number
}

export interface Status {
  readonly nodeName: string
  readonly version: Version
  readonly pid: number
  readonly startedAt: string
  readonly rssBytes: number
  /** Every source has synchronised and what they say is in force. */
  readonly ready: boolean
  /** Why not ready, or what is wrong although it is; empty when all is well. */
  readonly conditions: readonly string[]
  readonly families: readonly Family[]
  readonly mode: 'native' | 'vxlan'
  readonly nodeAddresses: readonly Address[]
  readonly podCIDRs: readonly Prefix[]
  readonly uplink: { readonly name: string; readonly ifindex: number; readonly mtu: number }
  readonly podMtu: number
  readonly kernelFeatures: readonly KernelFeature[]
  readonly maps: readonly MapFill[]
  readonly sources: readonly SourceStatus[]
  readonly pools: readonly PoolStatus[]
  readonly drops: readonly DropCount[]
  /** What passed and audited policies would have dropped, of a flow what was judged. */
  readonly audited: readonly DropCount[]
  /** The last time that tables were written; null before the first. */
  readonly lastApply: {
    readonly at: string
    readonly stepCount: number
    readonly milliseconds: number
    /** '' when it succeeded. */
    readonly error: string
  } | null
}

export interface EndpointRow {
  readonly namespace: string
  readonly name: string
  readonly containerId: string
  readonly addresses: readonly Address[]
  readonly ifindex: number
  readonly hostIfname: string
  /** true: its policy is not known yet; nothing may leave, only this node may reach it. */
  readonly isolated: boolean
  /** Id of the policy set, 16 hex digits; null: no policy isolates that direction. */
  readonly ingressSet: string | null
  readonly egressSet: string | null
  readonly drift: Drift
}

export interface ServiceRow {
  readonly namespace: string
  readonly name: string
  readonly portName: string
  readonly address: Address
  readonly port: number
  readonly protocol: string
  readonly backends: readonly { readonly address: Address; readonly port: number }[]
  readonly drift: Drift
}

/** Backends that some clients of a frontend are led to, and what they are told when there is none. */
export interface ServiceCandidates {
  readonly backends: readonly { readonly address: Address; readonly port: number }[]
  /** The traffic policy; Local: those on this node. */
  readonly policy: 'Cluster' | 'Local'
  readonly whenEmpty: 'refuse' | 'drop'
}

export interface ServiceFrontend {
  readonly portName: string
  readonly kind: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalIP'
  readonly address: Address
  readonly port: number
  readonly protocol: string
  /** For clients inside the cluster. */
  readonly internal: ServiceCandidates
  /** For clients outside; null: they cannot reach it. */
  readonly external: ServiceCandidates | null
  /** null: everybody may come in. */
  readonly sourceRanges: readonly Prefix[] | null
  /** 0: every connection is a new choice. */
  readonly affinitySeconds: number
  readonly algorithm: 'random' | 'round-robin' | 'source-hash' | 'maglev' | 'least-connections'
  readonly drift: Drift
}

/** What this node's clients, and those that come by this node, have of a backend now. */
export interface BackendTraffic {
  readonly address: Address
  readonly port: number
  readonly protocol: string
  readonly connections: number
  /** Of the connections of this node's own sockets, those of its pods among them; what is translated packet by packet is
   *  not counted. */
  readonly bytesSent: number
  readonly bytesReceived: number
}

/** One client whom affinity leads. */
export interface ServiceClient {
  readonly portName: string
  /** An address; of sockets 'NS/POD', 'node NAME', or 'netns COOKIE' where their pod is gone. */
  readonly client: string
  readonly backend: { readonly address: Address; readonly port: number }
  /** Since it was led there last. */
  readonly idleSeconds: number
}

export interface ServiceDetail {
  readonly namespace: string
  readonly name: string
  /** How a client of the world is answered by a backend elsewhere. */
  readonly loadBalancerMode: 'snat' | 'hybrid'
  readonly frontends: readonly ServiceFrontend[]
  readonly endpoints: readonly {
    readonly portName: string
    readonly protocol: string
    readonly address: Address
    readonly port: number
    readonly node: string
    readonly ready: boolean
    readonly serving: boolean
    readonly terminating: boolean
    readonly zoneHints: readonly string[]
    readonly nodeHints: readonly string[]
    /** Share of new connections beside the others'; null where the Service has no weights, and for what gets none. */
    readonly weight: number | null
    /** Whether clients are led there under traffic policy Cluster, and under Local. */
    readonly inCluster: boolean
    readonly inLocal: boolean
    /** Why it is not among the cluster's; '' when it is. */
    readonly excluded: string
  }[]
  /** Backends that have connections; some may be endpoints no more. */
  readonly traffic: readonly BackendTraffic[]
  /** Those that came last first. */
  readonly clients: readonly ServiceClient[]
  /** Where load balancers ask for this node's ready endpoints; null: nowhere. */
  readonly healthCheck: { readonly port: number; readonly localEndpoints: number } | null
  /** What is not as the objects say, one sentence each. */
  readonly problems: readonly string[]
}

/** What policy is about, and how this node's configuration wants it. */
export interface PolicyObjects {
  readonly settings: PolicySettings
  readonly objects: readonly KubeObject[]
}

/** One policy set in one direction, as the kernel holds it. */
export interface PolicyRow {
  readonly set: string
  readonly direction: 'egress' | 'ingress'
  /** namespace/name of the policies by which it isolates. */
  readonly policies: readonly string[]
  /** Of those by which it would if they were not audited. */
  readonly audited: readonly string[]
  /** namespace/name of the endpoints that it is enforced on. */
  readonly endpoints: readonly string[]
  readonly entries: readonly {
    readonly level: 'class' | 'realm' | 'any'
    /** Peer as text: a class id in hex, a realm's name, or 'any'. */
    readonly scope: string
    /** 'TCP', 'any' ... */
    readonly protocol: string
    /** '80', '80/14' (a prefix of ports), or 'any'. */
    readonly port: string
    readonly verdict: 'allow' | 'deny' | 'audit'
    readonly rule: string
    readonly drift: Drift
  }[]
  readonly drift: Drift
}

export interface NodeRow {
  readonly name: string
  readonly own: boolean
  readonly addresses: readonly Address[]
  readonly podCIDRs: readonly Prefix[]
  readonly nexthops: readonly {
    readonly family: Family
    readonly gateway: Address
    readonly tunnel: Address
    readonly ifindex: number
  }[]
  readonly drift: Drift
}

/** A rule of a policy in force on this node. Times are RFC 3339. */
export interface RuleUse {
  readonly rule: string
  /** When it came, or was last changed: it is counted from then on. */
  readonly since: string
  /** When it last decided about a new flow, to a second; null: not yet. */
  readonly lastUsed: string | null
}

export interface PlanReply {
  /** In the order in which they would be performed; empty: the kernel holds what is desired. */
  readonly steps: readonly string[]
}

export interface TraceReply {
  readonly from: string
  readonly to: string
  readonly verdict: 'allow' | 'deny'
  /** Drop reason where denied. */
  readonly reason: string | null
  /** Rule that decided, by name. */
  readonly rule: string | null
  /** What would deny it if policies were enforced that are audited; null: nothing. */
  readonly audit: string | null
  readonly steps: readonly { readonly stage: string; readonly text: string }[]
}

export interface SyncReply {
  /** From the request to everything in force. */
  readonly milliseconds: number
  readonly stepCount: number
  readonly problems: readonly SourceProblem[]
}

export type { PacketEvent } from '../observe/events.ts'
