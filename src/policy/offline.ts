// SPDX-License-Identifier: Apache-2.0
// Verdicts without a cluster: every pod of World is judged as its own node would, from compiled policies alone.
//
//   query --resolve--> at most two questions, the sender's egress and the receiver's ingress --engine--> verdict

import { type Address, type Family, family, isParseError, parseAddress, specialAddress } from '../core/address.ts'
import type { Id64 } from '../core/id64.ts'
import { compareText, endpointKey, objectName } from '../core/names.ts'
import { Protocol } from '../core/protocol.ts'
import { PolicyDirection } from '../generated/abi.ts'
import type { Endpoint, KubeObject, Pod } from '../world/objects.ts'
import type { Place, PolicyQuery } from '../world/query.ts'
import { createWorld, type WorldView } from '../world/world.ts'
import { BY_POLICY, compilePolicies } from './compile.ts'
import type { Direction } from './rules.ts'
import type { CompiledPolicies, EndpointPolicy } from './tables.ts'
import { classOfAddress, judge, type PolicyAnswer, reasonText, UNISOLATED } from './verdict.ts'

/** Whether a pod's policies let a packet leave to a peer, or come from one. */
export interface PolicyQuestion {
  readonly node: string
  readonly direction: Direction
  /** Of the pod. */
  readonly address: Address
  /** May be the pod itself, which no policy forbids. */
  readonly peer: Address
  readonly protocol: Protocol
  readonly port: number
  readonly policy: EndpointPolicy
}

export type Engine = (cluster: OfflineCluster, questions: readonly PolicyQuestion[]) => Promise<readonly PolicyAnswer[]>

export interface Verdict {
  readonly verdict: 'allow' | 'deny'
  readonly egress: 'allow' | 'deny'
  readonly ingress: 'allow' | 'deny'
  readonly egressRule: string | null
  readonly ingressRule: string | null
  /** What decided: the first denial, else what admitted on ingress, else on egress. */
  readonly rule: string | null
  /** Only where audited policies would deny what passes: what would be the first denial. */
  readonly audit?: string | null
}

export interface OfflineCluster {
  readonly world: WorldView
  /** What that node's agent would compile; '' is where pods are that have no node. */
  compiled(node: string): CompiledPolicies
  /** The query's questions, egress first; a text where it names what is not there. */
  resolve(query: PolicyQuery): readonly PolicyQuestion[] | string
}

/** Pods without an address get one of each family that nobody has (RFC 2544, RFC 5180: for benchmarks), in the order of
 *  their names. */
export function createOfflineCluster(objects: Iterable<KubeObject>, settings = BY_POLICY): OfflineCluster {
  const world = createWorld()
  for (const object of withAddresses([...objects])) world.put(object)
  const endpoints = Map.groupBy(endpointsOf(world), ({ node }) => node)
  const compiledNodes = new Map<string, CompiledPolicies>()

  function compiled(node: string): CompiledPolicies {
    let found = compiledNodes.get(node)
    if (found === undefined) {
      const local = (endpoints.get(node) ?? []).map(({ endpoint }) => endpoint)
      found = compilePolicies({ ...world, endpoints: () => local }, node, settings)
      compiledNodes.set(node, found)
    }
    return found
  }

  function question(direction: Direction, address: Address, peer: Address, query: PolicyQuery): PolicyQuestion | null {
    const pod = world.podAt(address)
    if (pod === undefined) return null
    const isIngress = direction === PolicyDirection.INGRESS
    if (isIngress && world.node(pod.nodeName)?.internalIPs.includes(peer)) return null // the kubelet's probes
    const policy = compiled(pod.nodeName).endpoints.get(endpointKey(endpointOf(pod)))!
    const protocol = query.protocol === Protocol.ICMP && family(address) === 6 ? Protocol.ICMPv6 : query.protocol
    return { node: pod.nodeName, direction, address, peer, policy, protocol, port: query.port }
  }

  function resolve(query: PolicyQuery): readonly PolicyQuestion[] | string {
    const [from, to] = [addressesOf(world, query.from), addressesOf(world, query.to)]
    if (typeof from === 'string') return from
    if (typeof to === 'string') return to
    const source = from.find((address) => isOf(address, query.family) && to.some((other) => sameFamily(other, address)))
    if (source === undefined) return `the two ends have no ${familyText(query.family)} in common`
    const destination = to.find((address) => sameFamily(address, source))!
    const special = [source, destination].find((address) => specialAddress(address) !== null)
    if (special !== undefined) return `${special} is ${specialAddress(special)}: not judged by policy`
    return [
      question(PolicyDirection.EGRESS, source, destination, query),
      question(PolicyDirection.INGRESS, destination, source, query),
    ].filter((each) => each !== null)
  }

  return { world, compiled, resolve }
}

/** Looks up what was compiled, as the data plane does. */
export const modelEngine: Engine = async (cluster, questions) =>
  questions.map(({ node, direction, address, peer, protocol, port, policy }) => {
    if (address === peer) return UNISOLATED
    const compiled = cluster.compiled(node)
    return judge(compiled, setOf(policy, direction), classOfAddress(compiled, peer), protocol, port)
  })

/** The verdicts of resolved queries, in order; the engine is asked once. */
export async function verdictsOf(
  cluster: OfflineCluster,
  resolved: readonly (readonly PolicyQuestion[])[],
  engine: Engine,
): Promise<readonly Verdict[]> {
  const answers = (await engine(cluster, resolved.flat())).values()
  return resolved.map((questions) => verdictOf(cluster, questions, new Map(questions.map((each) => [each, next()]))))

  function next(): PolicyAnswer {
    return answers.next().value!
  }
}

export function setOf(policy: EndpointPolicy, direction: Direction): Id64 {
  return direction === PolicyDirection.EGRESS ? policy.egressSet : policy.ingressSet
}

function verdictOf(
  cluster: OfflineCluster,
  questions: readonly PolicyQuestion[],
  answers: ReadonlyMap<PolicyQuestion, PolicyAnswer>,
): Verdict {
  const of = (direction: Direction) => {
    const question = questions.find((each) => each.direction === direction)
    if (question === undefined) return { allowed: true, audited: false, rule: null }
    const answer = answers.get(question)!
    const set = question.address === question.peer ? 0n : setOf(question.policy, direction)
    const { allowed, audited } = answer
    return { allowed, audited, rule: reasonText(cluster.compiled(question.node), set, answer) }
  }
  const [egress, ingress] = [of(PolicyDirection.EGRESS), of(PolicyDirection.INGRESS)]
  const denying = [egress, ingress].find(({ allowed }) => !allowed)
  const auditing = denying === undefined ? [egress, ingress].find(({ audited }) => audited) : undefined
  return {
    verdict: denying === undefined ? 'allow' : 'deny',
    egress: egress.allowed ? 'allow' : 'deny',
    ingress: ingress.allowed ? 'allow' : 'deny',
    egressRule: egress.rule,
    ingressRule: ingress.rule,
    rule: denying === undefined ? (ingress.rule ?? egress.rule) : denying.rule,
    ...(auditing && { audit: auditing.rule }),
  }
}

function addressesOf(world: WorldView, place: Place): readonly Address[] | string {
  if ('ip' in place) return [place.ip]
  if ('node' in place) return world.node(place.node)?.internalIPs ?? `there is no node ${place.node}`
  const pod = world.pod(place.pod)
  if (pod === undefined) return `there is no pod ${place.pod}`
  return pod.podIPs.length === 0 && pod.hostNetwork ? (world.node(pod.nodeName)?.internalIPs ?? []) : pod.podIPs
}

function endpointsOf(world: WorldView): readonly { readonly node: string; readonly endpoint: Endpoint }[] {
  return [...world.pods()]
    .filter((pod) => !pod.hostNetwork && !pod.finished)
    .map((pod) => ({ node: pod.nodeName, endpoint: endpointOf(pod) }))
}

function endpointOf({ namespace, name, uid, podIPs }: Pod): Endpoint {
  const containerId = objectName(namespace, name)
  const wiring = { ifname: 'eth0', ifindex: 1, hostIfname: '', netnsCookie: 0n }
  return { ...wiring, containerId, namespace, name, uid, addresses: podIPs }
}

function withAddresses(objects: readonly KubeObject[]): readonly KubeObject[] {
  const taken = new Set(objects.flatMap((object) => (object.kind === 'Pod' ? object.podIPs : [])))
  const lacking = objects
    .filter((object) => object.kind === 'Pod')
    .filter(({ podIPs, hostNetwork, finished }) => podIPs.length === 0 && !hostNetwork && !finished)
    .sort((a, b) => compareText(objectName(a.namespace, a.name), objectName(b.namespace, b.name)))
  const given = new Map<KubeObject, KubeObject>()
  let next = 0
  for (const pod of lacking) {
    let podIPs: readonly Address[]
    do podIPs = inventedAddresses(++next)
    while (podIPs.some((address) => taken.has(address)))
    given.set(pod, { ...pod, podIPs })
  }
  return objects.map((object) => given.get(object) ?? object)
}

function inventedAddresses(index: number): readonly Address[] {
  const texts = [
    `198.${18 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`,
    `2001:2::${(index >> 16).toString(16)}:${(index & 0xffff).toString(16)}`,
  ]
  return texts.map(parseAddress).filter((address): address is Address => !isParseError(address))
}

function isOf(address: Address, wanted: Family | null): boolean {
  return wanted === null || family(address) === wanted
}

function sameFamily(a: Address, b: Address): boolean {
  return family(a) === family(b)
}

function familyText(wanted: Family | null): string {
  return wanted === null ? 'family of addresses' : `IPv${wanted} address`
}
