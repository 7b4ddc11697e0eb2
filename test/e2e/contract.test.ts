// SPDX-License-Identifier: Apache-2.0
// The commands as a stranger uses them: bin/heddle as a process, its exit codes, its JSON, its sentences.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { leftovers } from '../../src/lab/lifecycle.ts'
import { checkout, nodeDir } from '../../src/lab/names.ts'
import { type Outcome, runProgram } from '../../src/lab/process.ts'
import type { LabStatus } from '../../src/lab/status.ts'
import { sweepTestLabs } from '../support/lab.ts'

const lab = `test-${process.pid}-contract`
const scratch = mkdtempSync(`${tmpdir()}/heddle-contract-`)

function heddle(...argv: string[]): Promise<Outcome> {
  return runProgram([`${checkout}/bin/heddle`, ...argv], { timeoutMs: 60_000 })
}

async function json<T>(...argv: string[]): Promise<T> {
  const { exitCode, stdout, stderr } = await heddle(...argv, '-o', 'json')
  expect({ argv, exitCode, stderr }).toEqual({ argv, exitCode: 0, stderr })
  return JSON.parse(stdout) as T
}

function manifest(name: string, text: string): string {
  writeFileSync(`${scratch}/${name}`, text)
  return `${scratch}/${name}`
}

const pods = (command: string) => `
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Pod, metadata: {name: first, namespace: shop}, spec: {containers: [{name: c, command: [${command}], env: [{name: WHO, value: "me"}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}]}}
  - {apiVersion: v1, kind: Pod, metadata: {name: second, namespace: shop}, spec: {}}
`

beforeAll(async () => {
  await sweepTestLabs()
  const folder = mkdtempSync(`${scratch}/folder-`)
  writeFileSync(`${folder}/pods.yaml`, pods('sh, -c, "echo $(WHO) $(IP); exec sleep 600"'))
  writeFileSync(
    `${folder}/service.json`,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { namespace: 'shop', name: 'web' },
      spec: { ports: [{ port: 80 }], selector: { app: 'web' } },
    }),
  )
  expect(await heddle('lab', 'up', '--name', lab, '--manifests', folder)).toMatchObject({ exitCode: 0 })
})

afterAll(async () => {
  expect(await heddle('lab', 'down', '--name', lab)).toMatchObject({ exitCode: 0, stdout: '', stderr: '' })
  expect(Object.values(leftovers(lab)).flat()).toEqual([])
  rmSync(scratch, { recursive: true })
})

describe('heddle lab', () => {
  test('status -o json has the fields of the contract; pods without a node were spread', async () => {
    const status = await json<LabStatus>('lab', 'status', '--name', lab)
    expect(status.nodes).toMatchObject([
      {
        name: 'n1',
        internalIPs: ['192.168.77.11', 'fd00:77::11'],
        podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'],
        agent: { ready: true },
      },
      { name: 'n2', agent: { ready: true } },
    ])
    expect(status.nodes[0]!.agent.pid).toBeGreaterThan(1)
    expect(status.nodes[0]!.agent.rssBytes).toBeGreaterThan(10_000_000)
    expect(status.pods).toMatchObject([
      { namespace: 'shop', name: 'first', node: 'n1', phase: 'Running', ready: true },
      { namespace: 'shop', name: 'second', node: 'n2', phase: 'Running', ready: true },
    ])
    expect(status.pods.every(({ podIPs }) => podIPs.length === 2)).toBe(true)
    expect(status.services).toEqual([{ namespace: 'shop', name: 'web', clusterIPs: ['10.96.0.10'] }])
  })

  test('exec passes standard input, output, error and the exit code on', async () => {
    const argv = ['lab', 'exec', '--name', lab, 'shop/first', '--', 'sh', '-c', 'cat; echo oops >&2; exit 7']
    const { status, stdout, stderr } = spawnSync(`${checkout}/bin/heddle`, argv, { input: 'hello', encoding: 'utf8' })
    expect({ status, stdout, stderr }).toEqual({ status: 7, stdout: 'hello', stderr: 'oops\n' })
  })

  test('exec runs in the namespace and cgroup of the place', async () => {
    for (const [place, device, cgroup] of [
      ['shop/second', 'eth0@', `/heddle-lab/${lab}/n2/pod-`],
      ['node/n1', 'eth0@', `/heddle-lab/${lab}/n1/host`],
      ['outside', '203.0.113.2', `/heddle-lab/${lab}/outside`],
    ] as const) {
      const script = 'ip address; cat /proc/self/cgroup'
      const { stdout } = await heddle('lab', 'exec', place, '--name', lab, '--', 'sh', '-c', script)
      expect(stdout).toContain(device)
      expect(stdout).toContain(`0::${cgroup}`)
    }
  })

  test('exec at a place that is not there: exit 2, and which there are', async () => {
    const { exitCode, stderr } = await heddle('lab', 'exec', '--name', lab, 'shop/nobody', '--', 'true')
    expect({ exitCode, stderr: stderr.trim().split('\n').length }).toEqual({ exitCode: 2, stderr: 1 })
    expect(stderr).toMatch(/no place shop\/nobody; it has shop\/first, shop\/second, node\/n1/)
  })

  test('apply prints a time for each node; delete takes the pod away and frees its namespace', async () => {
    const file = manifest(
      'third.yaml',
      'apiVersion: v1\nkind: Pod\nmetadata: {name: third, namespace: other}\nspec: {nodeName: n2}\n',
    )
    const applied = await heddle('lab', 'apply', file, '--name', lab)
    expect(applied).toMatchObject({ exitCode: 0, stderr: '' })
    expect(applied.stdout).toMatch(/^n1 +\d+\.\d ms\nn2 +\d+\.\d ms\n$/)
    const before = leftovers(lab).netns.length
    expect(await json('lab', 'delete', file, '--name', lab)).toMatchObject({ nodes: [{ name: 'n1' }, { name: 'n2' }] })
    expect(leftovers(lab).netns).toHaveLength(before - 1)
    expect(await heddle('lab', 'delete', file, '--name', lab)).toMatchObject({ exitCode: 0 })
  })

  test('a malformed manifest: exit 2 with file, line, document and field; its other objects are applied', async () => {
    const file = manifest(
      'mixed.yaml',
      'apiVersion: v1\nkind: Pod\nmetadata: {name: good, namespace: other}\nspec: {nodeName: n1}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: other}\nspec: {ports: [{port: http}]}\n',
    )
    const { exitCode, stderr } = await heddle('lab', 'apply', file, '--name', lab)
    expect(exitCode).toBe(2)
    expect(stderr).toContain(`${file}:9: document 2: Service other/bad: spec.ports[0].port: `)
    expect((await json<LabStatus>('lab', 'status', '--name', lab)).pods.map(({ name }) => name)).toContain('good')
    await heddle('lab', 'delete', file, '--name', lab)
  })

  test('agent stop, kill, start, restart; node cut, join', async () => {
    const agentOf = async (node: string) =>
      (await json<LabStatus>('lab', 'status', '--name', lab)).nodes.find(({ name }) => name === node)!.agent
    const first = await agentOf('n2')
    for (const end of ['stop', 'kill']) {
      expect(await heddle('lab', 'agent', end, 'n2', '--name', lab)).toMatchObject({ exitCode: 0 })
      expect(await agentOf('n2')).toEqual({ pid: null, ready: false, rssBytes: 0 })
      expect(await heddle('lab', 'agent', 'start', 'n2', '--name', lab)).toMatchObject({ exitCode: 0 })
    }
    expect(await heddle('lab', 'agent', 'restart', 'n2', '--name', lab)).toMatchObject({ exitCode: 0 })
    const last = await agentOf('n2')
    expect(last.ready).toBe(true)
    expect(last.pid).not.toBe(first.pid)
    const ping = () =>
      heddle('lab', 'exec', '--name', lab, 'node/n1', '--', 'ping', '-c', '1', '-W', '1', '192.168.77.12')
    expect(await ping()).toMatchObject({ exitCode: 0 })
    expect(await heddle('lab', 'node', 'cut', 'n2', '--name', lab)).toMatchObject({ exitCode: 0 })
    expect(await ping()).toMatchObject({ exitCode: 1 })
    expect(await heddle('lab', 'node', 'join', 'n2', '--name', lab)).toMatchObject({ exitCode: 0 })
    expect(await ping()).toMatchObject({ exitCode: 0 })
    expect(await heddle('lab', 'node', 'cut', 'n9', '--name', lab)).toMatchObject({ exitCode: 2 })
  })

  test('a lab that is up is not started again; one that is not up is no place for commands', async () => {
    expect(await heddle('lab', 'up', '--name', lab)).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/is up already/) as string,
    })
    const { exitCode, stderr } = await heddle('lab', 'status', '--name', 'nowhere')
    expect(exitCode).toBe(1)
    expect(stderr).toMatch(/^heddle: lab nowhere is not up.*heddle lab up --name nowhere\n$/)
    expect(await heddle('lab', 'down', '--name', 'nowhere')).toMatchObject({ exitCode: 0 })
  })
})

describe('asking the running system', () => {
  const ask = <T>(...argv: string[]) => json<T>(...argv, '--lab', lab, '--node', 'n1')

  test('status: ready, families, mode, kernel features, maps, sources', async () => {
    expect(await ask('status')).toMatchObject({
      nodeName: 'n1',
      ready: true,
      families: [4, 6],
      mode: 'vxlan',
      sources: [{ synchronised: true, problems: [] }],
    })
  })

  test('lists come from the kernel and show no drift', async () => {
    type Row = { readonly drift: string }
    for (const noun of ['endpoint', 'service', 'policy', 'node']) {
      const rows = await ask<Row[]>(noun, 'list')
      expect(
        rows.filter(({ drift }) => drift !== 'none'),
        noun,
      ).toEqual([])
    }
    expect(await ask('plan')).toEqual({ steps: [] })
  })

  test('policy diff says what a policy would change, policy why what it does', async () => {
    const file = manifest(
      'closed.yaml',
      'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed, namespace: shop}\nspec: {podSelector: {}, ingress: []}\n',
    )
    const denied = { families: ['IPv4', 'IPv6'], newlyAllowed: [], newlyDenied: ['everything'] }
    expect(await ask('policy', 'diff', '--manifests', file)).toEqual([
      { from: 'shop/first', to: 'shop/second', ...denied },
      { from: 'shop/second', to: 'shop/first', ...denied },
    ])
    expect(await ask('policy', 'why', 'shop/first')).toMatchObject({ ingress: { isolatedBy: [] } })
    await heddle('lab', 'apply', file, '--name', lab)
    expect(await ask('policy', 'diff', '--manifests', file)).toEqual([])
    expect(await ask('policy', 'why', 'shop/first')).toMatchObject({
      pod: 'shop/first',
      ingress: { isolatedBy: ['shop/closed'], rules: [] },
      egress: { isolatedBy: [] },
    })
    await heddle('lab', 'delete', file, '--name', lab)
  })

  test('a malformed file in the manifests folder: status names it, the last good version stays in force, also after a restart', async () => {
    const file = `${nodeDir(lab, 'n1')}/manifests/service_shop_web.json`
    const before = await ask<unknown[]>('service', 'list')
    expect(before.length).toBeGreaterThan(0)
    writeFileSync(
      file,
      '{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop"},"spec":{"ports":[{"port":0}]}}',
    )
    for (const moment of ['changed', 'restarted']) {
      if (moment === 'restarted')
        expect(await heddle('lab', 'agent', 'restart', 'n1', '--name', lab)).toMatchObject({ exitCode: 0 })
      const problems = async () =>
        (await ask<{ sources: { problems: { file: string; field: string }[] }[] }>('status')).sources[0]!.problems
      await expect
        .poll(problems, { timeout: 5_000 })
        .toMatchObject([{ field: 'spec.ports[0].port', document: 1, object: 'Service shop/web' }])
      expect(await ask('service', 'list'), moment).toEqual(before)
    }
    expect(await heddle('lab', 'apply', manifest('nothing.yaml', ''), '--name', lab)).toMatchObject({ exitCode: 0 })
    expect(await ask('status')).toMatchObject({ sources: [{ problems: [] }] })
  })

  test('uninstall is refused while the agent runs; after it the node has no program, pin or route of Heddle', async () => {
    const config = `${nodeDir(lab, 'n2')}/config.yaml`
    const uninstall = () =>
      heddle('lab', 'exec', '--name', lab, 'node/n2', '--', `${checkout}/bin/heddle`, 'uninstall', '--config', config)
    expect(await uninstall()).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/another agent \(pid \d+\) holds/) as string,
    })
    await heddle('lab', 'agent', 'stop', 'n2', '--name', lab)
    expect(await uninstall()).toMatchObject({ exitCode: 0 })
    const { stdout } = await heddle(
      'lab',
      'exec',
      '--name',
      lab,
      'node/n2',
      '--',
      'sh',
      '-c',
      `bpftool net list; ls ${nodeDir(lab, 'n2')}/bpf; ip route; ip -6 route; ip -br link`,
    )
    expect(stdout).not.toMatch(/from_|to_pod|to_netdev|heddle|proto 78|\bhd[0-9a-f]{12}/)
    expect(await uninstall()).toMatchObject({ exitCode: 0 })
  })
})

test('without root: exit 2 and one sentence', async () => {
  const argv = [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    `${checkout}/bin/heddle`,
    'lab',
    'up',
    '--name',
    'nobody',
  ]
  const { exitCode, stderr } = await runProgram(['setpriv', ...argv])
  expect(stderr).toMatch(/^heddle: .*run this as root\n$/)
  expect(exitCode).toBe(2)
})
