// SPDX-License-Identifier: Apache-2.0
// What a lab remembers between commands: state.json (nodes, and what was started for each pod) and objects/, one JSON
// file per Kubernetes object. Both are replaced atomically, so a crash leaves the old or the new version.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { CommandError } from '../core/command-error.ts'
import { labDir, labsRoot } from './names.ts'
import { type KubeManifest, objectKey } from './objects.ts'
import type { ProcessId } from './process.ts'

export type Families = '4' | '6' | '46'
export type Mode = 'vxlan' | 'native'

export interface LabNode {
  readonly name: string
  readonly internalIPs: readonly string[]
  readonly podCIDRs: readonly string[]
  /** null while its agent is stopped. */
  readonly agent: ProcessId | null
  /** Fabric link pulled by `lab node cut`. */
  readonly cut: boolean
}

/** What the lab made for a pod, recorded before it is made. */
export interface LabPod {
  /** "namespace/name". */
  readonly name: string
  readonly node: string
  readonly hostNetwork: boolean
  readonly containerId: string
  /** Place of its network namespace in names.ts (`n1-3`); the node's own for host-network pods. */
  readonly place: string
  /** Folder of its cgroup below the node's. */
  readonly cgroup: string
  readonly podIPs: readonly string[]
  /** ADD was answered. */
  readonly wired: boolean
  readonly ready: boolean
  readonly containers: readonly { readonly name: string; readonly process: ProcessId }[]
}

export interface LabState {
  readonly name: string
  readonly mode: Mode
  readonly families: Families
  /** false: `lab up` has not finished, or was killed. */
  readonly complete: boolean
  readonly nodes: readonly LabNode[]
  readonly pods: readonly LabPod[]
  /** Number for the next pod's namespace; never used twice. */
  readonly nextPod: number
  /** Where round-robin scheduling goes on. */
  readonly nextNode: number
}

export function existingLabs(): string[] {
  if (!existsSync(labsRoot)) return []
  return readdirSync(labsRoot, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
}

/** The state of a lab that is up; throws when there is none. */
export function readState(lab: string): LabState {
  const state = findState(lab)
  if (state?.complete) return state
  const others = existingLabs().filter((name) => findState(name)?.complete)
  const hint = others.length > 0 ? `; labs that are up: ${others.join(', ')}` : ''
  throw new CommandError(`lab ${lab} is not up${hint}; start it: heddle lab up --name ${lab}`)
}

/** null where there is no lab of this name, not even a broken one. */
export function findState(lab: string): LabState | null {
  try {
    return JSON.parse(readFileSync(`${labDir(lab)}/state.json`, 'utf8')) as LabState
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new CommandError(`${labDir(lab)}/state.json: ${(error as Error).message}; heddle lab down --name ${lab}`)
  }
}

export function writeState(state: LabState): void {
  const dir = labDir(state.name)
  mkdirSync(dir, { recursive: true, mode: 0o755 })
  replaceFile(`${dir}/state.json`, `${JSON.stringify(state, null, 1)}\n`, dir)
}

/** Objects of a lab, kept in memory and written through. */
export class ObjectStore {
  readonly #dir: string
  readonly #objects = new Map<string, KubeManifest>()

  constructor(lab: string) {
    this.#dir = `${labDir(lab)}/objects`
    mkdirSync(this.#dir, { recursive: true })
    for (const file of readdirSync(this.#dir)) {
      const object = JSON.parse(readFileSync(`${this.#dir}/${file}`, 'utf8')) as KubeManifest
      this.#objects.set(objectKey(object), object)
    }
  }

  all(): KubeManifest[] {
    return [...this.#objects.values()]
  }

  get(key: string): KubeManifest | undefined {
    return this.#objects.get(key)
  }

  put(object: KubeManifest): void {
    const text = JSON.stringify(object)
    const existing = this.#objects.get(objectKey(object))
    if (existing && JSON.stringify(existing) === text) return
    this.#objects.set(objectKey(object), object)
    replaceFile(`${this.#dir}/${objectFile(objectKey(object))}`, text, labDirOf(this.#dir))
  }

  delete(key: string): void {
    this.#objects.delete(key)
    rmSync(`${this.#dir}/${objectFile(key)}`, { force: true })
  }
}

/** File name for an object's key. */
export function objectFile(key: string): string {
  return `${key.toLowerCase().replace(/[ /]/g, '_')}.json`
}

/** Writes beside the target's folder and renames: whoever reads the folder sees whole files only. */
export function replaceFile(path: string, text: string, temporaryDir: string): void {
  const temporary = `${temporaryDir}/.writing-${process.pid}`
  writeFileSync(temporary, text)
  renameSync(temporary, path)
}

function labDirOf(objectsDir: string): string {
  return objectsDir.slice(0, objectsDir.lastIndexOf('/'))
}
