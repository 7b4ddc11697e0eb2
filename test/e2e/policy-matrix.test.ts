// SPDX-License-Identifier: Apache-2.0
// The classic matrix: three namespaces of three pods, two ports, TCP and UDP, in both families and modes. Under each policy
// every cell is tried by real packets, from a new socket, and is what the documentation says (policy-model.ts).
//
//   n1: x/a x/c y/b z/a z/c      n2: x/b y/a y/c z/b

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkout, netnsPath } from '../../src/lab/names.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { type Dialogue, startDialogue } from '../support/dialogue.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { namespaceObject } from '../support/manifests.ts'
import { type ApiObject, type ModelQuery, modelVerdict } from '../support/policy-model.ts'

const namespaces = ['x', 'y', 'z']
const names = namespaces.flatMap((namespace) => ['a', 'b', 'c'].map((pod) => `${namespace}/${pod}`))
const ports = [80, 81]

function podObject(path: string, index: number): KubeManifest {
  const [namespace, name] = path.split('/') as [string, string]
  const named = ports.map((port) => ({ name: `serve-${port}`, containerPort: port, protocol: 'TCP' }))
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name, labels: { pod: name } },
    spec: { nodeName: `n${(index % 2) + 1}`, containers: [{ name: 'idle', ports: named }] },
  }
}

type Written = Readonly<Record<string, unknown>>

function policy(name: string, spec: Written, namespace = 'x'): KubeManifest {
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { namespace, name }, spec }
}

const pod = (name: string): Written => ({ podSelector: { matchLabels: { pod: name } } })
const inNamespace = (...values: readonly string[]): Written => ({
  namespaceSelector: { matchExpressions: [{ key: 'ns', operator: 'In', values }] },
})
const everyPod = { podSelector: {} }

interface Case {
  readonly name: string
  /** addressOf: of a pod. */
  readonly policies: (addressOf: (pod: string, family: 4 | 6) => string) => readonly KubeManifest[]
}

/** Sources: kubernetes.io/docs/concepts/services-networking/network-policies; Kubernetes e2e [sig-network] Netpol. */
const cases: readonly Case[] = [
  { name: 'no policy', policies: () => [] },
  { name: 'deny all in', policies: () => [policy('in', { ...everyPod, policyTypes: ['Ingress'] })] },
  {
    name: 'deny all, both ways',
    policies: () => [policy('both', { ...everyPod, policyTypes: ['Ingress', 'Egress'] })],
  },
  {
    name: 'pods of the own namespace, and a whole other one',
    policies: () => [policy('from', { ...pod('a'), ingress: [{ from: [pod('b'), inNamespace('y')] }] })],
  },
  {
    name: 'some pods of some namespaces, to one port by number',
    policies: () => [
      policy('and', {
        ...pod('a'),
        ingress: [{ from: [{ ...inNamespace('y', 'z'), ...pod('b') }], ports: [{ port: 81 }] }],
      }),
    ],
  },
  {
    name: 'a port by name, and one of UDP, to anybody',
    policies: () => [
      policy('ports', { ...everyPod, ingress: [{ ports: [{ port: 'serve-80' }, { port: 81, protocol: 'UDP' }] }] }),
    ],
  },
  {
    name: 'out to a namespace, to one port',
    policies: () => [
      policy('out', {
        ...pod('a'),
        policyTypes: ['Egress'],
        egress: [{ to: [inNamespace('y')], ports: [{ port: 80 }, { port: 80, protocol: 'UDP' }] }],
      }),
    ],
  },
  {
    name: 'blocks with exceptions',
    policies: (addressOf) => [
      policy('blocks', {
        ...everyPod,
        ingress: [
          { from: [{ ipBlock: { cidr: '10.244.0.0/16', except: [`${addressOf('y/b', 4)}/32`] } }] },
          { from: [{ ipBlock: { cidr: `${addressOf('z/c', 6)}/128` } }], ports: [{ port: 80, endPort: 81 }] },
        ],
      }),
    ],
  },
  {
    name: 'policies of both ends, which add up',
    policies: () => [
      policy('deny', { ...everyPod, policyTypes: ['Ingress', 'Egress'] }),
      policy('in', { ...pod('a'), ingress: [{ from: [inNamespace('x', 'y')] }] }),
      policy('out', { ...pod('b'), policyTypes: ['Egress'], egress: [{ to: [pod('a')], ports: [{ port: 80 }] }] }),
      policy('out', { ...pod('c'), policyTypes: ['Egress'], egress: [{ to: [inNamespace('x')] }] }, 'y'),
    ],
  },
  {
    name: 'tiers around a policy, and a denial of Cilium beside it',
    policies: () => [
      policy('from', { ...everyPod, ingress: [{ from: [inNamespace('y')] }] }),
      {
        apiVersion: 'policy.networking.k8s.io/v1alpha2',
        kind: 'ClusterNetworkPolicy',
        metadata: { name: 'first' },
        spec: {
          tier: 'Admin',
          priority: 1,
          subject: { namespaces: { matchLabels: { ns: 'x' } } },
          ingress: [{ action: 'Accept', from: [{ namespaces: { matchLabels: { ns: 'z' } } }] }],
        },
      },
      {
        apiVersion: 'cilium.io/v2',
        kind: 'CiliumClusterwideNetworkPolicy',
        metadata: { name: 'no-datagrams' },
        spec: {
          endpointSelector: { matchLabels: { pod: 'a' } },
          enableDefaultDeny: { ingress: false },
          ingressDeny: [{ fromEntities: ['all'], toPorts: [{ ports: [{ port: '81', protocol: 'UDP' }] }] }],
        },
      },
    ],
  },
]

describe.each(['vxlan', 'native'] as const)('%s', (mode) => {
  let lab: TestLab
  let matrix: Dialogue

  beforeAll(async () => {
    lab = await startTestLab(`matrix-${mode}`, { mode, families: '46' })
    await lab.apply(...namespaces.map((name) => namespaceObject(name, { ns: name })), ...names.map(podObject))
    const pods = names.map((name) => `${name}=${netnsPath(lab.name, lab.pod(name).place)}=${lab.pod(name).podIPs}`)
    matrix = startDialogue(['python3', `${checkout}/test/support/matrix.py`, `${ports}`, ...pods])
  })

  afterAll(async () => {
    await matrix?.stop()
    expect(await lab?.down()).toEqual([])
  })

  /** What the model is told of the lab. */
  function objects(): readonly ApiObject[] {
    const nodes = lab.cluster.state.nodes.map(({ name, internalIPs, podCIDRs }) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name },
      spec: { podCIDRs },
      status: { addresses: internalIPs.map((address) => ({ type: 'InternalIP', address })) },
    }))
    const pods = names.map((name, index) => ({
      ...podObject(name, index),
      status: { phase: 'Running', podIPs: lab.pod(name).podIPs.map((ip) => ({ ip })) },
    }))
    return [...nodes, ...namespaces.map((name) => namespaceObject(name, { ns: name })), ...pods] as ApiObject[]
  }

  function cellsBy(policies: readonly KubeManifest[]): readonly string[] {
    const world = [...objects(), ...(policies as readonly ApiObject[])]
    const queries = names.flatMap((from) =>
      names.flatMap((to) =>
        ports.flatMap((port) =>
          (['TCP', 'UDP'] as const).flatMap((protocol) =>
            (['IPv4', 'IPv6'] as const).map((family): ModelQuery & { readonly cell: string } => ({
              from: { pod: from },
              to: { pod: to },
              port,
              protocol,
              family,
              cell: `${from} ${to} ${port} ${protocol} ${family}`,
            })),
          ),
        ),
      ),
    )
    return queries.filter((query) => modelVerdict(world, query)!.verdict === 'allow').map(({ cell }) => cell)
  }

  test.each(cases)('$name', async ({ name, policies }) => {
    const written = policies((pod, family) => lab.podIP(pod, family))
    await lab.apply(...written)
    try {
      const expected = cellsBy(written)
      const reached = JSON.parse(await matrix.ask(`${expected.length}`)) as string[]
      console.log(`${mode}, ${name}: ${expected.length} of ${names.length ** 2 * ports.length * 4} cells`)
      expect(reached.toSorted()).toEqual(expected.toSorted())
    } finally {
      await lab.delete(...written)
    }
  })
})
