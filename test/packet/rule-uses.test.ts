// SPDX-License-Identifier: Apache-2.0
// Which rules decide about flows is written down, for `heddle policy unused`.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { emptyFlowState } from '../../src/datapath/trace-tables.ts'
import { packetBytes } from '../support/packet-bytes.ts'
import { allow, deny, egress, ingress, native, pod, ruleIdOf, world } from './cluster.ts'
import { type Kernel, startKernel } from './kernel.ts'
import type { Step } from './kernel-worker.ts'
import { type At, fromNetdev, fromPod } from './row.ts'
import { tcp } from './vocabulary.ts'

let kernel: Kernel
beforeAll(async () => {
  kernel = await startKernel()
})
afterAll(() => kernel?.[Symbol.asyncDispose]())

const tables = world(
  pod('cart', { egress: egress('e', allow('out', 'any', 'TCP/80'), deny('no', 'any', 'TCP/81')) }),
  pod('web', { ingress: ingress('i', allow('in', 'any', 'TCP/80'), allow('never', 'any', 'TCP/82')) }),
)

function stepOf({ hook, ifindex, ingressIfindex, mark, packet }: At): Step {
  return { hook, ifindex, ingressIfindex, mark, bytes: packetBytes(packet(4)) }
}

/** After each packet: rule -> when it was used. */
async function usesAfter(...ats: readonly At[]): Promise<readonly Readonly<Record<string, bigint>>[]> {
  const rules = ['out', 'no', 'in', 'never']
  const results = await kernel.run({
    config: native,
    tables,
    state: emptyFlowState(),
    steps: ats.map(stepOf),
    countedRules: rules.map(ruleIdOf),
  })
  return results.map(({ ruleUses }) => Object.fromEntries(rules.map((name) => [name, ruleUses.get(ruleIdOf(name))!])))
}

const syn = (port: number) => fromPod('cart', tcp(`cart:${port}`, 'web:80', 'S'))

test('both directions that judge a flow are written down, denials too, and nothing else', async () => {
  const [opened, denied] = await usesAfter(syn(4000), fromPod('cart', tcp('cart:4000', 'web:81', 'S')))
  expect(opened).toEqual({ out: expect.any(BigInt), in: expect.any(BigInt), no: 0n, never: 0n })
  expect(opened!.out).toBeGreaterThan(0n)
  expect(opened!.in).toBeGreaterThan(0n)
  expect(denied!.no).toBeGreaterThan(0n)
  expect(denied!.never).toBe(0n)
})

test('a rule that is not counted is not entered', async () => {
  const [result] = await kernel.run({
    config: native,
    tables,
    state: emptyFlowState(),
    steps: [stepOf(fromNetdev(tcp('away:4000', 'web:80', 'S')))],
  })
  expect(result!.ruleUses.size).toBe(0)
})
