// SPDX-License-Identifier: Apache-2.0
// What a change of policies changes between pods: for each pair the ports that are newly allowed, and newly denied.

import type { Family } from '../core/address.ts'
import { compareText, objectName } from '../core/names.ts'
import { Protocol } from '../core/protocol.ts'
import { POLICY_FIXED_BITS, POLICY_PROTOCOL_BITS, type PolicyKey } from '../generated/abi.ts'
import { type OfflineCluster, type PolicyQuestion, setOf } from './offline.ts'
import { isIcmp, protocolText } from './ports.ts'
import { classOfAddress, judge } from './verdict.ts'

export interface PairChange {
  /** "namespace/name". */
  readonly from: string
  readonly to: string
  /** In which it is the same. */
  readonly families: readonly ('IPv4' | 'IPv6')[]
  /** "TCP", "TCP/80", "UDP/8000-8999", "ICMP", "ICMP/8" (its type); "everything". Empty: nothing is. */
  readonly newlyAllowed: readonly string[]
  readonly newlyDenied: readonly string[]
}

/** Ports, first to last. */
type Range = readonly [first: number, last: number]

const PORT_MAX = 65_535

/** Pairs of pods that both clusters know, sorted. Cost: pairs, and for each set and class that meet its entries, once. */
export function policyDiff(before: OfflineCluster, after: OfflineCluster): readonly PairChange[] {
  const [portsBefore, portsAfter] = [createAdmitted(before), createAdmitted(after)]
  const pods = [...before.world.pods()]
    .filter((pod) => !pod.hostNetwork && !pod.finished)
    .map(({ namespace, name }) => objectName(namespace, name))
    .sort(compareText)
  const pairs = pods.flatMap((from) => pods.filter((to) => to !== from).map((to) => ({ from, to })))
  return pairs.flatMap(({ from, to }) => {
    const changes = ([4, 6] as const).flatMap((of) => {
      const [was, is] = [portsBefore(from, to, of), portsAfter(from, to, of)]
      if (was === null || is === null) return []
      const change = { newlyAllowed: texts(is, was), newlyDenied: texts(was, is) }
      return change.newlyAllowed.length + change.newlyDenied.length === 0 ? [] : [{ of, ...change }]
    })
    return [...Map.groupBy(changes, ({ of: _, ...change }) => JSON.stringify(change)).values()].map((alike) => ({
      from,
      to,
      families: alike.map(({ of }) => (of === 4 ? 'IPv4' : 'IPv6')),
      newlyAllowed: alike[0]!.newlyAllowed,
      newlyDenied: alike[0]!.newlyDenied,
    }))
  })
}

type Admitted = ReadonlyMap<Protocol, readonly Range[]>

/** What may be sent from one pod to another; null: not in that family. */
function createAdmitted(cluster: OfflineCluster): (from: string, to: string, of: Family) => Admitted | null {
  const known = new Map<string, readonly Range[]>()

  function admitted(question: PolicyQuestion, protocol: Protocol): readonly Range[] {
    const set = setOf(question.policy, question.direction)
    if (set === 0n || question.address === question.peer) return allOf(protocol)
    const { classId } = classOfAddress(cluster.compiled(question.node), question.peer)
    const key = `${question.node} ${set} ${classId} ${protocol}`
    let found = known.get(key)
    if (found === undefined) {
      found = admittedRanges(cluster, question, protocol)
      known.set(key, found)
    }
    return found
  }

  return (from, to, of) => {
    const query = { from: { pod: from }, to: { pod: to }, protocol: Protocol.TCP, port: 1, family: of }
    const questions = cluster.resolve(query)
    if (typeof questions === 'string') return null
    return new Map(
      protocolsOf(of).map((protocol) => [
        protocol,
        questions.map((question) => admitted(question, protocol)).reduce(intersection, allOf(protocol)),
      ]),
    )
  }
}

function protocolsOf(of: Family): readonly Protocol[] {
  return [Protocol.TCP, Protocol.UDP, Protocol.SCTP, of === 4 ? Protocol.ICMP : Protocol.ICMPv6]
}

/** Of ICMP types and codes; there is no port 0. */
function allOf(protocol: Protocol): readonly Range[] {
  return [[isIcmp(protocol) ? 0 : 1, PORT_MAX]]
}

/** Between two edges of the set's entries every port has the same answer. */
function admittedRanges(cluster: OfflineCluster, question: PolicyQuestion, protocol: Protocol): readonly Range[] {
  const compiled = cluster.compiled(question.node)
  const set = setOf(question.policy, question.direction)
  const peer = classOfAddress(compiled, question.peer)
  const entries = compiled.sets.get(set)?.entries ?? []
  const edges = entries.filter(({ key }) => key.protocol === protocol).flatMap(({ key }) => edgesOf(key))
  const starts = [...new Set([0, ...edges.filter((edge) => edge <= PORT_MAX)])].sort((a, b) => a - b)
  const ranges: Range[] = []
  for (const [index, first] of starts.entries()) {
    if (!judge(compiled, set, peer, protocol, first).allowed) continue
    const last = (starts[index + 1] ?? PORT_MAX + 1) - 1
    const before = ranges.at(-1)
    if (before !== undefined && before[1] === first - 1) ranges[ranges.length - 1] = [before[0], last]
    else ranges.push([first, last])
  }
  return ranges
}

function edgesOf({ prefixLength, port }: PolicyKey): readonly number[] {
  const portBits = Math.max(0, prefixLength - POLICY_FIXED_BITS - POLICY_PROTOCOL_BITS)
  return [port, port + 2 ** (16 - portBits)]
}

function intersection(a: readonly Range[], b: readonly Range[]): readonly Range[] {
  return a.flatMap(([first, last]) =>
    b.map(([from, to]): Range => [Math.max(first, from), Math.min(last, to)]).filter(([from, to]) => from <= to),
  )
}

function difference(a: readonly Range[], b: readonly Range[]): readonly Range[] {
  return b.reduce<readonly Range[]>(
    (left, [from, to]) =>
      left.flatMap(([first, last]) =>
        (
          [
            [first, Math.min(last, from - 1)],
            [Math.max(first, to + 1), last],
          ] as const
        ).filter(([x, y]) => x <= y),
      ),
    a,
  )
}

/** What `more` admits and `less` does not. */
function texts(more: Admitted, less: Admitted): readonly string[] {
  const ranges = [...more].map(([protocol, of]) => [protocol, difference(of, less.get(protocol)!)] as const)
  if (ranges.every(([protocol, of]) => isWhole(protocol, of))) return ['everything']
  return ranges.flatMap(([protocol, of]) => {
    const name = protocolText(protocol)
    if (isWhole(protocol, of)) return [name]
    // Rules speak of types of ICMP with all their codes.
    const shown = isIcmp(protocol) ? of.map(([first, last]): Range => [first >> 8, last >> 8]) : of
    return shown.map(([first, last]) => (first === last ? `${name}/${first}` : `${name}/${first}-${last}`))
  })
}

function isWhole(protocol: Protocol, [range]: readonly Range[]): boolean {
  const [[first, last]] = allOf(protocol) as readonly [Range]
  return range !== undefined && range[0] === first && range[1] === last
}
