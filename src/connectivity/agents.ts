// SPDX-License-Identifier: Apache-2.0
// Heddle's agents of the tested nodes, asked through their own pods for what they dropped. A cluster without them is none the
// worse: their nodes' drops are then unknown, and the report says so.

import { setTimeout as sleep } from 'node:timers/promises'
import { address, field, isRecord, list, root, text } from '../api/cursor.ts'
import type { DropCounts, DropEvent, NodeDrops } from './drops.ts'
import type { Container, Exec } from './exec.ts'

/** The label of the chart's DaemonSet. */
export const AGENT_LABEL = 'app.kubernetes.io/name=heddle'
const EVENTS_MAX = 20_000
const LINE_CHARS_MAX = 8_192
const TEXT_MAX = 200
const ASK_MS = 15_000
/** An event is told within 50 ms of its packet; it also has to come through the API server. */
export const LATE_EVENTS_MS = 500

/** Where the agents of these nodes run, by node. */
export function agentContainers(objects: readonly unknown[], nodes: readonly string[]): ReadonlyMap<string, Container> {
  const pods = objects.map(root).map((pod) => {
    const container = list(field(field(pod, 'spec'), 'containers'))[0]
    return {
      node: text(field(field(pod, 'spec'), 'nodeName'), ''),
      namespace: text(field(field(pod, 'metadata'), 'namespace')),
      pod: text(field(field(pod, 'metadata'), 'name')),
      container: container ? text(field(container, 'name')) : '',
      isRunning: text(field(field(pod, 'status'), 'phase'), '') === 'Running',
    }
  })
  return new Map(pods.filter(({ node, isRunning }) => isRunning && nodes.includes(node)).map((pod) => [pod.node, pod]))
}

export interface DropWatch {
  /** Every node's agent tells. */
  isComplete(): boolean
  /** Counts anew and forgets what was told; takes half a second. */
  begin(): Promise<void>
  /** What was told since; events come within 50 ms of the packet. */
  events(): readonly DropEvent[]
  /** Counts once more and stops. */
  finish(): Promise<readonly NodeDrops[]>
}

/** Follows the drops of every node. `seconds`: the agents stop telling after that, whatever becomes of the test. */
export async function watchDrops(
  exec: Exec,
  agents: ReadonlyMap<string, Container>,
  nodes: readonly string[],
  seconds: number,
  signal: AbortSignal,
): Promise<DropWatch> {
  const watches = await Promise.all(nodes.map((node) => watchNode(exec, agents.get(node), node, seconds, signal)))
  return {
    isComplete: () => watches.every(({ why }) => why() === ''),
    begin: async () => {
      await Promise.all(watches.map(({ begin }) => begin()))
    },
    events: () => watches.flatMap(({ events }) => events),
    finish: () => Promise.all(watches.map(({ finish }) => finish())),
  }
}

interface NodeWatch {
  /** Why nothing (more) is known; '' while the agent tells. */
  why(): string
  readonly events: readonly DropEvent[]
  begin(): Promise<void>
  finish(): Promise<NodeDrops>
}

async function watchNode(
  exec: Exec,
  agent: Container | undefined,
  node: string,
  seconds: number,
  signal: AbortSignal,
): Promise<NodeWatch> {
  const events: DropEvent[] = []
  let before: DropCounts = {}
  let unknown = agent === undefined ? `no agent of Heddle runs on ${node}` : ''
  const done = new AbortController()

  /** An agent that cannot be asked once tells nothing of worth any more. */
  async function counts(): Promise<DropCounts> {
    if (agent === undefined || unknown !== '') return {}
    try {
      return await readCounts(exec, agent, AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]))
    } catch (error) {
      unknown = `the agent of ${node} cannot be asked: ${(error as Error).message.slice(0, TEXT_MAX)}`
      return {}
    }
  }

  async function follow(at: Container): Promise<void> {
    const command = ['heddle', 'monitor', '--drops', '--seconds', String(seconds), '-o', 'json']
    try {
      const { stderr } = await exec(at, command, AbortSignal.any([signal, done.signal]), eventReader(events))
      unknown ||= `the agent of ${node} stopped telling: ${stderr.slice(0, TEXT_MAX).trim()}`
    } catch (error) {
      if (!done.signal.aborted)
        unknown ||= `the agent of ${node} stopped telling: ${(error as Error).message.slice(0, TEXT_MAX)}`
    }
  }

  await counts()
  const following = agent === undefined || unknown !== '' ? Promise.resolve() : follow(agent)
  return {
    why: () => unknown,
    events,
    begin: async () => {
      // Counts first: what is told afterwards has then been counted. What was dropped before them is told by the end of the pause.
      before = await counts()
      await sleep(LATE_EVENTS_MS)
      events.length = 0
    },
    finish: async () => {
      done.abort()
      await following
      const after = await counts()
      return { node, unknown, events, before, after }
    },
  }
}

async function readCounts(exec: Exec, agent: Container, signal: AbortSignal): Promise<DropCounts> {
  // Exit code 1 says that the node is not ready; the counts are there all the same.
  const { stdout, stderr } = await exec(agent, ['heddle', 'status', '-o', 'json'], signal)
  if (stdout === '') throw new Error(stderr.slice(0, TEXT_MAX).trim() || 'it said nothing')
  const drops = list(field(root(JSON.parse(stdout)), 'drops'), 1_000)
  return Object.fromEntries(drops.map((drop) => [text(field(drop, 'reason')), count(field(drop, 'packets').value)]))
}

function count(value: unknown): number {
  return typeof value === 'number' && value >= 0 ? value : 0
}

/** Reads lines of JSON as they come. A line that is no event is left out: it is a newer agent's. */
function eventReader(events: DropEvent[]): (chunk: string) => void {
  let rest = ''
  return (chunk) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!.slice(0, LINE_CHARS_MAX)
    for (const line of lines) {
      const event = line.length <= LINE_CHARS_MAX ? readEvent(line) : null
      if (event && events.length < EVENTS_MAX) events.push(event)
    }
  }
}

function readEvent(line: string): DropEvent | null {
  try {
    const value: unknown = JSON.parse(line)
    if (!isRecord(value)) return null
    const event = root(value)
    return {
      reason: text(field(event, 'reason')),
      protocol: text(field(event, 'protocol')),
      hook: text(field(event, 'hook')),
      source: address(field(event, 'source')),
      destination: address(field(event, 'destination')),
      sourcePort: count(value.sourcePort),
      destinationPort: count(value.destinationPort),
      rule: text(field(event, 'rule'), '') || null,
    }
  } catch {
    return null
  }
}
