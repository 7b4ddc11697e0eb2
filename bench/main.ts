// SPDX-License-Identifier: Apache-2.0
// `make bench` and `make bench-short`: measures, prints the table, writes bench/results, and ends with 1 where a figure
// is below its floor.
//   node bench/main.ts [--short] [--blocks N] [--rounds N] [--seconds N] [--rows TEXT] [--no-save]

import { parseArgs } from 'node:util'
import { withLabLock } from '../src/lab/lock.ts'
import { machine } from '../tools/machine.ts'
import { timeAdds } from './cni-add.ts'
import { addCeiling, clusterIPFloor, floors, knownMisses, slackOf } from './floors.ts'
import { type HeddleLab, makeHeddle, manyServices, measuredService, removeHeddle } from './heddle.ts'
import { measure, type Path, type Server, startServer, type Test, tests } from './netperf.ts'
import { type Finding, saveResults, tableText } from './report.ts'
import { type Summary, summarise } from './statistics.ts'
import { cgroup, type Kind, makeTopology, netnsPath, nodeAddress, podAddress, removeTopologies } from './topology.ts'

interface Row {
  readonly name: string
  readonly path: Path
}

interface Method {
  readonly blocks: number
  /** Turns of every row within one block. */
  readonly rounds: number
  /** Of one turn. */
  readonly seconds: number
}

const baseline = 'node to node, plain wire'
const { values: options } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    blocks: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string', default: '1' },
    rows: { type: 'string', default: '' },
    'no-save': { type: 'boolean', default: false },
  },
})
const isShort = options.short
const method: Method = {
  // A slow phase of the machine spoils few of many short blocks.
  blocks: Number(options.blocks ?? (isShort ? 9 : 5)),
  rounds: Number(options.rounds ?? (isShort ? 1 : 5)),
  seconds: Number(options.seconds),
}

const servers: Server[] = []
async function serve(netns: string): Promise<void> {
  servers.push(await startServer(netns))
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`)
}

async function kernelRows(): Promise<readonly Row[]> {
  const kinds: readonly Kind[] = isShort ? ['plain'] : ['plain', 'ptp', 'bridge', 'iptables', 'vxlan']
  for (const kind of kinds) {
    await makeTopology(kind)
    const places = kind === 'plain' ? (['n2'] as const) : (['b', 'c'] as const)
    for (const place of places) await serve(netnsPath(kind, place))
  }
  const row = (name: string, kind: Kind, to: 'n2' | 'b' | 'c'): Row => {
    const from = to === 'n2' ? 'n1' : 'a'
    const server = to === 'n2' ? nodeAddress.n2 : podAddress[to]
    return { name, path: { netns: netnsPath(kind, from), cgroup: cgroup(kind, from), server, dataPort: null } }
  }
  const plain = row(baseline, 'plain', 'n2')
  if (isShort) return [plain]
  return [
    plain,
    row('kernel ptp: same node', 'ptp', 'b'),
    row('kernel bridge: same node', 'bridge', 'b'),
    row('ptp + kube-proxy iptables, 1,000 Services: same node', 'iptables', 'b'),
    row('kernel routing: across', 'ptp', 'c'),
    row('kernel vxlan: across', 'vxlan', 'c'),
  ]
}

async function heddleRows(native: HeddleLab, vxlan: HeddleLab): Promise<readonly Row[]> {
  const row = async (name: string, lab: HeddleLab, from: 'a' | 'n1', to: 'b' | 'c' | 'n2'): Promise<Row> => {
    const target = lab.place(to)
    await serve(target.netns)
    const { netns, cgroup } = lab.place(from)
    return { name, path: { netns, cgroup, server: target.address, dataPort: null } }
  }
  return [
    await row('Heddle: same node', native, 'a', 'b'),
    await row('Heddle: across, native', native, 'a', 'c'),
    await row('Heddle: across, vxlan', vxlan, 'a', 'c'),
    await row('Heddle: node to node', native, 'n1', 'n2'),
  ]
}

/** Samples of every row, taking turns: rows[0] is the baseline. A block starts with another row each time. */
async function runBlocks(rows: readonly Row[], test: Test): Promise<ReadonlyMap<string, readonly number[][]>> {
  const samples = new Map(rows.map((row) => [row.name, Array.from({ length: method.blocks }, () => [] as number[])]))
  for (let block = 0; block < method.blocks; block++) {
    for (let round = 0; round < method.rounds; round++) {
      const first = (block * 3 + round) % rows.length
      for (const row of [...rows.slice(first), ...rows.slice(0, first)]) {
        samples.get(row.name)![block]!.push(...(await measure(row.path, test, method.seconds)))
      }
    }
    say(`${test}: block ${block + 1} of ${method.blocks}`)
  }
  return samples
}

async function compare(rows: readonly Row[], test: Test): Promise<readonly (readonly [string, Summary])[]> {
  const samples = await runBlocks(rows, test)
  const base = samples.get(rows[0]!.name)!
  return rows.map((row) => [row.name, summarise(samples.get(row.name)!, base)] as const)
}

async function measureClusterIP(lab: HeddleLab): Promise<Summary> {
  const { address } = lab.place('b')
  say('loading 10,000 Services')
  await lab.announce(manyServices(10_000, address))
  const { netns, cgroup } = lab.place('a')
  const to = (server: string): Path => ({ netns, cgroup, server, dataPort: measuredService.dataPort })
  const rows = [
    { name: 'direct', path: to(address) },
    { name: 'ClusterIP', path: to(measuredService.address) },
  ]
  return (await compare(rows, 'TCP_CRR'))[1]![1]
}

async function main(): Promise<number> {
  await removeTopologies()
  await removeHeddle()
  try {
    say('wiring what Heddle is compared with')
    const kernel = await kernelRows()
    say('starting two labs')
    const native = await makeHeddle('native')
    const vxlan = await makeHeddle('vxlan')
    const rows = [...kernel, ...(await heddleRows(native, vxlan))].filter(
      ({ name }) => name === baseline || name.includes(options.rows),
    )
    const table = new Map(rows.map((row) => [row.name, new Map<Test, Summary>()]))
    for (const test of tests) {
      for (const [name, summary] of await compare(rows, test)) table.get(name)!.set(test, summary)
    }
    say('timing ADD')
    const add = await timeAdds(isShort ? 30 : 200, native)
    const clusterIP = await measureClusterIP(native)
    const findings: readonly Finding[] = [
      ...Object.entries(floors).flatMap(([row, byTest]) =>
        Object.entries(byTest).flatMap(([test, floor]) => {
          const ratio = table.get(row)?.get(test as Test)?.ratio
          const atLeast = floor - slackOf(test as Test, isShort)
          return ratio === undefined ? [] : [{ name: `${row} ${test}`, ratio, atLeast, holds: ratio >= atLeast }]
        }),
      ),
      clusterIPFinding(clusterIP),
      { name: 'ADD against ptp + host-local', ratio: add.ratio, atMost: addCeiling, holds: add.ratio <= addCeiling },
    ]
    process.stdout.write(tableText({ table, add, clusterIP, findings, method }))
    if (!options['no-save']) {
      say(`wrote ${saveResults({ machine: machine(), isShort, method, table, add, clusterIP, findings })}`)
    }
    return findings.every((finding) => finding.holds || (isShort && isKnownMiss(finding))) ? 0 : 1
  } finally {
    for (const server of servers) server.stop()
    await removeHeddle()
    await removeTopologies()
  }
}

function clusterIPFinding({ ratio }: Summary): Finding {
  const atLeast = clusterIPFloor - slackOf('TCP_CRR', isShort)
  return { name: 'CRR through a ClusterIP among 10,000 Services', ratio, atLeast, holds: ratio >= atLeast }
}

function isKnownMiss({ name, ratio, atMost }: Finding): boolean {
  const bound = knownMisses[name]
  if (bound === undefined) return false
  return atMost === undefined ? ratio >= bound : ratio <= bound
}

// Two at once would measure each other.
process.exitCode = await withLabLock('bench', main)
