// SPDX-License-Identifier: Apache-2.0
// Holds an engine of `heddle policy verdict` against the model (policy-model.ts): the same objects, read as manifests, and
// the same queries, read as lines.

import { readFileSync } from 'node:fs'
import { root } from '../../src/api/cursor.ts'
import { readPolicyQuery } from '../../src/api/policy-query.ts'
import { createManifestParser } from '../../src/manifests/parse.ts'
import { together, withNamespaces } from '../../src/manifests/read.ts'
import type { PolicySettings } from '../../src/policy/compile.ts'
import { createOfflineCluster, type Engine, type OfflineCluster, verdictsOf } from '../../src/policy/offline.ts'
import { modelVerdict } from './policy-model.ts'
import type { PolicyWorld } from './policy-worlds.ts'

/** What mutations of the compiler got wrong, shrunk, and the documented answers. */
export const cases: readonly (PolicyWorld & { readonly why: string; readonly answers: readonly unknown[] })[] =
  readFileSync(new URL('policy-cases.jsonl', import.meta.url), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

export interface Agreement {
  readonly verdicts: number
  readonly denied: number
  readonly named: number
  readonly audited: number
}

/** The cluster of a manifest's text; throws where anything of it is refused. */
export function clusterOf(manifest: string, settings?: PolicySettings): OfflineCluster {
  const read = together([createManifestParser().parse('/w.yaml', manifest)])
  if (read.problems.length > 0) throw new Error(`the world is refused: ${JSON.stringify(read.problems)}`)
  return createOfflineCluster(withNamespaces(read.objects), settings)
}

/** Throws with the objects and the first query that is answered differently. */
export async function agree({ objects, queries, settings }: PolicyWorld, engine: Engine): Promise<Agreement> {
  const cluster = clusterOf(JSON.stringify({ kind: 'List', items: objects }), settings)
  const wanted = queries.map((query) => modelVerdict(objects, query, settings))
  const asked = queries.filter((_, index) => wanted[index] !== null)
  const resolved = asked.map((query) => {
    const questions = cluster.resolve(readPolicyQuery(root(query)))
    if (typeof questions === 'string') throw new Error(`${JSON.stringify(query)}: ${questions}`)
    return questions
  })
  const found = await verdictsOf(cluster, resolved, engine)
  const answers = wanted.filter((answer) => answer !== null)
  for (const [index, answer] of answers.entries()) {
    const [model, ours] = [JSON.stringify(answer), JSON.stringify(found[index])]
    if (model === ours) continue
    throw new Error(
      `${JSON.stringify(asked[index])} ${JSON.stringify(settings)}\n  documented ${model}\n  found      ${ours}\n${objects.map((each) => JSON.stringify(each)).join('\n')}`,
    )
  }
  return {
    verdicts: answers.length,
    denied: answers.filter(({ verdict }) => verdict === 'deny').length,
    named: answers.filter(({ rule }) => rule !== null).length,
    audited: answers.filter(({ audit }) => audit !== undefined).length,
  }
}
