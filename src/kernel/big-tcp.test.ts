// SPDX-License-Identifier: Apache-2.0
// If this fails, bulk transfers of pods lose a fifth of their rate, or a device is left with a size that it cannot cut.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createNamespaces, type Namespaces } from '../../test/support/netns.ts'
import type { Address } from '../core/address.ts'
import { bigTCPBytes, disableBigTCP, enableBigTCP } from './big-tcp.ts'
import { loadAddon } from './load-addon.ts'
import { NodeNetwork } from './node-network.ts'
import { findLink } from './routes.ts'
import { unwirePod, wirePod } from './veth.ts'

let namespaces: Namespaces
let node: NodeNetwork
let inPod: NodeNetwork
const uplink = async () => (await findLink(node, 'uplink0'))!

beforeAll(() => {
  namespaces = createNamespaces(['node', 'pod'])
  const addon = loadAddon()
  node = new NodeNetwork(addon, { netnsPath: namespaces.path('node') })
  inPod = new NodeNetwork(addon, { netnsPath: namespaces.path('pod') })
})
afterAll(() => {
  node[Symbol.dispose]()
  inPod[Symbol.dispose]()
  namespaces[Symbol.dispose]()
})
beforeEach(async () => {
  await unwirePod(node, 'uplink0')
  namespaces.run('node', 'ip', 'link', 'add', 'uplink0', 'type', 'veth', 'peer', 'uplink1')
})

describe('an uplink that can cut large packets', () => {
  test('takes them, and goes back', async () => {
    const before = await uplink()
    expect(bigTCPBytes(before)).toBe(131_072)
    await enableBigTCP(node, before, 131_072)
    expect((await uplink()).gsoIPv4MaxBytes).toBe(131_072)
    await disableBigTCP(node, await uplink())
    expect((await uplink()).gsoIPv4MaxBytes).toBe(before.gsoIPv4MaxBytes)
  })

  test('keeps what an operator chose', async () => {
    await enableBigTCP(node, await uplink(), 200_000)
    const chosen = await uplink()
    expect(bigTCPBytes(chosen)).toBe(200_000)
    await enableBigTCP(node, chosen, 131_072)
    await disableBigTCP(node, chosen)
    expect((await uplink()).gsoIPv4MaxBytes).toBe(200_000)
  })

  test.each([
    ['its driver cuts no more than usual', { tsoMaxBytes: 65_536 }],
    ['its driver cuts nothing', { tsoMaxBytes: 0 }],
    ['the kernel does not know of it', { gsoIPv4MaxBytes: undefined }],
  ])('does not where %s', async (_, difference) => {
    expect(bigTCPBytes({ ...(await uplink()), ...difference })).toBeUndefined()
  })

  test('sets the size of both ends of a pod', async () => {
    const pod = {
      netnsPath: namespaces.path('pod'),
      ifname: 'eth0',
      hostIfname: 'hdtest1',
      nodeAddresses: [],
      mtu: 1450,
    }
    const addresses = ['10.1.0.5' as Address]
    await wirePod(node, { ...pod, addresses, gsoIPv4MaxBytes: 131_072 }, () => []).done
    expect(await findLink(node, 'hdtest1')).toMatchObject({ gsoIPv4MaxBytes: 131_072 })
    expect(await findLink(inPod, 'eth0')).toMatchObject({ gsoIPv4MaxBytes: 131_072 })
  })
})
