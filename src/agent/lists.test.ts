// SPDX-License-Identifier: Apache-2.0

import { beforeEach, describe, expect, test } from 'vitest'
import { servicePort, serviceWith, sliceEndpoint, sliceWith } from '../../test/support/services.ts'
import type { Address, Port, Prefix } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import { readKey, readValue, type TableEntry, type TableName, tableEntry } from '../datapath/tables.ts'
import { createFakeKernel, type FakeKernel } from '../kernel/fake.ts'
import type { KubeObject, LabelSelector } from '../world/objects.ts'
import { createWorld } from '../world/world.ts'
import { type ListSources, listEndpoints, listNodes, listPolicies, listServices } from './lists.ts'
import { createReconciler } from './reconcile.ts'
import { describeService } from './service-detail.ts'

const labelled = (app: string): LabelSelector => ({ matchLabels: { app }, matchExpressions: [] })

const objects: readonly KubeObject[] = [
  {
    kind: 'Node',
    name: 'n1',
    labels: {},
    internalIPs: ['192.0.2.1'] as Address[],
    podCIDRs: ['10.1.0.0/24'] as Prefix[],
    createdMs: 0,
  },
  {
    kind: 'Node',
    name: 'n2',
    labels: {},
    internalIPs: ['192.0.2.2'] as Address[],
    podCIDRs: ['10.2.0.0/24'] as Prefix[],
    createdMs: 0,
  },
  {
    kind: 'Pod',
    namespace: 'shop',
    name: 'cart',
    uid: '',
    labels: { app: 'cart' },
    nodeName: 'n1',
    hostNetwork: false,
    podIPs: ['10.1.0.5'] as Address[],
    finished: false,
    createdMs: 0,
    containerPorts: [],
  },
  serviceWith({ clusterIPs: ['10.96.0.1' as Address], ports: [servicePort('http', 80)] }),
  sliceWith({
    ports: [{ name: 'http', port: 8080 as Port, protocol: Protocol.TCP }],
    endpoints: ['10.1.0.5', '10.2.0.5'].map((address) => sliceEndpoint(address)),
  }),
  {
    kind: 'NetworkPolicy',
    namespace: 'shop',
    name: 'cart-from-shop',
    podSelector: labelled('cart'),
    ingress: [
      {
        peers: [{ podSelector: labelled('cart'), namespaceSelector: null }],
        ports: [{ protocol: Protocol.TCP, port: 8080 as Port, endPort: null }],
      },
    ],
    egress: null,
  },
]

let kernel: FakeKernel
let sources: ListSources

beforeEach(async () => {
  kernel = createFakeKernel()
  const world = createWorld()
  for (const object of objects) world.put(object)
  world.putEndpoint({
    containerId: 'c1',
    ifname: 'eth0',
    namespace: 'shop',
    name: 'cart',
    uid: '',
    addresses: ['10.1.0.5' as Address],
    ifindex: 7,
    hostIfname: 'hd7',
    netnsCookie: 9n,
  })
  const reconciler = createReconciler({
    world,
    kernel,
    node: { nodeName: 'n1', mode: 'native', serviceCIDRs: [], ownAddresses: [], uplink: 2, uplinkMtu: 1500 },
    nodePortAddresses: async () => [],
    gateways: async (addresses) => new Map(addresses.map((address) => [address, address])),
    onRemovedBackends: async () => {},
    onApplied: () => {},
  })
  await reconciler.pass()
  sources = { kernel, store: reconciler.store, world, compiled: reconciler.compiled }
})

async function entryOf(table: TableName): Promise<TableEntry> {
  const [entry] = await kernel.readTable(table)
  return entry!
}

describe('a list that shows what the agent believes hides what the kernel does', () => {
  test('rows are named, and without drift when the kernel holds what is desired', async () => {
    expect(await listEndpoints(sources)).toMatchObject([
      {
        namespace: 'shop',
        name: 'cart',
        containerId: 'c1',
        addresses: ['10.1.0.5'],
        ifindex: 7,
        isolated: false,
        drift: 'none',
      },
    ])
    expect(await listServices(sources)).toEqual([
      {
        namespace: 'shop',
        name: 'cart',
        portName: 'http',
        address: '10.96.0.1',
        port: 80,
        protocol: 'TCP',
        backends: [
          { address: '10.1.0.5', port: 8080 },
          { address: '10.2.0.5', port: 8080 },
        ],
        drift: 'none',
      },
    ])
    expect(await listPolicies(sources)).toMatchObject([
      {
        direction: 'ingress',
        policies: ['shop/cart-from-shop'],
        endpoints: ['shop/cart'],
        entries: [
          {
            level: 'class',
            protocol: 'TCP',
            port: '8080',
            verdict: 'allow',
            rule: 'shop/cart-from-shop ingress[0]',
            drift: 'none',
          },
        ],
        drift: 'none',
      },
    ])
    expect(await listNodes(sources)).toEqual([
      { name: 'n1', own: true, addresses: ['192.0.2.1'], podCIDRs: ['10.1.0.0/24'], nexthops: [], drift: 'none' },
      {
        name: 'n2',
        own: false,
        addresses: ['192.0.2.2'],
        podCIDRs: ['10.2.0.0/24'],
        nexthops: [{ family: 4, gateway: '192.0.2.2', tunnel: '192.0.2.2', ifindex: 2 }],
        drift: 'none',
      },
    ])
  })

  test('what somebody took away is missing, what somebody changed is different, what nobody wants is unexpected', async () => {
    const { key, value } = await entryOf('endpoints')
    await kernel.put('endpoints', [
      tableEntry('endpoints', readKey('endpoints', key), { ...readValue('endpoints', value), isolated: 1 }),
      tableEntry('endpoints', { address: '10.1.0.99' as Address }, readValue('endpoints', value)),
    ])
    expect(
      (await listEndpoints(sources)).map(({ addresses, isolated, drift }) => [addresses[0], isolated, drift]),
    ).toEqual([
      ['10.1.0.99', false, 'unexpected'],
      ['10.1.0.5', true, 'different'],
    ])
    const [first] = await kernel.readTable('backends')
    const elsewhere = { address: '10.3.0.1' as Address, port: 1 }
    await kernel.put('backends', [tableEntry('backends', readKey('backends', first!.key), elsewhere)])
    expect(await listServices(sources)).toMatchObject([{ name: 'cart', backends: [elsewhere, {}], drift: 'different' }])
    const frontend = [...(await kernel.readTable('frontends'))].find(
      (each) => readKey('frontends', each.key).port !== 0,
    )
    await kernel.delete('frontends', [frontend!.key])
    expect(await listServices(sources)).toMatchObject([{ name: 'cart', drift: 'missing' }])
  })
})

describe('who asks why a Service does not answer must be told', () => {
  test('its frontends with drift, its endpoints with the reason, its problems', async () => {
    const cart = await describeService(sources, 'shop/cart')
    expect(cart).toMatchObject({
      namespace: 'shop',
      name: 'cart',
      frontends: [
        {
          kind: 'ClusterIP',
          address: '10.96.0.1',
          internal: { backends: [{}, {}], policy: 'Cluster', whenEmpty: 'refuse' },
          external: null,
          drift: 'none',
        },
      ],
      endpoints: [
        { address: '10.1.0.5', ready: true, inCluster: true, inLocal: true, excluded: '' },
        { address: '10.2.0.5', ready: true, inCluster: true, inLocal: true, excluded: '' },
      ],
      healthCheck: null,
      problems: [],
    })
  })

  test('a frontend that the kernel does not have is missing', async () => {
    for (const { key } of await kernel.readTable('frontends')) await kernel.delete('frontends', [key])
    expect((await describeService(sources, 'shop/cart')).frontends).toMatchObject([{ drift: 'missing' }])
  })

  test('a Service that is not there is a bad question', async () => {
    await expect(describeService(sources, 'shop/none')).rejects.toMatchObject({ status: 400 })
  })
})
