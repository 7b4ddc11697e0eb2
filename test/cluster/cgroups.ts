// SPDX-License-Identifier: Apache-2.0
// The cgroups of a cluster's places. A node gets one folder in every hierarchy of the machine and sees it as the root of
// that hierarchy (a cgroup namespace, node.sh), so kubelet and runc behave as on a machine of their own, and programs
// attached to a node's cgroup2 see that node only.

import { existsSync, globSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { makeCgroup, removeCgroup } from '../../src/lab/cgroup.ts'
import { cgroup2Mount } from '../../src/lab/names.ts'
import { runTool } from '../../src/lab/process.ts'
import { cgroup2Path } from './names.ts'

/** Makes a place's folder in every hierarchy; returns the folders. */
export function makeCgroups(cluster: string, place: string): string[] {
  const folders = v1Mounts().map((mount) => {
    const levels = ['heddle-cluster', cluster, place].map((_, index, all) =>
      [mount, ...all.slice(0, index + 1)].join('/'),
    )
    for (const folder of levels) {
      makeCgroup(folder)
      fillCpuset(folder)
    }
    return levels.at(-1)!
  })
  return [...folders, makeUnified(cluster, place)]
}

/** cgroup2 hands a controller down only where each level above switches it on. */
function makeUnified(cluster: string, place: string): string {
  const folder = makeCgroup(cgroup2Path(cluster, place))
  for (const level of [cgroup2Mount(), `${cgroup2Mount()}/heddle-cluster`, cgroup2Path(cluster)]) {
    const controllers = readFileSync(`${level}/cgroup.controllers`, 'utf8').trim().split(' ').filter(Boolean)
    if (controllers.length > 0)
      writeFileSync(`${level}/cgroup.subtree_control`, controllers.map((controller) => `+${controller}`).join(' '))
  }
  return folder
}

/** A v1 cpuset takes no process before it has processors and memory nodes. */
function fillCpuset(folder: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (!existsSync(`${folder}/${file}`)) return
    if (readFileSync(`${folder}/${file}`, 'utf8').trim() === '')
      writeFileSync(`${folder}/${file}`, readFileSync(`${folder}/../${file}`, 'utf8'))
  }
}

/** The cgroup2 folder of a node that takes processes: cgroup2 refuses them where controllers are handed on. */
export function joinableCgroup(cluster: string, node: string): string {
  const init = cgroup2Path(cluster, node, 'init')
  return existsSync(init) ? init : cgroup2Path(cluster, node)
}

/** A process of a container, as this machine numbers it. */
export function containerPid(cluster: string, node: string, containerId: string): number | undefined {
  if (containerId === '') return undefined
  for (const mount of [cgroup2Mount(), ...v1Mounts()]) {
    const files = globSync(`${mount}/heddle-cluster/${cluster}/${node}/**/*${containerId}*/cgroup.procs`)
    const pids = files.flatMap((file) => readFileSync(file, 'utf8').split('\n').filter(Boolean).map(Number))
    if (pids.length > 0) return pids[0]
  }
  return undefined
}

/** Ends every process of the cluster and removes its folders. */
export async function removeCgroups(cluster: string): Promise<void> {
  await removeCgroup(cgroup2Path(cluster))
  for (const mount of v1Mounts()) {
    const folder = `${mount}/heddle-cluster/${cluster}`
    if (existsSync(folder)) await runTool(['find', folder, '-depth', '-type', 'd', '-delete'])
    removeWhenEmpty(`${mount}/heddle-cluster`)
  }
  removeWhenEmpty(`${cgroup2Mount()}/heddle-cluster`)
}

export function cgroupLeftovers(cluster: string): string[] {
  return [cgroup2Path(cluster), ...v1Mounts().map((mount) => `${mount}/heddle-cluster/${cluster}`)].filter((folder) =>
    existsSync(folder),
  )
}

function v1Mounts(): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .flatMap((fields) => (fields[2] === 'cgroup' ? [fields[1]!] : []))
}

function removeWhenEmpty(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // Not there, or another cluster is in it.
  }
}
