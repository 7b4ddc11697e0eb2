// SPDX-License-Identifier: Apache-2.0
// What of the Services is not as their objects say, and why: one sentence for each.

import { type Address, family } from '../core/address.ts'
import type { Compiled } from '../datapath/compile.ts'
import type { TableStore } from '../datapath/desired.ts'
import { idText, keyText, readKey } from '../datapath/tables.ts'
import type { BoundSocket } from '../kernel/sock-diag.ts'
import type { ObjectName } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import { boundPorts } from './bound-ports.ts'
import { serviceNames } from './names.ts'

const SENTENCES_MAX = 100

export interface BoundPortSources {
  readonly world: WorldView
  readonly store: TableStore
  readonly compiled: () => Compiled
  /** InternalIPs of this node. */
  readonly nodeAddresses: readonly Address[]
  readonly boundSockets: () => Promise<readonly BoundSocket[]>
}

/** Services that the tables have no room for; `of`: this one only. */
export function refusedServices({ refusedServices }: Compiled, of?: ObjectName): string[] {
  const sentences = [...refusedServices]
    .filter(([name]) => of === undefined || name === of)
    .map(
      ([name, { table, needed, maxEntries }]) =>
        `Service ${name} is refused: its ${needed} entries do not fit into table ${table}, mapSizes.${table} is ${maxEntries}`,
    )
  return bounded(sentences)
}

/** Frontends that an older Service has, and what of slices is not used; `of`: of this Service only. */
export function serviceNotices(
  { services }: Compiled,
  store: Pick<TableStore, 'contested'>,
  of?: ObjectName,
): string[] {
  const ignored = Array.from(services.ignored, ([name, counts]) => {
    const reasons = Array.from(counts, ([reason, count]) => `${count} × ${reason}`).sort()
    return `Service ${name}: ignored of its slices: ${reasons.join(', ')}`
  })
  const all = [...conflicts(store), ...ignored]
  return bounded(of === undefined ? all : all.filter((sentence) => sentence.startsWith(`Service ${of}:`)))
}

/** Ports of this node that a process holds as well as a Service; `of`: this Service only. */
export async function boundPortNotices(
  { world, store, compiled, nodeAddresses, boundSockets }: BoundPortSources,
  of?: ObjectName,
): Promise<string[]> {
  const own = new Set([...nodeAddresses, ...compiled().services.place.nodePortAddresses])
  const bound = boundPorts(await boundSockets(), store, [...own])
  if (bound.length === 0) return []
  const names = serviceNames(world)
  const sentences = bound.map(({ service, address, port, protocol }) => {
    const [name] = (names.get(service) ?? idText(service)).split(':')
    const at = family(address) === 6 ? `[${address}]` : address
    return {
      name,
      text: `Service ${name}: a process of this node was bound to ${at}:${port}/${protocol} first, and hears of no client beyond it`,
    }
  })
  return bounded(sentences.filter(({ name }) => of === undefined || name === of).map(({ text }) => text))
}

/** Frontends that somebody claims in vain. */
export function conflicts(store: Pick<TableStore, 'contested'>): string[] {
  return store
    .contested('frontends')
    .filter(({ key }) => readKey('frontends', key).protocol !== 0) // the address as a whole: said by its ports
    .flatMap(({ key, sources: [holder, ...others] }) =>
      others.map((name) => `Service ${name}: ${keyText('frontends', key)} belongs to ${holder}, which is older`),
    )
}

function bounded(sentences: string[]): string[] {
  const kept = sentences.sort().slice(0, SENTENCES_MAX)
  return kept.length === sentences.length ? kept : [...kept, `and ${sentences.length - kept.length} more like it`]
}
