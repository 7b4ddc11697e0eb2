// SPDX-License-Identifier: Apache-2.0
// Commands that explain policies from manifests, without an agent.

import { readFileSync } from 'node:fs'
import { text as readAll } from 'node:stream/consumers'
import { BadField, pathText, root } from '../api/cursor.ts'
import { readPolicyQuery } from '../api/policy-query.ts'
import { CommandError } from '../core/command-error.ts'
import { readManifests } from '../manifests/read.ts'
import {
  createOfflineCluster,
  type Engine,
  modelEngine,
  type OfflineCluster,
  type PolicyQuestion,
  verdictsOf,
} from '../policy/offline.ts'
import type { KubeObject } from '../world/objects.ts'
import { type Call, type CommandRow, textOption } from './command.ts'

export const policyCommands: readonly CommandRow[] = [
  {
    usage: 'policy verdict',
    summary: 'Which packets the policies of manifests let pass, and by which rule; one JSON line for each query.',
    examples: ['heddle policy verdict --manifests docs/examples --queries docs/examples/queries.jsonl'],
    options: [
      ['--manifests <path>', 'a file or a folder'],
      ['--queries <file>', 'one JSON query per line; - is standard input', '-'],
      ['--engine <engine>', 'the compiled rules in TypeScript, or the programs in the kernel (root)', 'model'],
    ],
    choices: { engine: ['model', 'kernel'] },
    run: verdict,
  },
]

async function verdict(call: Call): Promise<undefined> {
  const cluster = createOfflineCluster(readObjects(call))
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
