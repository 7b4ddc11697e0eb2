// SPDX-License-Identifier: Apache-2.0
// A row: what the world is, which packets came before, one packet, and what happens to it. It runs in IPv4 and IPv6,
// each time through `trace` and through the programs, which must agree on verdict, reason, packet and every entry
// written, also for the packets that came before.

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Family } from '../../src/core/address.ts'
import { type Traced, trace } from '../../src/datapath/trace.ts'
import { EtherType, type IpPacket, type Packet } from '../../src/datapath/trace-packet.ts'
import { emptyFlowState, type FlowState, type Tables, tupleText } from '../../src/datapath/trace-tables.ts'
import type { Audited, Choices, Verdict } from '../../src/datapath/trace-walk.ts'
import { DropReason, EventType, type NodeConfig, PacketMark, PolicyDirection } from '../../src/generated/abi.ts'
import { packetBytes, parsePacket } from '../support/packet-bytes.ts'
import {
  addressOf,
  config,
  type Host,
  type LocalPod,
  MAX_ENTRIES,
  native,
  podIfindex,
  ruleIdOf,
  UPLINK,
} from './cluster.ts'
import { type Kernel, startKernel } from './kernel.ts'
import type { HookName, Step, StepResult } from './kernel-worker.ts'
import type { InFamily } from './vocabulary.ts'

export type ReasonName = Exclude<keyof typeof DropReason, 'NONE' | 'REASONS'>

export interface At {
  readonly hook: HookName
  readonly ifindex: number
  readonly ingressIfindex: number
  readonly mark: number
  readonly packet: InFamily<Packet>
  /** Breaks the frame, so that its IP header cannot be read. */
  readonly broken?: (bytes: Uint8Array) => Uint8Array
  /** The frame goes to all of the link. */
  readonly isToMany?: true
}

export interface Expected {
  readonly verdict: 'pass' | 'drop' | 'redirect'
  readonly reason?: ReasonName
  readonly rule?: bigint
  /** What audited policies would do; absent: nothing else. */
  readonly audit?: { readonly direction: PolicyDirection; readonly rule: bigint }
  /** Where a redirect leads, if to no device of the network's. */
  readonly kind?: 'sorter'
  /** Device of the redirect. */
  readonly ifindex?: number
  readonly gateway?: Host
  readonly tunnel?: boolean
  readonly out?: InFamily<Packet>
  /** To what was dropped; absent: there must be none. */
  readonly answer?: InFamily<IpPacket>
  readonly isAnswerLimited?: true
  /** Of the translations that there are then, sorted. */
  readonly translationFlags?: readonly number[]
}

export interface Row {
  readonly config?: NodeConfig
  readonly world: Tables
  /** Entries that exist before the first packet. */
  readonly state?: InFamily<FlowState>
  /** Packets that came before. */
  readonly given?: readonly At[]
  /** The tables at `when`, where they have changed after `given`. */
  readonly changed?: Tables
  readonly when: At
  readonly then: Expected
  readonly families?: readonly Family[]
  /** The node has sent as many ICMP answers as it may. */
  readonly isAnswerLimited?: true
}

/** A node whose route to the world does not lead out of its uplink, but elsewhere. */
export const routedElsewhere = config({ uplink: 99 })

// -- Where a packet is ---------------------------------------------------------------------------------------------

export function fromPod(pod: LocalPod, packet: InFamily<Packet>): At {
  return { hook: 'from_pod', ifindex: podIfindex[pod], ingressIfindex: podIfindex[pod], mark: 0, packet }
}

/** What this node's stack sends to a pod, of its own (`forwardedFrom` 0) or forwarded. */
export function toPod(pod: LocalPod, packet: InFamily<Packet>, forwardedFrom = 0): At {
  return { hook: 'to_pod', ifindex: podIfindex[pod], ingressIfindex: forwardedFrom, mark: 0, packet }
}

export function fromNetdev(packet: InFamily<Packet>): At {
  return { hook: 'from_netdev', ifindex: UPLINK, ingressIfindex: UPLINK, mark: 0, packet }
}

export function toNetdev(packet: InFamily<Packet>, forwardedFrom = 0): At {
  return { hook: 'to_netdev', ifindex: UPLINK, ingressIfindex: forwardedFrom, mark: 0, packet }
}

/** Comes back from the sorter. */
export function sorted(at: At): At {
  return { ...at, mark: PacketMark.SORTED }
}

export function toAll(at: At): At {
  return { ...at, isToMany: true }
}

// -- What becomes of it --------------------------------------------------------------------------------------------

export function passed(out?: InFamily<Packet>): Expected {
  return { verdict: 'pass', ...(out && { out }) }
}

/** rule: the name of the rule that decided; null where the set isolates. */
export function dropped(reason: ReasonName, rule?: string | null): Expected {
  return { verdict: 'drop', reason, ...(rule !== undefined && { rule: rule === null ? 0n : ruleIdOf(rule) }) }
}

/** Dropped, and not answered, for there were too many. */
export function limited(reason: ReasonName): Expected {
  return { verdict: 'drop', reason, isAnswerLimited: true }
}

/** What happens although an audited rule would deny it; null: the audited policies would isolate. */
export function audited(expected: Expected, direction: 'EGRESS' | 'INGRESS', rule: string | null): Expected {
  return { ...expected, audit: { direction: PolicyDirection[direction], rule: rule === null ? 0n : ruleIdOf(rule) } }
}

/** Dropped and answered. */
export function refused(reason: ReasonName, answer: InFamily<IpPacket>): Expected {
  return { verdict: 'drop', reason, answer }
}

export function delivered(pod: LocalPod, out?: InFamily<Packet>): Expected {
  return { verdict: 'redirect', ifindex: podIfindex[pod], ...(out && { out }) }
}

/** Out by the uplink; gateway null: whatever the kernel's route says. */
export function sent(gateway: Host | null, out?: InFamily<Packet>): Expected {
  return { verdict: 'redirect', ifindex: UPLINK, ...(gateway && { gateway }), ...(out && { out }) }
}

/** To the namespace that puts datagrams in order. */
export function sentToSorter(): Expected {
  return { verdict: 'redirect', kind: 'sorter' }
}

// -- Running -------------------------------------------------------------------------------------------------------

/** Of the worker's uplink. */
const MTU_BYTES = 1500
const families: readonly Family[] = [4, 6]
let kernel: Kernel

beforeAll(async () => {
  kernel = await startKernel()
})
afterAll(() => kernel?.[Symbol.asyncDispose]())

export function packet(name: string, row: Row) {
  for (const family of row.families ?? families) {
    test(`${name} (IPv${family})`, async () => {
      const last = await runRow(kernel, row, family)
      expect(describeOutcome(last)).toMatchObject(describeExpected(row.then, family))
      const out = row.then.out?.(family)
      if (out) expect(last.traced.packet).toEqual(out)
      if (row.then.translationFlags) expect(flagsOf(last.ran.state)).toEqual(row.then.translationFlags)
      const { audited } = last.traced
      expect(audited && { direction: audited.direction, rule: audited.rule }).toEqual(row.then.audit ?? null)
      const { verdict } = last.traced
      if (verdict.kind === 'drop') expect(verdict.answer).toEqual(row.then.answer?.(family) ?? null)
    })
  }
}

function flagsOf({ translations }: FlowState): readonly number[] {
  return Array.from(translations.values(), ([, { flags }]) => flags).sort((a, b) => a - b)
}

export interface Outcome {
  readonly traced: Traced
  readonly ran: StepResult
}

/** Runs the row both ways and compares; the outcome of `when`. */
async function runRow(kernel: Kernel, row: Row, family: Family): Promise<Outcome> {
  const config = row.config ?? native
  const given = row.given ?? []
  const { isAnswerLimited = false } = row
  const state = row.state?.(family) ?? emptyFlowState()
  if (!row.changed) {
    const ats = [...given, row.when]
    const outcomes = await runStage(kernel, { config, tables: row.world, state, family, ats, isAnswerLimited })
    return outcomes.at(-1)!
  }
  const before = await runStage(kernel, { config, tables: row.world, state, family, ats: given })
  const left = before.at(-1)?.ran.state ?? state
  const outcomes = await runStage(kernel, { config, tables: row.changed, state: left, family, ats: [row.when] })
  return outcomes[0]!
}

export interface Stage {
  readonly config: NodeConfig
  readonly tables: Tables
  readonly state: FlowState
  readonly family: Family
  readonly ats: readonly At[]
  readonly isAnswerLimited?: boolean
}

/** Runs packets in order on the state that each leaves, both ways; throws where they differ. */
export async function runStage(kernel: Kernel, stage: Stage): Promise<readonly Outcome[]> {
  const { config, tables, family, ats } = stage
  const startNs = process.hrtime.bigint()
  const steps = ats.map((at) => toStep(at, family))
  const { isAnswerLimited = false } = stage
  const results = await kernel.run({ config, tables, state: stage.state, steps, isAnswerLimited })
  const state = structuredClone(stage.state)
  return ats.map((at, i) => {
    const ran = results[i]!
    const traced = traceAt(at, family, config, tables, state, ran)
    compare(traced, ran, state, steps[i]!, startNs)
    return { traced, ran }
  })
}

function toStep(at: At, family: Family): Step {
  const bytes = packetBytes(at.packet(family))
  const { hook, ifindex, ingressIfindex, mark } = at
  if (at.isToMany) bytes.fill(0xff, 0, 6)
  return { hook, ifindex, ingressIfindex, mark, bytes: at.broken?.(bytes) ?? bytes }
}

function traceAt(
  at: At,
  family: Family,
  config: NodeConfig,
  tables: Tables,
  state: FlowState,
  ran: StepResult,
): Traced {
  const whole = at.packet(family)
  return trace({
    config,
    tables,
    state,
    hook: at.hook,
    ifindex: at.ifindex,
    ingressIfindex: at.ingressIfindex,
    mark: at.mark,
    isToMany: at.isToMany === true,
    nowNs: process.hrtime.bigint(),
    packet:
      at.broken && whole.kind === 'ip'
        ? { kind: 'other', etherType: whole.family === 4 ? EtherType.IPv4 : EtherType.IPv6, payloadBytes: 0 }
        : whole,
    translationsMax: MAX_ENTRIES,
    mtuBytes: MTU_BYTES,
    hasRoute: config.uplink === UPLINK,
    choices: choicesOf(ran, config, tables),
    nameOf: (id) => id.toString(16),
  })
}

/** What the programs have chosen, read from the entry that they made, or else from the event of the drop. */
function choicesOf(
  { state, events, drops }: StepResult,
  { natPortMin, natPortMax }: NodeConfig,
  tables: Tables,
): Choices {
  const { translations } = state
  return {
    isAnswerLimited: () => drops.has(DropReason.ANSWER_LIMIT),
    backendSlot(tuple, list, count) {
      const [event] = events
      const to = translations.get(tupleText(tuple))?.[1].to ?? event
      const chosen = tables.backends.find(
        ([{ backendList, slot }, { address, port }]) =>
          backendList === list && slot < count && address === to?.destination && port === to.destinationPort,
      )
      return chosen?.[0].slot ?? 0
    },
    natPort(tuple, taken) {
      const port = translations.get(tupleText(tuple))?.[1].to.sourcePort
      if (port === undefined) return null
      expect(port, 'masqueraded port').toBeGreaterThanOrEqual(natPortMin)
      expect(port, 'masqueraded port').toBeLessThanOrEqual(natPortMax)
      expect(taken(port), `port ${port} is taken`).toBe(false)
      return port
    },
  }
}

function compare(traced: Traced, ran: StepResult, state: FlowState, step: Step, startNs: bigint) {
  const { verdict } = traced
  const happened = {
    action: actionName(ran.retval),
    drops: Array.from(ran.drops, ([reason, packets]) => [reasonName(reason), packets]),
  }
  const drops = [
    ...(verdict.kind === 'drop' ? [[reasonName(verdict.reason), 1]] : []),
    ...(traced.audited === null ? [] : [[auditName(traced.audited), 1]]),
    ...(verdict.kind === 'drop' && verdict.isAnswerLimited ? [['ANSWER_LIMIT', 1]] : []),
  ]
  const walked = traced.steps.map(({ stage, text }) => `${stage}: ${text}`).join('\n')
  expect(happened, walked).toEqual({ action: actionOf(verdict), drops })
  const told = ran.events.filter(({ type }) => type === EventType.AUDIT)
  expect(
    told.map(({ direction, rule, set }) => ({ direction, rule, set })),
    'what is told as audited',
  ).toEqual(traced.audited === null ? [] : [traced.audited])
  if (verdict.kind === 'drop') {
    const event = ran.events.find(({ type }) => type === EventType.DROP)!
    if (verdict.set !== 0n) {
      const { rule, set } = event
      expect({ rule, set }, 'rule and set of the event').toEqual({ rule: verdict.rule, set: verdict.set })
    }
    if (verdict.answer) {
      const { packet: answer, problems } = parsePacket(ran.bytes)
      expect(problems, 'checksums and lengths of the answer').toEqual([])
      expect(withoutTunnelPort(answer), 'answer').toEqual(withoutTunnelPort(verdict.answer))
    }
  } else if (traced.packet.kind === 'other') {
    expect(ran.bytes).toEqual(step.bytes)
  } else {
    const { packet: out, problems } = parsePacket(ran.bytes)
    expect(problems, 'checksums and lengths of the packet out').toEqual([])
    expect(withoutTunnelPort(out), 'packet out').toEqual(withoutTunnelPort(traced.packet))
    expect(ran.mark, 'mark out').toBe(traced.mark)
  }
  expect(comparable(ran.state, startNs), 'entries after').toEqual(comparable(state, startNs))
}

function actionName(retval: number): string {
  const names: Record<number, string> = { 0: 'pass', 2: 'drop', 7: 'redirect', 4294967295: 'pass' }
  return names[retval >>> 0] ?? `TC action ${retval}`
}

function actionOf(verdict: Verdict): string {
  if (verdict.kind === 'drop') return verdict.answer ? 'redirect' : 'drop'
  return verdict.kind === 'stack' ? 'pass' : 'redirect'
}

function auditName({ direction }: Audited): string {
  return direction === PolicyDirection.EGRESS ? 'AUDIT_EGRESS' : 'AUDIT_INGRESS'
}

export function reasonName(reason: number): string {
  return Object.entries(DropReason).find(([, value]) => value === reason)?.[0] ?? String(reason)
}

/** The outer source port comes from a hash of the inner packet that only the kernel knows (RFC 7348 5). */
function withoutTunnelPort(packet: Packet): Packet {
  const { transport } = packet as IpPacket
  if (packet.kind === 'other' || transport.kind !== 'vxlan') return packet
  return { ...packet, transport: { ...transport, sourcePort: 0 } }
}

/** Times become 'now' or stay; the coarse clock may lag by a tick. */
function comparable({ openings, ...tables }: FlowState, startNs: bigint): unknown {
  const time = (seenNs: bigint) =>
    seenNs >= startNs - 20_000_000n && seenNs < startNs + 10n ** 12n ? 'now' : BigInt.asUintN(64, seenNs)
  const entries = Object.fromEntries(
    Object.entries(tables).map(([table, entries]) => [
      table,
      Object.fromEntries(
        [...(entries as Map<string, readonly [unknown, object]>)].map(([key, [, value]]) => [
          key,
          'seenNs' in value ? { ...value, seenNs: time(value.seenNs as bigint) } : value,
        ]),
      ),
    ]),
  )
  return { ...entries, openings: openings.map(tupleText) }
}

function describeOutcome({ traced: { verdict } }: Outcome): object {
  if (verdict.kind === 'stack') return { verdict: 'pass' }
  if (verdict.kind === 'drop') {
    const { reason, rule, isAnswerLimited = false } = verdict
    return { verdict: 'drop', reason: reasonName(reason), rule, isAnswerLimited }
  }
  return { verdict: 'redirect', ...verdict }
}

function describeExpected(
  { out: _, answer: __, audit: ___, translationFlags: ____, gateway, ...expected }: Expected,
  family: Family,
): object {
  return { ...expected, ...(gateway && { gateway: addressOf(gateway, family) }) }
}
