// SPDX-License-Identifier: Apache-2.0
// A policy that appears while pods elsewhere cannot be listed: from the API server through source and compiler to the
// verdicts of the shipped programs. Whom its rules mean nobody knows yet, so nobody
// may pass whom only they would admit, or whom they might deny.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type KernelEngine, openKernelEngine } from '../../src/agent/policy-engine.ts'
import type { Address } from '../../src/core/address.ts'
import { endpointKey } from '../../src/core/names.ts'
import { Protocol } from '../../src/core/protocol.ts'
import { PolicyDirection } from '../../src/generated/abi.ts'
import { compilePolicies } from '../../src/policy/compile.ts'
import { modelEngine, type PolicyQuestion } from '../../src/policy/offline.ts'
import type { Endpoint } from '../../src/world/objects.ts'
import type { World } from '../../src/world/world.ts'
import { type ApiJson, startApiServer } from '../support/api-server.ts'
import { eventually, namesOf, node, pod, useFollowers } from '../support/kube-source.ts'

const { follow } = useFollowers()
const OWN = '10.1.0.5' as Address
const peers = {
  client: '10.2.0.1' as Address,
  stranger: '10.2.0.2' as Address,
  outside: '192.0.2.7' as Address,
}

function podAt(name: string, nodeName: string, ip: string, labels: object): ApiJson {
  const made = pod(name, nodeName)
  return { ...made, metadata: { ...made.metadata, labels }, status: { phase: 'Running', podIPs: [{ ip }] } }
}

const endpoint: Endpoint = {
  containerId: 'c',
  ifname: 'eth0',
  namespace: 'a',
  name: 'own',
  uid: '',
  addresses: [OWN],
  ifindex: 1,
  hostIfname: '',
  netnsCookie: 0n,
}

let kernel: KernelEngine
beforeAll(async () => {
  kernel = await openKernelEngine()
})
afterAll(() => kernel?.[Symbol.dispose]())

/** Who may speak with the own pod, in that direction, on TCP 80: the compiled form and the programs say the same. */
async function admitted(world: World, direction: PolicyDirection): Promise<string[]> {
  const compiled = compilePolicies(world, 'n1')
  const policy = compiled.endpoints.get(endpointKey(endpoint))!
  const common = { node: 'n1', address: OWN, direction, policy, protocol: Protocol.TCP, port: 80 }
  const questions = Object.values(peers).map((peer): PolicyQuestion => ({ ...common, peer }))
  const cluster = { world, compiled: () => compiled, resolve: () => 'nobody asks' }
  const [judged, modelled] = await Promise.all([kernel.engine(cluster, questions), modelEngine(cluster, questions)])
  expect(judged).toEqual(modelled)
  return Object.keys(peers).filter((_, index) => judged[index]!.allowed)
}

const client = { podSelector: { matchLabels: { app: 'client' } } }
const outside = { ipBlock: { cidr: '192.0.2.0/24' } }
const team = { namespaceSelector: { matchLabels: { team: 'x' } }, ...client }

const elsewhere: ApiJson = { ...node, metadata: { name: 'n2' }, spec: { podCIDRs: ['10.2.0.0/24'] } }

function networkPolicy(spec: object): ApiJson {
  const metadata = { namespace: 'a', name: 'new' }
  return { kind: 'NetworkPolicy', apiVersion: 'networking.k8s.io/v1', metadata, spec: { podSelector: {}, ...spec } }
}

function ciliumPolicy(spec: object): ApiJson {
  const metadata = { namespace: 'a', name: 'new' }
  return { kind: 'CiliumNetworkPolicy', apiVersion: 'cilium.io/v2', metadata, spec: { endpointSelector: {}, ...spec } }
}

const strangers = [{ matchLabels: { app: 'stranger' } }]

describe('a new policy admits nobody by labels, and denies whom it may mean, until pods elsewhere are listed', () => {
  test.each([
    ['ingress', networkPolicy({ policyTypes: ['Ingress'], ingress: [{ from: [client] }] }), [], ['client']],
    ['ingress by namespace', networkPolicy({ policyTypes: ['Ingress'], ingress: [{ from: [team] }] }), [], ['client']],
    ['egress', networkPolicy({ policyTypes: ['Egress'], egress: [{ to: [client] }] }), [], ['client']],
    [
      'ingress, and what needs no labels at once',
      networkPolicy({ policyTypes: ['Ingress'], ingress: [{ from: [client, outside] }] }),
      ['outside'],
      ['client', 'outside'],
    ],
    [
      'denial',
      ciliumPolicy({
        ingressDeny: [{ fromEndpoints: strangers }],
        enableDefaultDeny: { ingress: false, egress: false },
      }),
      ['outside'],
      ['client', 'outside'],
    ],
  ])('%s', async (_, policy, before, after) => {
    const isEgress = 'egress' in (policy.spec as object)
    const direction = isEgress ? PolicyDirection.EGRESS : PolicyDirection.INGRESS
    await using server = await startApiServer()
    for (const each of [node, elsewhere]) server.put(each)
    server.put({ kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'a', labels: { team: 'x' } } })
    server.put(podAt('own', 'n1', OWN, {}))
    server.put(podAt('client', 'n2', peers.client, { app: 'client' }))
    server.put(podAt('stranger', 'n2', peers.stranger, { app: 'stranger' }))
    using followed = follow([server.url])
    const { world, source } = followed
    await eventually(() => expect(namesOf(world)).toEqual(['Node n1', 'Node n2', 'Pod a/own']))
    world.putEndpoint(endpoint)
    expect(await admitted(world, direction)).toEqual(Object.keys(peers))

    server.forbidden.add('watch pods') // what is open goes on; pods elsewhere are not asked for yet
    server.put(policy)
    const refused = () => source.failures().filter(({ kind, reason }) => kind === 'Pod' && reason === 'forbidden')
    await eventually(() => expect(refused()).toHaveLength(1))
    await eventually(() => expect([...source.unseenKinds()]).toEqual(['Pod']))
    const known = [`${policy.kind} a/new`, 'Node n1', 'Node n2', 'Pod a/own']
    await eventually(() => expect(namesOf(world)).toEqual(known))
    expect(await admitted(world, direction)).toEqual(before)

    server.forbidden.clear()
    await eventually(() => expect(namesOf(world)).toContain('Pod a/stranger'))
    expect(await admitted(world, direction)).toEqual(after)
    expect([...source.unseenKinds()]).toEqual([])
  })
})
