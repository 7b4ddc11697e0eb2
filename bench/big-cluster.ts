// SPDX-License-Identifier: Apache-2.0
// A cluster of 100,000 pods in 2,000 namespaces on 400 nodes, with 1,000 policies that select pods of its first node, as
// its API server would tell it.

import { root } from '../src/api/cursor.ts'
import { readers } from '../src/api/object.ts'
import type { KubeObject } from '../src/world/objects.ts'
import type { ApiJson } from '../test/support/api-server.ts'

export const PODS = 100_000
export const PODS_PER_NODE = 250
const NAMESPACES = 2_000
const NODES = PODS / PODS_PER_NODE
const POLICIES = 1_000
/** Of the namespaces, by which peers are selected: one holds 10,000 pods. */
export const GROUPS = 10
/** The first node, whose pods are 0 to 249. */
export const HERE = 'n1'

const peersOf = {
  'peers of 10,000 pods each': (policy: number) => ({
    namespaceSelector: { matchLabels: { group: `group-${policy % GROUPS}` } },
    // A thousand selectors that differ, and match alike but for the pods that a change has marked.
    podSelector: { matchExpressions: [{ key: 'marked', operator: 'NotIn', values: [`by-${policy}`] }] },
  }),
  'peers in every namespace': () => ({ namespaceSelector: {} }),
} as const
export type Scenario = keyof typeof peersOf
export const scenarios = Object.keys(peersOf) as readonly Scenario[]

export function* bigCluster(scenario: Scenario): Generator<ApiJson> {
  for (let at = 0; at < NODES; at++) yield nodeOf(at)
  for (let at = 0; at < NAMESPACES; at++) yield namespaceOf(at)
  for (let at = 0; at < PODS; at++) yield podOf(at)
  for (let at = 0; at < POLICIES; at++) yield policyOf(at, scenario)
}

/** As the agent's source reads it: of its text. */
export function readObject(object: ApiJson): KubeObject {
  const read = readers[`${object.apiVersion} ${object.kind}`]!
  return read(root(JSON.parse(JSON.stringify(object))))!
}

function nodeOf(at: number): ApiJson {
  const podCIDRs = [`${podPrefix(at)}.0/24`]
  return {
    ...objectOf('v1', 'Node', nodeName(at), at),
    spec: { podCIDRs },
    status: { addresses: [{ type: 'InternalIP', address: nodeAddress(at) }] },
  }
}

export function namespaceOf(at: number): ApiJson {
  return objectOf('v1', 'Namespace', `ns-${at}`, at, { labels: { group: `group-${groupOf(at)}` } })
}

/** Four of five are a Deployment's, which share their labels with those of the same ReplicaSet; the rest a StatefulSet's, which
 *  have some of their own. */
export function podOf(at: number, more: Readonly<Record<string, string>> = {}): ApiJson {
  const app = appOf(at)
  const nth = Math.floor(at / NAMESPACES)
  const hash = (7_919 * (at % 8_000)).toString(36).padStart(6, '0')
  const isStateful = nth % 5 === 0
  const name = isStateful ? `${app}-${nth}` : `${app}-${hash}-${(at + 46_656).toString(36)}`
  const labels = {
    app,
    'app.kubernetes.io/instance': app,
    'app.kubernetes.io/managed-by': 'Helm',
    ...(isStateful
      ? {
          'apps.kubernetes.io/pod-index': String(nth),
          'controller-revision-hash': `${app}-${hash}`,
          'statefulset.kubernetes.io/pod-name': name,
        }
      : { 'pod-template-hash': hash }),
    ...more,
  }
  return {
    ...objectOf('v1', 'Pod', name, at, { namespace: namespaceName(at), labels }),
    spec: {
      nodeName: nodeName(nodeOfPod(at)),
      containers: [{ name: 'main', ports: [{ name: 'http', containerPort: 8080 }] }],
    },
    status: { phase: 'Running', podIPs: [{ ip: `${podPrefix(nodeOfPod(at))}.${(at % PODS_PER_NODE) + 2}` }] },
  }
}

/** Each selects one pod of this node; four select each. */
function policyOf(at: number, scenario: Scenario): ApiJson {
  const pod = at % PODS_PER_NODE
  return {
    ...objectOf('networking.k8s.io/v1', 'NetworkPolicy', `policy-${at}`, at, { namespace: namespaceName(pod) }),
    spec: {
      podSelector: { matchLabels: { app: appOf(pod) } },
      policyTypes: ['Ingress'],
      ingress: [{ from: [peersOf[scenario](at)], ports: [{ protocol: 'TCP', port: 8000 + (at % 4) }] }],
    },
  }
}

function objectOf(apiVersion: string, kind: string, name: string, at: number, more: object = {}): ApiJson {
  const uid = `00000000-0000-4000-8000-${at.toString(16).padStart(12, '0')}`
  const creationTimestamp = new Date(Date.UTC(2026, 0, 2) + at * 1_000).toISOString().replace('.000', '')
  return { kind, apiVersion, metadata: { name, uid, creationTimestamp, ...more } }
}

/** Of a namespace, and of the pods in it. */
export function groupOf(namespace: number): number {
  return namespace % GROUPS
}

function appOf(pod: number): string {
  return `app-${pod % 500}`
}

function namespaceName(pod: number): string {
  return `ns-${pod % NAMESPACES}`
}

function nodeName(at: number): string {
  return `n${at + 1}`
}

function nodeOfPod(at: number): number {
  return Math.floor(at / PODS_PER_NODE)
}

function podPrefix(node: number): string {
  return `10.${16 + (node >> 8)}.${node & 255}`
}

function nodeAddress(node: number): string {
  return `172.16.${node >> 8}.${node & 255}`
}
