// SPDX-License-Identifier: Apache-2.0
// A folder of manifests read once, for commands that answer without an agent.

import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import type { KubeObject } from '../world/objects.ts'
import type { SourceProblem } from '../world/source.ts'
import { createImpliedNamespaces } from './namespaces.ts'
import { createManifestParser, type ParsedFile } from './parse.ts'
import { isManifest, walk } from './source.ts'
import { createManifests } from './state.ts'

export interface ReadManifests {
  readonly objects: readonly KubeObject[]
  readonly problems: readonly SourceProblem[]
  /** What is ignored, one sentence each. */
  readonly notices: readonly string[]
}

/** The file or folder, as the agent reads it. Throws where it is not there. */
export function readManifests(path: string): ReadManifests {
  const parser = createManifestParser()
  return together(filesAt(resolve(path)).map((file) => parser.parse(file, readFileSync(file, 'utf8'))))
}

/** What files say together. */
export function together(files: readonly ParsedFile[]): ReadManifests {
  const manifests = createManifests()
  for (const file of files) manifests.update(file, 0)
  return { objects: [...manifests.objects()], problems: manifests.problems(), notices: manifests.notices() }
}

/** The objects and the Namespaces that they imply. */
export function withNamespaces(objects: readonly KubeObject[]): readonly KubeObject[] {
  return createImpliedNamespaces()({ put: objects, deleted: [] }).put
}

function filesAt(path: string): readonly string[] {
  if (!statSync(path).isDirectory()) return [path]
  const files = new Set<string>()
  walk(path, files, new Set())
  return [...files].filter(isManifest).sort()
}
