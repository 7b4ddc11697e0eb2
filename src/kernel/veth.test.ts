// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createNamespaces, type Namespaces } from '../../test/support/netns.ts'
import type { Address, Prefix } from '../core/address.ts'
import type { Fd } from './addon.ts'
import { addClsact, putFilter } from './filters.ts'
import { inspectPod } from './inspect.ts'
import { loadAddon } from './load-addon.ts'
import { NodeNetwork } from './node-network.ts'
import {
  deleteNodeRoute,
  deleteOwnRoutes,
  findLink,
  nexthopOf,
  putNodeRoute,
  putPodBlackholes,
  readNodeRoutes,
  repairPodRoutes,
} from './routes.ts'
import { podGateway, unwirePod, type WiredPod, wirePod } from './veth.ts'

const addon = loadAddon()
const V4 = '10.1.0.5' as Address
const V6 = 'fd00:1::5' as Address
const none = () => []

let namespaces: Namespaces
let node: NodeNetwork
const pod = () => ({
  netnsPath: namespaces.path('pod'),
  ifname: 'eth0',
  hostIfname: 'hdtest0',
  addresses: [V4, V6],
  nodeAddresses: ['192.0.2.9', 'fd00:f::9'] as Address[],
  mtu: 1450,
})

beforeAll(() => {
  namespaces = createNamespaces(['node', 'pod'])
  node = new NodeNetwork(addon, { netnsPath: namespaces.path('node') })
  namespaces.run('node', 'ip', 'link', 'set', 'lo', 'up')
  for (const address of ['192.0.2.1/32', '192.0.2.9/32', 'fd00:f::9/128', 'fd00:f::1/128'])
    namespaces.run('node', 'ip', 'address', 'add', address, 'dev', 'lo')
})
afterAll(() => {
  node[Symbol.dispose]()
  namespaces[Symbol.dispose]()
})
beforeEach(() => unwirePod(node, 'hdtest0'))

async function wire(...request: Parameters<typeof wirePod>): Promise<WiredPod> {
  const { wired, done } = wirePod(...request)
  await done
  return wired
}

const linkNames = (name: string) => namespaces.ip(name, 'link', 'show').map((link) => link.ifname)

describe('a wired pod', () => {
  test('has its addresses, both default routes and the MTU, and answers the node in both families', async () => {
    const wired = await wire(node, pod(), none)
    expect(await inspectPod(node, pod())).toEqual({
      mac: wired.podMac,
      up: true,
      addresses: [V4, V6],
      routes: expect.arrayContaining([
        { destination: '0.0.0.0/0', gateway: podGateway(V4) },
        { destination: '::/0', gateway: podGateway(V6) },
      ]),
      peerIsOurs: true,
    })
    expect(await findLink(node, 'hdtest0')).toMatchObject({
      ifindex: wired.ifindex,
      mac: wired.hostMac,
      mtu: 1450,
      up: true,
      running: true,
    })
    for (const address of [V4, V6]) namespaces.run('node', 'ping', '-c1', '-W2', address)
    for (const address of ['192.0.2.1', 'fd00:f::1']) namespaces.run('pod', 'ping', '-c1', '-W2', address)
  })

  test('hears the node speak from its own address, not from another that it has', async () => {
    await wire(node, pod(), none)
    for (const [address, expected] of [
      [V4, '192.0.2.9'],
      [V6, 'fd00:f::9'],
    ] as const) {
      expect(namespaces.ip('node', 'route', 'get', address)).toEqual([expect.objectContaining({ prefsrc: expected })])
    }
  })

  test('asks nobody for an address: no link-local one, no tentative one, permanent neighbours on both sides', async () => {
    await wire(node, pod(), none)
    for (const [name, device] of [
      ['node', 'hdtest0'],
      ['pod', 'eth0'],
    ] as const) {
      const addresses = namespaces
        .ip(name, 'address', 'show', 'dev', device)
        .flatMap((link) => link.addr_info as object[])
      expect(addresses.filter((each) => 'scope' in each && each.scope === 'link')).toEqual([])
      expect(addresses.filter((each) => 'tentative' in each)).toEqual([])
      const neighbours = namespaces.ip(name, 'neighbour', 'show', 'dev', device)
      expect(neighbours.map(({ state }) => state)).toEqual([['PERMANENT'], ['PERMANENT']])
    }
  })

  test('gets IPv6 also where the runtime has switched it off', async () => {
    namespaces.run('pod', 'sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1')
    await wire(node, pod(), none)
    namespaces.run('node', 'ping', '-c1', '-W2', V6)
    namespaces.run('pod', 'sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=0')
  })

  test('has its filters before it goes up', async () => {
    const { ifindex } = await wire(node, pod(), (index) => [addClsact(index)])
    expect(namespaces.ip('node', 'link', 'show', 'dev', 'hdtest0')).toMatchObject([{ ifindex }])
    expect(namespaces.run('node', 'tc', 'qdisc', 'show', 'dev', 'hdtest0')).toMatch(/clsact/)
  })
})

describe('what cannot be wired leaves nothing behind', () => {
  const openDescriptors = () => readdirSync('/proc/self/fd').length

  test('a foreign interface of that name in the pod', async () => {
    namespaces.run('pod', 'ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'foreign')
    const open = openDescriptors()
    await expect(wire(node, pod(), none)).rejects.toMatchObject({ name: 'KernelError', code: 'EEXIST' })
    expect(openDescriptors()).toBe(open)
    expect(linkNames('node')).toEqual(['lo'])
    namespaces.run('pod', 'ip', 'link', 'delete', 'eth0')
  })

  test('programs that the kernel refuses: the device never goes up', async () => {
    const open = openDescriptors()
    const NOT_OPEN = 1_000_000 as Fd
    const refused = (index: number) => [addClsact(index), putFilter(index, 'ingress', 'none', NOT_OPEN)]
    await expect(wire(node, pod(), refused)).rejects.toMatchObject({
      name: 'KernelError',
      code: expect.stringMatching(/^E/),
    })
    expect(linkNames('node')).toEqual(['lo'])
    expect(linkNames('pod')).toEqual(['lo'])
    expect(namespaces.ip('node', 'route', 'show')).toEqual([])
    expect(openDescriptors()).toBe(open)
  })

  test('an address that the pod has already', async () => {
    await expect(wire(node, { ...pod(), addresses: [V4, V4] }, none)).rejects.toMatchObject({ code: 'EEXIST' })
    expect(linkNames('node')).toEqual(['lo'])
    expect(linkNames('pod')).toEqual(['lo'])
  })

  test('an index that another pod has already: that pod keeps its wire', async () => {
    const random = () => 0.3
    await wire(node, pod(), none, random)
    const second = { ...pod(), ifname: 'eth1', hostIfname: 'hdtest1' }
    await expect(wire(node, second, none, random)).rejects.toMatchObject({ name: 'KernelError' })
    expect(linkNames('node')).toEqual(['lo', 'hdtest0'])
    await unwirePod(node, 'hdtest0')
  })

  test('a namespace that is none', async () => {
    const open = openDescriptors()
    await expect(wire(node, { ...pod(), netnsPath: '/etc/passwd' }, none)).rejects.toMatchObject({ code: 'EINVAL' })
    expect(openDescriptors()).toBe(open)
  })
})

test('unwiring removes device, routes and neighbours, and succeeds when there is nothing', async () => {
  await wire(node, pod(), none)
  await unwirePod(node, 'hdtest0')
  expect(linkNames('pod')).toEqual(['lo'])
  expect(namespaces.ip('node', 'route', 'show')).toEqual([])
  expect(namespaces.ip('node', '-6', 'route', 'show').filter(({ dst }) => dst === V6)).toEqual([])
  await unwirePod(node, 'hdtest0')
})

test('routes to other nodes are put, replaced, read back and deleted; blackholes catch the rest of the own CIDR', async () => {
  const { ifindex } = await wire(node, pod(), none)
  const to4 = { destination: '10.2.0.0/24' as Prefix, gateway: V4, ifindex, source: '192.0.2.1' as Address, mtu: 1400 }
  const to6 = { destination: 'fd00:2::/64' as Prefix, gateway: V6, ifindex, source: 'fd00:f::1' as Address, mtu: 1400 }
  for (const route of [to4, to6, { ...to4, mtu: 1300 }, { ...to6, mtu: 1300 }]) await putNodeRoute(node, route)
  expect(await readNodeRoutes(node)).toEqual([
    { ...to4, mtu: 1300 },
    { ...to6, mtu: 1300 },
  ])
  expect(await nexthopOf(node, '10.2.0.77' as Address)).toEqual({ gateway: V4, ifindex })
  expect(await nexthopOf(node, V6)).toEqual({ gateway: V6, ifindex })
  await putPodBlackholes(node, ['10.1.0.0/24', 'fd00:1::/64'] as Prefix[])
  expect(await nexthopOf(node, '10.1.0.99' as Address)).toBeUndefined()
  expect(await nexthopOf(node, 'fd00:1::99' as Address)).toBeUndefined()
  expect(await nexthopOf(node, '198.51.100.1' as Address)).toBeUndefined()
  await putPodBlackholes(node, ['10.1.1.0/24'] as Prefix[])
  const ours = namespaces.ip('node', 'route', 'show', 'proto', '78').map(({ dst }) => dst)
  expect(ours).toContain('10.1.1.0/24')
  expect(ours).not.toContain('10.1.0.0/24')
  expect(ours).toEqual(expect.arrayContaining([V4, to4.destination]))
  await deleteNodeRoute(node, to4)
  await deleteNodeRoute(node, to4)
  expect(await readNodeRoutes(node)).toHaveLength(1)
  await deleteOwnRoutes(node)
  expect(namespaces.ip('node', 'route', 'show', 'proto', '78')).toEqual([])
  expect(namespaces.ip('node', '-6', 'route', 'show', 'proto', '78')).toEqual([])
})

test('a node that got other addresses reaches its pods again from those', async () => {
  const { ifindex } = await wire(node, pod(), none)
  const young = ['192.0.2.1', 'fd00:f::1'] as Address[]
  const pods = [{ addresses: [V4, V6], ifindex }]
  expect(await repairPodRoutes(node, pods, pod().nodeAddresses)).toBe(0)
  namespaces.run('node', 'ip', 'address', 'del', '192.0.2.9/32', 'dev', 'lo') // takes the route to V4 along
  try {
    expect(await repairPodRoutes(node, pods, young)).toBe(2)
    expect(await repairPodRoutes(node, pods, young)).toBe(0)
    const sources = ['-4', '-6'].map((each) =>
      namespaces.ip('node', each, 'route', 'show', 'dev', 'hdtest0', 'proto', '78').map(({ prefsrc }) => prefsrc),
    )
    expect(sources).toEqual(young.map((address) => [address]))
  } finally {
    namespaces.run('node', 'ip', 'address', 'add', '192.0.2.9/32', 'dev', 'lo')
  }
})

test("the kernel's reason is in the error", async () => {
  const route = { destination: '10.3.0.0/24' as Prefix, gateway: V4, ifindex: 9999, source: V4, mtu: 1400 }
  await expect(putNodeRoute(node, route)).rejects.toMatchObject({ code: 'ENODEV', subject: 'put route 10.3.0.0/24' })
})
