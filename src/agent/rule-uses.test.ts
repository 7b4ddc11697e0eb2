// SPDX-License-Identifier: Apache-2.0

import { afterEach, beforeEach, expect, test } from 'vitest'
import { type LoadedObject, loadShipped } from '../../test/support/maps.ts'
import { encode } from '../core/codec.ts'
import { ruleUse, ruleUseKey } from '../generated/abi.ts'
import { loadAddon } from '../kernel/load-addon.ts'
import { openRuleUses, type RuleUses } from './rule-uses.ts'

const addon = loadAddon()
const CAPACITY = 4
const SECOND_NS = 1_000_000_000n
let object: LoadedObject
let now: bigint

beforeEach(async () => {
  object = await loadShipped(addon, 'from_pod', CAPACITY)
  now = 100n * SECOND_NS
})
afterEach(() => object[Symbol.dispose]())

const open = () => openRuleUses(addon, object.map('rule_uses'), () => now)

/** {1: 'a'}: the rule of id 1 says a. */
function policies(rules: Readonly<Record<number, string>>): Parameters<RuleUses['sync']>[0] {
  const each = Object.entries(rules).map(([id, text]) => [BigInt(id), text] as const)
  return {
    rules: new Map(each.map(([id]) => [id, `rule ${id}`])),
    ruleMeanings: new Map(each.map(([id, text]) => [id, BigInt(text.charCodeAt(0))])),
  }
}

/** As a program does. */
function use(rule: bigint): void {
  const map = object.map('rule_uses')
  const entry = ruleUse.read(addon.mapLookup(map, encode(ruleUseKey, { rule }))!, 0)
  addon.mapUpdate(map, encode(ruleUseKey, { rule }), encode(ruleUse, { ...entry, usedNs: now }), 2)
}

/** Rule -> seconds since the clock's beginning that it is counted, and was used. */
async function seen(uses: RuleUses): Promise<Record<string, readonly [number, number | null]>> {
  const beganMs = Date.now() - Number(now / 1_000_000n)
  const seconds = (at: string) => Math.round((Date.parse(at) - beganMs) / 1_000)
  const rows = await uses.read()
  return Object.fromEntries(
    rows.map(({ rule, since, lastUsed }) => [rule, [seconds(since), lastUsed === null ? null : seconds(lastUsed)]]),
  )
}

test('a rule is counted from when it came, and an agent that starts goes on counting', async () => {
  const uses = await open()
  uses.sync(policies({ 1: 'a', 2: 'b' }), true)
  now += 10n * SECOND_NS
  use(1n)
  const restarted = await open()
  now += 10n * SECOND_NS
  restarted.sync(policies({ 1: 'a', 2: 'b', 3: 'c' }), true)
  expect(await seen(restarted)).toEqual({ 'rule 1': [100, 110], 'rule 2': [100, null], 'rule 3': [120, null] })
})

test('one that says something else, or went and came back, was never used, also where no agent saw it change', async () => {
  const uses = await open()
  uses.sync(policies({ 1: 'a', 2: 'b', 3: 'c' }), true)
  for (const rule of [1n, 2n, 3n]) use(rule)
  now += 10n * SECOND_NS
  uses.sync(policies({ 1: 'x', 3: 'c' }), true)
  now += 10n * SECOND_NS
  uses.sync(policies({ 1: 'x', 2: 'b', 3: 'c' }), true)
  expect(await seen(uses)).toEqual({ 'rule 1': [110, null], 'rule 2': [120, null], 'rule 3': [100, 100] })
  const restarted = await open()
  now += 10n * SECOND_NS
  restarted.sync(policies({ 1: 'x', 3: 'y' }), true)
  expect(await seen(restarted)).toEqual({ 'rule 1': [110, null], 'rule 3': [130, null] })
})

test('what an agent that has just started does not know yet is not gone', async () => {
  const before = await open()
  before.sync(policies({ 1: 'a', 2: 'b' }), true)
  const uses = await open()
  const partly = policies({ 1: 'a' })
  uses.sync(partly, false)
  expect(Object.keys(await seen(uses))).toHaveLength(2)
  uses.sync(partly, true)
  expect(Object.keys(await seen(uses))).toEqual(['rule 1'])
})

test('rules beyond the table are not counted, and are once there is room', async () => {
  const uses = await open()
  uses.sync(policies({ 1: 'a', 2: 'b', 3: 'c', 4: 'd', 5: 'e' }), true)
  expect(Object.keys(await seen(uses))).toHaveLength(CAPACITY)
  uses.sync(policies({ 2: 'b', 3: 'c', 4: 'd', 5: 'e' }), true)
  expect(Object.keys(await seen(uses))).toEqual(['rule 2', 'rule 3', 'rule 4', 'rule 5'])
})
