// SPDX-License-Identifier: Apache-2.0
// SCTP to Services whose target port is another one: peers on raw sockets that hear only what has a sound CRC32c.
//
//   n1: client, near      n2: far      outside

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkout } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { idlePod, namespace, nodePortService } from '../support/manifests.ts'

const script = `${checkout}/test/support/sctp.py`
const PORT = 80
const TARGET_PORT = 36_412
const nodePorts = { near: 30_801, far: 30_802 } as const
const client = `${namespace}/client`
let lab: TestLab

function service(name: keyof typeof nodePorts): KubeManifest {
  return nodePortService(name, { app: name }, [
    { port: PORT, targetPort: TARGET_PORT, nodePort: nodePorts[name], protocol: 'SCTP' },
  ])
}

beforeAll(async () => {
  lab = await startTestLab('sctp', { mode: 'vxlan', families: '46' })
  await lab.apply(
    idlePod('client', 'n1'),
    idlePod('near', 'n1', { app: 'near' }),
    idlePod('far', 'n2', { app: 'far' }),
    service('near'),
    service('far'),
  )
  const serve = (place: string, port: number) => lab.start(place, ['python3', script, 'serve', String(port)])
  const servers = [
    serve(`${namespace}/near`, TARGET_PORT),
    serve(`${namespace}/far`, TARGET_PORT),
    serve('outside', TARGET_PORT),
  ]
  await Promise.all(servers.map((server) => server.until((output) => output.includes('listening'))))
})

afterAll(async () => {
  expect(await lab?.down()).toEqual([])
})

/** Who has answered. */
async function ask(from: string, source: string, target: string, port: number): Promise<string | null> {
  const { stdout, stderr } = await lab.run(from, ['python3', script, 'ask'], {
    input: JSON.stringify({ source, target, port, bytes: 333 }),
  })
  expect(stderr).toBe('')
  return JSON.parse(stdout)
}

describe.each([4, 6] as const)('IPv%s', (family) => {
  const ip = (pod: string) => lab.podIP(pod, family)

  test.each(['near', 'far'])('a pod asks a cluster IP: %s', async (name) => {
    const target = lab.clusterIP(`${namespace}/${name}`, family)
    expect(await ask(client, ip(client), target, PORT)).toBe(target)
  })

  test.each(['near', 'far'] as const)('a client outside asks a node port: %s', async (name) => {
    const target = lab.nodeIP('n1', family)
    expect(await ask('outside', outsideIPs[family], target, nodePorts[name])).toBe(target)
  })

  test('a pod asks the world', async () => {
    expect(await ask(client, ip(client), outsideIPs[family], TARGET_PORT)).toBe(outsideIPs[family])
  })
})
