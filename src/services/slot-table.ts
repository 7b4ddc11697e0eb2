// SPDX-License-Identifier: Apache-2.0
// Which backend has each slot of a list's table, where chance or the client's address alone cannot say: Maglev
// ("Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4), and whatever has weights. A table
// follows from the backends and their weights only, so every node that leads to the same ones has the same.

import { id64 } from '../core/id64.ts'
import { Algorithm, type Balancing } from '../world/objects.ts'
import type { Backend } from './frontends.ts'

export function hasSlotTable({ algorithm, weights }: Balancing): boolean {
  return algorithm === Algorithm.MAGLEV || weights !== null
}

/** For each of `size` slots (a prime) an index of `backends` (sorted, one at least). Of more backends than slots the last
 *  have none. Cost for 16,381 slots: 1 to 2 ms for 100 backends, 13 for 5,000. */
export function slotTable(backends: readonly Backend[], { algorithm }: Balancing, size: number): Uint16Array {
  return algorithm === Algorithm.ROUND_ROBIN ? turnTable(backends, size) : maglevTable(backends, size)
}

/** Every backend has an order of its own in which it wants the slots. Round by round each takes the first that is free;
 *  one of half of the greatest weight sits out every second round. All take one in the first. */
function maglevTable(backends: readonly Backend[], size: number): Uint16Array {
  const table = new Uint16Array(size)
  const isTaken = new Uint8Array(size)
  const orders = backends.map((backend) => preferences(backend, size))
  const heaviest = Math.max(...backends.map(weightOf))
  const due = backends.map(() => 0)
  let free = size
  for (let round = 1; ; round++) {
    for (const [index, backend] of backends.entries()) {
      if (round * weightOf(backend) < due[index]!) continue
      due[index]! += heaviest
      const order = orders[index]!
      while (isTaken[order.next]) order.next = (order.next + order.step) % size
      table[order.next] = index
      isTaken[order.next] = 1
      if (--free === 0) return table
    }
  }
}

function preferences({ address, port }: Backend, size: number): { next: number; readonly step: number } {
  const hash = id64(`slots of ${address} ${port}`)
  return {
    next: Number((hash & 0xffff_ffffn) % BigInt(size)),
    step: Number((hash >> 32n) % BigInt(size - 1)) + 1,
  }
}

/** Slot after slot goes to the backend that is due first: at once, and then each 1 / weight of a round. */
function turnTable(backends: readonly Backend[], size: number): Uint16Array {
  const total = backends.reduce((sum, backend) => sum + weightOf(backend), 0)
  const slots = backends.flatMap((backend, index) => {
    const weight = weightOf(backend)
    const share = Math.ceil((size * weight) / total)
    return Array.from({ length: share }, (_, turn) => ({ index, due: turn / weight }))
  })
  slots.sort((a, b) => a.due - b.due || a.index - b.index)
  return Uint16Array.from(slots.slice(0, size), ({ index }) => index)
}

function weightOf({ weight }: Backend): number {
  return weight ?? 1
}
