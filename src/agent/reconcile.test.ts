// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { serviceObjects, servicePort, serviceWith, sliceEndpoint, sliceWith } from '../../test/support/services.ts'
import { soak } from '../../test/support/soak.ts'
import { objects } from '../../test/support/worlds.ts'
import type { Address, Port, Prefix } from '../core/address.ts'
import { isBrokenInvariant } from '../core/errors.ts'
import { endpointKey } from '../core/names.ts'
import { Protocol } from '../core/protocol.ts'
import { readKey, readValue, type TableName, tableNames } from '../datapath/tables.ts'
import { createFakeKernel, type FakeKernel } from '../kernel/fake.ts'
import type { Backend } from '../services/frontends.ts'
import type {
  Endpoint,
  EndpointSlice,
  Kind,
  KubeObject,
  Labels,
  NetworkPolicy,
  Node,
  Pod,
  Service,
} from '../world/objects.ts'
import { createWorld, keyOf, type World } from '../world/world.ts'
import { type Applied, createReconciler, type Reconciler } from './reconcile.ts'
import { refusedServices, serviceNotices } from './service-problems.ts'

interface Agent {
  readonly world: World
  readonly kernel: FakeKernel
  readonly reconciler: Reconciler
  readonly applied: Applied[]
  /** Told since the first pass, which tells that it does not know. */
  readonly removed: Backend[]
  readonly unnamed: Address[]
  unknownCount: number
  /** Kinds of which not every object is known yet. */
  readonly unseen: Set<Kind>
  failTelling: Error | null
}

function agentOn(kernel: FakeKernel, world = createWorld()): Agent {
  const applied: Applied[] = []
  const unseen = new Set<Kind>()
  const agent = {
    world,
    kernel,
    applied,
    unseen,
    removed: [] as Backend[],
    unnamed: [] as Address[],
    unknownCount: 0,
    failTelling: null as Error | null,
  }
  const reconciler = createReconciler({
    world,
    kernel,
    node: { nodeName: 'n1', mode: 'vxlan', serviceCIDRs: [], ownAddresses: [], uplink: 2, uplinkMtu: 1500 },
    nodePortAddresses: async () => ['192.168.0.1' as Address],
    unseenKinds: () => unseen,
    gateways: async (addresses) => new Map(addresses.map((address) => [address, address])),
    async onRemovedBackends(backends) {
      if (agent.failTelling !== null) throw agent.failTelling
      if (backends === 'unknown') agent.unknownCount++
      else {
        agent.removed.push(...backends.udp)
        agent.unnamed.push(...backends.unnamed)
      }
    },
    onApplied: (each) => applied.push(each),
  })
  return Object.assign(agent, { reconciler })
}

function endpoints(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `10.2.0.${i + 1}`)
}

function serviceAddresses(kernel: FakeKernel): string[] {
  const addresses = kernel.print('frontends').map((line) => /[\d.]+/.exec(line)![0])
  return [...new Set(addresses)].sort()
}

/** A World as the next agent fills it. */
function everythingIn(world: World): World {
  const next = createWorld()
  for (const object of [...world.pods(), ...world.networkPolicies()]) next.put(object)
  for (const endpoint of world.endpoints()) next.putEndpoint(endpoint)
  return next
}

function contents(kernel: FakeKernel): Readonly<Record<TableName, readonly string[]>> {
  return Object.fromEntries(tableNames.map((table) => [table, kernel.print(table)])) as Record<TableName, string[]>
}

async function contentsFor(world: readonly Change[]): Promise<ReturnType<typeof contents>> {
  const agent = agentOn(createFakeKernel())
  for (const change of world) perform(agent.world, change)
  await agent.reconciler.pass()
  return contents(agent.kernel)
}

type Change =
  | { readonly put: KubeObject }
  | { readonly remove: KubeObject }
  | { readonly join: Endpoint }
  | { readonly leave: Endpoint }

function perform(world: World, change: Change): void {
  if ('put' in change) world.put(change.put)
  else if ('remove' in change) world.delete(change.remove.kind, keyOf(change.remove))
  else if ('join' in change) world.putEndpoint(change.join)
  else world.deleteEndpoint(endpointKey(change.leave))
}

function node(name: string, internalIP: string, labels: Labels = {}): Node {
  return { kind: 'Node', name, labels, internalIPs: [internalIP as Address], podCIDRs: [], createdMs: 0 }
}

function service(name: string, clusterIP: string, port = 80): Service {
  return serviceWith({ name, clusterIPs: [clusterIP as Address], ports: [servicePort('http', port)] })
}

function slice(serviceName: string, addresses: readonly string[], protocol: 6 | 17 = Protocol.TCP): EndpointSlice {
  return sliceWith({
    name: `${serviceName}-1`,
    serviceName,
    ports: [{ name: 'http', port: 8080 as Port, protocol }],
    endpoints: addresses.map((address) => sliceEndpoint(address, { nodeName: 'n2' })),
  })
}

function pod(name: string, address: string, app = name): Pod {
  return {
    kind: 'Pod',
    namespace: 'shop',
    name,
    uid: '',
    labels: { app },
    nodeName: 'n1',
    hostNetwork: false,
    podIPs: [address as Address],
    finished: false,
    createdMs: 0,
    containerPorts: [],
  }
}

function endpointOf({ namespace, name, podIPs }: Pod, ifindex: number): Endpoint {
  return {
    containerId: `${namespace}-${name}`,
    ifname: 'eth0',
    namespace,
    name,
    uid: '',
    addresses: podIPs,
    ifindex,
    hostIfname: `hd${ifindex}`,
    netnsCookie: BigInt(ifindex),
  }
}

function allowOnly(app: string, from: string): NetworkPolicy {
  const labelled = (value: string) => ({ matchLabels: { app: value }, matchExpressions: [] })
  const peers = [{ podSelector: labelled(from), namespaceSelector: null }]
  return {
    kind: 'NetworkPolicy',
    namespace: 'shop',
    name: `only-${from}`,
    podSelector: labelled(app),
    ingress: [{ peers, ports: null }],
    egress: null,
  }
}

describe('a change that costs more than itself, or a restart that costs anything, is felt on every node', () => {
  test('a Service that is added writes its own entries and nothing else', async () => {
    const agent = agentOn(createFakeKernel())
    for (let i = 1; i <= 20; i++) {
      agent.world.put(service(`s${i}`, `10.96.0.${i}`))
      agent.world.put(slice(`s${i}`, ['10.2.0.1', '10.2.0.2', '10.2.0.3', '10.2.0.4']))
    }
    await agent.reconciler.pass()
    const before = agent.kernel.writes()
    agent.world.put(service('new', '10.96.1.1'))
    agent.world.put(slice('new', ['10.2.0.1', '10.2.0.2', '10.2.0.3', '10.2.0.4']))
    await agent.reconciler.pass()
    const [backends, frontend, address] = [4, 1, 1]
    expect(agent.kernel.writes() - before).toBe(backends + frontend + address)
  })

  test('a pod that joins has its own endpoint made anew, a policy those of the pods that it selects', async () => {
    const agent = agentOn(createFakeKernel())
    const pods = Array.from({ length: 20 }, (_, i) => pod(`p${i}`, `10.1.0.${i + 1}`, i < 5 ? 'few' : 'many'))
    for (const [i, each] of pods.entries()) {
      agent.world.put(each)
      agent.world.putEndpoint(endpointOf(each, i + 1))
    }
    await agent.reconciler.pass()
    const contribute = vi.spyOn(agent.reconciler.store, 'contribute')
    const madeAnew = () => contribute.mock.calls.filter(([table]) => table === 'endpoints').length
    const late = pod('late', '10.1.1.1')
    agent.world.put(late)
    agent.world.putEndpoint(endpointOf(late, 99))
    await agent.reconciler.pass()
    expect(madeAnew()).toBe(1)
    agent.world.put(allowOnly('few', 'many'))
    await agent.reconciler.pass()
    expect(madeAnew()).toBe(1 + 5)
  })

  test('an agent that starts on full tables writes nothing, and only the difference after a change', async () => {
    const first = agentOn(createFakeKernel())
    const world = [
      pod('cart', '10.1.0.5'),
      pod('shop', '10.1.0.6'),
      allowOnly('cart', 'shop'),
      service('s', '10.96.0.1'),
    ]
    for (const object of world) first.world.put(object)
    first.world.putEndpoint(endpointOf(world[0] as Pod, 7))
    await first.reconciler.pass()
    const before = first.kernel.writes()

    const second = agentOn(first.kernel)
    for (const object of world) second.world.put(object)
    second.world.putEndpoint(endpointOf(world[0] as Pod, 7))
    await second.reconciler.pass()
    expect(first.kernel.writes()).toBe(before)
    expect(await second.reconciler.planNow()).toEqual([])

    const third = agentOn(first.kernel)
    for (const object of world.slice(0, 3)) third.world.put(object)
    third.world.putEndpoint(endpointOf(world[0] as Pod, 7))
    await third.reconciler.pass()
    expect(await third.reconciler.planNow()).toEqual([])
    expect(first.kernel.writes()).toBe(before + 2) // the frontend, and that the address is a Service's
  })

  test('plan shows what somebody else changed in the kernel, and changes nothing', async () => {
    const agent = agentOn(createFakeKernel())
    agent.world.put(service('s', '10.96.0.1'))
    await agent.reconciler.pass()
    const entry = [...(await agent.kernel.readTable('frontends'))].find(
      ({ key }) => readKey('frontends', key).port === 80,
    )
    await agent.kernel.delete('frontends', [entry!.key])
    const before = agent.kernel.writes()
    expect(await agent.reconciler.planNow()).toEqual([
      expect.stringMatching(/^put frontends 10\.96\.0\.1:80\/TCP -> list 0000000000000000 of 0, service /),
    ])
    expect(agent.kernel.writes()).toBe(before)
  })
})

describe('a failure half-way must neither be forgotten nor repeated blindly', () => {
  test('after a refused write the next pass reads the kernel and completes what was wanted', async () => {
    const agent = agentOn(createFakeKernel())
    agent.world.put(service('s', '10.96.0.1'))
    agent.world.put(slice('s', ['10.2.0.1']))
    agent.kernel.failOnce(new Error('EAGAIN'))
    await expect(agent.reconciler.pass()).rejects.toThrow('EAGAIN')
    await agent.reconciler.pass()
    expect(agent.kernel.print('frontends')).toHaveLength(2)
    expect(agent.applied.map(({ error }) => (error as Error | null)?.message ?? null)).toEqual(['EAGAIN', null])
  })

  for (const [end, restart] of [
    ['the pass after a failure', (agent: Agent) => agent],
    ['the agent that follows a dead one', ({ kernel, world }: Agent) => agentOn(kernel, everythingIn(world))],
  ] as const) {
    test(`${end} has flows judged again: tables were written, their epoch was not`, async () => {
      const agent = agentOn(createFakeKernel())
      const cart = pod('cart', '10.1.0.5')
      agent.world.put(cart)
      agent.world.putEndpoint(endpointOf(cart, 7))
      await agent.reconciler.pass()
      const open = agent.kernel.readEpoch()
      agent.world.put(allowOnly('cart', 'shop'))
      agent.kernel.failEpochOnce(new Error('EPERM'))
      await expect(agent.reconciler.pass()).rejects.toThrow('EPERM')
      expect(agent.kernel.readEpoch()).toBe(open)
      await restart(agent).reconciler.pass()
      expect(agent.kernel.readEpoch()).not.toBe(open)
    })
  }

  test('a throw while compiling is a broken invariant: its dirty keys are lost, so no next pass may succeed', async () => {
    const bug = new TypeError('undefined is not iterable')
    const broken: World = {
      ...createWorld(),
      slicesOfService() {
        throw bug
      },
    }
    broken.put(service('s', '10.96.0.1'))
    const agent = agentOn(createFakeKernel(), broken)
    const error = await agent.reconciler.pass().catch((thrown: unknown) => thrown)
    expect(isBrokenInvariant(error)).toBe(true)
    expect((error as Error).message).toContain('undefined is not iterable')
    expect((error as Error).cause).toBe(bug)
  })

  test('tables that are too small are left as they are, and it is said which; the others are written', async () => {
    const agent = agentOn(createFakeKernel({ sizes: { nodes: 1 } }))
    agent.world.put(node('n1', '192.168.0.1'))
    agent.world.put(node('n2', '192.168.0.2'))
    const cart = pod('cart', '10.1.0.5')
    agent.world.put(cart)
    agent.world.putEndpoint(endpointOf(cart, 7))
    await agent.reconciler.pass()
    expect(agent.reconciler.refusals()).toEqual([{ table: 'nodes', needed: 2, maxEntries: 1 }])
    expect(agent.kernel.print('nodes')).toEqual([])
    expect(agent.kernel.print('endpoints')).toHaveLength(1)
    agent.world.delete('Node', 'n2')
    await agent.reconciler.pass()
    expect(agent.kernel.print('nodes')).toHaveLength(1)
    expect(agent.reconciler.refusals()).toEqual([])
  })

  test('a Service that does not fit is refused whole and by name, the youngest first, until there is room', async () => {
    const agent = agentOn(createFakeKernel({ sizes: { backends: 64 } }))
    const refused = () => [...agent.reconciler.compiled().refusedServices.keys()]
    agent.world.put({ ...service('young', '10.96.0.2'), createdMs: 2 })
    agent.world.put(slice('young', endpoints(20)))
    await agent.reconciler.pass()
    expect(refused()).toEqual([])
    agent.world.put({ ...service('old', '10.96.0.1'), createdMs: 1 })
    agent.world.put(slice('old', endpoints(30)))
    agent.world.put({ ...service('small', '10.96.0.3'), createdMs: 3 })
    agent.world.put(slice('small', endpoints(13)))
    await agent.reconciler.pass()
    expect(refused()).toEqual(['shop/small'])
    expect(serviceAddresses(agent.kernel)).toEqual(['10.96.0.1', '10.96.0.2'])
    expect(refusedServices(agent.reconciler.compiled())).toEqual([
      'Service shop/small is refused: its 13 entries do not fit into table backends, mapSizes.backends is 64',
    ])
    expect(agent.reconciler.refusals()).toEqual([])
    agent.world.delete('Service', 'shop/old')
    await agent.reconciler.pass()
    expect(refused()).toEqual([])
    expect(serviceAddresses(agent.kernel)).toEqual(['10.96.0.2', '10.96.0.3'])
  })

  test('where old and new do not fit side by side the old goes first, and lists in use stay', async () => {
    const agent = agentOn(createFakeKernel({ sizes: { backends: 30 } }))
    agent.world.put(service('a', '10.96.0.1'))
    agent.world.put(slice('a', endpoints(20)))
    agent.world.put(service('b', '10.96.0.2'))
    agent.world.put(slice('b', endpoints(4)))
    await agent.reconciler.pass()
    agent.world.delete('Service', 'shop/a')
    agent.world.put(service('c', '10.96.0.3'))
    agent.world.put(slice('c', endpoints(20)))
    agent.world.put(slice('b', endpoints(5)))
    await agent.reconciler.pass()
    expect(agent.reconciler.refusals()).toEqual([])
    expect(serviceAddresses(agent.kernel)).toEqual(['10.96.0.2', '10.96.0.3'])
    expect(agent.kernel.print('backends')).toHaveLength(25)
  })

  test('of two Services with one address and port the older has it, and the younger is named', async () => {
    const agent = agentOn(createFakeKernel())
    agent.world.put({ ...service('a', '10.96.0.1'), createdMs: 2 })
    agent.world.put({ ...service('b', '10.96.0.1'), createdMs: 1 })
    agent.world.put(slice('a', ['10.2.0.1']))
    await agent.reconciler.pass()
    const counts = async (): Promise<number[]> =>
      [...(await agent.kernel.readTable('frontends'))]
        .filter(({ key }) => readKey('frontends', key).protocol !== 0)
        .map(({ value }) => readValue('frontends', value).count)
    const sentences = (): string[] => serviceNotices(agent.reconciler.compiled(), agent.reconciler.store)
    expect(sentences()).toEqual(['Service shop/a: 10.96.0.1:80/TCP belongs to shop/b, which is older'])
    expect(await counts()).toEqual([0])
    agent.world.delete('Service', 'shop/b')
    await agent.reconciler.pass()
    expect(sentences()).toEqual([])
    expect(await counts()).toEqual([1])
  })

  test('what of a slice cannot be used is counted by reason', async () => {
    const agent = agentOn(createFakeKernel())
    agent.world.put(service('a', '10.96.0.1'))
    agent.world.put(slice('a', ['10.2.0.1', '127.0.0.1', 'fd00::1', '127.0.0.2'], Protocol.UDP))
    await agent.reconciler.pass()
    expect(serviceNotices(agent.reconciler.compiled(), agent.reconciler.store)).toEqual([
      'Service shop/a: ignored of its slices: 1 × other family, 1 × unknown port, 2 × loopback',
    ])
  })
})

describe('a pod that starts must not be reachable before its policy is', () => {
  test('an endpoint without its pod is isolated and not in force; it is in force with the pod', async () => {
    const agent = agentOn(createFakeKernel())
    const cart = pod('cart', '10.1.0.5')
    agent.world.put(allowOnly('cart', 'shop'))
    agent.world.putEndpoint(endpointOf(cart, 7))
    await agent.reconciler.pass()
    expect(agent.reconciler.isInForce(cart.podIPs)).toBe(false)
    agent.world.put(cart)
    await agent.reconciler.pass()
    expect(agent.reconciler.isInForce(cart.podIPs)).toBe(true)
    expect(agent.kernel.readEpoch()).toBeGreaterThan(0)
  })

  test('allowing more does not make every flow be judged again; allowing less does', async () => {
    const agent = agentOn(createFakeKernel())
    const cart = pod('cart', '10.1.0.5')
    agent.world.put(cart)
    agent.world.put(pod('shop', '10.1.0.6'))
    agent.world.putEndpoint(endpointOf(cart, 7))
    await agent.reconciler.pass()
    const open = agent.kernel.readEpoch()
    agent.world.put(service('s', '10.96.0.1'))
    await agent.reconciler.pass()
    expect(agent.kernel.readEpoch()).toBe(open)
    agent.world.put(allowOnly('cart', 'shop'))
    await agent.reconciler.pass()
    expect(agent.kernel.readEpoch()).not.toBe(open)
  })
})

test('what ClusterIPs are allocated from is refused where it is nobody’s, as the configuration or the cluster says', async () => {
  const agent = agentOn(createFakeKernel())
  await agent.reconciler.pass()
  expect(agent.kernel.print('routes')).toEqual([])
  agent.world.put({ kind: 'ServiceCIDR', name: 'kubernetes', cidrs: ['10.96.0.0/16' as Prefix] })
  await agent.reconciler.pass()
  expect(agent.kernel.print('routes')).toEqual([expect.stringContaining('10.96.0.0/16')])
  agent.world.delete('ServiceCIDR', 'kubernetes')
  await agent.reconciler.pass()
  expect(agent.kernel.print('routes')).toEqual([])
})

describe('sockets of a UDP client must learn that their backend is gone', () => {
  test('backends that a UDP Service loses are told once, those of TCP and those that move never', async () => {
    const agent = agentOn(createFakeKernel())
    const udp = { ...service('dns', '10.96.0.2'), ports: [servicePort('http', 53, Protocol.UDP)] }
    agent.world.put(udp)
    agent.world.put(slice('dns', ['10.2.0.1', '10.2.0.2'], Protocol.UDP))
    agent.world.put(service('web', '10.96.0.3'))
    agent.world.put(slice('web', ['10.2.0.5', '10.2.0.6']))
    await agent.reconciler.pass()
    agent.world.put(slice('dns', ['10.2.0.2', '10.2.0.3'], Protocol.UDP))
    agent.world.put(slice('web', ['10.2.0.6']))
    agent.kernel.failOnce(new Error('EAGAIN'))
    await expect(agent.reconciler.pass()).rejects.toThrow('EAGAIN')
    expect(agent.removed).toEqual([])
    await agent.reconciler.pass()
    expect(agent.removed.map(({ address }) => address)).toEqual(['10.2.0.1'])
  })

  test('what a Service’s slices name no more is told: not what terminates', async () => {
    const agent = agentOn(createFakeKernel())
    const told = () => agent.unnamed
    agent.world.put(service('web', '10.96.0.3'))
    agent.world.put(slice('web', ['10.2.0.5', '10.2.0.6']))
    await agent.reconciler.pass()
    const both = slice('web', ['10.2.0.5', '10.2.0.6'])
    const [first, ...others] = both.endpoints
    const terminating = { ...first!, ready: false, serving: true, terminating: true }
    agent.world.put({ ...both, endpoints: [terminating, ...others] })
    await agent.reconciler.pass()
    expect(told()).toEqual([])
    agent.world.put(slice('web', ['10.2.0.6']))
    await agent.reconciler.pass()
    expect(told()).toEqual(['10.2.0.5'])
    agent.world.delete('Service', 'test/web')
    await agent.reconciler.pass()
    expect(told()).toEqual(['10.2.0.5'])
    agent.world.delete('EndpointSlice', keyOf(both))
    await agent.reconciler.pass()
    expect(told()).toEqual(['10.2.0.5', '10.2.0.6'])
  })

  test('an agent that starts cannot know what was removed before: everything is looked at, once', async () => {
    const agent = agentOn(createFakeKernel())
    agent.failTelling = new Error('EMFILE')
    await expect(agent.reconciler.pass()).rejects.toThrow('EMFILE')
    agent.failTelling = null
    await agent.reconciler.pass()
    agent.world.put(service('s', '10.96.0.1'))
    await agent.reconciler.pass()
    expect([agent.unknownCount, agent.removed]).toEqual([1, []])
  })

  test('while Services may be missing none is taken for removed', async () => {
    const agent = agentOn(createFakeKernel())
    agent.unseen.add('EndpointSlice')
    await agent.reconciler.pass()
    expect(agent.unknownCount).toBe(0)
    agent.unseen.clear()
    await agent.reconciler.pass()
    expect(agent.unknownCount).toBe(1)
  })

  test('backends are told again after telling failed', async () => {
    const agent = agentOn(createFakeKernel())
    const udp = { ...service('dns', '10.96.0.2'), ports: [servicePort('http', 53, Protocol.UDP)] }
    agent.world.put(udp)
    agent.world.put(slice('dns', ['10.2.0.1', '10.2.0.2'], Protocol.UDP))
    await agent.reconciler.pass()
    agent.world.put(slice('dns', ['10.2.0.2'], Protocol.UDP))
    agent.failTelling = new Error('EMFILE')
    await expect(agent.reconciler.pass()).rejects.toThrow('EMFILE')
    agent.failTelling = null
    await agent.reconciler.pass()
    expect(agent.removed.map(({ address }) => address)).toEqual(['10.2.0.1'])
  })
})

describe('tables that depend on the path to a state would differ from node to node', () => {
  const history: fc.Arbitrary<readonly (readonly Change[])[]> = fc
    .tuple(objects, fc.array(serviceObjects, { maxLength: 10 }))
    .chain(([others, these]) => {
      const all = [...others, ...these]
      const locals = all
        .filter((object): object is Pod => object.kind === 'Pod' && object.nodeName === 'n1')
        .map((local, i) => endpointOf({ ...local, podIPs: [`10.1.9.${i + 1}` as Address] }, 10 + i))
      const changes: Change[] = [
        ...all.flatMap((object) => [{ put: object }, { remove: object }]),
        ...locals.flatMap((local) => [{ join: local }, { leave: local }]),
      ]
      return fc.array(fc.array(fc.constantFrom(...changes), { maxLength: 6 }), { minLength: 1, maxLength: 12 })
    })

  test('any history gives what its last state gives at once, and no step of it dangles', async () => {
    await fc.assert(
      fc.asyncProperty(history, async (batches) => {
        const agent = agentOn(createFakeKernel())
        for (const batch of batches) {
          for (const change of batch) perform(agent.world, change)
          await agent.reconciler.pass()
        }
        const last = stateAfter(batches.flat())
        expect(contents(agent.kernel)).toEqual(await contentsFor(last))
        expect(contents(agent.kernel)).toEqual(await contentsFor(last.toReversed()))
        expect(contents(agent.kernel)).toEqual(await contentsFor([...last, ...last]))
        expect(await agent.reconciler.planNow()).toEqual([])
      }),
      { numRuns: soak(300, 10_000) },
    )
  })

  test('which Services fit does not depend on who came first', async () => {
    await fc.assert(
      fc.asyncProperty(history, async (batches) => {
        const last = stateAfter(batches.flat())
        const expected = await desiredAfter([last])
        expect(await desiredAfter(batches)).toEqual(expected)
        expect(await desiredAfter([...last.toReversed().map((change) => [change]), []])).toEqual(expected)
      }),
      { numRuns: soak(200, 10_000) },
    )
  })
})

/** What tables of these sizes should hold after the changes, and which Services they have no room for. */
async function desiredAfter(batches: readonly (readonly Change[])[]): Promise<unknown> {
  const { world, reconciler } = agentOn(createFakeKernel({ sizes: { backends: 5, frontends: 6 } }))
  for (const batch of batches) {
    for (const change of batch) perform(world, change)
    await reconciler.pass()
  }
  return {
    refused: [...reconciler.compiled().refusedServices].sort(),
    tables: tableNames.map((table) =>
      [...reconciler.store.desiredEntries(table)].map(({ key, value }) => key + value).sort(),
    ),
  }
}

/** The changes that are left when every removal has taken its object away. */
function stateAfter(changes: readonly Change[]): Change[] {
  const last = new Map<string, Change>()
  for (const change of changes) {
    if ('put' in change) last.set(`${change.put.kind} ${keyOf(change.put)}`, change)
    else if ('remove' in change) last.delete(`${change.remove.kind} ${keyOf(change.remove)}`)
    else if ('join' in change) last.set(endpointKey(change.join), change)
    else last.delete(endpointKey(change.leave))
  }
  return [...last.values()]
}
