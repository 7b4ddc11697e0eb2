// SPDX-License-Identifier: Apache-2.0
// What a big cluster costs one agent: etcd and kube-apiserver in a node's network namespace, no kubelet. Prints a table
// and writes bench/results/<stamp>-kube.json.
//   node bench/kube.ts up|measure|down [--services 10000] [--endpoints 100000] [--changes 1000] [--rate 50]

import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { parse, stringify } from 'yaml'
import type { Status } from '../src/agent/api.ts'
import { askAgent } from '../src/agent/client.ts'
import { agentSocket, endAgent, startAgent } from '../src/lab/agents.ts'
import { makeCgroup } from '../src/lab/cgroup.ts'
import { bringUp, takeDown } from '../src/lab/lifecycle.ts'
import { cgroupPath, netnsPath, nodeDir } from '../src/lab/names.ts'
import { inside, residentBytes, runProgram, runTool, startDetached, waitUntil } from '../src/lab/process.ts'
import { readState, writeState } from '../src/lab/state.ts'
import { buildPrograms } from '../test/cluster/build.ts'
import { makePki } from '../test/cluster/pki.ts'
import { machine, stampedName } from '../tools/machine.ts'

/** What reading everything has left is collected meanwhile. */
const SETTLE_MS = 3_000
const LAB = 'bench-kube'
const NODE = 'n1'
const SERVER = 'https://127.0.0.1:6443'
const dir = nodeDir(LAB, NODE)
const kubeconfig = `${dir}/api/admin.kubeconfig`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    services: { type: 'string', default: '10000' },
    endpoints: { type: 'string', default: '100000' },
    changes: { type: 'string', default: '1000' },
    rate: { type: 'string', default: '50' },
  },
})

switch (positionals[0]) {
  case 'up':
    await up()
    break
  case 'measure':
    await measure()
    break
  case 'down':
    await takeDown(LAB)
    break
  default:
    throw new Error('up, measure or down')
}

/** A lab of one node whose agent is stopped, an API server inside, and the objects in it. */
async function up(): Promise<void> {
  await takeDown(LAB)
  const { bin } = await buildPrograms((text) => process.stderr.write(`${text}\n`))
  const cluster = await bringUp({ name: LAB, nodeCount: 1, mode: 'native', families: '4', wire: 'fabric' }, () => {})
  const node = await endAgent(cluster.state.nodes[0]!, 'SIGTERM')
  cluster.setNode(node)
  const start = await prepareServers(bin)
  const startMs = performance.now()
  const isUp = await waitUntil(async () => (await etcdHealth()).exitCode === 0, 30_000)
  if (!isUp) throw new Error(`etcd does not answer: see ${dir}/api/etcd.log`)
  await load(['load', values.services, values.endpoints])
  process.stderr.write(`loaded in ${((performance.now() - startMs) / 1000).toFixed(1)} s\n`)
  await start()
  const own = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: NODE },
    spec: { podCIDRs: node.podCIDRs, podCIDR: node.podCIDRs[0] },
  }
  const addresses = node.internalIPs.map((address) => ({ type: 'InternalIP', address }))
  await ask('POST', '/api/v1/nodes', 'application/json', own)
  await ask('PATCH', `/api/v1/nodes/${NODE}/status`, 'application/merge-patch+json', { status: { addresses } })
  const config = parse(readFileSync(`${dir}/config.yaml`, 'utf8'))
  writeFileSync(`${dir}/config.yaml`, stringify({ ...config, kubeconfig, cniConfDir: '', cniBinDir: '' }))
}

/** Starts etcd, and returns what starts the API server. */
async function prepareServers(bin: string): Promise<() => Promise<void>> {
  const pki = `${dir}/api`
  await makePki(pki, SERVER, [
    { file: 'apiserver', subject: '/CN=kube-apiserver', names: ['IP:127.0.0.1', 'DNS:kubernetes.default.svc'] },
    { file: 'admin', subject: '/O=system:masters/CN=admin', client: true },
  ])
  makeCgroup(cgroupPath(LAB, NODE, 'api'))
  const run = (program: string, ...args: string[]) => {
    mkdirSync(`${dir}/api`, { recursive: true })
    startDetached(inside(cgroupPath(LAB, NODE, 'api'), netnsPath(LAB, NODE), [`${bin}/kubernetes`, program, ...args]), {
      log: `${dir}/api/${program}.log`,
      env: { PATH: process.env.PATH, HOME: '/root' },
      cwd: '/',
    })
  }
  run('etcd', `--data-dir=${dir}/api/etcd`, '--unsafe-no-fsync', '--log-level=warn')
  return async () => {
    run(
      'kube-apiserver',
      '--etcd-servers=http://127.0.0.1:2379',
      '--secure-port=6443',
      '--service-cluster-ip-range=10.96.0.0/16',
      '--authorization-mode=RBAC',
      `--client-ca-file=${pki}/ca.crt`,
      `--tls-cert-file=${pki}/apiserver.crt`,
      `--tls-private-key-file=${pki}/apiserver.key`,
      '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
      `--service-account-key-file=${pki}/sa.pub`,
      `--service-account-signing-key-file=${pki}/sa.key`,
    )
    const isReady = await waitUntil(async () => (await curl('/readyz')).exitCode === 0, 60_000)
    if (!isReady) throw new Error(`kube-apiserver is not ready after 60 s: see ${dir}/api/kube-apiserver.log`)
  }
}

function etcdHealth(): ReturnType<typeof runProgram> {
  return runProgram(['nsenter', `--net=${netnsPath(LAB, NODE)}`, '--', 'curl', '-sf', 'http://127.0.0.1:2379/health'])
}

async function measure(): Promise<void> {
  const state = readState(LAB)
  let node = state.nodes[0]!
  const agent = node.agent
  if (agent !== null) node = await endAgent(node, 'SIGTERM')
  const startMs = performance.now()
  node = startAgent(LAB, node)
  writeState({ ...state, nodes: [node] })
  const status = () => askAgent<Status>(agentSocket(LAB, NODE), 'GET', '/v1/status').catch(() => null)
  let peakBytes = 0
  const watchRss = (): number => {
    const bytes = residentBytes(node.agent!.pid)
    peakBytes = Math.max(peakBytes, bytes)
    return bytes
  }
  let syncedMs = 0
  const isReady = await waitUntil(async () => {
    watchRss()
    const now = await status()
    if (syncedMs === 0 && now?.sources[0]?.synchronised) syncedMs = performance.now() - startMs
    return now?.ready ?? false
  }, 90_000)
  if (!isReady) throw new Error(`not ready: ${(await status())?.conditions.join('; ')}`)
  const readyMs = performance.now() - startMs
  const first = (await status())!.sources[0]!
  const rssAtReady = watchRss()
  await setTimeout(SETTLE_MS)
  const sampling = setInterval(watchRss, 200)
  const rssSettled = watchRss()
  const changed = JSON.parse(await load(['change', `${dir}/bpf`, values.changes, values.rate]))
  clearInterval(sampling)
  const rssAfter = watchRss()
  const last = (await status())!
  const results = {
    date: new Date(),
    machine: machine(),
    services: Number(values.services),
    endpoints: Number(values.endpoints),
    secondsToSynchronised: syncedMs / 1000,
    secondsToReady: readyMs / 1000,
    requestsToReady: first.requestCount,
    bytesToReady: first.receivedBytes,
    rssBytes: { atReady: rssAtReady, settled: rssSettled, afterChanges: rssAfter, peak: peakBytes },
    changed,
    requestsAfterChanges: last.sources[0]!.requestCount,
    bytesPerChange: (last.sources[0]!.receivedBytes - first.receivedBytes) / changed.changes,
    isReadyAfter: last.ready,
  }
  const folder = fileURLToPath(new URL('results/', import.meta.url))
  const path = `${folder}${stampedName(results.date, results.machine)}-kube.json`
  writeFileSync(path, `${JSON.stringify(results, null, 1)}\n`)
  const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
  const ms = ({ p50, p99 }: { p50: number; p99: number }): string => `p50 ${p50} ms, p99 ${p99} ms`
  const rows = [
    ['Services, endpoints', `${values.services}, ${values.endpoints}`],
    ['start to synchronised, to ready', `${(syncedMs / 1000).toFixed(2)} s, ${(readyMs / 1000).toFixed(2)} s`],
    ['API requests, bytes to ready', `${first.requestCount}, ${mb(first.receivedBytes)}`],
    ['RSS at ready, 3 s later, after changes, peak', [rssAtReady, rssSettled, rssAfter, peakBytes].map(mb).join(', ')],
    [`changes at ${values.rate}/s, programmed`, `${changed.changes}, ${changed.programmed}`],
    ['sent to answered', ms(changed.answered)],
    ["sent to the API server's own watch event", ms(changed.seenByWatch)],
    ['sent to in the map', ms(changed.inMap)],
    ['watch event elsewhere to in the map', ms(changed.inMapAfterWatch)],
    ['bytes per change', results.bytesPerChange.toFixed(0)],
  ]
  process.stdout.write(rows.map(([name, value]) => `${name!.padEnd(46)} ${value}\n`).join(''))
  process.stderr.write(`${path}\n`)
}

function load(args: readonly string[]): Promise<string> {
  const script = fileURLToPath(new URL('kube-load.ts', import.meta.url))
  const argv = [process.execPath, script, kubeconfig, ...args]
  return runTool(inside(cgroupPath(LAB, NODE, 'api'), netnsPath(LAB, NODE), argv))
}

function curl(path: string, ...args: string[]): ReturnType<typeof runProgram> {
  const pki = `${dir}/api`
  const identity = ['--cacert', `${pki}/ca.crt`, '--cert', `${pki}/admin.crt`, '--key', `${pki}/admin.key`]
  return runProgram([
    ...['nsenter', `--net=${netnsPath(LAB, NODE)}`, '--', 'curl', '-sSf', '-m', '10'],
    ...identity,
    ...args,
    `${SERVER}${path}`,
  ])
}

async function ask(method: string, path: string, type: string, body: object): Promise<void> {
  const { exitCode, stderr } = await curl(path, '-X', method, '-H', `content-type: ${type}`, '-d', JSON.stringify(body))
  if (exitCode !== 0) appendFileSync(2, `${method} ${path}: ${stderr}\n`)
}
