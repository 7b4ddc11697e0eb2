// SPDX-License-Identifier: Apache-2.0
// Records of the events ring as people read them: with the names behind addresses, ids and rules.

import { type Address, UNSPECIFIED } from '../core/address.ts'
import { directionText, idText, protocolText } from '../datapath/tables.ts'
import { DropReason, type Event, EventType, event, Hook } from '../generated/abi.ts'

export interface PacketEvent {
  /** RFC 3339. */
  readonly time: string
  /** audit: it passed, but audited policies would drop it, for this reason and by this rule. */
  readonly type: 'drop' | 'audit'
  /** Name of enum drop_reason in lower case with dashes: 'policy-ingress'. */
  readonly reason: string
  /** 'from_pod', 'to_pod', 'from_netdev', 'to_netdev', 'sock'. */
  readonly hook: string
  readonly direction: 'egress' | 'ingress' | null
  readonly source: Address
  readonly sourcePort: number
  readonly destination: Address
  readonly destinationPort: number
  readonly protocol: string
  /** As tcpdump abbreviates: 'S', 'S.', 'R', ''. */
  readonly tcpFlags: string
  readonly ifindex: number
  /** Bytes of the packet. */
  readonly length: number
  /** namespace/name of the local endpoint; null where none is involved. */
  readonly pod: string | null
  /** Pods or nodes at both ends, where this node knows them. */
  readonly sourceName: string | null
  readonly destinationName: string | null
  /** Policy and rule that decided, or the policies that isolate; null where policy did not decide. */
  readonly rule: string | null
  readonly service: string | null
  /** Events that it stands for: 1, or more where so many come at once that of this many only the first is told. */
  readonly count: number
}

/** What the agent knows behind ids; undefined: nothing (any more). */
export interface Names {
  pod(id: bigint): string | undefined
  rule(id: bigint): string | undefined
  /** Policies of a set, by which it isolates; audited: those too by which it would. */
  isolating(set: bigint, audited: boolean): readonly string[] | undefined
  service(id: bigint): string | undefined
  address(address: Address): string | undefined
}

/** Of one batch, which is up to 20 ms: what a core tells of 100,000 a second is late, and read by nobody. */
const TOLD_MAX = 256

export interface Sample {
  readonly raw: Event
  /** Records that it stands for: itself, and those that follow. */
  readonly count: number
}

/** Each record of a batch, or every second, third ... where they are more than TOLD_MAX. */
export function sampleEvents(bytes: Uint8Array, count: number): Sample[] {
  const stride = Math.ceil(count / TOLD_MAX)
  return Array.from({ length: Math.ceil(count / stride) }, (_, i) => ({
    raw: event.read(bytes, i * stride * event.size),
    count: Math.min(stride, count - i * stride),
  }))
}

/** bootMs: when the monotonic clock was 0, milliseconds since 1970. */
export function describeEvent({ raw, count }: Sample, names: Names, bootMs: number): PacketEvent {
  return {
    time: new Date(bootMs + Number(raw.timeNs / 1_000_000n)).toISOString(),
    type: raw.type === EventType.AUDIT ? 'audit' : 'drop',
    reason: reasonText(raw.reason),
    hook: hookTexts.get(raw.hook) ?? String(raw.hook),
    direction: raw.direction === 0 ? null : directionText(raw.direction),
    source: raw.source,
    sourcePort: raw.sourcePort,
    destination: raw.destination,
    destinationPort: raw.destinationPort,
    protocol: protocolText(raw.protocol),
    tcpFlags: tcpFlagsText(raw.tcpFlags),
    ifindex: raw.ifindex,
    length: raw.length,
    pod: raw.pod === 0n ? null : (names.pod(raw.pod) ?? idText(raw.pod)),
    sourceName: addressName(raw.source, names),
    destinationName: addressName(raw.destination, names),
    rule: ruleName(raw, names),
    service: raw.service === 0n ? null : (names.service(raw.service) ?? idText(raw.service)),
    count,
  }
}

/** 'POLICY_INGRESS' is 'policy-ingress'; a number that this build does not know stays a number. */
export function reasonText(reason: number): string {
  return reasonTexts.get(reason) ?? String(reason)
}

const reasonTexts = new Map(
  Object.entries(DropReason).map(([name, reason]): [number, string] => [
    reason,
    name.toLowerCase().replaceAll('_', '-'),
  ]),
)
const hookTexts = new Map(Object.entries(Hook).map(([name, hook]): [number, string] => [hook, name.toLowerCase()]))

function addressName(address: Address, names: Names): string | null {
  return address === UNSPECIFIED ? null : (names.address(address) ?? null)
}

/** The rule that denied, or would; where none did, the policies that select the pod and so isolate it. */
function ruleName({ rule, set, type }: Event, names: Names): string | null {
  if (rule !== 0n) return names.rule(rule) ?? idText(rule)
  if (set === 0n) return null
  const policies = names.isolating(set, type === EventType.AUDIT)
  return policies === undefined ? idText(set) : `no rule allows it; isolated by ${policies.join(', ')}`
}

function tcpFlagsText(flags: number): string {
  const letters: readonly (readonly [number, string])[] = [
    [0x01, 'F'],
    [0x02, 'S'],
    [0x04, 'R'],
    [0x08, 'P'],
    [0x20, 'U'],
    [0x10, '.'],
  ]
  return letters.flatMap(([bit, letter]) => (flags & bit ? [letter] : [])).join('')
}
