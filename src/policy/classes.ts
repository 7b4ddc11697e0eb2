// SPDX-License-Identifier: Apache-2.0
// Addresses partitioned by which of the selectors in use they match (DESIGN principle 8).
//
//   blocks of all rules --> partition: longest prefix -> its blocks; pod CIDRs, where a rule asks what is outside
//   pods, nodes         --> exact addresses whose class is not that of their prefix

import {
  type Address,
  ALL_IPV4,
  ALL_IPV6,
  addressBytes,
  family,
  type Prefix,
  prefixContains,
  prefixCovers,
  prefixToKey,
  sameLeadingBits,
} from '../core/address.ts'
import { type Id64, id64 } from '../core/id64.ts'
import { type PeerClass, Realm } from '../generated/abi.ts'
import { API_SERVERS, type Namespace, type Node, type Pod } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import { type NamedPorts, NO_PORTS, namedPortsText, resolveNamedPorts } from './ports.ts'
import { type BlockPeer, type NodePeer, type PodPeer, SERVERS, type Selector } from './rules.ts'
import { isEmpty, matches } from './selector.ts'

export interface Class {
  readonly id: Id64
  readonly realm: Realm
  /** Texts of the selectors that its addresses match. */
  readonly members: ReadonlySet<string>
  /** What egress rules' port names mean at these addresses. */
  readonly namedPorts: NamedPorts
  /** Texts of the pods' selectors that its addresses may match besides, for all that is known. */
  readonly perhaps: ReadonlySet<string> | typeof ANY_POD
  /** The class key: realm, selectors, named ports, and what it may match besides. */
  readonly text: string
  /** Its entry, one object for all of its addresses, in every pass: what has not changed is seen at once. */
  readonly peer: PeerClass
}

/** Of an address whose pod nobody knows yet: it may match every selector of pods, and have every named port. */
export const ANY_POD = 'any pod'
const NOTHING_MORE: ReadonlySet<string> = new Set()

export interface Classes {
  readonly byAddress: ReadonlyMap<Address, Class>
  readonly byPrefix: ReadonlyMap<Prefix, Class>
  readonly all: ReadonlyMap<Id64, Class>
}

/** What the policy sets in use ask of a peer. */
export interface Questions {
  /** Sorted by text, each once. */
  readonly selectors: readonly Selector[]
  /** Some rule speaks of every pod, or of what is no pod, so that pods must be told from the rest of the world. */
  readonly asksForPods: boolean
  /** Some rule denies by what a pod is, so that those of which that is not known must be told from the rest. */
  readonly deniesPods: boolean
  /** Pod CIDRs of nodes, sorted, where some rule speaks of what is outside the cluster, or denies pods: what is in them is
   *  inside, and some pod's, also before a pod that has just got its address is known. */
  readonly podRanges: readonly Prefix[]
  /** namedPort of every port name in an egress rule. */
  readonly portNames: ReadonlySet<string>
}

/** Classifies every address again, but asks only what it has not asked before: as long as the questions stay, a pod that
 *  comes or changes costs its own selectors and addresses. First cost: pods x the selectors that can match in their
 *  namespace, plus addresses x prefixes of blocks; then a look at every address. */
export function createClassifier(): (world: WorldView, nodeName: string, questions: Questions) => Classes {
  let asked: Asked | null = null
  return (world, nodeName, questions) => {
    if (asked === null || !sameQuestions(asked.questions, questions)) asked = ask(questions)
    return classify(asked, world, nodeName)
  }
}

/** Answers that stay true as long as the questions do. */
interface Asked {
  readonly questions: Questions
  readonly podPeers: readonly PodPeer[]
  readonly nodePeers: readonly NodePeer[]
  readonly asksForServers: boolean
  readonly partition: readonly Region[]
  /** By class key. */
  readonly classes: Map<string, Class>
  /** Selectors that can match in a namespace, true for that version of it. */
  readonly namespaces: Map<string, { readonly version: Namespace | undefined; readonly peers: readonly PodPeer[] }>
  readonly pods: WeakMap<Pod, PodAnswer>
  /** By the namespace's peers, which are true for a version of it, and the labels. */
  readonly labels: WeakMap<readonly PodPeer[], Map<string, LabelAnswer>>
}

interface PodAnswer {
  /** The namespace's, for which the answer is true. */
  readonly peers: readonly PodPeer[]
  readonly labels: LabelAnswer
  readonly namedPorts: NamedPorts
  /** Address and class, in turn: of 100,000 pods a map each would take 25 MB. */
  readonly classes: (Address | Class)[]
}

/** Of all pods of a namespace that have these labels: a ReplicaSet's are asked once. */
interface LabelAnswer {
  readonly members: readonly string[]
  readonly perhaps: Class['perhaps']
  /** By region and named ports. */
  readonly classes: Map<string, Class>
}

function ask(questions: Questions): Asked {
  return {
    questions,
    podPeers: questions.selectors.filter((selector) => selector.kind === 'pods'),
    nodePeers: questions.selectors.filter((selector) => selector.kind === 'nodes'),
    asksForServers: questions.selectors.some((selector) => selector.kind === 'servers'),
    partition: partitionOf(questions.selectors.filter((selector) => selector.kind === 'block')),
    classes: new Map(),
    namespaces: new Map(),
    pods: new WeakMap(),
    labels: new WeakMap(),
  }
}

function classify(asked: Asked, world: WorldView, nodeName: string): Classes {
  const { questions, podPeers, partition } = asked
  const byPrefix = prefixClasses(asked)
  const byAddress = new Map<Address, Class>()
  if (podPeers.length > 0 || questions.asksForPods || questions.portNames.size > 0) {
    for (const address of world.ownedAddresses()) {
      const found = podClass(asked, world, address)
      if (found !== null) byAddress.set(address, found)
    }
  }
  // This node's own addresses last: whoever else claims one, it is here.
  const own = world.node(nodeName)
  for (const node of own === undefined ? world.nodes() : [...world.nodes(), own]) {
    const realm = node === own ? Realm.OWN_HOST : Realm.NODE
    const members = nodeMembers(asked, node)
    for (const address of node.internalIPs) {
      byAddress.set(address, classOf(asked, realm, [...members, ...regionOf(address, partition).blocks], NO_PORTS))
    }
  }
  for (const address of asked.asksForServers ? serverAddresses(world) : []) {
    byAddress.set(address, serverClass(asked, byAddress.get(address) ?? classAt(address, byPrefix)))
  }
  const used = [...byPrefix.values(), ...byAddress.values()]
  return { byAddress, byPrefix, all: new Map(used.map((each) => [each.id, each])) }
}

/** Of what nobody known has. */
function prefixClasses(asked: Asked): Map<Prefix, Class> {
  const { questions, partition } = asked
  const byPrefix = new Map<Prefix, Class>()
  for (const { prefix, blocks, outside } of partition) {
    const isInside = questions.podRanges.some((range) => prefixCovers(range, prefix))
    const members = isInside ? blocks : [...blocks, ...outside]
    byPrefix.set(prefix, classOf(asked, isInside ? Realm.POD_RANGE : Realm.WORLD, members, NO_PORTS))
  }
  for (const range of questions.podRanges) {
    if (byPrefix.has(range)) continue
    const { blocks } = partition.find(({ prefix }) => prefixCovers(prefix, range))!
    byPrefix.set(range, classOf(asked, Realm.POD_RANGE, blocks, NO_PORTS))
  }
  return byPrefix
}

/** Of the longest prefix. */
function classAt(address: Address, byPrefix: ReadonlyMap<Prefix, Class>): Class {
  const holding = [...byPrefix.keys()].filter((prefix) => prefixContains(prefix, address))
  const longest = holding.reduce((a, b) => (prefixCovers(a, b) ? b : a))
  return byPrefix.get(longest)!
}

/** Of a namespace, whose answers are remembered. */
const LABEL_SETS_MAX = 4_096

/** Where the API servers are. */
export function serverAddresses(world: WorldView): ReadonlySet<Address> {
  const slices = [...world.slicesOfService(API_SERVERS)]
  return new Set(slices.flatMap(({ endpoints }) => endpoints.map(({ address }) => address)))
}

/** Of an API server, wherever it is: whatever has that address remains what it is. */
function serverClass(asked: Asked, { realm, members, namedPorts, perhaps }: Class): Class {
  return classOf(asked, realm, [...members, SERVERS.text], namedPorts, perhaps)
}

/** The id of the class that an address of no pod has where an API server is there too; text: of the class without it. */
export function serverClassId(text: string): Id64 {
  const [realm = '', ...members] = text.split(SEPARATOR)
  return classId(classText(realm, [...members, SERVERS.text]))
}

function nodeMembers({ nodePeers }: Asked, { labels }: Node): readonly string[] {
  return nodePeers.filter(({ nodes }) => matches(nodes, labels)).map(({ text }) => text)
}

/** null: nothing tells the pod at this address from whatever else is in its prefix. */
function podClass(asked: Asked, world: WorldView, address: Address): Class | null {
  const { questions, partition } = asked
  const pod = world.podAt(address)
  if (pod?.finished) return null // its wire is still there
  if (pod === undefined) {
    // A local endpoint may be known before its pod's labels, or outlive them: it matches no selector.
    const perhaps = questions.deniesPods ? ANY_POD : NOTHING_MORE
    return questions.asksForPods
      ? classOf(asked, Realm.POD, regionOf(address, partition).blocks, NO_PORTS, perhaps)
      : null
  }
  const answer = podAnswer(asked, world, pod)
  const { labels, namedPorts, classes } = answer
  if (labels.members.length === 0 && namedPorts.size === 0 && !questions.asksForPods) return null
  const at = classes.indexOf(address)
  if (at >= 0) return classes[at + 1] as Class
  const { prefix, blocks } = regionOf(address, partition)
  const key = `${prefix} ${namedPortsText(namedPorts)}`
  let found = labels.classes.get(key)
  if (found === undefined) {
    found = classOf(asked, Realm.POD, [...labels.members, ...blocks], namedPorts, labels.perhaps)
    labels.classes.set(key, found)
  }
  classes.push(address, found)
  return found
}

function podAnswer(asked: Asked, world: WorldView, pod: Pod): PodAnswer {
  const peers = peersIn(asked, world, pod.namespace)
  const known = asked.pods.get(pod)
  if (known !== undefined && known.peers === peers) return known
  const answer = {
    peers,
    labels: labelAnswer(asked, world, pod, peers),
    namedPorts: resolveNamedPorts(pod, asked.questions.portNames),
    classes: [],
  }
  asked.pods.set(pod, answer)
  return answer
}

function labelAnswer(asked: Asked, world: WorldView, pod: Pod, peers: readonly PodPeer[]): LabelAnswer {
  let answers = asked.labels.get(peers)
  if (answers === undefined) {
    answers = new Map()
    asked.labels.set(peers, answers)
  }
  const key = JSON.stringify(pod.labels)
  let answer = answers.get(key)
  if (answer === undefined) {
    answer = {
      members: peers.filter((peer) => selectsLabels(peer, pod)).map((peer) => peer.text),
      perhaps: perhapsMembers(asked, world, pod),
      classes: new Map(),
    }
    // Jobs' pods have labels of their own each; those that are there keep their answers.
    if (answers.size >= LABEL_SETS_MAX) answers.clear()
    answers.set(key, answer)
  }
  return answer
}

function selectsLabels({ pods }: PodPeer, { labels }: Pod): boolean {
  return pods === null || matches(pods, labels)
}

/** Selectors that wait for the labels of the pod's namespace. */
function perhapsMembers({ podPeers, questions }: Asked, world: WorldView, pod: Pod): ReadonlySet<string> {
  if (!questions.deniesPods || world.namespace(pod.namespace) !== undefined) return NOTHING_MORE
  const waiting = podPeers.filter((peer) => peer.namespaces !== null && !isEmpty(peer.namespaces))
  return new Set(waiting.filter((peer) => selectsLabels(peer, pod)).map(({ text }) => text))
}

function peersIn(asked: Asked, world: WorldView, name: string): readonly PodPeer[] {
  const version = world.namespace(name)
  const known = asked.namespaces.get(name)
  if (known !== undefined && known.version === version) return known.peers
  const peers = asked.podPeers.filter((peer) => selectsNamespace(peer, name, version))
  asked.namespaces.set(name, { version, peers })
  return peers
}

function classOf(
  asked: Asked,
  realm: Realm,
  members: readonly string[],
  namedPorts: NamedPorts,
  perhaps: Class['perhaps'] = NOTHING_MORE,
): Class {
  const text = classText(realmTexts[realm], members, [
    ...(namedPorts.size > 0 ? [namedPortsText(namedPorts)] : []),
    ...(perhaps === ANY_POD ? [ANY_POD] : [...perhaps].sort()).map((each) => `perhaps ${each}`),
  ])
  const known = asked.classes.get(text)
  if (known !== undefined) return known
  const isUnknown = realm === Realm.POD_RANGE || perhaps === ANY_POD
  const id = classId(text)
  const made = {
    id,
    realm,
    members: new Set(members),
    namedPorts,
    perhaps: isUnknown ? ANY_POD : perhaps,
    text,
    peer: { classId: id, realm },
  } as const
  asked.classes.set(text, made)
  return made
}

/** No part has it: labels, CIDRs and port names are made of other characters. */
const SEPARATOR = '; '

function classText(realm: string, members: readonly string[], more: readonly string[] = []): string {
  return [realm, ...members.toSorted(), ...more].join(SEPARATOR)
}

function classId(text: string): Id64 {
  return id64(`class ${text}`)
}

function sameQuestions(a: Questions, b: Questions): boolean {
  return (
    a.asksForPods === b.asksForPods &&
    a.deniesPods === b.deniesPods &&
    a.podRanges.length === b.podRanges.length &&
    a.podRanges.every((range, index) => range === b.podRanges[index]) &&
    a.portNames.size === b.portNames.size &&
    a.portNames.isSubsetOf(b.portNames) &&
    a.selectors.length === b.selectors.length &&
    a.selectors.every((selector, index) => selector.text === b.selectors[index]!.text)
  )
}

const realmTexts: Readonly<Record<Realm, string>> = {
  [Realm.WORLD]: 'world',
  [Realm.POD]: 'pod',
  [Realm.NODE]: 'node',
  [Realm.OWN_HOST]: 'own host',
  [Realm.POD_RANGE]: 'pod range',
}

/** A namespace that is not known yet has no labels to match by: only its name and the empty selector do. */
export function selectsNamespace(peer: PodPeer, name: string, namespace: Namespace | undefined): boolean {
  if (peer.namespaces === null) return peer.namespace === name
  if (isEmpty(peer.namespaces)) return true
  return namespace !== undefined && matches(peer.namespaces, namespace.labels)
}

interface Region {
  readonly prefix: Prefix
  readonly length: number
  readonly bytes: Uint8Array
  /** Texts of the blocks that hold the addresses which no longer prefix of the partition takes, whoever has them. */
  readonly blocks: readonly string[]
  /** And of those that hold them only where they are no pod's and no node's. */
  readonly outside: readonly string[]
}

/** Every prefix at which the membership in blocks may change, longest first. ::/0 and 0.0.0.0/0 are always there: without
 *  the latter the former's bits would speak for IPv4. */
function partitionOf(blocks: readonly BlockPeer[]): readonly Region[] {
  const prefixes = new Set<Prefix>([ALL_IPV6, ALL_IPV4, ...blocks.flatMap((block) => [block.cidr, ...block.except])])
  return [...prefixes]
    .map((prefix) => {
      const { length, address } = prefixToKey(prefix)
      const holding = blocks.filter((block) => holdsBlock(block, prefix))
      const texts = (isOutside: boolean) =>
        holding.filter((block) => block.isOutside === isOutside).map((block) => block.text)
      return { prefix, length, bytes: addressBytes(address), blocks: texts(false), outside: texts(true) }
    })
    .sort((a, b) => b.length - a.length || (a.prefix < b.prefix ? -1 : 1))
}

/** Prefixes are nested or disjoint, so a block holds a region of the partition wholly or not at all. */
function holdsBlock(block: BlockPeer, prefix: Prefix): boolean {
  return prefixCovers(block.cidr, prefix) && !block.except.some((except) => prefixCovers(except, prefix))
}

function regionOf(address: Address, partition: readonly Region[]): Region {
  const bytes = addressBytes(address)
  const of = family(address)
  return partition.find(
    (region) => family(region.prefix) === of && sameLeadingBits(region.bytes, bytes, region.length),
  )!
}
