// SPDX-License-Identifier: Apache-2.0
// The real agent of each node: its configuration, start and end, and what it is told to read again.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import type { Status, SyncReply } from '../agent/api.ts'
import { askAgent } from '../agent/client.ts'
import { CommandError } from '../core/command-error.ts'
import { makeCgroup } from './cgroup.ts'
import { cgroupPath, checkout, labDir, netnsPath, nodeDir } from './names.ts'
import { inside, isAlive, runTool, startDetached, waitUntil } from './process.ts'
import { serviceCIDRs } from './services.ts'
import type { LabNode, LabState } from './state.ts'

export function agentSocket(lab: string, node: string): string {
  return `${nodeDir(lab, node)}/run/agent.sock`
}

export function manifestsDir(lab: string, node: string): string {
  return `${nodeDir(lab, node)}/manifests`
}

/** Folders, bpffs, cgroups and the configuration file of a node's agent. */
export async function prepareNode(lab: LabState, node: LabNode): Promise<void> {
  const dir = nodeDir(lab.name, node.name)
  for (const name of ['bpf', 'run', 'state', 'manifests', 'logs', 'net.d', 'bin'])
    mkdirSync(`${dir}/${name}`, { recursive: true })
  await runTool(['mount', '-t', 'bpf', 'bpf', `${dir}/bpf`])
  makeCgroup(cgroupPath(lab.name, node.name, 'agent'))
  makeCgroup(cgroupPath(lab.name, node.name, 'host'))
  const config = {
    nodeName: node.name,
    manifests: manifestsDir(lab.name, node.name),
    mode: lab.mode,
    runDir: `${dir}/run`,
    stateDir: `${dir}/state`,
    bpffs: `${dir}/bpf`,
    cgroup: cgroupPath(lab.name, node.name),
    cniConfDir: `${dir}/net.d`,
    cniBinDir: `${dir}/bin`,
    serviceCIDRs: [...lab.families].map((family) => serviceCIDRs[Number(family) as 4 | 6]),
  }
  writeFileSync(`${dir}/config.yaml`, stringify(config))
}

/** Starts the node's agent, of this checkout or of another one (an upgrade), and returns the node with it; does not wait
 *  until it is ready. */
export function startAgent(lab: string, node: LabNode, root = checkout): LabNode {
  const dir = nodeDir(lab, node.name)
  const command = [`${root}/bin/heddle`, 'agent', '--config', `${dir}/config.yaml`]
  const agent = startDetached(inside(cgroupPath(lab, node.name, 'agent'), netnsPath(lab, node.name), command), {
    log: `${dir}/logs/agent.log`,
    env: process.env,
    cwd: '/',
  })
  return { ...node, agent }
}

/** Waits until the agent says that it is ready; throws with its last words when it ends or does not get there. */
export async function agentReady(lab: string, node: LabNode): Promise<void> {
  const log = `${nodeDir(lab, node.name)}/logs/agent.log`
  let conditions: readonly string[] = []
  const ready = await waitUntil(async () => {
    if (!isAlive(node.agent)) throw new CommandError(`the agent of ${node.name} ended: ${lastMessage(log)} (${log})`)
    const status = await askAgent<Status>(agentSocket(lab, node.name), 'GET', '/v1/status').catch(() => null)
    conditions = status?.conditions ?? []
    return status?.ready ?? false
  }, 90_000)
  if (ready) return
  const why = conditions.join('; ') || lastMessage(log)
  throw new CommandError(`the agent of ${node.name} is not ready after 90 s: ${why} (${log})`)
}

/** Ends the agent and returns the node without it. SIGTERM waits for an orderly end, SIGKILL for the process to be gone. */
export async function endAgent(node: LabNode, signal: 'SIGTERM' | 'SIGKILL'): Promise<LabNode> {
  const agent = node.agent
  if (isAlive(agent)) {
    process.kill(agent.pid, signal)
    if (!(await waitUntil(() => !isAlive(agent), 20_000)))
      throw new CommandError(`the agent of ${node.name} (pid ${agent.pid}) does not end on ${signal}`)
  }
  return { ...node, agent: null }
}

export interface NodeSync {
  readonly name: string
  /** Time the agent took until all was in force; null when it was stopped on purpose and reads it at its next start. */
  readonly milliseconds: number | null
  readonly problems: readonly string[]
}

/** Has a node's agent read its manifests again; resolves when what they say is in force there. */
export async function syncAgent(lab: string, node: LabNode): Promise<NodeSync> {
  if (node.agent === null) return { name: node.name, milliseconds: null, problems: [] }
  const reply = await askAgent<SyncReply>(agentSocket(lab, node.name), 'POST', '/v1/sync').catch((cause: Error) => {
    throw new CommandError(`node ${node.name}: ${cause.message} (${labDir(lab)}/${node.name}/logs/agent.log)`, 1, {
      cause,
    })
  })
  const problems = reply.problems.map(
    ({ file, document, field, message }) => `${file}: document ${document}: ${field}: ${message}`,
  )
  return { name: node.name, milliseconds: reply.milliseconds, problems }
}

/** The last message of an agent's log: pino's JSON, or what a process says before it logs. */
function lastMessage(log: string): string {
  try {
    const lines = readFileSync(log, 'utf8').trimEnd().split('\n')
    const line = lines.at(-1)!
    // Node ends what it says of an exception that nobody caught with its own version.
    if (line.startsWith('Node.js v')) return lines.findLast((each) => /^(Uncaught )?\w*Error\b/.test(each)) ?? line
    if (!line.startsWith('{')) return line || 'it said nothing'
    return (JSON.parse(line) as { msg: string }).msg
  } catch {
    return 'it said nothing'
  }
}
