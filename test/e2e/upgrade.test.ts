// SPDX-License-Identifier: Apache-2.0
// Another build takes over under load and hands back: its conntrack value has one field more and its maps are twice the
// size. No connection breaks, no request fails.

import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import type { Status } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentReady, agentSocket, endAgent, startAgent } from '../../src/lab/agents.ts'
import { checkout, nodeDir } from '../../src/lab/names.ts'
import { scriptArgv, startTestLab, type TestLab } from '../support/lab.ts'
import type { Load, LoadReport } from '../support/load.ts'
import { idlePod, namespace, serverPod, service } from '../support/manifests.ts'

let lab: TestLab
let other: string

beforeAll(async () => {
  other = makeOtherBuild()
  lab = await startTestLab('upgrade', { mode: 'vxlan', families: '46' })
  await lab.apply(
    serverPod('web-1', 'n1', { app: 'web' }),
    serverPod('web-2', 'n2', { app: 'web' }),
    idlePod('client', 'n1'),
    service('web', { app: 'web' }),
  )
  await lab.serve('outside', { http: 7000, udp: 7001 })
})

afterAll(async () => {
  rmSync(other, { recursive: true, force: true })
  expect(await lab?.down()).toEqual([])
})

/** A copy of this checkout whose struct flow has a field in place of its spare bytes. */
function makeOtherBuild(): string {
  const copy = mkdtempSync(`${tmpdir()}/heddle-other-build-`)
  const parts = [
    'Makefile',
    'package.json',
    'package-lock.json',
    'bin',
    'bpf',
    'src',
    'native',
    'tools',
    'build',
    'dist',
  ]
  for (const part of parts)
    cpSync(`${checkout}/${part}`, `${copy}/${part}`, { recursive: true, preserveTimestamps: true })
  symlinkSync(`${checkout}/node_modules`, `${copy}/node_modules`)
  const header = `${copy}/bpf/abi/conntrack.h`
  const before = readFileSync(header, 'utf8')
  const after = before.replace(/__u8 spare\[8\];(?=\s*};\s*_Static_assert\(sizeof\(struct flow\))/, '__u64 packets;')
  if (after === before) throw new Error(`${header} has no spare bytes in struct flow`)
  writeFileSync(header, after)
  execFileSync('make', ['build'], { cwd: copy, stdio: 'pipe' })
  return copy
}

async function replaceAgents(build: string, sizes: Readonly<Record<string, number>>): Promise<Status[]> {
  return Promise.all(
    lab.cluster.state.nodes.map(async (node) => {
      const file = `${nodeDir(lab.name, node.name)}/config.yaml`
      const config = parse(readFileSync(file, 'utf8')) as Record<string, unknown>
      writeFileSync(file, stringify({ ...config, mapSizes: sizes, objectsDir: `${build}/build/bpf` }))
      const started = startAgent(lab.name, await endAgent(node, 'SIGKILL'), build)
      lab.cluster.setNode(started)
      await agentReady(lab.name, started)
      return askAgent<Status>(agentSocket(lab.name, node.name), 'GET', '/v1/status')
    }),
  )
}

test('a build with another conntrack value and maps of twice the size replaces the running one, and back', async () => {
  const loads = [lab.clusterIP('test/web', 4), lab.clusterIP('test/web', 6), '203.0.113.2'].map((host, index) => {
    const port = index === 2 ? 7000 : 80
    const input: Load = {
      host,
      port,
      keptConnections: 70,
      requestsPerSecond: 300,
      newConnectionsPerSecond: 50,
      seconds: 12,
    }
    return lab.start(`${namespace}/client`, [
      'sh',
      '-c',
      `echo '${JSON.stringify(input)}' | "$0" "$@"`,
      ...scriptArgv('load.ts'),
    ])
  })
  await Promise.all(loads.map((running) => running.until((output) => output.includes('running\n'))))
  const first = await askAgent<Status>(agentSocket(lab.name, 'n1'), 'GET', '/v1/status')
  const names = ['flows', 'flows_opening', 'translations', 'frontends', 'backends', 'endpoints', 'classes', 'policies']
  const twice = Object.fromEntries(
    first.maps.filter(({ name }) => names.includes(name)).map(({ name, maxEntries }) => [name, 2 * maxEntries]),
  )
  const [grown] = await replaceAgents(other, twice)
  const [back] = await replaceAgents(checkout, {})
  console.log(`ABI ${first.version.abi} -> ${grown!.version.abi} -> ${back!.version.abi}`)
  expect(grown!.version.abi).not.toBe(first.version.abi)
  for (const { name, maxEntries } of grown!.maps)
    if (name in twice) expect([name, maxEntries]).toEqual([name, twice[name]])
  const sizes = (status: Status) => status.maps.map(({ name, maxEntries }) => `${name} ${maxEntries}`)
  expect(sizes(back!)).toEqual(sizes(first))
  for (const running of loads) {
    const output = await running.ended
    const report = JSON.parse(output.slice(output.indexOf('{'))) as LoadReport
    console.log(JSON.stringify(report))
    expect(report.failures).toEqual({})
    expect(report.keptSockets).toBe(70)
  }
})
