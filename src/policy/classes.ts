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
import { compareText } from '../core/names.ts'
import { Realm } from '../generated/abi.ts'
import { API_SERVERS, type LabelSelector, type Labels, type Namespace, type Node, type Pod } from '../world/objects.ts'
import type { Dirty, WorldView } from '../world/world.ts'
import { ANY_POD, type Class, type Classes, createClassTable } from './class-table.ts'
import { type NamedPorts, NO_PORTS, namedPortsText, resolveNamedPorts } from './ports.ts'
import { type BlockPeer, type NodePeer, type PodPeer, SERVERS, type Selector } from './rules.ts'
import { isEmpty, matches } from './selector.ts'

/** What the policy sets in use ask of a peer. */
export interface Questions {
  /** Sorted by text, each once. */
  readonly selectors: readonly Selector[]
  /** Some rule speaks of every pod, or of what is no pod, so that pods must be told from the rest of the world. */
  readonly asksForPods: boolean
  /** Some rule denies by what a pod is, so that those of which that is not known must be told from the rest. */
  readonly deniesPods: boolean
  /** Some rule speaks of what is outside the cluster, or denies pods: what is in a node's pod CIDR is inside, and some
   *  pod's, also before a pod that has just got its address is known. */
  readonly asksForRanges: boolean
  /** namedPort of every port name in an egress rule. */
  readonly portNames: ReadonlySet<string>
}

/** What World has changed since the call before; the first call looks at everything. */
export type DirtyPeers = Pick<Dirty, 'addresses' | 'nodes'>
export type Classifier = (world: WorldView, nodeName: string, questions: Questions, dirty: DirtyPeers) => Classes

/** Yields the same object in every pass, brought up to date. As long as the questions stay, only dirty addresses are looked
 *  at; a selector of pods that comes or goes costs a look at whom it may select. Other questions cost a look at every address,
 *  the labels that they tell apart x the selectors, and addresses x prefixes of blocks. */
export function createClassifier(): Classifier {
  const table = createClassTable()
  let before: Asked | null = null

  return (world, nodeName, questions, dirty) => {
    const differing = before === null ? null : differingPeers(before.questions, questions)
    const asked: Asked = before !== null && differing?.length === 0 ? before : ask(questions, table)
    const dirtyAddresses = before === null ? NOBODY : dirty.addresses
    before = asked
    table.begin()
    if (differing === null || (questions.asksForRanges && dirty.nodes.size > 0))
      table.assignPrefixes(prefixClasses(asked, world))
    const servers = asked.asksForServers ? serverAddresses(world) : NOBODY
    const at: Place = { asked, world, own: world.node(nodeName), servers, byPrefix: table.byPrefix }
    // Where an API server has the class of its prefix and one more, that may be another without the address being dirty.
    for (const addresses of differing === null
      ? [dirtyAddresses, everyAddress(world)]
      : [dirtyAddresses, servers, addressesMeant(world, differing)])
      for (const address of addresses) table.assign(address, classAt(at, address))
    return table
  }
}

const NOBODY: ReadonlySet<Address> = new Set()

/** Those that may have a class of their own; some come twice. */
function* everyAddress(world: WorldView): Iterable<Address> {
  yield* world.ownedAddresses()
  for (const node of world.nodes()) yield* node.internalIPs
  yield* serverAddresses(world)
}

/** Of pods that one of the selectors selects, or may once more is known. */
function* addressesMeant(world: WorldView, peers: readonly PodPeer[]): Iterable<Address> {
  for (const peer of peers) {
    const { namespace: name } = peer
    for (const pod of name === null ? world.pods() : world.podsOfNamespace(name)) {
      const namespace = world.namespace(pod.namespace)
      const isUnclear = namespace === undefined && peer.namespaces !== null
      if (selectsLabels(peer, pod) && (isUnclear || selectsNamespace(peer, pod.namespace, namespace)))
        yield* world.addressesOf(pod)
    }
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
  /** Labels by which selectors tell namespaces apart, and their names where selectors go by those. */
  readonly namespaceKeys: ReadonlySet<string>
  readonly namespaceNames: ReadonlySet<string>
  /** Labels by which selectors tell pods apart. */
  readonly podKeys: ReadonlySet<string>
  /** By what the selectors can tell of a namespace. */
  readonly scopes: Map<string, Scope>
}

/** Of all namespaces in which the same selectors can match. */
interface Scope {
  readonly peers: readonly PodPeer[]
  /** By the labels that selectors can tell apart: a ReplicaSet's pods are asked once, and its hash by nobody. */
  readonly answers: Map<string, PodAnswer>
}

interface PodAnswer {
  readonly members: readonly string[]
  readonly perhaps: Class['perhaps']
  /** By region and named ports. */
  readonly classes: Map<string, Class>
}

function ask(questions: Questions, { inUse }: Classes): Asked {
  const podPeers = questions.selectors.filter((selector) => selector.kind === 'pods')
  return {
    questions,
    podPeers,
    nodePeers: questions.selectors.filter((selector) => selector.kind === 'nodes'),
    asksForServers: questions.selectors.some((selector) => selector.kind === 'servers'),
    partition: partitionOf(questions.selectors.filter((selector) => selector.kind === 'block')),
    classes: new Map(Array.from(inUse.keys(), (each) => [each.text, each])),
    namespaceKeys: new Set(podPeers.flatMap(({ namespaces }) => keysOf(namespaces))),
    namespaceNames: new Set(podPeers.flatMap(({ namespace }) => namespace ?? [])),
    podKeys: new Set(podPeers.flatMap(({ pods }) => keysOf(pods))),
    scopes: new Map(),
  }
}

/** What classifies one address. */
interface Place {
  readonly asked: Asked
  readonly world: WorldView
  /** This node. */
  readonly own: Node | undefined
  readonly servers: ReadonlySet<Address>
  readonly byPrefix: ReadonlyMap<Prefix, Class>
}

/** undefined: nothing tells it from whatever else is in its prefix. */
function classAt(at: Place, address: Address): Class | undefined {
  const found = nodeClass(at, address) ?? podClass(at, address)
  return at.servers.has(address) ? serverClass(at.asked, found ?? prefixClass(at, address)) : found
}

/** This node's own addresses are its own, whoever else claims one. */
function nodeClass({ asked, world, own }: Place, address: Address): Class | undefined {
  const isOwn = own?.internalIPs.includes(address) === true
  const node = isOwn ? own : world.nodeAt(address)
  if (node === undefined) return undefined
  const members = asked.nodePeers.filter(({ nodes }) => matches(nodes, node.labels)).map(({ text }) => text)
  const { blocks } = regionOf(address, asked.partition)
  return classOf(asked, isOwn ? Realm.OWN_HOST : Realm.NODE, [...members, ...blocks], NO_PORTS)
}

function podClass({ asked, world }: Place, address: Address): Class | undefined {
  const { questions, podPeers, partition } = asked
  if (podPeers.length === 0 && !questions.asksForPods && questions.portNames.size === 0) return undefined
  const pod = world.podAt(address)
  if (pod?.finished) return undefined // its wire is still there
  if (pod === undefined) {
    if (!questions.asksForPods || world.ownerOf(address) === undefined) return undefined
    // A local endpoint may be known before its pod's labels, or outlive them: it matches no selector.
    const perhaps = questions.deniesPods ? ANY_POD : NOTHING_MORE
    return classOf(asked, Realm.POD, regionOf(address, partition).blocks, NO_PORTS, perhaps)
  }
  const { members, perhaps, classes } = podAnswer(asked, world, pod)
  const namedPorts = resolveNamedPorts(pod, questions.portNames)
  if (members.length === 0 && namedPorts.size === 0 && !questions.asksForPods) return undefined
  const { prefix, blocks } = regionOf(address, partition)
  const key = `${prefix} ${namedPortsText(namedPorts)}`
  let found = classes.get(key)
  if (found === undefined) {
    found = classOf(asked, Realm.POD, [...members, ...blocks], namedPorts, perhaps)
    classes.set(key, found)
  }
  return found
}

/** Of the longest prefix. */
function prefixClass({ byPrefix }: Place, address: Address): Class {
  const holding = [...byPrefix.keys()].filter((prefix) => prefixContains(prefix, address))
  const longest = holding.reduce((a, b) => (prefixCovers(a, b) ? b : a))
  return byPrefix.get(longest)!
}

/** Of what nobody known has. */
function prefixClasses(asked: Asked, world: WorldView): ReadonlyMap<Prefix, Class> {
  const { questions, partition } = asked
  const podRanges = questions.asksForRanges ? podRangesOf(world) : []
  const byPrefix = new Map<Prefix, Class>()
  for (const { prefix, blocks, outside } of partition) {
    const isInside = podRanges.some((range) => prefixCovers(range, prefix))
    const members = isInside ? blocks : [...blocks, ...outside]
    byPrefix.set(prefix, classOf(asked, isInside ? Realm.POD_RANGE : Realm.WORLD, members, NO_PORTS))
  }
  for (const range of podRanges) {
    if (byPrefix.has(range)) continue
    const { blocks } = partition.find(({ prefix }) => prefixCovers(prefix, range))!
    byPrefix.set(range, classOf(asked, Realm.POD_RANGE, blocks, NO_PORTS))
  }
  return byPrefix
}

function podRangesOf(world: WorldView): readonly Prefix[] {
  return [...new Set([...world.nodes()].flatMap((node) => node.podCIDRs))].sort(compareText)
}

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

/** Of namespaces, and of pods in those that answer alike: what is remembered. */
const LABEL_SETS_MAX = 4_096

function podAnswer(asked: Asked, world: WorldView, pod: Pod): PodAnswer {
  const namespace = world.namespace(pod.namespace)
  const { peers, answers } = scopeOf(asked, pod.namespace, namespace)
  const key = labelsText(pod.labels, asked.podKeys)
  let answer = answers.get(key)
  if (answer === undefined) {
    answer = {
      members: peers.filter((peer) => selectsLabels(peer, pod)).map((peer) => peer.text),
      perhaps: namespace === undefined ? perhapsMembers(asked, pod) : NOTHING_MORE,
      classes: new Map(),
    }
    // Jobs' pods may have labels of their own each.
    if (answers.size >= LABEL_SETS_MAX) answers.clear()
    answers.set(key, answer)
  }
  return answer
}

function scopeOf(asked: Asked, name: string, namespace: Namespace | undefined): Scope {
  const nameText = asked.namespaceNames.has(name) ? name : ''
  const key = `${nameText} ${namespace === undefined ? '?' : labelsText(namespace.labels, asked.namespaceKeys)}`
  let scope = asked.scopes.get(key)
  if (scope === undefined) {
    scope = { peers: asked.podPeers.filter((peer) => selectsNamespace(peer, name, namespace)), answers: new Map() }
    // So may namespaces have names that nobody had before.
    if (asked.scopes.size >= LABEL_SETS_MAX) asked.scopes.clear()
    asked.scopes.set(key, scope)
  }
  return scope
}

function keysOf(selector: LabelSelector | null): readonly string[] {
  if (selector === null) return []
  return [...Object.keys(selector.matchLabels), ...selector.matchExpressions.map(({ key }) => key)]
}

/** Those with these keys, "app=cart,tier=x,": label characters leave no way to read it differently. */
function labelsText(labels: Labels, keys: ReadonlySet<string>): string {
  let text = ''
  for (const key in labels) if (keys.has(key)) text += `${key}=${labels[key]},`
  return text
}

function selectsLabels({ pods }: PodPeer, { labels }: Pod): boolean {
  return pods === null || matches(pods, labels)
}

/** Selectors that wait for the labels of the pod's namespace. */
function perhapsMembers({ podPeers, questions }: Asked, pod: Pod): ReadonlySet<string> {
  if (!questions.deniesPods) return NOTHING_MORE
  const waiting = podPeers.filter((peer) => peer.namespaces !== null && !isEmpty(peer.namespaces))
  return new Set(waiting.filter((peer) => selectsLabels(peer, pod)).map(({ text }) => text))
}

const NOTHING_MORE: ReadonlySet<string> = new Set()

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
  const made = {
    classId: classId(text),
    realm,
    members: new Set(members),
    namedPorts,
    perhaps: isUnknown ? ANY_POD : perhaps,
    text,
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

/** Of so many selectors it costs less to look at every address once. */
const DIFFERING_MAX = 8

/** Selectors of pods that only one of both asks for; null: they differ otherwise, or by many. */
function differingPeers(a: Questions, b: Questions): readonly PodPeer[] | null {
  if (a === b) return []
  const isLike =
    a.asksForPods === b.asksForPods &&
    a.deniesPods === b.deniesPods &&
    a.asksForRanges === b.asksForRanges &&
    a.portNames.size === b.portNames.size &&
    a.portNames.isSubsetOf(b.portNames)
  const differing = [...onlyIn(a, b), ...onlyIn(b, a)]
  const peers = differing.filter((selector) => selector.kind === 'pods')
  return isLike && peers.length === differing.length && peers.length <= DIFFERING_MAX ? peers : null
}

function onlyIn(a: Questions, b: Questions): readonly Selector[] {
  const texts = new Set(b.selectors.map(({ text }) => text))
  return a.selectors.filter(({ text }) => !texts.has(text))
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
