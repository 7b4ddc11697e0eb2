// SPDX-License-Identifier: Apache-2.0
// Runs planned checks: one exec per pod and group does that pod's probes; pods work side by side, groups one after the other.

import { isRecord } from '../api/cursor.ts'
import type { Batch, Check, Outcome, Probe, ProbeResult } from './check.ts'
import type { Exec } from './exec.ts'
import { judge, outcomeOf } from './judge.ts'
import { SERVER_PORT, SERVICE_PORT } from './objects.ts'
import type { Facts, PodFacts } from './plan.ts'

/** How long a path may take that has to answer; a healthy one takes milliseconds. */
const ANSWER_MS = 5_000
/** How long silence has to last to count as denied: more than one SYN's retransmission. */
const SILENCE_MS = 1_500
const FIRST_ANSWER_MS = 1_000
const REFUSAL_MS = 3_000
/** What starting a command in a pod may take on a busy node. */
const EXEC_MS = 15_000
const PODS_AT_ONCE = 4
const TEXT_MAX = 300

export interface Runner {
  readonly exec: Exec
  readonly namespace: string
  /** Ends the run; nothing is known then. */
  readonly interrupted: AbortSignal
  /** Ends every wait; what was not tried by then has failed. */
  readonly timeout: AbortSignal
}

/** Outcomes in the order of the checks. */
export async function runChecks(runner: Runner, checks: readonly Check[]): Promise<readonly Outcome[]> {
  const outcomes = new Map<Check, Outcome>()
  for (const check of checks) {
    if (check.todo.do === 'skip') outcomes.set(check, outcomeOf(check, 'skipped', check.todo.why))
    if (check.todo.do === 'fail') outcomes.set(check, outcomeOf(check, 'failed', check.todo.why))
  }
  const isDenied = (check: Check) => check.todo.do === 'probe' && check.todo.expect.outcome === 'denied'
  const batches = [
    ...Map.groupBy(
      checks.filter((check) => !outcomes.has(check)),
      podOf,
    ),
  ].flatMap(([pod, all]) => {
    const [denied, others] = [all.filter(isDenied), all.filter((check) => !isDenied(check))]
    return [
      { pod, checks: others, timeoutMs: ANSWER_MS },
      { pod, checks: denied, timeoutMs: SILENCE_MS },
    ]
  })
  await inParallel(
    batches.filter((batch) => batch.checks.length > 0),
    async ({ pod, checks, timeoutMs }) => {
      const tried = checks.map(probeOf)
      const results = await runBatchIn(runner, pod, { timeoutMs, patienceMs: 0, until: 'answer', probes: tried })
      for (const [index, check] of checks.entries()) {
        const { expect } = check.todo as Extract<Check['todo'], { do: 'probe' }>
        const outcome =
          typeof results === 'string' ? outcomeOf(check, 'failed', results) : judge(check, expect, results[index]!)
        outcomes.set(check, outcome)
      }
    },
  )
  return checks.map((check) => outcomes.get(check)!)
}

function podOf(check: Check): string {
  return check.todo.do === 'probe' ? check.todo.pod : ''
}

function probeOf(check: Check): Probe {
  if (check.todo.do !== 'probe') throw new Error('broken invariant: a check without a probe is run')
  return check.todo.probe
}

/** Waits until the servers listen and every pod that will ask a Service knows it, which takes a moment after the pods run. Says
 *  nothing about what does not come: the checks will, by name. */
export async function settle(
  runner: Runner,
  facts: Facts,
  checks: readonly Check[],
  patienceMs: number,
): Promise<void> {
  const wait = (pod: string, until: Batch['until'], probes: readonly Probe[]) => ({ pod, until, probes })
  const own = ({ name, addresses }: PodFacts, port: number) =>
    wait(
      name,
      'answer',
      addresses.map((address) => ({ kind: 'http', address, port, count: 1 })),
    )
  const servers = [...facts.nodes.flatMap(({ server, client }) => [server, client]), facts.guarded, facts.confined]
  const asked = (until: Batch['until']) =>
    [
      ...Map.groupBy(
        checks.filter((check) => asksService(check, until)),
        podOf,
      ),
    ].map(([pod, all]) =>
      wait(
        pod,
        until,
        all.map((check) => ({ ...probeOf(check), count: 1 })),
      ),
    )
  const waits = [
    ...servers.map((pod) => own(pod, SERVER_PORT)),
    ...facts.nodes.map(({ host }) => own(host, facts.nodePort)),
    ...asked('answer'),
    ...asked('refused'),
  ]
  await inParallel(waits, async ({ pod, until, probes }) => {
    // Linux sends a peer one ICMPv6 error a second (net.ipv6.icmp.ratelimit): a refusal may be that of the second SYN.
    const timeoutMs = until === 'refused' ? REFUSAL_MS : FIRST_ANSWER_MS
    await runBatchIn(runner, pod, { timeoutMs, patienceMs, until, probes })
  })
}

function asksService({ todo }: Check, outcome: Batch['until']): boolean {
  if (todo.do !== 'probe' || todo.probe.kind !== 'http') return false
  return todo.probe.port === SERVICE_PORT && todo.expect.outcome === outcome
}

/** Results in the order of the probes, or why there are none. */
async function runBatchIn(
  { exec, namespace, interrupted, timeout }: Runner,
  pod: string,
  batch: Batch,
): Promise<readonly ProbeResult[] | string> {
  const command = ['heddle', 'connectivity', 'probe', JSON.stringify(batch)]
  // A connection through a node that went away says nothing any more.
  const silent = AbortSignal.timeout(batch.probes.length * batch.timeoutMs + batch.patienceMs + EXEC_MS)
  const signal = AbortSignal.any([interrupted, timeout, silent])
  try {
    const { exitCode, stdout, stderr } = await exec({ namespace, pod, container: 'heddle' }, command, signal)
    if (exitCode !== 0) return `the probe in ${pod} failed: ${stderr.slice(0, TEXT_MAX).trim()}`
    return readResults(stdout, batch.probes.length) ?? `the probe in ${pod} said something else than results`
  } catch (error) {
    interrupted.throwIfAborted()
    if (timeout.aborted) return 'not tried before --timeout was over'
    if (silent.aborted) return `the probe in ${pod} said nothing: is its node gone?`
    return `the probe in ${pod} could not run: ${(error as Error).message.slice(0, TEXT_MAX)}`
  }
}

/** Null where the text is not that many results: the pod may run another version, or lie. */
export function readResults(stdout: string, count: number): readonly ProbeResult[] | null {
  let value: unknown
  try {
    value = JSON.parse(stdout)
  } catch {
    return null
  }
  if (!Array.isArray(value) || value.length !== count) return null
  const results = value.map(readResult)
  return results.every((result) => result !== null) ? results : null
}

function readResult(value: unknown): ProbeResult | null {
  if (!isRecord(value)) return null
  const { error, milliseconds, bytes, source, servers, addresses } = value
  if (typeof error !== 'string' || typeof milliseconds !== 'number' || typeof bytes !== 'number') return null
  if (typeof source !== 'string' || !isTextList(servers) || !isTextList(addresses)) return null
  return { error: error.slice(0, TEXT_MAX), milliseconds, bytes, source: source.slice(0, TEXT_MAX), servers, addresses }
}

function isTextList(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) &&
    value.length <= 1_000 &&
    value.every((item) => typeof item === 'string' && item.length <= TEXT_MAX)
  )
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = items.values()
  await Promise.all(
    Array.from({ length: PODS_AT_ONCE }, async () => {
      for (const item of waiting) await work(item)
    }),
  )
}
