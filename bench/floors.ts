// SPDX-License-Identifier: Apache-2.0
// What the figures must reach: their floors or, of latencies, what a machine allows where that is less. A full run is held
// to these bounds themselves; CI, which is short and shares its machine, to the bounds less a slack.

import type { AddTimes } from './cni-add.ts'
import type { Test } from './netperf.ts'
import type { ServiceFigures } from './services.ts'
import type { Table } from './statistics.ts'

type Floors = Readonly<Record<string, Readonly<Partial<Record<Test, number>>>>>

/** Its ratio is to the same way without policies. */
export const policedName = 'Heddle: across, native, 100 policies, to none'

/** Ratio to node-to-node without Heddle, by row of the table. Sources: issue 3; issue 6 for policies. */
export const floors: Floors = {
  'Heddle: same node': { TCP_RR: 0.92, TCP_CRR: 0.86, TCP_STREAM: 0.9, UDP_RR: 0.92 },
  'Heddle: across, native': { TCP_RR: 0.85, TCP_CRR: 0.7, TCP_STREAM: 0.88, UDP_RR: 0.84 },
  'Heddle: across, vxlan': { TCP_RR: 0.8, TCP_CRR: 0.66, TCP_STREAM: 0.75, UDP_RR: 0.77 },
  'Heddle: node to node': { TCP_RR: 0.95, TCP_CRR: 0.92, TCP_STREAM: 0.93, UDP_RR: 0.95 },
  [policedName]: { TCP_RR: 0.97, TCP_CRR: 0.97 },
}

/** By row of `floors` the bare forwarder's, which does nothing but forward the same way. */
const bareRows: Readonly<Record<string, string>> = {
  'Heddle: same node': 'bare forwarder: same node',
  'Heddle: across, native': 'bare forwarder: across',
  'Heddle: across, vxlan': 'bare forwarder: across, tunnel',
  'Heddle: node to node': 'bare forwarder: node to node',
}

/** What the bare forwarder may bound: each packet pays for being forwarded. A new connection and a stream are not bounded by
 *  that, for it spends nothing on the one and next to nothing on each byte of the other. */
export const latencyTests: readonly Test[] = ['TCP_RR', 'UDP_RR']

/** Of the bare forwarder's ratio, which Heddle must reach where its floor is higher than that. */
export const bareShare = 0.97

/** Ratio to the same way without a Service: to the pod's own address, to plain routing. Source: issue 5; its .97 includes
 *  the .95 of issue 3 for a ClusterIP among 10,000 Services. */
export const serviceFloors: Floors = {
  'Heddle: ClusterIP': { TCP_RR: 0.97, TCP_CRR: 0.97 },
  'Heddle: NodePort': { TCP_CRR: 0.85 },
}

/** CRR among the most Services, as a ratio to the fewer, of each row of serviceFloors. Source: issue 5. */
const growth = { from: 100, to: 30_000, floor: 0.95 } as const

/** ADD, as a ratio to ptp + host-local: at most. */
const addCeiling = 0.35

const slack: Readonly<Record<Test, number>> = { TCP_RR: 0.04, UDP_RR: 0.04, TCP_CRR: 0.08, TCP_STREAM: 0.08 }

function slackOf(test: Test, isShort: boolean): number {
  return isShort ? slack[test] : 0
}

/** Figures that do not reach their floor yet, and how bad they may be meanwhile: CI names each as missed and fails only when
 *  it gets worse than this; a full run fails. An entry goes when its figure reaches the floor. One tree on one machine
 *  (f66d45a): NodePort .81, two hours later .76; a tree of the evening interleaved with it there: no difference. */
const knownMisses: Readonly<Record<string, number>> = {
  'Heddle: same node TCP_CRR': 0.74, // .80 and .83
  'Heddle: across, native TCP_RR': 0.74, // .799 and .840
  'Heddle: across, native TCP_CRR': 0.58, // .641 and .708
  'Heddle: across, native UDP_RR': 0.72, // .788 and .839
  'Heddle: across, vxlan TCP_RR': 0.71, // .765 and .787
  'Heddle: across, vxlan TCP_CRR': 0.57, // .657 and .674
  'Heddle: across, vxlan UDP_RR': 0.69, // .741 and .767
  'Heddle: NodePort TCP_CRR among 10000 Services': 0.7, // .76 and .816
  // .39 on a machine that keeps its memory; .91 and 1.0 where every page that is touched comes from the host again: then
  // both sides take 16 ms instead of 3 and 8.
  'ADD against ptp + host-local': 1.2,
}

export interface Bound {
  readonly floor: number
  /** Ratio of the bare forwarder that counts for this figure; null: none does, or it was not measured. */
  readonly bare: number | null
  /** The floor, or bareShare of `bare` where that is less. */
  readonly bound: number
}

export interface Finding extends Partial<Bound> {
  readonly name: string
  readonly ratio: number
  /** The bound less the slack of a short run. */
  readonly atLeast?: number
  readonly atMost?: number
  readonly holds: boolean
}

export interface Figures {
  /** The first row is the baseline. */
  readonly table: Table
  /** null: not measured. */
  readonly add: AddTimes | null
  readonly services: readonly ServiceFigures[]
}

/** Every figure that has a floor or a ceiling. */
export function findingsOf({ table, add, services }: Figures, isShort: boolean): readonly Finding[] {
  return [
    ...tableFindings(table, floors, '', isShort),
    ...services.flatMap((each) =>
      tableFindings(each.table, serviceFloors, ` among ${each.services} Services`, isShort),
    ),
    ...growthFindings(services, isShort),
    ...(add === null ? [] : [atMost('ADD against ptp + host-local', add.ratio, addCeiling)]),
  ]
}

function growthFindings(services: readonly ServiceFigures[], isShort: boolean): readonly Finding[] {
  const { from, to, floor } = growth
  const crr = (row: string, count: number) =>
    services
      .find((each) => each.services === count)
      ?.table.get(row)
      ?.get('TCP_CRR')?.ratio
  return Object.keys(serviceFloors).flatMap((row) => {
    const [few, many] = [crr(row, from), crr(row, to)]
    if (few === undefined || many === undefined) return []
    return [atLeast(`${row} TCP_CRR, ${to} Services to ${from}`, many / few, plain(floor), slackOf('TCP_CRR', isShort))]
  })
}

function tableFindings(table: Table, floors: Floors, suffix: string, isShort: boolean): readonly Finding[] {
  return Object.entries(floors).flatMap(([row, byTest]) =>
    (Object.entries(byTest) as [Test, number][]).flatMap(([test, floor]) => {
      const ratio = table.get(row)?.get(test)?.ratio
      if (ratio === undefined) return []
      return [atLeast(`${row} ${test}${suffix}`, ratio, boundOf(table, row, test, floor), slackOf(test, isShort))]
    }),
  )
}

/** What the figure of this row must reach, by the bare forwarder in the same blocks. */
export function boundOf(table: Table, row: string, test: Test, floor: number): Bound {
  const bareRow = latencyTests.includes(test) ? bareRows[row] : undefined
  const bare = (bareRow && table.get(bareRow)?.get(test)?.ratio) || null
  return { floor, bare, bound: bare === null ? floor : Math.min(floor, bareShare * bare) }
}

function plain(floor: number): Bound {
  return { floor, bare: null, bound: floor }
}

function atLeast(name: string, ratio: number, bound: Bound, slack: number): Finding {
  const atLeast = bound.bound - slack
  return { name, ratio, ...bound, atLeast, holds: ratio >= atLeast }
}

function atMost(name: string, ratio: number, atMost: number): Finding {
  return { name, ratio, atMost, holds: ratio <= atMost }
}

export function isKnownMiss({ name, ratio, atMost }: Finding): boolean {
  const bound = knownMisses[name]
  if (bound === undefined) return false
  return atMost === undefined ? ratio >= bound : ratio <= bound
}
