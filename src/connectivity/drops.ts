// SPDX-License-Identifier: Apache-2.0
// What the agents say was dropped, against what the test expected to be dropped. Pure.
//
// Counters are exact but count everyone's packets; events name the packet. So events decide, as far as they are about the
// test's own pods, and counters vouch for them: a reason has counted at least as often as it was told.

import type { Address } from '../core/address.ts'
import type { Check, Outcome } from './check.ts'
import { SERVER_PORT, SERVICE_PORT } from './objects.ts'

/** As `heddle monitor -o json` prints it (src/observe/events.ts PacketEvent). */
export interface DropEvent {
  readonly reason: string
  readonly protocol: string
  readonly source: Address
  readonly destination: Address
  readonly sourcePort: number
  readonly destinationPort: number
  readonly hook: string
  readonly rule: string | null
}

/** Packets by reason, as `heddle status -o json` prints them. */
export type DropCounts = Readonly<Record<string, number>>

/** What one node's agent told between the first path and the last. */
export interface NodeDrops {
  readonly node: string
  /** Why nothing is known; '' when it is. */
  readonly unknown: string
  readonly events: readonly DropEvent[]
  readonly before: DropCounts
  readonly after: DropCounts
}

/** Packets that are the test's own: to or from these. */
export interface OwnAddresses {
  readonly pods: ReadonlySet<Address>
  readonly nodes: ReadonlySet<Address>
  /** Ports that only the test uses on a node's address. */
  readonly nodePorts: readonly number[]
}

/** Why a node's own stack is refused now and then although nothing is wrong: neighbour and group chatter of each new device. */
const CHATTER = 'multicast'
const LOST = 'event-lost'

/** The check, and the addresses of the pod that tries it. */
export interface Attempt {
  readonly check: Check
  readonly from: readonly Address[]
}

/** Whether the check expects this drop: a policy's of what is denied, that of a Service without endpoints. */
export function explains({ check, from }: Attempt, event: DropEvent): boolean {
  if (check.todo.do !== 'probe' || check.todo.probe.kind === 'lookup') return false
  const { probe, expect } = check.todo
  if (event.protocol !== (probe.kind === 'udp' ? 'UDP' : 'TCP') || !from.includes(event.source)) return false
  const isAt = (address: Address, port: number) => event.destination === address && event.destinationPort === port
  if (expect.outcome === 'denied') return event.reason.startsWith('policy-') && isAt(expect.target, expect.port)
  return expect.outcome === 'refused' && event.reason === 'no-backend' && isAt(probe.address, probe.port)
}

/** A drop that may be why nothing came back: of a packet that this check's pod sent where the check sends, or to a backend. */
export function blameOf({ check, from }: Attempt, events: readonly DropEvent[]): DropEvent | undefined {
  if (check.todo.do !== 'probe' || check.todo.probe.kind === 'lookup') return undefined
  const { address, port, kind } = check.todo.probe
  return events.find((event) => {
    if (event.protocol !== (kind === 'udp' ? 'UDP' : 'TCP') || !from.includes(event.source)) return false
    const isThere = event.destination === address && event.destinationPort === port
    return isThere || (port === SERVICE_PORT && event.destinationPort === SERVER_PORT)
  })
}

/** The event that tells of each denied path, where one does. Two paths that end at the same pod, one of them through its
 *  Service, are two flows and need an event each. */
export function dropsOf(attempts: readonly Attempt[], events: readonly DropEvent[]): ReadonlyMap<Check, DropEvent> {
  const told = new Map<Check, DropEvent>()
  const taken = new Set<string>()
  const flow = ({ source, sourcePort, destination, destinationPort, protocol }: DropEvent) =>
    `${protocol} ${source} ${sourcePort} ${destination} ${destinationPort}`
  for (const attempt of attempts) {
    const event = events.find((one) => !taken.has(flow(one)) && explains(attempt, one))
    if (event === undefined) continue
    taken.add(flow(event))
    told.set(attempt.check, event)
  }
  return told
}

/** One outcome per node: what was dropped of the test's packets was what policies deny, and the counters say so too. */
export function judgeDrops(drops: NodeDrops, own: OwnAddresses, expected: (event: DropEvent) => boolean): Outcome {
  const outcome = (result: Outcome['result'], detail: string): Outcome => ({
    name: `drops/unexpected/${drops.node}`,
    group: 'drops',
    from: `node ${drops.node}`,
    to: 'drop counters and events',
    family: null,
    result,
    detail,
    milliseconds: 0,
  })
  if (drops.unknown !== '') return outcome('skipped', drops.unknown)
  const ours = drops.events.filter((event) => isOwn(event, own) && event.reason !== CHATTER)
  const unexpected = ours.filter((event) => !expected(event))
  if (unexpected.length > 0) {
    const more = unexpected.length > 1 ? `, and ${unexpected.length - 1} more` : ''
    return outcome('failed', `${eventText(unexpected[0]!)}${more}`)
  }
  const rises = risesOf(drops)
  for (const [reason, told] of countBy(drops.events, ({ reason }) => reason)) {
    const counted = rises.get(reason) ?? 0
    if (counted < told) return outcome('failed', `${told} events tell of ${reason}, its counter rose by ${counted}`)
  }
  const lost = rises.get(LOST) ?? 0
  if (lost > 0) return outcome('failed', `${lost} events were lost, so nobody knows what they told`)
  return outcome(
    'passed',
    ours.length === 0 ? 'nothing was' : `${ours.length} packets, all of them on paths that are denied or refused`,
  )
}

export function eventText(event: DropEvent): string {
  const end = (address: Address, port: number) =>
    address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  const path = `${end(event.source, event.sourcePort)} -> ${end(event.destination, event.destinationPort)}`
  return `${event.reason} at ${event.hook}: ${event.protocol} ${path}${event.rule ? `, ${event.rule}` : ''}`
}

function isOwn(event: DropEvent, { pods, nodes, nodePorts }: OwnAddresses): boolean {
  if (pods.has(event.source) || pods.has(event.destination)) return true
  const atNode = (address: Address, port: number) => nodes.has(address) && nodePorts.includes(port)
  return atNode(event.source, event.sourcePort) || atNode(event.destination, event.destinationPort)
}

function risesOf({ before, after }: NodeDrops): ReadonlyMap<string, number> {
  return new Map(Object.entries(after).map(([reason, packets]) => [reason, packets - (before[reason] ?? 0)]))
}

function countBy<T>(items: readonly T[], key: (item: T) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1)
  return counts
}
