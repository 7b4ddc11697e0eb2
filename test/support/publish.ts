// SPDX-License-Identifier: Apache-2.0
// Objects where every node's agent reads them, as the lab puts them there, but told to nobody: the agents find out by
// themselves. The lab does not know of them, and removes them when it writes its own.

import { readFileSync, rmSync } from 'node:fs'
import { manifestsDir } from '../../src/lab/agents.ts'
import { nodeDir } from '../../src/lab/names.ts'
import { type KubeManifest, objectKey } from '../../src/lab/objects.ts'
import { type LabState, objectFile, replaceFile } from '../../src/lab/state.ts'

/** Makes or changes objects; the time just before, as monotonicUs. */
export function publish(lab: LabState, ...objects: readonly KubeManifest[]): number {
  const before = monotonicUs()
  for (const { name } of lab.nodes) {
    for (const object of objects)
      replaceFile(fileOf(lab, name, object), JSON.stringify(object), nodeDir(lab.name, name))
  }
  return before
}

/** Removes objects, or succeeds where they are not there; the time just before, as monotonicUs. */
export function withdraw(lab: LabState, ...objects: readonly KubeManifest[]): number {
  const before = monotonicUs()
  for (const { name } of lab.nodes) {
    for (const object of objects) rmSync(fileOf(lab, name, object), { force: true })
  }
  return before
}

/** The object of this kind and name as the agents read it. */
export function published(lab: LabState, object: KubeManifest): KubeManifest {
  return JSON.parse(readFileSync(fileOf(lab, lab.nodes[0]!.name, object), 'utf8')) as KubeManifest
}

/** Microseconds of the clock that all processes of this machine share. */
export function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1_000n)
}

function fileOf(lab: LabState, node: string, object: KubeManifest): string {
  return `${manifestsDir(lab.name, node)}/${objectFile(objectKey(object))}`
}
