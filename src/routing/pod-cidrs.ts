// SPDX-License-Identifier: Apache-2.0
// Whose each pod CIDR is. A prefix that overlaps another node's, a Service CIDR or a node's own address is left out, so
// that one wrong Node object takes nothing from the others.

import { addressBytes, hostPrefix, type Prefix, prefixCovers, prefixToKey } from '../core/address.ts'
import { compareText } from '../core/names.ts'
import type { Node } from '../world/objects.ts'

export interface PodCIDRs {
  /** Name of the node behind each pod CIDR that packets are routed by. */
  readonly owners: ReadonlyMap<Prefix, string>
  /** Those of this node that pods get addresses from, in the order of spec.podCIDRs. */
  readonly own: readonly Prefix[]
  /** Why pods of this node cannot get addresses of some family, one sentence each. */
  readonly ownProblems: readonly string[]
  /** What is left out of other nodes' pod CIDRs, one sentence each. */
  readonly notices: readonly string[]
}

/** Of two nodes the older one keeps a prefix, so that a wrong Node takes nothing from those that are there; this node's
 *  routes never lose what is its own, but where an older node has the same addresses no pod here gets one. `others` are
 *  sorted by age. Cost: nodes x distinct prefix lengths. Source: Node.spec.podCIDRs. */
export function sharePodCIDRs(
  own: Node | undefined,
  others: readonly Node[],
  serviceCIDRs: readonly Prefix[],
): PodCIDRs {
  const nodes = own === undefined ? others : [own, ...others]
  const taken = createOverlaps(nodes.flatMap(({ podCIDRs }) => podCIDRs))
  for (const serviceCIDR of serviceCIDRs) taken.add(serviceCIDR, { node: '', text: `the Service CIDR ${serviceCIDR}` })
  for (const { name, internalIPs } of nodes) {
    for (const address of internalIPs) {
      taken.add(hostPrefix(address), { node: '', text: `the address ${address} of node ${name}` })
    }
  }

  const owners = new Map<Prefix, string>()
  const refused = new Set<Prefix>() // of this node
  const ownProblems: string[] = []
  const notices: string[] = []
  for (const node of nodes) {
    for (const podCIDR of node.podCIDRs) {
      const other = taken.find(podCIDR)
      if (other === undefined || other.node === node.name) {
        owners.set(podCIDR, node.name)
        taken.add(podCIDR, { node: node.name, text: `${podCIDR} of node ${node.name}` })
        continue
      }
      const sentence = `pod CIDR ${podCIDR} of node ${node.name} overlaps ${other.text}`
      if (node === own) {
        refused.add(podCIDR)
        ownProblems.push(sentence)
      } else {
        notices.push(`${sentence}: it is left out`)
        if (other.node === own?.name && byAge(node, own) < 0) {
          for (const mine of own.podCIDRs.filter((each) => overlap(each, podCIDR))) {
            refused.add(mine)
            ownProblems.push(`pod CIDR ${mine} of node ${own.name} overlaps ${podCIDR} of node ${node.name}`)
          }
        }
      }
    }
  }
  if (own !== undefined && own.podCIDRs.length === 0) ownProblems.push(`node ${own.name} has no spec.podCIDRs`)
  return { owners, own: own?.podCIDRs.filter((each) => !refused.has(each)) ?? [], ownProblems, notices }
}

/** What of the nodes the prefix overlaps, for a sentence; undefined: nothing. */
export function overlapping(prefix: Prefix, nodes: readonly Node[]): string | undefined {
  for (const { name, podCIDRs, internalIPs } of nodes) {
    const podCIDR = podCIDRs.find((each) => overlap(each, prefix))
    if (podCIDR !== undefined) return `the pod CIDR ${podCIDR} of node ${name}`
    const address = internalIPs.find((each) => overlap(hostPrefix(each), prefix))
    if (address !== undefined) return `the address ${address} of node ${name}`
  }
  return undefined
}

/** Order of nodes, the oldest first; of the same age by name. */
export function byAge(a: Node, b: Node): number {
  return a.createdMs - b.createdMs || compareText(a.name, b.name)
}

interface Holder {
  /** '' where no node's pods are behind it. */
  readonly node: string
  readonly text: string
}

interface Overlaps {
  add(prefix: Prefix, holder: Holder): void
  /** Who holds something that this prefix covers or lies in; the first that came. */
  find(prefix: Prefix): Holder | undefined
}

/** candidates: every prefix that `find` will be asked for. Prefixes are nested or disjoint, so each one is entered at its
 *  own length and at those of the candidates above it. */
function createOverlaps(candidates: readonly Prefix[]): Overlaps {
  const candidateLengths = [...new Set(candidates.map((prefix) => prefixToKey(prefix).length))]
  const whole = new Map<string, Holder>()
  const parts = new Map<string, Holder>()
  const wholeLengths = new Set<number>()
  return {
    add(prefix, holder) {
      const { length, address } = prefixToKey(prefix)
      const bytes = addressBytes(address)
      wholeLengths.add(length)
      putFirst(whole, keyOf(bytes, length), holder)
      for (const each of candidateLengths) if (each <= length) putFirst(parts, keyOf(bytes, each), holder)
    },
    find(prefix) {
      const { length, address } = prefixToKey(prefix)
      const bytes = addressBytes(address)
      for (const each of wholeLengths) {
        const holder = each <= length ? whole.get(keyOf(bytes, each)) : undefined
        if (holder !== undefined) return holder
      }
      return parts.get(keyOf(bytes, length))
    },
  }
}

function putFirst(holders: Map<string, Holder>, key: string, holder: Holder): void {
  if (!holders.has(key)) holders.set(key, holder)
}

/** The first `length` bits of 16 bytes, as a map's key. */
function keyOf(bytes: Uint8Array, length: number): string {
  let key = String.fromCharCode(length)
  for (let i = 0; i * 8 < length; i++) {
    const kept = Math.min(8, length - i * 8)
    key += String.fromCharCode(bytes[i]! & (0xff00 >> kept))
  }
  return key
}

function overlap(a: Prefix, b: Prefix): boolean {
  return prefixCovers(a, b) || prefixCovers(b, a)
}
