// SPDX-License-Identifier: Apache-2.0
// Addresses partitioned by which of the selectors in use they match (DESIGN principle 8).
//
//   blocks of all rules --> partition: longest prefix -> its blocks
//   pods, nodes         --> exact addresses whose class is not that of their prefix

import {
  type Address,
  ALL_IPV4,
  ALL_IPV6,
  addressBytes,
  family,
  type Prefix,
  prefixCovers,
  prefixToKey,
  sameLeadingBits,
} from '../core/address.ts'
import { type Id64, id64 } from '../core/id64.ts'
import { Realm } from '../generated/abi.ts'
import type { Pod } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import { type NamedPorts, NO_PORTS, namedPortsText, resolveNamedPorts } from './ports.ts'
import type { BlockPeer, PodPeer, Selector } from './rules.ts'
import { isEmpty, matches } from './selector.ts'

export interface Class {
  readonly id: Id64
  readonly realm: Realm
  /** Texts of the selectors that its addresses match. */
  readonly members: ReadonlySet<string>
  /** What egress rules' port names mean at these addresses. */
  readonly namedPorts: NamedPorts
  /** The class key: realm, selectors, named ports. */
  readonly text: string
}

export interface Classes {
  readonly byAddress: ReadonlyMap<Address, Class>
  readonly byPrefix: ReadonlyMap<Prefix, Class>
  readonly all: ReadonlyMap<Id64, Class>
}

/** What the policy sets in use ask of a peer. */
export interface Questions {
  readonly selectors: readonly Selector[]
  /** Some rule admits every pod, so that pods must be told from the rest of the world. */
  readonly asksForPods: boolean
  /** namedPort of every port name in an egress rule. */
  readonly portNames: ReadonlySet<string>
}

/** Cost: pods x the selectors that can match in their namespace, plus addresses x prefixes of blocks. */
export function classify(world: WorldView, nodeName: string, questions: Questions): Classes {
  const blocks = questions.selectors.filter((selector) => selector.kind === 'block')
  const podPeers = questions.selectors.filter((selector) => selector.kind === 'pods')
  const all = new Map<Id64, Class>()
  const interned = new Map<string, Class>()
  const partition = partitionOf(blocks)
  const peersOfNamespace = new Map<string, readonly PodPeer[]>()

  const classOf = (realm: Realm, members: readonly string[], namedPorts: NamedPorts): Class => {
    const parts = [
      realmTexts[realm],
      ...members.toSorted(),
      ...(namedPorts.size > 0 ? [namedPortsText(namedPorts)] : []),
    ]
    const text = parts.join('; ')
    const known = interned.get(text)
    if (known !== undefined) return known
    const made = { id: id64(`class ${text}`), realm, members: new Set(members), namedPorts, text }
    interned.set(text, made)
    all.set(made.id, made)
    return made
  }

  const peersIn = (namespace: string): readonly PodPeer[] => {
    const known = peersOfNamespace.get(namespace)
    if (known !== undefined) return known
    const peers = podPeers.filter((peer) => selectsNamespace(peer, namespace, world))
    peersOfNamespace.set(namespace, peers)
    return peers
  }

  const podMembers = (pod: Pod): readonly string[] =>
    peersIn(pod.namespace)
      .filter((peer) => peer.pods === null || matches(peer.pods, pod.labels))
      .map((peer) => peer.text)

  const byPrefix = new Map<Prefix, Class>()
  for (const region of partition) byPrefix.set(region.prefix, classOf(Realm.WORLD, region.blocks, NO_PORTS))

  const byAddress = new Map<Address, Class>()
  if (podPeers.length > 0 || questions.asksForPods || questions.portNames.size > 0) {
    for (const address of world.ownedAddresses()) {
      // A local endpoint may be known before its pod's labels: it matches no selector yet.
      const pod = world.pod(world.ownerOf(address)!)
      const selectors = pod === undefined ? [] : podMembers(pod)
      const namedPorts = pod === undefined ? NO_PORTS : resolveNamedPorts(pod, questions.portNames)
      if (selectors.length === 0 && namedPorts.size === 0 && !questions.asksForPods) continue
      byAddress.set(address, classOf(Realm.POD, [...selectors, ...blocksAt(address, partition)], namedPorts))
    }
  }
  // This node's own addresses last: whoever else claims one, it is here.
  const own = world.node(nodeName)
  for (const node of own === undefined ? world.nodes() : [...world.nodes(), own]) {
    const realm = node === own ? Realm.OWN_HOST : Realm.NODE
    for (const address of node.internalIPs) {
      byAddress.set(address, classOf(realm, blocksAt(address, partition), NO_PORTS))
    }
  }
  return { byAddress, byPrefix, all }
}

const realmTexts: Readonly<Record<Realm, string>> = {
  [Realm.WORLD]: 'world',
  [Realm.POD]: 'pod',
  [Realm.NODE]: 'node',
  [Realm.OWN_HOST]: 'own host',
}

/** A namespace that is not known yet has no labels to match by: only its name and the empty selector do. */
function selectsNamespace(peer: PodPeer, namespace: string, world: WorldView): boolean {
  if (peer.namespaces === null) return peer.namespace === namespace
  if (isEmpty(peer.namespaces)) return true
  const known = world.namespace(namespace)
  return known !== undefined && matches(peer.namespaces, known.labels)
}

interface Region {
  readonly prefix: Prefix
  readonly length: number
  readonly bytes: Uint8Array
  /** Texts of the blocks that hold the addresses which no longer prefix of the partition takes. */
  readonly blocks: readonly string[]
}

/** Every prefix at which the membership in blocks may change, longest first. ::/0 and 0.0.0.0/0 are always there: without
 *  the latter the former's bits would speak for IPv4. */
function partitionOf(blocks: readonly BlockPeer[]): readonly Region[] {
  const prefixes = new Set<Prefix>([ALL_IPV6, ALL_IPV4, ...blocks.flatMap((block) => [block.cidr, ...block.except])])
  return [...prefixes]
    .map((prefix) => {
      const { length, address } = prefixToKey(prefix)
      const holding = blocks.filter((block) => holdsBlock(block, prefix))
      return { prefix, length, bytes: addressBytes(address), blocks: holding.map((block) => block.text) }
    })
    .sort((a, b) => b.length - a.length || (a.prefix < b.prefix ? -1 : 1))
}

/** Prefixes are nested or disjoint, so a block holds a region of the partition wholly or not at all. */
function holdsBlock(block: BlockPeer, prefix: Prefix): boolean {
  return prefixCovers(block.cidr, prefix) && !block.except.some((except) => prefixCovers(except, prefix))
}

function blocksAt(address: Address, partition: readonly Region[]): readonly string[] {
  const bytes = addressBytes(address)
  const of = family(address)
  return partition.find(
    (region) => family(region.prefix) === of && sameLeadingBits(region.bytes, bytes, region.length),
  )!.blocks
}
