// SPDX-License-Identifier: Apache-2.0
// NetworkPolicy read aloud: a deliberately naive evaluator, written from the API's documentation
// (networking.k8s.io/v1) and sharing nothing with src/policy, to hold the compiler against.

import type {
  KubeObject,
  LabelSelector,
  Labels,
  Namespace,
  NetworkPolicy,
  Pod,
  PolicyPeer,
  PolicyPort,
} from '../../src/world/objects.ts'

export interface OracleQuery {
  readonly direction: 'ingress' | 'egress'
  /** The pod whose policies are asked. */
  readonly pod: Pod
  /** The address at the other end. */
  readonly peer: string
  readonly protocol: number
  /** Destination port; for ICMP type << 8 | code. */
  readonly port: number
}

export interface OracleAnswer {
  readonly allowed: boolean
  /** Broadest rule that allows, "namespace/name ingress[0]"; null when none does. */
  readonly rule: string | null
  /** Policies that isolate the pod in that direction. */
  readonly isolatedBy: readonly string[]
}

export function ask(objects: readonly KubeObject[], query: OracleQuery): OracleAnswer {
  const pods = objects.filter((object): object is Pod => object.kind === 'Pod')
  const namespaces = objects.filter((object): object is Namespace => object.kind === 'Namespace')
  const isolating = objects
    .filter((object): object is NetworkPolicy => object.kind === 'NetworkPolicy')
    .filter((policy) => policy.namespace === query.pod.namespace && selects(policy.podSelector, query.pod.labels))
    .filter((policy) => policy[query.direction] !== null)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const isolatedBy = isolating.map((policy) => `${policy.namespace}/${policy.name}`)
  if (isolating.length === 0) return { allowed: true, rule: null, isolatedBy }

  const peerPod = ownerOf(query.peer, pods)
  const destination = query.direction === 'ingress' ? query.pod : peerPod
  let best: { name: string; breadth: number } | null = null
  for (const policy of isolating) {
    for (const [index, rule] of policy[query.direction]!.entries()) {
      const portFits = rule.ports === null || rule.ports.some((port) => fits(port, query, destination))
      if (!portFits) continue
      const breadth =
        rule.peers === null
          ? 3
          : Math.max(0, ...rule.peers.map((peer) => breadthOf(peer, policy, query.peer, peerPod, namespaces)))
      if (breadth === 0) continue
      if (best === null || breadth > best.breadth) {
        best = { name: `${policy.namespace}/${policy.name} ${query.direction}[${index}]`, breadth }
      }
    }
  }
  return { allowed: best !== null, rule: best?.name ?? null, isolatedBy }
}

/** 0: not this peer; 1: by selector; 2: because every pod is. */
function breadthOf(
  peer: PolicyPeer,
  policy: NetworkPolicy,
  address: string,
  pod: Pod | undefined,
  namespaces: readonly Namespace[],
): number {
  if ('ipBlock' in peer) {
    const { cidr, except } = peer.ipBlock
    return inside(address, cidr) && !except.some((each) => inside(address, each)) ? 1 : 0
  }
  if (pod === undefined) return 0
  const { podSelector, namespaceSelector } = peer
  if (podSelector !== null && !selects(podSelector, pod.labels)) return 0
  if (namespaceSelector === null) return pod.namespace === policy.namespace ? 1 : 0
  const labels = namespaces.find((namespace) => namespace.name === pod.namespace)?.labels
  const everyNamespace = blank(namespaceSelector)
  if (!everyNamespace && (labels === undefined || !selects(namespaceSelector, labels))) return 0
  return everyNamespace && (podSelector === null || blank(podSelector)) ? 2 : 1
}

function fits(port: PolicyPort, query: OracleQuery, destination: Pod | undefined): boolean {
  if (port.protocol !== query.protocol) return false
  if (port.port === null) return true
  if (typeof port.port === 'string') {
    return (destination?.containerPorts ?? []).some(
      (each) => each.name === port.port && each.protocol === port.protocol && each.port === query.port,
    )
  }
  return query.port >= port.port && query.port <= (port.endPort ?? port.port)
}

function ownerOf(address: string, pods: readonly Pod[]): Pod | undefined {
  return pods
    .filter((pod) => !pod.finished && !pod.hostNetwork && (pod.podIPs as readonly string[]).includes(address))
    .sort((a, b) => b.createdMs - a.createdMs || (`${a.namespace}/${a.name}` > `${b.namespace}/${b.name}` ? -1 : 1))[0]
}

function selects(selector: LabelSelector, labels: Labels): boolean {
  const has = (key: string) => Object.keys(labels).includes(key)
  return (
    Object.entries(selector.matchLabels).every(([key, value]) => has(key) && labels[key] === value) &&
    selector.matchExpressions.every(({ key, operator, values }) => {
      if (operator === 'Exists') return has(key)
      if (operator === 'DoesNotExist') return !has(key)
      if (operator === 'In') return has(key) && values.includes(labels[key]!)
      return !has(key) || !values.includes(labels[key]!)
    })
  )
}

function blank(selector: LabelSelector): boolean {
  return Object.keys(selector.matchLabels).length + selector.matchExpressions.length === 0
}

/** Bit strings, compared character by character. */
function inside(address: string, cidr: string): boolean {
  const [network, length] = cidr.split('/') as [string, string]
  if (network.includes(':') !== address.includes(':')) return false
  return bits(network).slice(0, Number(length)) === bits(address).slice(0, Number(length))
}

export function bits(address: string): string {
  if (!address.includes(':'))
    return address
      .split('.')
      .map((byte) => Number(byte).toString(2).padStart(8, '0'))
      .join('')
  const [head, tail] = address.split('::') as [string, string | undefined]
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const middle = tail === undefined ? [] : Array<string>(8 - left.length - right.length).fill('0')
  return [...left, ...middle, ...right]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0'))
    .join('')
}
