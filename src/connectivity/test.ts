// SPDX-License-Identifier: Apache-2.0
// The connectivity test, from the first object to the last. Rule of this room: what decides is pure (plan, judge, drops, report,
// facts, objects) and can be read as text; what acts (deploy, exec, agents, paths) decides nothing. It changes nothing in the
// cluster but its own namespace, which it removes also when it fails or is interrupted.
//
//   deploy -> facts -> plan -> paths, group by group -> judge -> report
//               (serve and probe run in the pods)      drops of Heddle's agents, before and after

import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Family } from '../core/address.ts'
import { CommandError } from '../core/command-error.ts'
import { isNotFound } from '../kube/api-error.ts'
import { type ApiClient, createApiClient } from '../kube/client.ts'
import type { Connection } from '../kube/connection.ts'
import { resources } from '../kube/resources.ts'
import { AGENT_LABEL, agentContainers, type DropWatch, LATE_EVENTS_MS, watchDrops } from './agents.ts'
import { type Check, type Group, groups, type Outcome } from './check.ts'
import { createObjects, removeNamespace, waitForPods } from './deploy.ts'
import { type Attempt, blameOf, dropsOf, eventText, explains, judgeDrops, type OwnAddresses } from './drops.ts'
import { createExec, type Exec } from './exec.ts'
import { readFacts, readyNodes } from './facts.ts'
import type { Deployment } from './objects.ts'
import { runChecks, settle } from './paths.ts'
import { type Facts, planChecks } from './plan.ts'
import { makeReport, type Report } from './report.ts'

export interface TestOptions {
  readonly namespacePrefix: string
  readonly image: string
  /** null: every family that the cluster has. */
  readonly families: readonly Family[] | null
  /** How many nodes at most, by name. */
  readonly nodeCount: number
  /** For everything but cleaning up. */
  readonly timeoutMs: number
  /** Names of checks to run, and not to run. */
  readonly only: RegExp | null
  readonly except: RegExp | null
  /** Leave the namespace. */
  readonly keep: boolean
}

export interface Progress {
  /** What begins; takes a while. */
  step(text: string): void
  /** A group is done. */
  group(name: Group, outcomes: readonly Outcome[], milliseconds: number): void
}

const SETTLE_MS = 20_000
/** How long the event of a denied path is waited for. */
const EVENTS_MS = 2_000
const EVENTS_POLL_MS = 100
/** Below the node ports (30000), above what is well known; three in a row. */
const PORTS = [20_000, 29_997] as const

/** Resolves to the report, also when paths fail. Throws a CommandError when the test could not be made, or was interrupted. */
export async function runTest(
  connection: Connection,
  options: TestOptions,
  progress: Progress,
  interrupted: AbortSignal,
): Promise<Report> {
  using client = createApiClient(connection, 'heddle-connectivity')
  const startedAt = new Date()
  const timeout = AbortSignal.timeout(options.timeoutMs)
  const signal = AbortSignal.any([timeout, interrupted])
  /** Why it ended early, whatever a request says that was on its way just then. */
  function ending(error: unknown, left: string): unknown {
    if (interrupted.aborted) return new CommandError(`interrupted${left}`, 1, { cause: error })
    if (!timeout.aborted) return error
    const why = error instanceof CommandError ? `: ${error.message}` : ''
    return new CommandError(`not done in ${options.timeoutMs / 1_000} s (--timeout)${why}`, 1, { cause: error })
  }
  const listed = await client.list(resources.nodes, { signal }).catch((error) => {
    throw ending(error, '')
  })
  const nodes = readyNodes(listed).slice(0, options.nodeCount)
  if (nodes.length === 0)
    throw new CommandError('no node of the cluster is Ready and takes pods; nothing can be tested')
  const nodePort = randomInt(...PORTS)
  const deployment: Deployment = {
    namespace: `${options.namespacePrefix}-${randomInt(36 ** 5)
      .toString(36)
      .padStart(5, '0')}`,
    image: options.image,
    nodes,
    nodePort,
    hostPort: nodePort + 2,
  }
  const { namespace, image } = deployment
  try {
    progress.step(`starting the test's pods in namespace ${namespace} on ${nodes.join(', ')}`)
    await createObjects(client, deployment, signal)
    const pods = await waitForPods(client, deployment, signal)
    const facts = await gatherFacts(client, deployment, pods, options.families, signal)
    const checks = await runPlan({ client, connection, facts, options, interrupted, timeout }, progress)
    const milliseconds = Date.now() - startedAt.getTime()
    const { families } = facts
    return makeReport({ startedAt: startedAt.toISOString(), milliseconds, namespace, image, nodes, families, checks })
  } catch (error) {
    throw ending(error, options.keep ? '' : `; namespace ${namespace} was removed`)
  } finally {
    if (options.keep) progress.step(`namespace ${namespace} stays; kubectl delete namespace ${namespace} removes it`)
    else await cleanUp(client, namespace, progress)
  }
}

async function cleanUp(client: ApiClient, namespace: string, progress: Progress): Promise<void> {
  progress.step(`removing namespace ${namespace}`)
  if (!(await removeNamespace(client, namespace)))
    progress.step(`namespace ${namespace} is being removed, which takes longer than a minute`)
}

async function gatherFacts(
  client: ApiClient,
  { namespace, nodes, nodePort, hostPort }: Deployment,
  pods: Parameters<typeof readFacts>[0]['pods'],
  families: readonly Family[] | null,
  signal: AbortSignal,
): Promise<Facts> {
  const [services, apiServer, dnsServices] = await Promise.all([
    client.list(resources.services, { namespace, signal }),
    client.get(resources.services, { namespace: 'default', name: 'kubernetes' }, signal).catch((error) => {
      if (isNotFound(error)) return null
      throw error
    }),
    client.list(resources.services, { namespace: 'kube-system', labelSelector: 'k8s-app=kube-dns', signal }),
  ])
  return readFacts({ namespace, nodes, nodePort, hostPort, pods, services, apiServer, dnsServices }, families)
}

interface Run {
  readonly client: ApiClient
  readonly connection: Connection
  readonly facts: Facts
  readonly options: TestOptions
  readonly interrupted: AbortSignal
  readonly timeout: AbortSignal
}

async function runPlan(run: Run, progress: Progress): Promise<readonly Outcome[]> {
  const { client, connection, facts, options, interrupted, timeout } = run
  const { namespace } = facts
  const exec = createExec(connection, () => client.server())
  const plan = planChecks(facts).flatMap((check) => selected(check, options))
  progress.step('waiting until the servers answer and every node knows the Services')
  const watch = await watchAgents(client, exec, facts, options, AbortSignal.any([interrupted, timeout]))
  const runner = { exec, namespace, interrupted, timeout }
  await settle(runner, facts, plan, SETTLE_MS)
  // What came too early for a Service was dropped, and rightly so: it is forgotten here.
  await watch.begin()
  const outcomes: Outcome[] = []
  for (const group of groups) {
    const checks = plan.filter((check) => check.group === group)
    if (checks.length === 0) continue
    const started = performance.now()
    const found = await withDrops(await runChecks(runner, checks), checks, facts, watch)
    progress.group(group, found, performance.now() - started)
    outcomes.push(...found)
  }
  const found = await finishDrops(watch, facts, plan, options)
  if (found.length > 0) progress.group('drops', found, 0)
  return [...outcomes, ...found]
}

/** What --test leaves out is not there; what --skip names is listed as skipped. */
function selected(check: Check, { only, except }: TestOptions): readonly Check[] {
  if (only !== null && !only.test(check.name)) return []
  if (except?.test(check.name)) return [{ ...check, todo: { do: 'skip', why: '--skip names it' } }]
  return [check]
}

async function watchAgents(
  client: ApiClient,
  exec: Exec,
  { nodes }: Facts,
  { timeoutMs }: TestOptions,
  signal: AbortSignal,
): Promise<DropWatch> {
  const names = nodes.map(({ name }) => name)
  const agents = agentContainers(await client.list(resources.pods, { labelSelector: AGENT_LABEL, signal }), names)
  return watchDrops(exec, agents, names, Math.ceil(timeoutMs / 1_000), signal)
}

/** What the agents tell of these paths: one that was denied, as it should be, has to be told of by a policy's drop; one that broke
 *  may be. */
async function withDrops(
  outcomes: readonly Outcome[],
  checks: readonly Check[],
  facts: Facts,
  watch: DropWatch,
): Promise<readonly Outcome[]> {
  const attempts = checks.map((check) => attemptOf(facts, check))
  const denied = attempts.filter(
    ({ check: { todo } }, index) =>
      todo.do === 'probe' && todo.expect.outcome === 'denied' && outcomes[index]!.result === 'passed',
  )
  const isBroken = outcomes.some(({ result }) => result === 'failed')
  const giveUpAt = performance.now() + EVENTS_MS
  if (isBroken) await sleep(LATE_EVENTS_MS)
  while (watch.isComplete() && dropsOf(denied, watch.events()).size < denied.length && performance.now() < giveUpAt)
    await sleep(EVENTS_POLL_MS)
  const told = dropsOf(denied, watch.events())
  return outcomes.map((outcome, index) => {
    const attempt = attempts[index]!
    if (outcome.result === 'failed') {
      const blame = blameOf(attempt, watch.events())
      return blame ? { ...outcome, detail: `${outcome.detail}; dropped: ${eventText(blame)}` } : outcome
    }
    const drop = told.get(attempt.check)
    if (drop) return { ...outcome, detail: eventText(drop) }
    return denied.includes(attempt) && watch.isComplete()
      ? { ...outcome, result: 'failed', detail: 'denied, yet no agent tells of a policy that did it' }
      : outcome
  })
}

async function finishDrops(
  watch: DropWatch,
  facts: Facts,
  plan: readonly Check[],
  options: TestOptions,
): Promise<readonly Outcome[]> {
  // What the last paths caused is still on its way.
  await sleep(LATE_EVENTS_MS)
  const own: OwnAddresses = {
    pods: new Set([
      ...facts.nodes.flatMap(({ server, client }) => [...server.addresses, ...client.addresses]),
      ...facts.guarded.addresses,
      ...facts.confined.addresses,
    ]),
    nodes: new Set(facts.nodes.flatMap(({ host }) => host.addresses)),
    nodePorts: [facts.nodePort, facts.nodePort + 1, facts.hostPort],
  }
  const attempts = plan.map((check) => attemptOf(facts, check))
  const drops = await watch.finish()
  return drops
    .map((one) => judgeDrops(one, own, (event) => attempts.some((attempt) => explains(attempt, event))))
    .filter(({ name }) => options.only === null || options.only.test(name))
    .map((outcome) =>
      options.except?.test(outcome.name)
        ? { ...outcome, result: 'skipped' as const, detail: '--skip names it' }
        : outcome,
    )
}

function attemptOf({ nodes, guarded, confined }: Facts, check: Check): Attempt {
  const pods = [...nodes.flatMap(({ server, client, host }) => [server, client, host]), guarded, confined]
  const { todo } = check
  return { check, from: pods.find(({ name }) => todo.do === 'probe' && name === todo.pod)?.addresses ?? [] }
}
