// SPDX-License-Identifier: Apache-2.0
// From nothing to a lab and back. Taking down trusts names only (names.ts), never the state file, so it works alike for a
// lab that runs, one whose start was killed half-way, and one whose taking down was.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { CommandError } from '../core/command-error.ts'
import { agentReady, prepareNode, startAgent } from './agents.ts'
import { makeCgroup, removeCgroup } from './cgroup.ts'
import { Cluster } from './cluster.ts'
import { cgroup2Mount, cgroupPath, checkout, isNetnsOf, labDir, labsRoot } from './names.ts'
import { deleteNetns, makeNetwork, planNode, type Wire } from './network.ts'
import { runProgram, runTool } from './process.ts'
import { existingLabs, type Families, findState, type Mode, writeState } from './state.ts'

export interface LabPlan {
  readonly name: string
  readonly nodeCount: number
  readonly mode: Mode
  readonly families: Families
  readonly wire: Wire
}

/** Starts a lab; resolves when every agent is ready. What a killed command left under this name is removed first.
 *  `step` hears what is being done. */
export async function bringUp(plan: LabPlan, step: (text: string) => void): Promise<Cluster> {
  checkMachine()
  if (findState(plan.name)?.complete)
    throw new CommandError(`lab ${plan.name} is up already; take it down first: heddle lab down --name ${plan.name}`)
  await takeDown(plan.name)
  noteNetnsFolder()
  const nodes = Array.from({ length: plan.nodeCount }, (_, index) => planNode(index + 1, plan.families))
  const { name, mode, families } = plan
  const state = { name, mode, families, complete: false, nodes, pods: [], nextPod: 1, nextNode: 0 }
  writeState(state)
  step('wiring the fabric')
  await makeNetwork(plan.name, plan.families, nodes, plan.wire)
  makeCgroup(cgroupPath(plan.name, 'outside'))
  makeCgroup(cgroupPath(plan.name, 'fabric'))
  for (const node of nodes) await prepareNode(state, node)
  const cluster = new Cluster(state)
  cluster.registerNodes()
  step('starting the agents')
  for (const node of nodes) cluster.setNode(startAgent(plan.name, node))
  await Promise.all(cluster.state.nodes.map((node) => agentReady(plan.name, node)))
  cluster.complete()
  return cluster
}

/** Removes all that bears the lab's name: processes, mounts, namespaces with their links, cgroups, files. What is not
 *  there is a success. */
export async function takeDown(lab: string): Promise<void> {
  await removeCgroup(cgroupPath(lab))
  // Pins live in the bpffs and go with it; programs and maps go with the pins.
  for (const mount of mountsBelow(labDir(lab))) await runTool(['umount', mount])
  await deleteNetns(netnsOf(lab))
  rmSync(labDir(lab), { recursive: true, force: true })
  await removeNetnsFolder()
  removeWhenEmpty(labsRoot)
  removeWhenEmpty(cgroupPath(''))
}

/** There is a file of this name while /run/netns exists because of a lab: `ip netns` makes that folder, and mounts it on
 *  itself, the first time that a machine has a named namespace. */
const netnsFolderMark = `${labsRoot}/.made-netns-folder`

function noteNetnsFolder(): void {
  if (existsSync('/run/netns')) return
  mkdirSync(labsRoot, { recursive: true })
  writeFileSync(netnsFolderMark, '')
}

/** With the last lab goes the folder that the first one made; not while someone else's namespace is in it. */
async function removeNetnsFolder(): Promise<void> {
  if (!existsSync(netnsFolderMark) || existingLabs().length > 0) return
  if (existsSync('/run/netns') && readdirSync('/run/netns').length > 0) return
  await runProgram(['umount', '/run/netns'])
  removeWhenEmpty('/run/netns')
  rmSync(netnsFolderMark)
}

/** What a lab has on this machine, by kind; all empty once it is down. */
export function leftovers(lab: string): {
  readonly netns: string[]
  readonly mounts: string[]
  readonly paths: string[]
} {
  return {
    netns: netnsOf(lab),
    mounts: mountsBelow(labDir(lab)),
    paths: [labDir(lab), cgroupPath(lab)].filter((path) => existsSync(path)),
  }
}

function checkMachine(): void {
  if (process.getuid?.() !== 0) throw new CommandError('a lab makes network namespaces and mounts: run this as root', 2)
  cgroup2Mount()
  if (!readFileSync('/proc/filesystems', 'utf8').includes('\tbpf\n'))
    throw new CommandError('this kernel has no bpf file system (CONFIG_BPF_SYSCALL)', 2)
  const missing = ['build/heddle-cni', 'build/heddle.node', 'build/bpf'].filter(
    (path) => !existsSync(`${checkout}/${path}`),
  )
  if (missing.length > 0)
    throw new CommandError(`${checkout} has no ${missing.join(', ')}; run \`make build\` there first`, 2)
}

function netnsOf(lab: string): string[] {
  return existsSync('/run/netns') ? readdirSync('/run/netns').filter((netns) => isNetnsOf(lab, netns)) : []
}

/** Mount points below a folder, the deepest first. */
function mountsBelow(dir: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((mount) => mount.startsWith(`${dir}/`))
    .toReversed()
}

function removeWhenEmpty(dir: string): void {
  try {
    rmdirSync(dir)
  } catch {
    // Not there, or another lab is in it.
  }
}
