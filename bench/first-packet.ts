// SPDX-License-Identifier: Apache-2.0
// How soon a changed object judges packets, on every node: a policy that comes and goes, labels of a peer, of its namespace
// and of the pod that is selected. Counted from the object's writing, by probes each 2 ms of a known and of a new flow, to
// pods of both nodes in both families; no agent is told that something has changed.
// Prints a table and writes bench/results/<stamp>-first-packet.json; ends with 1 where a probe is later than the bound.
//   node bench/first-packet.ts [--repeats 6] [--no-save]

import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { table } from '../src/cli/print.ts'
import { bringUp, takeDown } from '../src/lab/lifecycle.ts'
import { withLabLock } from '../src/lab/lock.ts'
import { checkout, netnsPath } from '../src/lab/names.ts'
import type { KubeManifest } from '../src/lab/objects.ts'
import { commandAt } from '../src/lab/places.ts'
import type { LabState, Mode } from '../src/lab/state.ts'
import { type Dialogue, startDialogue } from '../test/support/dialogue.ts'
import { namespaceObject } from '../test/support/manifests.ts'
import { monotonicUs, publish, published, withdraw } from '../test/support/publish.ts'
import { machine, stampedName } from '../tools/machine.ts'
import { podManifest } from './heddle.ts'
import { quantile } from './statistics.ts'

/** Source: issue 6. */
const BOUND_MS = 100
const PORT = 7_000
const PATIENCE_US = 10_000_000
/** A flow of which nothing has arrived for so long is cut. */
const QUIET_US = 60_000
const modes = ['vxlan', 'native'] as const
/** By the node that judges: who is asked lives there. */
const targets = { n1: 'b', n2: 'c' } as const

const { values: options } = parseArgs({
  options: { repeats: { type: 'string', default: '6' }, 'no-save': { type: 'boolean', default: false } },
})

interface Outcome {
  readonly name: string
  /** What becomes of the probes' packets. */
  readonly admits: boolean
}

interface Change extends Outcome {
  /** The time before, in microseconds of the monotonic clock. */
  readonly make: () => number
}

interface Figure {
  readonly mode: Mode
  readonly change: string
  readonly node: string
  /** Of every probe of every repeat: after that time a packet was sent that was judged by the change, or the last that was not. */
  readonly milliseconds: readonly number[]
}

/** Answer of verdict-probe.py. */
interface Heard {
  readonly nowUs: number
  /** By "NODE:FAMILY kept" and "NODE:FAMILY new". */
  readonly probes: Readonly<Record<string, { readonly firstUs: number | null; readonly lastUs: number | null }>>
}

const keyed = { key: 'held' }
const guests = { team: 'guests' }
const frozen = { state: 'frozen' }

/** Admits, to those who are asked, pods with the key and pods of the guests' namespaces. */
const fewEnter = policy('few-enter', {
  podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: Object.values(targets) }] },
  ingress: [{ from: [{ podSelector: { matchLabels: keyed } }, { namespaceSelector: { matchLabels: guests } }] }],
})
const nobodyEnters = policy('nobody-enters', { podSelector: { matchLabels: frozen }, policyTypes: ['Ingress'] })

function policy(name: string, spec: object): KubeManifest {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: 'default', name },
    spec,
  }
}

/** In this order; at the end all is as it was. */
function changesOf(lab: LabState): readonly Change[] {
  const asker = published(lab, podManifest('a', 'n1'))
  const asked = Object.entries(targets).map(([node, pod]) => published(lab, podManifest(pod, node)))
  const home = published(lab, namespaceObject('default'))
  return [
    { name: 'policy made', admits: false, make: () => publish(lab, fewEnter) },
    { name: 'peer labelled', admits: true, make: () => publish(lab, labelled(asker, keyed)) },
    { name: 'peer unlabelled', admits: false, make: () => publish(lab, asker) },
    { name: 'namespace labelled', admits: true, make: () => publish(lab, labelled(home, guests)) },
    { name: 'namespace unlabelled', admits: false, make: () => publish(lab, home) },
    { name: 'policy removed', admits: true, make: () => withdraw(lab, fewEnter) },
    { name: 'pod selected', admits: false, make: () => publish(lab, ...asked.map((pod) => labelled(pod, frozen))) },
    { name: 'pod let go', admits: true, make: () => publish(lab, ...asked) },
  ]
}

function labelled(object: KubeManifest, more: Readonly<Record<string, string>>): KubeManifest {
  return { ...object, metadata: { ...object.metadata, labels: { ...object.metadata.labels, ...more } } }
}

async function measure(mode: Mode): Promise<readonly Figure[]> {
  const name = labName(mode)
  const cluster = await bringUp({ name, nodeCount: 2, mode, families: '46', wire: 'fabric' }, () => {})
  await cluster.apply([podManifest('a', 'n1'), ...Object.entries(targets).map(([node, pod]) => podManifest(pod, node))])
  publish(cluster.state, nobodyEnters)
  const probe = startProbe(cluster.state)
  try {
    const changes = changesOf(cluster.state)
    const times = new Map<string, number[]>()
    await verdictOf({ name: 'nothing', admits: true }, monotonicUs(), probe)
    for (let repeat = 0; repeat < Number(options.repeats); repeat++) {
      for (const change of changes) {
        // The agent rests after a pass; a change finds it wherever it is.
        await sleep(150 + Math.random() * 150)
        const since = change.make()
        for (const [node, late] of lateBy(change, await verdictOf(change, since, probe), since)) {
          const key = `${change.name}/${node}`
          times.set(key, [...(times.get(key) ?? []), ...late])
        }
      }
    }
    return [...times].map(([key, milliseconds]) => {
      const [change, node] = key.split('/') as [string, string]
      return { mode, change, node, milliseconds }
    })
  } finally {
    await probe.stop()
  }
}

function startProbe(lab: LabState): Dialogue {
  const aims = Object.entries(targets).flatMap(([node, name]) => {
    const pod = lab.pods.find((each) => each.name === `default/${name}`)!
    return pod.podIPs.map((ip, family) => `${node}:${family}=${netnsPath(lab.name, pod.place)}=${ip}`)
  })
  const script = `${checkout}/test/support/verdict-probe.py`
  return startDialogue(commandAt(lab, 'default/a', ['python3', script, `${PORT}`, ...aims]))
}

/** What was heard when every probe's packets are judged by the change. */
async function verdictOf(change: Outcome, since: number, probe: Dialogue): Promise<Heard> {
  for (;;) {
    await sleep(20)
    const heard = JSON.parse(await probe.ask(String(since))) as Heard
    if (isOver(change, heard, since)) return heard
    if (heard.nowUs - since > PATIENCE_US) throw new Error(`${change.name}: not on every node within 10 s`)
  }
}

function isOver({ admits }: Outcome, { nowUs, probes }: Heard, since: number): boolean {
  const all = Object.values(probes)
  if (admits) return all.every(({ firstUs }) => firstUs !== null)
  return all.every(({ lastUs }) => nowUs - (lastUs ?? since) > QUIET_US)
}

/** Milliseconds of each probe, by node. */
function lateBy({ admits }: Outcome, { probes }: Heard, since: number): ReadonlyMap<string, readonly number[]> {
  const grouped = Map.groupBy(Object.entries(probes), ([name]) => name.split(':')[0]!)
  return new Map(
    [...grouped].map(([node, each]) => [
      node,
      each.map(([, { firstUs, lastUs }]) => ((admits ? firstUs! : (lastUs ?? since)) - since) / 1_000),
    ]),
  )
}

function labName(mode: Mode): string {
  return `bench-first-${mode}`
}

function textOf(figures: readonly Figure[]): string {
  const at = (times: readonly number[], share: number): string => quantile(times, share).toFixed(0)
  return table(
    ['MODE', 'CHANGE', 'NODE', 'PROBES', 'P50 MS', 'MAX'],
    figures.map(({ mode, change, node, milliseconds: times }) => [
      mode,
      change,
      node,
      times.length,
      at(times, 0.5),
      at(times, 1),
    ]),
  )
}

function save(figures: readonly Figure[]): void {
  const date = new Date()
  const from = machine()
  const path = fileURLToPath(new URL(`results/${stampedName(date, from)}-first-packet.json`, import.meta.url))
  writeFileSync(path, `${JSON.stringify({ date, machine: from, boundMs: BOUND_MS, figures })}\n`)
  process.stderr.write(`wrote ${path}\n`)
}

async function main(): Promise<number> {
  const figures: Figure[] = []
  for (const mode of modes) {
    await takeDown(labName(mode))
    try {
      figures.push(...(await measure(mode)))
    } finally {
      await takeDown(labName(mode))
    }
  }
  const all = figures.flatMap(({ milliseconds }) => milliseconds)
  const latest = Math.max(...all)
  process.stdout.write(textOf(figures))
  process.stdout.write(
    `all ${all.length}: p50 ${quantile(all, 0.5).toFixed(0)} ms, at most ${latest.toFixed(0)}; ${BOUND_MS} wanted\n`,
  )
  if (!options['no-save']) save(figures)
  return latest <= BOUND_MS ? 0 : 1
}

process.exitCode = await withLabLock('bench', main)
