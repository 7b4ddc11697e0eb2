// SPDX-License-Identifier: Apache-2.0
// `make bench` and `make bench-short`: measures, prints the table, writes bench/results, and ends with 1 where a figure
// is below its floor.
//   node bench/main.ts [--short] [--blocks N] [--rounds N] [--seconds N] [--rows TEXT] [--only paths|add|services]
//     [--sizes N,N] [--no-save]

import { parseArgs } from 'node:util'
import { withLabLock } from '../src/lab/lock.ts'
import { machine } from '../tools/machine.ts'
import { type BareKind, makeBareForwarder } from './bare.ts'
import { compare, type Method, type Row, say } from './blocks.ts'
import { timeAdds } from './cni-add.ts'
import { findingsOf, isKnownMiss, latencyTests, policedName } from './floors.ts'
import { type HeddleLab, makeHeddle, removeHeddle } from './heddle.ts'
import { type Server, startServer, type Test, tests } from './netperf.ts'
import { saveResults, tableText } from './report.ts'
import { measureServices, type ServiceFigures, shortSize, sizes } from './services.ts'
import { type Summary, type Table, tableOf } from './statistics.ts'
import { cgroup, type Kind, makeTopology, netnsPath, nodeAddress, podAddress, removeTopologies } from './topology.ts'

const baseline = 'node to node, plain wire'
const { values: options } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    blocks: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string', default: '1' },
    rows: { type: 'string', default: '' },
    only: { type: 'string', default: '' },
    sizes: { type: 'string', default: '' },
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
/** Nine rows at five sizes are many. */
const serviceMethod: Method = { ...method, rounds: Number(options.rounds ?? (isShort ? 1 : 2)) }

const servers: Server[] = []
async function serve(netns: string): Promise<void> {
  servers.push(await startServer(netns))
}

function wants(part: 'paths' | 'add' | 'services'): boolean {
  return options.only === '' || options.only === part
}

/** What Heddle is compared with, and the kinds that only Services need. */
async function makeTopologies(): Promise<void> {
  const inFull: readonly Kind[] = ['bridge', 'iptables', 'nftables', 'vxlan']
  for (const kind of ['plain', 'ptp', ...(isShort ? [] : inFull)] as const) {
    await makeTopology(kind)
    const places = kind === 'plain' ? (['n2'] as const) : (['b', 'c'] as const)
    for (const place of places) await serve(netnsPath(kind, place))
  }
}

function row(name: string, topology: Kind | BareKind, to: 'n2' | 'b' | 'c'): Row {
  const from = to === 'n2' ? 'n1' : 'a'
  const server = to === 'n2' ? nodeAddress.n2 : podAddress[to]
  const client = { netns: netnsPath(topology, from), cgroup: cgroup(topology, from) }
  return { name, path: { ...client, server, controlPort: null, dataPort: null } }
}

function kernelRows(): readonly Row[] {
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

/** In a short run only what decides about the bounds of Heddle's rows. */
async function bareRows(): Promise<readonly Row[]> {
  const rows: Row[] = []
  for (const [name, kind, to] of [
    ['bare forwarder: same node', 'bare-same', 'b'],
    ['bare forwarder: across', 'bare-across', 'c'],
    ['bare forwarder: across, tunnel', 'bare-tunnel', 'c'],
    ['bare forwarder: node to node', 'bare-nodes', 'n2'],
  ] as const) {
    await makeBareForwarder(kind)
    await serve(netnsPath(kind, to))
    rows.push({ ...row(name, kind, to), ...(isShort && { tests: latencyTests }) })
  }
  return rows
}

async function heddleRows(native: HeddleLab, vxlan: HeddleLab): Promise<readonly Row[]> {
  const row = async (name: string, lab: HeddleLab, from: 'a' | 'n1', to: 'b' | 'c' | 'n2'): Promise<Row> => {
    const target = lab.place(to)
    await serve(target.netns)
    const { netns, cgroup } = lab.place(from)
    return { name, path: { netns, cgroup, server: target.address, controlPort: null, dataPort: null } }
  }
  const across = await row('Heddle: across, native', native, 'a', 'c')
  return [
    await row('Heddle: same node', native, 'a', 'b'),
    across,
    await row('Heddle: across, vxlan', vxlan, 'a', 'c'),
    await row('Heddle: node to node', native, 'n1', 'n2'),
    ...(isShort ? [] : [await policedRow(across)]),
  ]

  async function policedRow(unpoliced: Row): Promise<Row> {
    const lab = await makeHeddle('policed')
    return { ...(await row(policedName, lab, 'a', 'c')), against: unpoliced.name, tests: ['TCP_RR', 'TCP_CRR'] }
  }
}

async function measurePaths(native: HeddleLab): Promise<Table> {
  const vxlan = await makeHeddle('vxlan')
  const rows = [...kernelRows(), ...(await bareRows()), ...(await heddleRows(native, vxlan))].filter(
    ({ name }) => name === baseline || name.includes(options.rows),
  )
  const figures = new Map<Test, ReadonlyMap<string, Summary>>()
  for (const test of tests) {
    const measured = rows.filter((row) => row.tests?.includes(test) ?? true)
    figures.set(test, await compare(measured, test, method, servers))
  }
  return tableOf(figures)
}

async function measureAllServices(): Promise<readonly ServiceFigures[]> {
  const lab = await makeHeddle('edge')
  await serve(lab.place('b').netns)
  const figures: ServiceFigures[] = []
  const how = { method: serviceMethod, servers, isShort }
  for (const count of serviceSizes()) figures.push(await measureServices(lab, count, how))
  return figures
}

function serviceSizes(): readonly number[] {
  if (options.sizes !== '') return options.sizes.split(',').map(Number)
  return isShort ? [shortSize] : sizes
}

async function main(): Promise<number> {
  await removeTopologies()
  await removeHeddle()
  try {
    say('wiring what Heddle is compared with')
    await makeTopologies()
    say('starting labs')
    const native = wants('paths') || wants('add') ? await makeHeddle('native') : null
    const table = native && wants('paths') ? await measurePaths(native) : new Map()
    if (wants('add')) say('timing ADD')
    const add = native && wants('add') ? await timeAdds(isShort ? 30 : 200, native) : null
    const services = wants('services') ? await measureAllServices() : []
    const findings = findingsOf({ table, add, services }, isShort)
    process.stdout.write(tableText({ table, add, services, findings, method }))
    if (!options['no-save']) {
      say(`wrote ${saveResults({ machine: machine(), isShort, method, table, add, services, findings })}`)
    }
    return findings.every((finding) => finding.holds || (isShort && isKnownMiss(finding))) ? 0 : 1
  } finally {
    for (const server of servers) server.stop()
    await removeHeddle()
    await removeTopologies()
  }
}

// Two at once would measure each other.
process.exitCode = await withLabLock('bench', main)
