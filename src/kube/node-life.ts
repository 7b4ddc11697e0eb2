// SPDX-License-Identifier: Apache-2.0
// What this node's agent says in its own Node object, as patches: pure. It is said when the node is ready and never taken
// back, since packets go on without the agent:
//
//   condition NetworkUnavailable = False       the scheduler may place pods here
//   taint node.heddle.network/not-ready gone   whoever set it (kubeadm, an autoscaler's template) need not wait any longer
//   annotations node.heddle.network/*          for people; other agents read `dsr` of the capabilities

import { isRecord } from '../api/cursor.ts'
import { DSR_CAPABILITY } from '../api/object.ts'

const PREFIX = 'node.heddle.network'
export const NOT_READY_TAINT = `${PREFIX}/not-ready`
/** Of the condition NetworkUnavailable. */
const REASON = 'HeddleIsReady'
const MESSAGE = 'Heddle connects the pods of this node'
const CONDITION_TYPE = 'NetworkUnavailable'

/** What others may want to know of this node's agent. */
export interface NodeAnnouncement {
  readonly mode: 'native' | 'vxlan'
  /** Where tunnels to this node end; empty in native mode. */
  readonly tunnelAddresses: readonly string[]
  readonly tunnelPort: number
  readonly vni: number
  /** Kernel features that were found. */
  readonly capabilities: readonly string[]
  /** Other nodes may leave it to this one to answer their clients. */
  readonly dsr: boolean
  readonly version: string
}

/** What the patches depend on. */
export interface NodeFacts {
  readonly resourceVersion: string
  readonly networkUnavailable: { readonly status: unknown; readonly reason: unknown } | null
  /** As they are: fields that are not known here are kept. */
  readonly taints: readonly unknown[]
  /** Those of ours. */
  readonly annotations: Readonly<Record<string, unknown>>
}

/** Source: core/v1 Node. What is missing or malformed counts as absent. */
export function readNodeFacts(node: unknown): NodeFacts {
  const { metadata, spec, status } = record(node)
  const { resourceVersion, annotations } = record(metadata)
  const conditions = array(record(status).conditions).map(record)
  const condition = conditions.find(({ type }) => type === CONDITION_TYPE)
  return {
    resourceVersion: typeof resourceVersion === 'string' ? resourceVersion : '',
    networkUnavailable: condition === undefined ? null : { status: condition.status, reason: condition.reason },
    taints: array(record(spec).taints),
    annotations: Object.fromEntries(
      Object.entries(record(annotations)).filter(([name]) => name.startsWith(`${PREFIX}/`)),
    ),
  }
}

/** Strategic merge patch of nodes/status; null: it is all said already. */
export function statusPatch(facts: NodeFacts, announcement: NodeAnnouncement, now: Date): object | null {
  const annotations = changedAnnotations(facts.annotations, announcementTexts(announcement))
  const condition = conditionPatch(facts.networkUnavailable, now)
  if (annotations === null && condition === null) return null
  return {
    ...(annotations === null ? {} : { metadata: { annotations } }),
    ...(condition === null ? {} : { status: { conditions: [condition] } }),
  }
}

/** JSON merge patch of the Node; null: it has no such taint. The list is replaced as a whole, so the patch holds only for
 *  the version that was read. */
export function taintPatch({ resourceVersion, taints }: NodeFacts): object | null {
  const kept = taints.filter((taint) => record(taint).key !== NOT_READY_TAINT)
  return kept.length === taints.length ? null : { metadata: { resourceVersion }, spec: { taints: kept } }
}

function conditionPatch(before: NodeFacts['networkUnavailable'], now: Date): object | null {
  if (before?.status === 'False' && before.reason === REASON) return null
  const time = now.toISOString().replace(/\.\d+Z$/, 'Z') // metav1.Time has whole seconds
  return {
    type: CONDITION_TYPE,
    status: 'False',
    reason: REASON,
    message: MESSAGE,
    lastHeartbeatTime: time,
    ...(before?.status === 'False' ? {} : { lastTransitionTime: time }),
  }
}

function announcementTexts(announcement: NodeAnnouncement): Readonly<Record<string, string>> {
  const { mode, tunnelAddresses, tunnelPort, vni, capabilities, dsr, version } = announcement
  return {
    mode,
    capabilities: [...capabilities, ...(dsr ? [DSR_CAPABILITY] : [])].toSorted().join(','),
    version,
    ...(mode === 'vxlan'
      ? { 'tunnel-addresses': tunnelAddresses.join(','), 'tunnel-port': `${tunnelPort}`, vni: `${vni}` }
      : {}),
  }
}

/** With null for what is to be removed; null: nothing changes. */
function changedAnnotations(
  before: Readonly<Record<string, unknown>>,
  texts: Readonly<Record<string, string>>,
): Readonly<Record<string, string | null>> | null {
  const wanted = new Map(Object.entries(texts).map(([name, text]) => [`${PREFIX}/${name}`, text]))
  const changes: Record<string, string | null> = {}
  for (const [name, text] of wanted) if (before[name] !== text) changes[name] = text
  for (const name of announced) if (name in before && !wanted.has(name)) changes[name] = null
  return Object.keys(changes).length === 0 ? null : changes
}

/** Every annotation that some agent may have written; others with the prefix are somebody else's. */
const announced = ['mode', 'capabilities', 'version', 'tunnel-addresses', 'tunnel-port', 'vni'].map(
  (name) => `${PREFIX}/${name}`,
)

function record(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {}
}

function array(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}
