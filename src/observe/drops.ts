// SPDX-License-Identifier: Apache-2.0
// The drop counters of the data plane, summed over CPUs.

import { DropReason, dropCount, maps } from '../generated/abi.ts'
import type { Addon, Fd } from '../kernel/addon.ts'
import { reasonText } from './events.ts'

export interface DropTotal {
  readonly reason: string
  readonly packets: number
  readonly bytes: number
}

const audits: ReadonlyMap<string, string> = new Map([
  [reasonText(DropReason.AUDIT_EGRESS), reasonText(DropReason.POLICY_EGRESS)],
  [reasonText(DropReason.AUDIT_INGRESS), reasonText(DropReason.POLICY_INGRESS)],
])

/** One for each reason that has counted anything, in the order of their numbers. `audited`: what passed, and would have
 *  been dropped for that reason. */
export async function readDrops(
  addon: Addon,
  drops: Fd,
): Promise<{ readonly dropped: readonly DropTotal[]; readonly audited: readonly DropTotal[] }> {
  const totals = await readTotals(addon, drops)
  return {
    dropped: totals.filter(({ reason }) => !audits.has(reason)),
    audited: totals.flatMap((total) => {
      const reason = audits.get(total.reason)
      return reason === undefined ? [] : [{ ...total, reason }]
    }),
  }
}

async function readTotals(addon: Addon, drops: Fd): Promise<DropTotal[]> {
  const { values, count } = await addon.mapDump(drops)
  const cpus = addon.possibleCpus()
  const stride = Math.ceil(maps.drops.valueSize / 8) * 8
  const totals: DropTotal[] = []
  for (let reason = 1; reason < Math.min(count, DropReason.REASONS); reason++) {
    let [packets, bytes] = [0n, 0n]
    for (let cpu = 0; cpu < cpus; cpu++) {
      const one = dropCount.read(values, (reason * cpus + cpu) * stride)
      packets += one.packets
      bytes += one.bytes
    }
    if (packets > 0n) totals.push({ reason: reasonText(reason), packets: Number(packets), bytes: Number(bytes) })
  }
  return totals
}
