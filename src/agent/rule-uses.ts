// SPDX-License-Identifier: Apache-2.0
// Since when each rule in force has decided nothing (bpf/abi/policy.h, rule_uses): the agent enters and deletes rules, the
// programs write when one decided. The table outlives the agent.

import { encode } from '../core/codec.ts'
import type { Id64 } from '../core/id64.ts'
import { maps, type RuleUse as RuleUseEntry, ruleUse, ruleUseKey } from '../generated/abi.ts'
import type { Addon, Fd } from '../kernel/addon.ts'
import type { CompiledPolicies } from '../policy/tables.ts'
import type { RuleUse } from './api.ts'

export interface RuleUses {
  /** After a pass: rules that are new, or say something new, are counted from now on. `isWhole`: what is not among the
   *  rules is gone; else it may come back when more objects are known. Cost: nothing while the policies are the same. */
  sync(policies: Pick<CompiledPolicies, 'rules' | 'ruleMeanings'>, isWhole: boolean): void
  /** By name. */
  read(): Promise<readonly RuleUse[]>
}

/** Adopts what an agent before this one counted. */
export async function openRuleUses(addon: Addon, map: Fd, nowNs = () => process.hrtime.bigint()): Promise<RuleUses> {
  const { maxEntries } = addon.mapInfo(map)
  const entered = new Map<Id64, Id64>()
  for (const [rule, { meaning }] of await entries(addon, map)) entered.set(rule, meaning)
  let known: Pick<CompiledPolicies, 'rules' | 'ruleMeanings'> = { rules: new Map(), ruleMeanings: new Map() }
  let isSynced = false

  function enter(rule: Id64, meaning: Id64): void {
    if (!entered.has(rule) && entered.size >= maxEntries) return // it has no row
    const fresh = encode(ruleUse, { sinceNs: nowNs(), usedNs: 0n, meaning })
    addon.mapUpdate(map, encode(ruleUseKey, { rule }), fresh, 0)
    entered.set(rule, meaning)
  }

  function remove(rule: Id64): void {
    addon.mapDelete(map, encode(ruleUseKey, { rule }))
    entered.delete(rule)
  }

  return {
    sync(policies, isWhole) {
      if (policies.ruleMeanings === known.ruleMeanings && (isSynced || !isWhole)) return
      const { ruleMeanings } = policies
      const gone = isWhole ? [...entered.keys()].filter((rule) => !ruleMeanings.has(rule)) : []
      for (const rule of gone) remove(rule)
      for (const [rule, meaning] of ruleMeanings) if (entered.get(rule) !== meaning) enter(rule, meaning)
      known = policies
      isSynced = isWhole
    },
    async read() {
      const bootedMs = Date.now() - Number(nowNs() / 1_000_000n)
      const timeOf = (ns: bigint): string => new Date(bootedMs + Number(ns / 1_000_000n)).toISOString()
      return [...(await entries(addon, map))]
        .map(([rule, { sinceNs, usedNs }]) => ({
          rule: known.rules.get(rule) ?? rule.toString(16).padStart(16, '0'),
          since: timeOf(sinceNs),
          lastUsed: usedNs === 0n ? null : timeOf(usedNs),
        }))
        .sort((a, b) => (a.rule < b.rule ? -1 : 1))
    },
  }
}

async function entries(addon: Addon, map: Fd): Promise<Map<Id64, RuleUseEntry>> {
  const { keys, values, count } = await addon.mapDump(map)
  const { key, value } = maps.rule_uses
  return new Map(
    Array.from({ length: count }, (_, at) => [key.read(keys, at * key.size).rule, value.read(values, at * value.size)]),
  )
}
