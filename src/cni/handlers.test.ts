// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { mkdtemp, rm, symlink, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ask, cniRequest, type FakeNode, fakeNode, isClean } from '../../test/support/cni.ts'
import { memoryFile } from '../../test/support/ipam.ts'
import type { Attachment } from '../ipam/attachment.ts'
import { hostIfname } from './handlers.ts'
import type { CniReply, CniRequest } from './protocol.ts'

const ID = { containerId: 'c1', ifname: 'eth0' }

let folder: string
/** Stands for a pod's network namespace: the handlers ask whether it is a namespace, and which. */
let netns: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'heddle-cni-'))
  netns = join(folder, 'pod')
  await symlink('/proc/self/ns/uts', netns)
})
afterEach(() => rm(folder, { recursive: true }))

function add(changes: Partial<CniRequest> = {}, config: object = {}): CniRequest {
  return cniRequest('ADD', { netns, ...changes }, config)
}

function body(reply: CniReply): Record<string, unknown> {
  return JSON.parse(reply.output)
}

/** An attachment as any node would record it. */
async function attachedOnce(): Promise<Attachment> {
  const node = await fakeNode()
  await ask(node, add())
  return node.ipam.get(ID)!
}

test('host sides of 100,000 containers whose IDs are alike have names of their own', () => {
  const ids = Array.from({ length: 50_000 }, (_, i) => `pod-${i}`)
  const names = ids.flatMap((containerId) => ['eth0', 'eth1'].map((ifname) => hostIfname({ containerId, ifname })))
  expect(new Set(names).size).toBe(100_000)
  expect(names.filter((name) => !/^hd[0-9a-f]{12}$/.test(name))).toEqual([])
})

describe('ADD', () => {
  test('gives the result and makes the pod an endpoint', async () => {
    const node = await fakeNode()
    const reply = await ask(node, add())
    expect(reply.exitCode).toBe(0)
    expect(body(reply)).toEqual({
      cniVersion: '1.1.0',
      interfaces: [
        { name: hostIfname(ID), mac: '02:00:00:00:00:01', mtu: 1450 },
        { name: 'eth0', mac: '02:00:00:00:00:02', mtu: 1450, sandbox: netns },
      ],
      ips: [
        { address: '10.1.0.1/32', gateway: '169.254.1.1', interface: 1 },
        { address: 'fd00::1/128', gateway: 'fe80::1', interface: 1 },
      ],
      routes: [
        { dst: '0.0.0.0/0', gw: '169.254.1.1' },
        { dst: '::/0', gw: 'fe80::1' },
      ],
    })
    expect([...node.endpoints.values()]).toEqual([
      {
        ...ID,
        namespace: 'shop',
        name: 'cart',
        uid: '1b4e',
        addresses: ['10.1.0.1', 'fd00::1'],
        ifindex: 1,
        hostIfname: hostIfname(ID),
        netnsCookie: 7n,
      },
    ])
    expect(node.ipam.get(ID)).toMatchObject({ answered: true })
  })

  test('repeated after its answer is an error and changes nothing', async () => {
    const node = await fakeNode()
    await ask(node, add())
    const before = node.ipam.attachments()
    expect(body(await ask(node, add()))).toMatchObject({ code: 100, msg: 'c1/eth0 is attached already' })
    expect(node.ipam.attachments()).toEqual(before)
    expect(node.endpoints.size).toBe(1)
  })

  test.each(['allocated', 'wired'])(
    'repeated after a crash that left it %s completes with the same address',
    async (crashedAfter) => {
      const file = memoryFile()
      const crashed = await fakeNode({ file })
      const never = () => new Promise<never>(() => {})
      if (crashedAfter === 'allocated') crashed.failing.set('wire', never)
      if (crashedAfter === 'wired') crashed.failing.set('join', never)
      const reached = crashed.handlers.handle(add())
      if (crashedAfter === 'joined')
        await reached // and never delivered
      else await expect.poll(() => crashed.failing.size).toBe(0)

      const node = await fakeNode({ file, kernel: crashed })
      await ask(node, add({ containerId: 'other', ifname: 'eth1' }))
      const reply = await ask(node, add())
      expect(body(reply)).toMatchObject({ ips: [{ address: '10.1.0.1/32' }, { address: 'fd00::1/128' }] })
      expect(node.pods.size).toBe(2)
    },
  )

  test('repeated after a crash that came after the answer is an error', async () => {
    const file = memoryFile()
    const crashed = await fakeNode({ file })
    await crashed.handlers.handle(add())
    await crashed.ipam.close()
    const node = await fakeNode({ file, kernel: crashed })
    expect(body(await ask(node, add()))).toMatchObject({ code: 100 })
  })

  test('a reply that nobody took leaves the ADD open for completion', async () => {
    const node = await fakeNode()
    const lost = await node.handlers.handle(add())
    lost.delivered(false)
    const reply = await ask(node, add())
    expect(reply.exitCode).toBe(0)
    expect(body(reply)).toEqual(body(lost))
  })

  test('requests for one attachment wait for each other', async () => {
    const node = await fakeNode()
    const [first, second] = await Promise.all([ask(node, add()), ask(node, add())])
    expect([first.exitCode, second.exitCode]).toEqual([0, 1])
    expect(body(second).code).toBe(100)
  })

  test('a foreign interface of that name is an error, and it stays', async () => {
    const node = await fakeNode()
    const foreign = { mac: '', up: true, addresses: [], routes: [], peerIsOurs: false }
    node.pods.set(`${netns} eth0`, foreign)
    expect(body(await ask(node, add()))).toMatchObject({ code: 101 })
    expect(node.pods.get(`${netns} eth0`)).toBe(foreign)
    node.pods.clear()
    expect(isClean(node)).toBe(true)
  })

  test.each([
    ['wire', 104, 'ENOMEM'],
    ['join', 11, 'late'],
  ] as const)('when %s fails the answer is code %d and nothing is left', async (call, code, text) => {
    const node = await fakeNode()
    node.failing.set(call, () => Promise.reject(new Error(text)))
    expect(body(await ask(node, add()))).toMatchObject({ cniVersion: '1.1.0', code, details: text })
    expect(isClean(node)).toBe(true)
  })

  test('a namespace of another kind, seen only when it is entered, is a wrong CNI_NETNS', async () => {
    const node = await fakeNode()
    const refused = Object.assign(new Error('no network namespace'), { syscall: 'ioctl(NS_GET_NSTYPE)' })
    node.failing.set('wire', () => Promise.reject(refused))
    expect(body(await ask(node, add()))).toMatchObject({ code: 4, msg: 'invalid CNI_NETNS' })
    expect(isClean(node)).toBe(true)
  })

  test('when the wire fails nobody waits for the tables, and both have ended before anything is undone', async () => {
    const node = await fakeNode()
    const calls: string[] = []
    const wire = Promise.withResolvers<never>()
    node.failing.set('wire', () => wire.promise)
    node.failing.set('join', async (signal) => {
      wire.reject(new Error('ENOMEM'))
      await once(signal!, 'abort')
      calls.push('joined')
      throw signal!.reason
    })
    node.failing.set('unwire', async () => {
      calls.push('unwired')
      return undefined as never
    })
    expect(body(await ask(node, add()))).toMatchObject({ code: 104, details: 'ENOMEM' })
    expect(calls).toEqual(['joined', 'unwired'])
    expect(isClean(node)).toBe(true)
  })

  test('a journal that cannot be written is an I/O failure and nothing is left', async () => {
    const file = memoryFile()
    const node = await fakeNode({ file })
    file.full = true
    expect(body(await ask(node, add()))).toMatchObject({ code: 5, details: 'ENOSPC' })
    expect(isClean(node)).toBe(true)
  })

  test('a journal that cannot be synced takes the wired pod back', async () => {
    const file = memoryFile()
    const node = await fakeNode({ file })
    node.failing.set('wire', () => {
      file.full = true
      return undefined as never
    })
    expect(body(await ask(node, add()))).toMatchObject({ code: 5 })
    expect(node.pods.size + node.endpoints.size).toBe(0)
  })

  test('an exhausted pool is named', async () => {
    const node = await fakeNode({ pools: ['10.1.0.7/32'] })
    await ask(node, add())
    expect(body(await ask(node, add({ containerId: 'c2' })))).toMatchObject({
      code: 102,
      msg: 'pool 10.1.0.7/32 is exhausted',
      details: 'all 1 addresses are taken (1 in use, 0 resting)',
    })
    expect(node.ipam.attachments()).toHaveLength(1)
  })

  test('before the node has a pod CIDR the runtime shall try again', async () => {
    const node = await fakeNode({ pools: [] })
    expect(body(await ask(node, add()))).toMatchObject({ code: 11 })
  })

  test.each([
    ['/proc/self/ns/net', "is the node's own network namespace"],
    ['/proc/self/ns/absent', 'is no network namespace'],
    ['/etc/hostname', 'is no network namespace'],
    ['/etc/hostname/x', 'is no network namespace'],
    [`/${'x'.repeat(300)}`, 'ENAMETOOLONG'],
  ])('the namespace %s is refused', async (path, problem) => {
    const node = await fakeNode()
    const reply = body(await ask(node, add({ netns: path })))
    expect(reply).toMatchObject({ code: 4, msg: 'invalid CNI_NETNS' })
    expect(reply.details).toContain(problem)
    expect(isClean(node)).toBe(true)
    expect(node.ipam.status()[0]!.resting).toBe(0)
  })
})

describe('DEL', () => {
  test('removes everything, and does so again without an error', async () => {
    const node = await fakeNode()
    await ask(node, add())
    for (let i = 0; i < 2; i++) {
      expect(await ask(node, cniRequest('DEL', { netns }))).toMatchObject({ exitCode: 0, output: '' })
      expect(isClean(node)).toBe(true)
    }
  })

  test('succeeds for what never existed, without a namespace, and when the namespace is gone', async () => {
    const node = await fakeNode()
    expect((await ask(node, cniRequest('DEL', { containerId: 'never' }))).exitCode).toBe(0)
    await ask(node, add())
    await unlink(netns)
    expect((await ask(node, cniRequest('DEL', { netns }))).exitCode).toBe(0)
    expect(isClean(node)).toBe(true)
  })

  test('removes by name what the journal has lost', async () => {
    const crashed = await fakeNode()
    await ask(crashed, add())
    const node = await fakeNode({ kernel: crashed })
    await ask(node, cniRequest('DEL', { netns }))
    expect(isClean(node)).toBe(true)
  })

  test('removes the pair that another version named in its own way', async () => {
    const node = await fakeNode()
    const { pod, netns: identity } = await attachedOnce()
    await node.ipam.allocate({ ...ID, network: 'heddle', netns: identity, pod, hostIfname: 'hdother' })
    node.hosts.set('hdother', { netnsPath: netns, ifname: 'eth0', hostIfname: 'hdother' })
    await ask(node, cniRequest('DEL', { netns }))
    expect(isClean(node)).toBe(true)
  })

  test('keeps the address when the veth pair could not be removed, and completes when repeated', async () => {
    const node = await fakeNode()
    await ask(node, add())
    node.failing.set('unwire', () => Promise.reject(new Error('EBUSY')))
    expect(body(await ask(node, cniRequest('DEL')))).toMatchObject({ code: 104, details: 'EBUSY' })
    expect(node.ipam.attachments()).toHaveLength(1)
    expect((await ask(node, cniRequest('DEL'))).exitCode).toBe(0)
    expect(isClean(node)).toBe(true)
  })

  test('an unusable prevResult, CNI_ARGS or ipam is no obstacle', async () => {
    const node = await fakeNode()
    const request = cniRequest('DEL', { args: 'nonsense' }, { prevResult: 7, ipam: { type: 'host-local' } })
    expect((await ask(node, request)).exitCode).toBe(0)
  })
})

describe('CHECK', () => {
  async function checked(change: (node: FakeNode) => void, prevResult?: unknown) {
    const node = await fakeNode()
    const added = body(await ask(node, add()))
    change(node)
    return ask(node, cniRequest('CHECK', { netns }, { prevResult: prevResult ?? added }))
  }
  function changePod(node: FakeNode, changes: object): void {
    node.pods.set(`${netns} eth0`, { ...node.pods.get(`${netns} eth0`)!, ...changes })
  }

  test('holds after ADD, also when later plugins added to the interface', async () => {
    const reply = await checked((node) => {
      const { addresses, routes } = node.pods.get(`${netns} eth0`)!
      changePod(node, {
        addresses: ['192.0.2.1', ...addresses],
        routes: [{ destination: '192.0.2.0/24', gateway: null }, ...routes],
      })
    })
    expect(reply).toMatchObject({ exitCode: 0, output: '' })
  })

  test.each<[string, (node: FakeNode) => void]>([
    ['is gone', (node) => node.pods.clear()],
    ['is down', (node) => changePod(node, { up: false })],
    ['does not lead to', (node) => changePod(node, { peerIsOurs: false })],
    ['has the MAC address', (node) => changePod(node, { mac: '02:00:00:00:00:99' })],
    ['has lost the address 10.1.0.1', (node) => changePod(node, { addresses: ['fd00::1'] })],
    ['has lost the default route through 169.254.1.1', (node) => changePod(node, { routes: [] })],
  ])('an interface that %s', async (problem, change) => {
    const reply = body(await checked(change))
    expect(reply).toMatchObject({ code: 103 })
    expect(reply.details).toContain(problem)
  })

  test('a prevResult that is not of this attachment', async () => {
    expect(body(await checked(() => {}, {})).details).toBe('prevResult has no interface eth0 in the container')
  })

  test('needs an attachment and a prevResult', async () => {
    const node = await fakeNode()
    expect(body(await ask(node, cniRequest('CHECK', { netns }, { prevResult: {} })))).toMatchObject({ code: 3 })
    expect(body(await ask(node, cniRequest('CHECK', { netns })))).toMatchObject({ code: 7 })
  })
})

describe('GC and collection', () => {
  const valid = (...ids: string[]) => ({
    'cni.dev/valid-attachments': ids.map((containerID) => ({ containerID, ifname: 'eth0' })),
  })

  test('GC removes the attachments of this network that are not valid, and no others', async () => {
    const node = await fakeNode()
    for (const [i, containerId] of ['keep', 'stale', 'elsewhere'].entries()) {
      const other = join(folder, containerId)
      await symlink(`/proc/self/ns/${['uts', 'ipc', 'mnt'][i]}`, other)
      const config = containerId === 'elsewhere' ? { name: 'other' } : {}
      expect((await ask(node, add({ containerId, netns: other }, config))).exitCode).toBe(0)
    }
    expect((await ask(node, cniRequest('GC', {}, valid('keep')))).exitCode).toBe(0)
    expect(node.ipam.attachments().map(({ containerId }) => containerId)).toEqual(['keep', 'elsewhere'])
    expect(node.hosts.size).toBe(2)
  })

  test('GC removes what it can and reports the rest', async () => {
    const node = await fakeNode()
    await ask(node, add())
    await ask(node, add({ containerId: 'c2', ifname: 'eth1' }))
    node.failing.set('unwire', () => Promise.reject(new Error('EBUSY')))
    expect(body(await ask(node, cniRequest('GC', {}, valid())))).toMatchObject({ code: 104, details: 'c1/eth0: EBUSY' })
    expect(node.ipam.attachments().map(({ containerId }) => containerId)).toEqual(['c1'])
  })

  test('GC without a list removes only what is known to be gone', async () => {
    const node = await fakeNode()
    await ask(node, add())
    expect((await ask(node, cniRequest('GC'))).exitCode).toBe(0)
    expect(node.ipam.attachments()).toHaveLength(1)
    await unlink(netns)
    expect((await ask(node, cniRequest('GC'))).exitCode).toBe(0)
    expect(isClean(node)).toBe(true)
  })

  test('an attachment whose namespace is gone, or whose path means another one, is collected', async () => {
    const node = await fakeNode()
    await ask(node, add())
    expect(await node.handlers.collect()).toEqual([])
    await unlink(netns)
    await symlink('/proc/self/ns/ipc', netns)
    expect((await node.handlers.collect()).map(({ containerId }) => containerId)).toEqual(['c1'])
    expect(isClean(node)).toBe(true)
  })

  test('after a reboot every attachment is collected', async () => {
    const file = memoryFile()
    const before = await fakeNode({ file })
    await ask(before, add())
    await before.ipam.close()
    const node = await fakeNode({ file, bootId: 'boot-2' })
    expect(await node.handlers.collect()).toHaveLength(1)
    expect(isClean(node)).toBe(true)
  })

  test('an attachment that a request is working on is left alone', async () => {
    const node = await fakeNode()
    const { promise, resolve } = Promise.withResolvers<never>()
    node.failing.set('join', () => promise)
    const adding = ask(node, add())
    await expect.poll(() => node.endpoints.size).toBe(1)
    await unlink(netns)
    expect(await node.handlers.collect()).toEqual([])
    await ask(node, cniRequest('GC', {}, valid()))
    expect(node.ipam.attachments()).toHaveLength(1)
    resolve(undefined as never)
    expect((await adding).exitCode).toBe(0)
  })
})

test('STATUS says why ADD cannot be served', async () => {
  const node = await fakeNode()
  expect(await ask(node, cniRequest('STATUS'))).toMatchObject({ exitCode: 0, output: '' })
  node.unavailable = 'the tables are not written yet'
  expect(body(await ask(node, cniRequest('STATUS')))).toMatchObject({
    code: 50,
    details: 'the tables are not written yet',
  })
  expect(body(await ask(await fakeNode({ pools: [] }), cniRequest('STATUS')))).toMatchObject({ code: 50 })
})

test('each request is reported with pod, addresses and error', async () => {
  const node = await fakeNode()
  await ask(node, add())
  await ask(node, add())
  expect(node.events).toMatchObject([
    { command: 'ADD', ...ID, pod: 'shop/cart', addresses: ['10.1.0.1', 'fd00::1'], error: null },
    { command: 'ADD', ...ID, pod: '', addresses: [], error: { code: 100 } },
  ])
})
