// SPDX-License-Identifier: Apache-2.0
// Pods of a lab live as pods do: probes, phases, host network, environment, a node whose agent is away.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ServiceRow } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentReady, agentSocket, endAgent, startAgent } from '../../src/lab/agents.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { labStatus } from '../../src/lab/status.ts'
import type { Reply } from '../support/ask.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, idlePod, namespace, namespaceObject, serverPod, service } from '../support/manifests.ts'

let lab: TestLab
const scratch = mkdtempSync(`${tmpdir()}/heddle-lab-pods-`)

beforeAll(async () => {
  lab = await startTestLab('pods', { mode: 'native', families: '46' })
})

afterAll(async () => {
  rmSync(scratch, { recursive: true })
  expect(await lab?.down()).toEqual([])
})

function podWith(name: string, container: Record<string, unknown>, spec: Record<string, unknown> = {}): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name, labels: { app: name } },
    spec: { nodeName: 'n1', containers: [{ name: 'c', ...container }], ...spec },
  }
}

async function statusOf(name: string) {
  return (await labStatus(lab.cluster)).pods.find((pod) => pod.name === name)
}

async function backends(name: string): Promise<string[]> {
  const rows = await askAgent<ServiceRow[]>(agentSocket(lab.name, 'n2'), 'GET', '/v1/services')
  return rows
    .filter((row) => row.name === name && row.portName === 'http')
    .flatMap((row) => row.backends.map(({ address }) => address))
}

const serveHttp = ['heddle', 'lab', 'serve', '--http', String(httpPort)]
/** One try, so that a probe that must fail does not take its 30 s. */
const once = { periodSeconds: 1, failureThreshold: 1 }

test.each([
  ['httpGet', { httpGet: { port: 'http' } }, { httpGet: { port: 1 } }],
  ['tcpSocket', { tcpSocket: { port: httpPort } }, { tcpSocket: { port: 1 } }],
  ['exec', { exec: { command: ['ip', 'link', 'show', 'eth0'] } }, { exec: { command: ['false'] } }],
] as const)('a readinessProbe of kind %s decides who is a backend', async (kind, succeeds, fails) => {
  const name = kind.toLowerCase()
  const ports = [{ name: 'http', containerPort: httpPort }]
  const ready = podWith(`${name}-ready`, { command: serveHttp, ports, readinessProbe: { ...succeeds } })
  const unready = podWith(`${name}-unready`, { command: serveHttp, ports, readinessProbe: { ...fails, ...once } })
  const label = (pod: KubeManifest) => ({ ...pod, metadata: { ...pod.metadata, labels: { app: name } } })
  await lab.apply(label(ready), label(unready), service(name, { app: name }))
  expect(await statusOf(`${name}-ready`)).toMatchObject({ phase: 'Running', ready: true })
  expect(await statusOf(`${name}-unready`)).toMatchObject({ phase: 'Running', ready: false })
  expect((await backends(name)).toSorted()).toEqual(lab.pod(`${namespace}/${name}-ready`).podIPs.toSorted())
  await lab.delete(ready, unready, service(name, {}))
  expect(await backends(name)).toEqual([])
})

test('a pod becomes ready when its probe succeeds later', async () => {
  const flag = `${scratch}/flag`
  const pod = podWith('late', {
    command: ['sleep', '600'],
    readinessProbe: { exec: { command: ['test', '-e', flag] }, ...once },
  })
  await lab.apply(pod)
  expect(await statusOf('late')).toMatchObject({ ready: false })
  writeFileSync(flag, '')
  await lab.apply(pod)
  expect(await statusOf('late')).toMatchObject({ ready: true })
  await lab.delete(pod)
})

test('containers that end make the pod Succeeded or Failed, and no backend', async () => {
  const good = podWith('good', { command: ['true'] })
  const bad = podWith('bad', { command: ['sh', '-c', 'exit 3'] })
  await lab.apply(good, bad, service('good', { app: 'good' }))
  await expect.poll(async () => (await statusOf('good'))?.phase).toBe('Succeeded')
  await expect.poll(async () => (await statusOf('bad'))?.phase).toBe('Failed')
  await lab.apply(service('good', { app: 'good' }))
  expect(await backends('good')).toEqual([])
  await lab.delete(good, bad, service('good', {}))
})

test('command, args and env reach the process, with fields of the pod', async () => {
  const file = `${scratch}/environment`
  const env = [
    { name: 'WHO', value: 'me' },
    { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
    { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
  ]
  const pod = podWith('talker', { command: ['sh', '-c'], args: [`echo $(WHO) $IP $$NODE >${file}`], env })
  await lab.apply(pod)
  await expect.poll(() => existsSync(file) && readFileSync(file, 'utf8')).toBe(`me ${lab.podIP('test/talker', 4)} n1\n`)
  await lab.delete(pod)
})

test("a pod on the host's network has the addresses of its node, is a backend and reaches Services", async () => {
  const host = serverPod('host', 'n2', { app: 'host' })
  const pod = { ...host, spec: { ...(host.spec as object), hostNetwork: true } }
  await lab.apply(
    pod,
    serverPod('plain', 'n1', { app: 'plain' }),
    service('host', { app: 'host' }),
    service('plain', { app: 'plain' }),
  )
  expect(lab.pod('test/host').podIPs).toEqual(lab.cluster.node('n2').internalIPs)
  for (const family of lab.families()) {
    const [fromHost] = await lab.script<Reply[]>('test/host', 'ask.ts', [
      { protocol: 'TCP', host: lab.clusterIP('test/plain', family), port: 80 },
    ])
    expect(fromHost).toMatchObject({ answer: { server: 'plain', client: lab.nodeIP('n2', family) } })
    const [toHost] = await lab.script<Reply[]>('test/plain', 'ask.ts', [
      { protocol: 'TCP', host: lab.clusterIP('test/host', family), port: 80 },
    ])
    expect(toHost).toMatchObject({ answer: { server: 'host', client: lab.podIP('test/plain', family) } })
  }
  await lab.delete(pod, serverPod('plain', 'n1'), service('host', {}), service('plain', {}))
})

test('what runs in a pod cannot be changed, its labels can', async () => {
  await lab.apply(idlePod('fixed', 'n1', { version: '1' }))
  await lab.apply(idlePod('fixed', 'n1', { version: '2' }))
  await expect(lab.apply(podWith('fixed', { command: ['true'] }))).rejects.toThrow(
    /pod test\/fixed: the spec of a pod cannot change/,
  )
  await lab.delete(idlePod('fixed', 'n1'))
})

test('a pod on a node whose agent is away waits for it', async () => {
  lab.cluster.setNode(await endAgent(lab.cluster.node('n1'), 'SIGTERM'))
  const applied = lab.apply(idlePod('patient', 'n1'))
  await expect.poll(() => statusOf('patient')).toMatchObject({ phase: 'Pending', ready: false })
  const started = startAgent(lab.name, lab.cluster.node('n1'))
  lab.cluster.setNode(started)
  await agentReady(lab.name, started)
  await applied
  expect(await statusOf('patient')).toMatchObject({ phase: 'Running', ready: true })
  await lab.delete(idlePod('patient', 'n1'))
})

test('with a namespace goes all that is in it', async () => {
  await lab.apply(idlePod('one', 'n1'), idlePod('two', 'n2'), service('three', { app: 'x' }))
  await lab.delete(namespaceObject(namespace))
  expect(await labStatus(lab.cluster)).toMatchObject({ pods: [], services: [] })
})
