// SPDX-License-Identifier: Apache-2.0
// The agent on an API server, with what the chart grants and no more: the rules of its ClusterRole and the capabilities of
// its container. The server is a small one (test/support/api-server.ts) that refuses what no rule permits.
//
//   n1: the agent, two API servers on its loopback      n2, n3: Node objects only

import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, parseAllDocuments, stringify } from 'yaml'
import type { NodeRow, PlanReply, Status } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentReady, agentSocket, endAgent } from '../../src/lab/agents.ts'
import { cgroupPath, checkout, netnsPath, nodeDir } from '../../src/lab/names.ts'
import { inside, startDetached, waitUntil } from '../../src/lab/process.ts'
import type { ApiJson, Rule } from '../support/api-server.ts'
import type { ServerCommand } from '../support/api-server-process.ts'
import type { Background } from '../support/background.ts'
import { makeCertificate } from '../support/certificate.ts'
import { scriptArgv, startTestLab, type TestLab } from '../support/lab.ts'
import { idlePod, namespace } from '../support/manifests.ts'

/** What a test waits for comes in seconds, also from a writer that looks every 10 s. */
const PATIENCE_MS = 60_000
const chart = parseAllDocuments(readFileSync(`${checkout}/deploy/manifests/heddle.yaml`, 'utf8')).map(
  (document) => document.toJS() as Manifest,
)

interface Manifest {
  readonly kind: string
  readonly rules: readonly Rule[]
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly {
          readonly name: string
          readonly securityContext: { readonly capabilities: { readonly add: readonly string[] } }
        }[]
      }
    }
  }
}

const { rules } = chart.find(({ kind }) => kind === 'ClusterRole')!
const daemonSet = chart.find(({ kind }) => kind === 'DaemonSet')!
const capabilities = daemonSet.spec.template.spec.containers[0]!.securityContext.capabilities.add

/** The command line of a process that has these capabilities and can get no other. */
function withCapabilities(names: readonly string[], argv: readonly string[]): string[] {
  const given = names.map((name) => `,+${name.toLowerCase()}`).join('')
  return ['setpriv', `--bounding-set=-all${given}`, '--inh-caps=-all', '--ambient-caps=-all', '--', ...argv]
}

function node(name: string, internalIPs: readonly string[], podCIDRs: readonly string[]): ApiJson {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name },
    spec: { podCIDRs, taints: [{ key: 'node.heddle.network/not-ready', effect: 'NoSchedule' }] },
    status: { addresses: internalIPs.map((address) => ({ type: 'InternalIP', address })) },
  }
}

/** Of each kind for which Events are written, one that is refused. */
const refused: readonly ApiJson[] = [
  { kind: 'Service', apiVersion: 'v1', spec: { clusterIPs: ['no address'] } },
  { kind: 'NetworkPolicy', apiVersion: 'networking.k8s.io/v1', spec: { podSelector: {}, action: 'Deny' } },
  { kind: 'ClusterNetworkPolicy', apiVersion: 'policy.networking.k8s.io/v1alpha2', spec: { tier: 'Highest' } },
  { kind: 'CiliumNetworkPolicy', apiVersion: 'cilium.io/v2', spec: { endpointSelector: 1 } },
  { kind: 'CiliumClusterwideNetworkPolicy', apiVersion: 'cilium.io/v2', spec: { endpointSelector: 1 } },
].map((each) => {
  const isNamespaced = !each.kind.startsWith('Cluster') && !each.kind.startsWith('CiliumCluster')
  return { ...each, metadata: { name: 'refused', ...(isNamespaced && { namespace: 'elsewhere' }) } }
})

/** Of the pods that the own pod may be reached by; only then others than those of this node are asked for. */
const asksForPods: ApiJson = {
  kind: 'NetworkPolicy',
  apiVersion: 'networking.k8s.io/v1',
  metadata: { namespace, name: 'asks' },
  spec: { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from: [{ podSelector: {} }] }] },
}

describe('an agent with what the chart grants', () => {
  let lab: TestLab
  let servers: Background
  let urls: readonly string[]
  let answers = 1 // lines printed so far

  beforeAll(async () => {
    lab = await startTestLab('api', { mode: 'vxlan', families: '46', nodeCount: 1 })
    lab.cluster.setNode(await endAgent(lab.cluster.node('n1'), 'SIGTERM'))
    const dir = nodeDir(lab.name, 'n1')
    const { key, cert } = makeCertificate(`${dir}/api`)
    servers = lab.start('node/n1', scriptArgv('api-server-process.ts', JSON.stringify({ key, cert })))
    await servers.until((output) => output.includes('\n'))
    urls = JSON.parse(servers.output()) as string[]
    await serve({ do: 'rules', rules })
    const { internalIPs, podCIDRs } = lab.cluster.node('n1')
    await put(node('n1', internalIPs, podCIDRs))
    await put(serverSlice(urls[1]!))
    writeFileSync(`${dir}/api/kubeconfig`, stringify(kubeconfig(urls[0]!, cert)))
    const config = parse(readFileSync(`${dir}/config.yaml`, 'utf8'))
    writeFileSync(`${dir}/config.yaml`, stringify({ ...config, kubeconfig: `${dir}/api/kubeconfig` }))
  })

  afterAll(async () => {
    await servers?.stop()
    expect(await lab?.down()).toEqual([])
  })

  async function serve<T>(command: ServerCommand): Promise<T> {
    const line = answers++
    servers.write(`${JSON.stringify(command)}\n`)
    await servers.until((output) => output.split('\n').length > line + 1)
    return JSON.parse(servers.output().split('\n')[line]!) as T
  }

  const put = (object: ApiJson) => serve<number>({ do: 'put', object })
  const ask = <T>(path: string) => askAgent<T>(agentSocket(lab.name, 'n1'), 'GET', path)

  function startAgent(): void {
    const dir = nodeDir(lab.name, 'n1')
    const command = withCapabilities(capabilities, [
      `${checkout}/bin/heddle`,
      'agent',
      '--config',
      `${dir}/config.yaml`,
    ])
    const agent = startDetached(inside(cgroupPath(lab.name, 'n1', 'agent'), netnsPath(lab.name, 'n1'), command), {
      log: `${dir}/logs/agent.log`,
      env: process.env,
      cwd: '/',
    })
    lab.cluster.setNode({ ...lab.cluster.node('n1'), agent })
  }

  async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
    if (!(await waitUntil(holds, PATIENCE_MS))) throw new Error(`not so after ${PATIENCE_MS} ms: ${what}`)
  }

  test.each(capabilities)('without %s it says so, and ends with exit code 2', async (lacking) => {
    const others = capabilities.filter((name) => name !== lacking)
    const config = `${nodeDir(lab.name, 'n1')}/config.yaml`
    const argv = withCapabilities(others, [`${checkout}/bin/heddle`, 'agent', '--config', config])
    const { exitCode, stderr } = await lab.run('node/n1', argv)
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: expect.stringContaining(`the agent lacks ${lacking}: its container's securityContext.capabilities`),
    })
  })

  test('becomes ready, says so in its Node, and wires a pod', async () => {
    startAgent()
    await agentReady(lab.name, lab.cluster.node('n1'))
    expect(capabilities).toEqual(['NET_ADMIN', 'SYS_ADMIN'])
    const own = async () =>
      (await serve<ApiJson[]>({ do: 'objects', kind: 'Node' })).find(({ metadata }) => metadata.name === 'n1')!
    await until(
      async () => (((await own()).spec as { taints: object[] }).taints ?? []).length === 0,
      'the taint is gone',
    )
    expect(await own()).toMatchObject({
      metadata: { annotations: { 'node.heddle.network/mode': 'vxlan' } },
      status: { conditions: [{ type: 'NetworkUnavailable', status: 'False', reason: 'HeddleIsReady' }] },
    })
    await put({ ...idlePod('own', 'n1'), status: { phase: 'Running' } } as unknown as ApiJson)
    await lab.apply(idlePod('own', 'n1'))
    const { ready } = await ask<Status>('/v1/status')
    expect(ready).toBe(true)
    expect(lab.pod(`${namespace}/own`).podIPs).toHaveLength(2)
  })

  test('peers follow a node that reboots with other addresses and pod CIDRs, before they follow what came after', async () => {
    const rows = async () => new Map((await ask<NodeRow[]>('/v1/nodes')).map((row) => [row.name, row]))
    const isWritten = async () => (await ask<PlanReply>('/v1/plan')).steps.length === 0
    const inTables = (name: string) =>
      until(async () => (await rows()).has(name) && (await isWritten()), `${name} is in the tables, whole`)
    await put(node('n2', ['192.168.77.12', 'fd00:77::12'], ['10.244.8.0/24', 'fd00:10:244:8::/64']))
    await inTables('n2')
    const before = (await rows()).get('n2')!
    expect(before.podCIDRs.toSorted()).toEqual(['10.244.8.0/24', 'fd00:10:244:8::/64'])
    const rebooted = node('n2', ['192.168.77.112', 'fd00:77::112'], ['10.244.9.0/24', 'fd00:10:244:9::/64'])
    const atMs = await put(rebooted)
    await put(node('n3', ['192.168.77.13', 'fd00:77::13'], ['10.244.10.0/24', 'fd00:10:244:10::/64']))
    await inTables('n3')
    const followedMs = Date.now() - atMs
    const after = (await rows()).get('n2')!
    expect(after).toMatchObject({
      addresses: ['192.168.77.112', 'fd00:77::112'],
      podCIDRs: ['10.244.9.0/24', 'fd00:10:244:9::/64'],
      drift: before.drift,
    })
    expect(after.nexthops.map(({ tunnel }) => tunnel)).not.toEqual(before.nexthops.map(({ tunnel }) => tunnel))
    console.log(
      `n1 followed the reboot of n2 (InternalIP, tunnel address, pod CIDRs) within ${followedMs} ms of the event`,
    )
  })

  test('asks the API server for all that the ClusterRole grants, and for nothing else', async () => {
    for (const object of [...refused, asksForPods]) await put(object)
    const granted = rules
      .flatMap(({ apiGroups, resources, verbs }) =>
        verbs.flatMap((verb) => resources.map((resource) => `${verb} ${apiGroups[0]}/${resource}`)),
      )
      .toSorted()
    let asked: readonly string[] = []
    await waitUntil(async () => {
      asked = await serve<string[]>({ do: 'asked', kind: '' })
      return granted.every((each) => asked.includes(each))
    }, PATIENCE_MS)
    expect(asked).toEqual(granted)
    await until(async () => (await serve<ApiJson[]>({ do: 'objects', kind: 'Event' })).length === 5, 'five Events')
  })

  test('starts by the servers that it remembers when the configured one is dead', async () => {
    const source = async () => (await ask<Status>('/v1/status')).sources[0]!
    expect((await source()).name).toBe(urls[0])
    lab.cluster.setNode(await endAgent(lab.cluster.node('n1'), 'SIGTERM'))
    await serve({ do: 'stop', server: 0 })
    startAgent()
    await agentReady(lab.name, lab.cluster.node('n1'))
    await until(async () => (await source()).synchronised, 'it is synchronised')
    expect((await source()).name).toBe(urls[1])
  })
})

function kubeconfig(server: string, ca: string): object {
  return {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
    clusters: [{ name: 'k', cluster: { server, 'certificate-authority': ca } }],
    users: [{ name: 'u', user: { token: 'agent' } }],
  }
}

/** default/kubernetes, whose endpoints are the API servers. */
function serverSlice(url: string): ApiJson {
  return {
    kind: 'EndpointSlice',
    apiVersion: 'discovery.k8s.io/v1',
    metadata: { namespace: 'default', name: 'kubernetes', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: 'IPv4',
    ports: [{ name: 'https', port: Number(new URL(url).port), protocol: 'TCP' }],
    endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true } }],
  }
}
