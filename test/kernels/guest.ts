// SPDX-License-Identifier: Apache-2.0
// What runs inside a guest: loads every object, then a lab with pods on two nodes for each mode that is an argument.

import { execFileSync, spawnSync } from 'node:child_process'
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { release } from 'node:os'
import { basename } from 'node:path'
import { parseArgs } from 'node:util'
import type { Address } from '../../src/core/address.ts'
import { encode } from '../../src/core/codec.ts'
import { DsrTransports, nodeConfig, TunnelMode } from '../../src/generated/abi.ts'
import { loadAddon } from '../../src/kernel/load-addon.ts'
import { type Message, marker } from './message.ts'

const heddle = new URL('../../bin/heddle', import.meta.url).pathname
const lab = 'kernels'

function tell(message: Message): void {
  process.stdout.write(`${marker}${JSON.stringify(message)}\n`)
}

/** The verifier passes over what a configuration does not ask for: this one asks for all. */
const everything = encode(nodeConfig, {
  ipv4: '192.0.2.1' as Address,
  ipv6: '2001:db8::1' as Address,
  node: 1n,
  netnsCookie: 0n,
  uplink: 1,
  vni: 1,
  tunnelPort: 8472,
  tunnelMode: TunnelMode.VXLAN,
  masquerade: 1,
  dsr: DsrTransports.TCP,
  sorter: 2,
  natPortMin: 32768,
  natPortMax: 65535,
  refuseDenied: 1,
  seed: [1n, 3n, 5n, 7n],
})

async function loadConfigured(path: string, name: string): Promise<void> {
  const object = loadAddon().openObject(readFileSync(path), name)
  try {
    if (name !== 'collect') object.setRodata('config', everything)
    await object.load()
    tell({ kind: 'step', name: `load ${name}, with everything that can be configured`, problem: '' })
  } catch (error) {
    tell({ kind: 'step', name: `load ${name}, with everything that can be configured`, problem: problemOf(error) })
  } finally {
    object.close()
  }
}

async function loadObjects(): Promise<void> {
  const addon = loadAddon()
  for (const path of globSync('build/bpf/*.o').toSorted()) {
    const name = basename(path, '.o')
    const object = addon.openObject(readFileSync(path), name)
    try {
      await object.load()
      for (const { name: program } of object.programs) {
        const fd = object.programFd(program)
        tell({ kind: 'program', object: name, program, instructions: addon.programInfo(fd).verifiedInstructions })
        addon.closeFd(fd)
      }
      tell({ kind: 'step', name: `load ${name}`, problem: '' })
    } catch (error) {
      tell({ kind: 'step', name: `load ${name}`, problem: problemOf(error) })
    } finally {
      object.close()
    }
    await loadConfigured(path, name)
  }
}

function problemOf(error: unknown): string {
  const { message, verifierLog, stderr } = error as Error & { verifierLog?: string; stderr?: string }
  return [stderr, message, verifierLog?.split('\n').slice(-15).join('\n')].filter(Boolean).join('\n')
}

function run(...args: readonly string[]): string {
  return execFileSync(heddle, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 })
}

function step(name: string, check: () => unknown): void {
  try {
    check()
    tell({ kind: 'step', name, problem: '' })
  } catch (error) {
    tell({ kind: 'step', name, problem: problemOf(error) })
  }
}

const manifests = `
apiVersion: v1
kind: Pod
metadata: {namespace: default, name: server, labels: {app: server}}
spec:
  nodeName: n1
  containers:
    - {name: server, command: [heddle, lab, serve, --http, '8080'], readinessProbe: {tcpSocket: {port: 8080}}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: default, name: client, labels: {app: client}}
spec: {nodeName: n2, containers: [{name: idle, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: default, name: stranger}
spec: {nodeName: n2, containers: [{name: idle, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: default, name: server}
spec: {selector: {app: server}, ipFamilyPolicy: RequireDualStack, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: default, name: only-client}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]
`

function request(from: string, url: string): string {
  return run('lab', 'exec', `default/${from}`, '--name', lab, '--', 'curl', '-sS', '-g', '-m', '20', url)
}

function expectRefused(from: string, url: string): void {
  try {
    run('lab', 'exec', `default/${from}`, '--name', lab, '--', 'curl', '-sS', '-g', '-m', '2', url)
  } catch {
    return
  }
  throw new Error(`${from} reached ${url} although the policy does not allow it`)
}

function smoke(mode: string): void {
  step(`${mode}: a lab comes up with its pods`, () => {
    writeFileSync('/tmp/kernels.yaml', manifests)
    run('lab', 'up', '--name', lab, '--mode', mode, '--families', '46', '--manifests', '/tmp/kernels.yaml')
  })
  step(`${mode}: pods reach pods of another node, in both families, and only as policy allows`, () => {
    for (const address of addressesOf('pods', 'podIPs')) {
      request('client', `http://${address}:8080/`)
      expectRefused('stranger', `http://${address}:8080/`)
    }
  })
  step(`${mode}: pods reach a Service, in both families`, () => {
    for (const address of addressesOf('services', 'clusterIPs')) request('client', `http://${address}/`)
  })
  step(`${mode}: the lab goes down`, () => run('lab', 'down', '--name', lab))
}

/** The two addresses of the object that is called server, as they stand in a URL. */
function addressesOf(list: 'pods' | 'services', field: 'podIPs' | 'clusterIPs'): readonly string[] {
  const status = JSON.parse(run('lab', 'status', '--name', lab, '-o', 'json'))
  const server = status[list].find(({ name }: { readonly name: string }) => name === 'server')
  const addresses: readonly string[] = server?.[field] ?? []
  if (addresses.length !== 2) throw new Error(`server has ${field} ${addresses.join(', ')}, not one of each family`)
  return addresses.map((address) => (address.includes(':') ? `[${address}]` : address))
}

/** Emulation is slow: an agent's first start, which reads and compiles every file, takes longer than a lab waits. */
function warmUp(): void {
  process.env.NODE_COMPILE_CACHE = '/tmp/compile-cache'
  spawnSync(heddle, ['agent', '--config', '/nowhere.yaml'])
}

const { positionals } = parseArgs({ allowPositionals: true })
tell({ kind: 'kernel', release: release() })
warmUp()
await loadObjects()
for (const mode of positionals) smoke(mode)
