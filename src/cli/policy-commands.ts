// SPDX-License-Identifier: Apache-2.0
// Commands that explain policies: from manifests, from what an agent knows, or both.

import { readFileSync } from 'node:fs'
import { text as readAll } from 'node:stream/consumers'
import type { PolicyObjects, RuleUse } from '../agent/api.ts'
import { askAgent } from '../agent/client.ts'
import { isConfigProblem, policySettings, readConfig } from '../agent/config.ts'
import { BadField, pathText, root } from '../api/cursor.ts'
import { readPolicyQuery } from '../api/policy-query.ts'
import { CommandError } from '../core/command-error.ts'
import { readManifests, withNamespaces } from '../manifests/read.ts'
import { BY_POLICY, type PolicySettings } from '../policy/compile.ts'
import { type PairChange, policyDiff } from '../policy/diff.ts'
import {
  createOfflineCluster,
  type Engine,
  modelEngine,
  type OfflineCluster,
  type PolicyQuestion,
  verdictsOf,
} from '../policy/offline.ts'
import { DEFAULT_DENY } from '../policy/verdict.ts'
import { type DirectionPolicies, type PodPolicies, type PodRule, podPolicies } from '../policy/why.ts'
import { type Kind, type KubeObject, POLICY_KINDS } from '../world/objects.ts'
import { objectKey } from '../world/world.ts'
import { type Call, type CommandRow, textOption } from './command.ts'
import { podDot, podSvg } from './policy-picture.ts'
import { type Cell, facts, paint, printData, table } from './print.ts'

const configOption = ['--config <file>', 'configuration of the nodes, for what it says of policy'] as const

export const policyCommands: readonly CommandRow[] = [
  {
    usage: 'policy verdict',
    summary: 'Which packets the policies of manifests let pass, and by which rule; one JSON line for each query.',
    examples: ['heddle policy verdict --manifests docs/examples --queries docs/examples/queries.jsonl'],
    options: [
      ['--manifests <path>', 'a file or a folder'],
      ['--queries <file>', 'one JSON query per line; - is standard input', '-'],
      configOption,
      ['--engine <engine>', 'the compiled rules in TypeScript, or the programs in the kernel (root)', 'model'],
    ],
    choices: { engine: ['model', 'kernel'] },
    run: verdict,
  },
  {
    usage: 'policy why <pod>',
    summary: 'The policies that select a pod, NS/POD, and whom and what each of their rules admits now.',
    examples: [
      'heddle policy why shop/web-2 --lab lab --node n2',
      'heddle policy why shop/web-2 --manifests docs/examples --svg > web-2.svg',
    ],
    options: [
      ['--manifests <path>', 'from a file or a folder instead of an agent'],
      configOption,
      ['--dot', 'as a graph for Graphviz'],
      ['--svg', 'as a picture'],
    ],
    asksAgent: true,
    printsData: true,
    run: why,
  },
  {
    usage: 'policy diff',
    summary: 'What would change between the running pods if the policies and namespaces of manifests were applied.',
    examples: ['heddle policy diff --manifests docs/examples --lab lab'],
    options: [['--manifests <path>', 'a file or a folder']],
    asksAgent: true,
    printsData: true,
    run: diff,
  },
  {
    usage: 'policy unused',
    summary: 'Rules in force on the node that decided about no new flow: ever, or since a time.',
    examples: ['heddle policy unused --since 7d --lab lab --node n2'],
    options: [['--since <time>', 'so long ago (90s, 30m, 24h, 7d), or a time as 2026-11-28T12:00:00Z']],
    asksAgent: true,
    printsData: true,
    run: unused,
  },
]

async function why(call: Call): Promise<undefined> {
  const [name] = call.args as [string]
  const { objects, settings } =
    textOption(call, 'manifests') === undefined
      ? await runningObjects(call)
      : { objects: withNamespaces(readObjects(call)), settings: readSettings(call) }
  const { world } = createOfflineCluster(objects)
  const pod = world.pod(name)
  if (pod === undefined) throw new CommandError(`there is no pod ${name}; a pod is NS/POD`, 2)
  const policies = podPolicies(world, pod, settings)
  if (call.options.svg === true) call.print(podSvg(policies))
  else if (call.options.dot === true) call.print(podDot(policies))
  else printData(call, policies, (data) => whyText(call, data))
  return undefined
}

const policyKinds: ReadonlySet<Kind> = new Set([...POLICY_KINDS, 'Namespace'])

async function diff(call: Call): Promise<undefined> {
  const applied = readObjects(call)
  const isPolicy = ({ kind }: KubeObject) => policyKinds.has(kind)
  const others = applied.filter((object) => !isPolicy(object)).length
  if (others > 0) call.warn(`${others} objects are neither policies nor namespaces and change nothing here`)
  const { objects: running, settings } = await runningObjects(call)
  const after = new Map([...running, ...applied.filter(isPolicy)].map((object) => [objectKey(object), object]))
  const changes = policyDiff(createOfflineCluster(running, settings), createOfflineCluster(after.values(), settings))
  printData(call, changes, diffText)
  return undefined
}

async function unused(call: Call): Promise<undefined> {
  const since = textOption(call, 'since')
  const sinceMs = since === undefined ? null : timeOf(since, Date.now())
  const uses = await askAgent<readonly RuleUse[]>(call.socket, 'GET', '/v1/rule-uses')
  const idle = uses.filter(({ lastUsed }) => lastUsed === null || (sinceMs !== null && Date.parse(lastUsed) < sinceMs))
  const isYounger = (use: RuleUse): boolean => sinceMs !== null && Date.parse(use.since) > sinceMs
  const younger = idle.filter(isYounger).length
  if (younger > 0) call.warn(`${younger} rules are younger than that, or have changed since, and are left out`)
  const rows = idle.filter((use) => !isYounger(use))
  printData(call, rows, unusedText)
  return undefined
}

function unusedText(rows: readonly RuleUse[]): string {
  return table(
    ['RULE', 'COUNTED SINCE', 'LAST USED'],
    rows.map(({ rule, since, lastUsed }) => [rule, since, lastUsed]),
  )
}

const unitsMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function timeOf(written: string, nowMs: number): number {
  const [, count, unit] = /^(\d{1,9})([smhd])$/.exec(written) ?? []
  const at = count === undefined ? Date.parse(written) : nowMs - Number(count) * unitsMs[unit!]!
  const isTime = count !== undefined || /^\d{4}-\d\d-\d\d/.test(written)
  if (!isTime || Number.isNaN(at)) {
    throw new CommandError(`--since takes 90s, 30m, 24h, 7d or a time as 2026-11-28T12:00:00Z, not "${written}"`, 2)
  }
  return at
}

function runningObjects(call: Call): Promise<PolicyObjects> {
  return askAgent<PolicyObjects>(call.socket, 'GET', '/v1/policy-objects')
}

function whyText(call: Call, { pod, node, addresses, ingress, egress }: PodPolicies): string {
  return [
    facts([
      ['Pod', pod],
      ['Node', node],
      ['Addresses', addresses],
      ['Ingress', isolationText(ingress)],
      ['Egress', isolationText(egress)],
    ]),
    ...[ingress, egress]
      .filter(({ rules }) => rules.length > 0)
      .map(({ rules }) => table(['RULE', 'ACTION', 'PEERS', 'PORTS', 'PODS NOW'], rules.map(ruleCells))),
    ...[...ingress.rules, ...egress.rules]
      .filter(({ unknownField }) => unknownField !== null)
      .map(({ rule, action, unknownField }) =>
        paint(
          call,
          'yellow',
          `${rule}: ${unknownField} is not known, so it ${action === 'Deny' ? 'denies all' : 'matches nothing'}\n`,
        ),
      ),
  ].join('\n')
}

function isolationText(direction: DirectionPolicies): string {
  const { isolatedBy, auditedBy, otherwise } = direction
  const would = auditedBy.length > 0 ? auditedBy : otherwise === 'audit' ? [DEFAULT_DENY] : []
  const text = enforcedText(direction)
  return isolatedBy.length > 0 || would.length === 0
    ? text
    : `${text} (audit: would be isolated by ${would.join(', ')})`
}

function enforcedText({ isolatedBy, otherwise, rules }: DirectionPolicies): string {
  const by = isolatedBy.length === 0 && otherwise === 'deny' ? [DEFAULT_DENY] : isolatedBy
  if (by.length > 0) {
    return `${rules.length === 0 ? 'nothing' : 'only what the rules below admit'}: isolated by ${by.join(', ')}`
  }
  return rules.length === 0 ? 'everything: no policy selects it' : 'everything that no rule below denies'
}

const NAMES_SHOWN = 5

function ruleCells({ rule, action, audited, peers, ports, pods }: PodRule): readonly Cell[] {
  const more = (pods?.length ?? 0) - NAMES_SHOWN
  const names = pods === null ? ['any'] : pods.slice(0, NAMES_SHOWN)
  const effect = audited ? `${action} (audit)` : action
  return [rule, effect, peers.length === 0 ? 'nobody' : peers, ports, more > 0 ? [...names, `${more} more`] : names]
}

function diffText(changes: readonly PairChange[]): string {
  if (changes.length === 0) return 'nothing would change between the pods that this node knows\n'
  return table(
    ['FROM', 'TO', 'FAMILIES', 'NEWLY ALLOWED', 'NEWLY DENIED'],
    changes.map(({ from, to, families, newlyAllowed, newlyDenied }) => [from, to, families, newlyAllowed, newlyDenied]),
  )
}

async function verdict(call: Call): Promise<undefined> {
  const cluster = createOfflineCluster(withNamespaces(readObjects(call)), readSettings(call))
  const queries = await readQueries(textOption(call, 'queries')!)
  const resolved = queries.map(({ line, text }) => resolve(cluster, line, text))
  const answers = await withEngine(textOption(call, 'engine')!, (engine) => verdictsOf(cluster, resolved, engine))
  call.print(answers.map((answer) => `${JSON.stringify(answer)}\n`).join(''))
  return undefined
}

/** Everything or nothing: an answer from manifests that were read in part would be wrong. */
function readObjects(call: Call): readonly KubeObject[] {
  const path = textOption(call, 'manifests')
  if (path === undefined) throw new CommandError('--manifests names the file or folder to read', 2)
  const { objects, problems, notices } = read(path)
  const [problem] = problems
  if (problem !== undefined) {
    const { file, line, document, object, field, message } = problem
    const place = [`${file}:${line}`, `document ${document}`, object, field].filter((part) => part !== '').join(': ')
    throw new CommandError(`${place}: ${message}${problems.length > 1 ? `; and ${problems.length - 1} more` : ''}`, 2)
  }
  for (const notice of notices) call.warn(notice)
  return objects
}

/** What a node's configuration says of policy; without one, its defaults. */
function readSettings(call: Call): PolicySettings {
  const file = textOption(call, 'config')
  if (file === undefined) return BY_POLICY
  const config = readConfig(file)
  if (isConfigProblem(config)) throw new CommandError(config.configProblem, 2)
  return policySettings(config)
}

function read(path: string): ReturnType<typeof readManifests> {
  try {
    return readManifests(path)
  } catch (error) {
    throw new CommandError(`${path} cannot be read: ${(error as Error).message}`, 2, { cause: error })
  }
}

interface Line {
  /** "FILE:LINE". */
  readonly line: string
  readonly text: string
}

async function readQueries(file: string): Promise<readonly Line[]> {
  const text = await queryText(file)
  return text
    .split('\n')
    .map((each, index) => ({ line: `${file}:${index + 1}`, text: each.trim() }))
    .filter((each) => each.text !== '')
}

async function queryText(file: string): Promise<string> {
  if (file === '-') return readAll(process.stdin)
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new CommandError(`${file} cannot be read: ${(error as Error).message}`, 2, { cause: error })
  }
}

function resolve(cluster: OfflineCluster, line: string, text: string): readonly PolicyQuestion[] {
  try {
    const questions = cluster.resolve(readPolicyQuery(root(JSON.parse(text))))
    if (typeof questions === 'string') throw new CommandError(`${line}: ${questions}`, 2)
    return questions
  } catch (error) {
    if (error instanceof SyntaxError) throw new CommandError(`${line}: not JSON: ${error.message}`, 2)
    if (!(error instanceof BadField)) throw error
    throw new CommandError(`${line}: ${pathText(error.path) || 'the query'}: ${error.message}`, 2)
  }
}

async function withEngine<T>(name: string, work: (engine: Engine) => Promise<T>): Promise<T> {
  if (name === 'model') return work(modelEngine)
  if (process.getuid?.() !== 0) throw new CommandError('--engine kernel loads programs, which needs root', 1)
  const { openKernelEngine } = await import('../agent/policy-engine.ts')
  using kernel = await openKernelEngine()
  return await work(kernel.engine)
}
