// SPDX-License-Identifier: Apache-2.0
// `heddle policy verdict --engine kernel`: what was compiled, written to maps and judged by the programs.

import { prefixToKey } from '../core/address.ts'
import { invariant } from '../core/errors.ts'
import { PolicyDirection } from '../generated/abi.ts'
import { openPolicyProbe, type PolicyProbe, type ProbeTables } from '../kernel/policy-probe.ts'
import { type Engine, type PolicyQuestion, setOf } from '../policy/offline.ts'
import type { CompiledPolicies } from '../policy/tables.ts'
import { answerOf, ISOLATED, type PolicyAnswer } from '../policy/verdict.ts'
import { type Config, parseConfig } from './config.ts'

export interface KernelEngine extends Disposable {
  readonly engine: Engine
}

/** With the programs of this installation. Needs root. */
export async function openKernelEngine(): Promise<KernelEngine> {
  const { objectsDir } = parseConfig('', '') as Config // every key has a default
  const probe = await openPolicyProbe(objectsDir)
  return {
    async engine(cluster, questions) {
      const answers = new Map<PolicyQuestion, PolicyAnswer>()
      for (const [node, asked] of Map.groupBy(questions, (question) => question.node)) {
        probe.write(tablesOf(cluster.compiled(node)))
        for (const question of asked) answers.set(question, await judge(probe, question))
      }
      return questions.map((question) => answers.get(question)!)
    },
    [Symbol.dispose]: () => probe[Symbol.dispose](),
  }
}

function tablesOf({ sets, classes, classPrefixes }: CompiledPolicies): ProbeTables {
  return {
    policies: [...sets.values()].flatMap(({ entries }) => entries.map(({ key, value }) => [key, value] as const)),
    classes: [...classes].map(([address, value]) => [{ address }, value] as const),
    class_prefixes: [...classPrefixes].map(([prefix, value]) => [prefixToKey(prefix), value] as const),
  }
}

async function judge(probe: PolicyProbe, question: PolicyQuestion): Promise<PolicyAnswer> {
  const { direction, address: pod, peer, protocol, port, policy } = question
  const set = setOf(policy, direction)
  const levels = direction === PolicyDirection.EGRESS ? policy.egressLevels : policy.ingressLevels
  const { allowed, audited, entry, level } = await probe.judge({ direction, pod, peer, protocol, port, set, levels })
  if (set === 0n || pod === peer) return { allowed, audited, rule: 0n, level: 0 }
  const answer = entry === undefined ? ISOLATED : answerOf(entry)
  const isAsSaid = answer.allowed === allowed && answer.audited === audited
  invariant(isAsSaid, `the program and its maps disagree: ${pod} and ${peer}, ${protocol}/${port}`)
  return { ...answer, level }
}
