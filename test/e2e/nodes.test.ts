// SPDX-License-Identifier: Apache-2.0
// Nodes come, go, change their addresses and reboot: their peers follow, and what a runtime looks for is there when it
// should be.
//
//   n1: a (serves)      n2: b (serves)

import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Status } from '../../src/agent/api.ts'
import { askAgent } from '../../src/agent/client.ts'
import { agentReady, agentSocket, endAgent, startAgent } from '../../src/lab/agents.ts'
import { nodeDir } from '../../src/lab/names.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { runTool, waitUntil } from '../../src/lab/process.ts'
import type { Reply, Target } from '../support/ask.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { httpPort, namespace, serverPod } from '../support/manifests.ts'

describe.each(['vxlan', 'native'] as const)('%s', (mode) => {
  let lab: TestLab
  let youngIPs: readonly string[] = []

  beforeAll(async () => {
    lab = await startTestLab(`nodes-${mode}`, { mode, families: '46' })
    await lab.apply(serverPod('a', 'n1'), serverPod('b', 'n2'))
  })

  afterAll(async () => {
    expect(await lab?.down()).toEqual([])
  })

  function node(name: string, internalIPs?: readonly string[], podCIDRs?: readonly string[]): KubeManifest {
    const addresses = internalIPs ?? lab.cluster.node(name).internalIPs
    return {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name },
      spec: { podCIDRs: podCIDRs ?? lab.cluster.node(name).podCIDRs },
      status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
    }
  }

  async function ask(from: string, to: string): Promise<(string | null)[]> {
    const targets: Target[] = lab.families().map((family) => ({
      protocol: 'TCP',
      host: lab.podIP(`${namespace}/${to}`, family),
      port: httpPort,
      timeoutMs: 700,
    }))
    const replies = await lab.script<Reply[]>(`${namespace}/${from}`, 'ask.ts', targets)
    return replies.map((reply) => ('error' in reply ? reply.error : (reply.answer?.server ?? null)))
  }

  const status = (name: string) => askAgent<Status>(agentSocket(lab.name, name), 'GET', '/v1/status')
  const routes = (name: string) => lab.shell(`node/${name}`, 'ip route show proto 78; ip -6 route show proto 78')

  async function restart(name: string, between: () => Promise<void> = async () => {}): Promise<void> {
    const stopped = await endAgent(lab.cluster.node(name), 'SIGKILL')
    lab.cluster.setNode(stopped)
    await between()
    lab.cluster.setNode(startAgent(lab.name, stopped))
    await agentReady(lab.name, lab.cluster.node(name))
  }

  test('a node that is deleted is unreachable, one that comes is reached', async () => {
    expect(await ask('a', 'b')).toEqual(['b', 'b'])
    const deleted = await lab.cluster.delete([node('n2')])
    for (const podCIDR of lab.cluster.node('n2').podCIDRs) expect(await routes('n1')).not.toContain(podCIDR)
    expect(await ask('a', 'b')).not.toContain('b')
    const added = await lab.cluster.apply([node('n2')])
    expect(await ask('a', 'b')).toEqual(['b', 'b'])
    expect(await ask('b', 'a')).toEqual(['a', 'a'])
    const ms = (name: string) => [deleted, added].map((syncs) => syncs.find((sync) => sync.name === name)!.milliseconds)
    console.log(`${mode}: n1 followed the end and the return of n2 in ${ms('n1').join(' and ')} ms`)
    for (const each of ms('n1')) expect(each).toBeLessThan(1_000)
  })

  test('a node with other addresses is reached at those', async () => {
    const old = lab.cluster.node('n2').internalIPs
    youngIPs = old.map((address) => address.replace(/\d+$/, (last) => String(Number(last) + 200)))
    const script = old.flatMap((address, index) => {
      const [length, gateway] = address.includes(':') ? [64, 'fd00:77::1'] : [24, '192.168.77.1']
      return [
        `ip addr del ${address}/${length} dev eth0`,
        `ip addr add ${youngIPs[index]}/${length} dev eth0${length === 64 ? ' nodad' : ''}`,
        `ip route replace default via ${gateway}`,
      ]
    })
    await lab.shell('node/n2', script.join(' && '))
    const followed = await lab.cluster.apply([node('n2', youngIPs)])
    await restart('n2')
    expect(await ask('a', 'b')).toEqual(['b', 'b'])
    expect(await ask('b', 'a')).toEqual(['a', 'a'])
    const { milliseconds } = followed.find(({ name }) => name === 'n1')!
    console.log(`${mode}: n1 followed n2's new addresses in ${milliseconds} ms`)
    expect(milliseconds).toBeLessThan(1_000)
  })

  test('an overlapping pod CIDR is named, and keeps no other pod from anything', async () => {
    const [podCIDR] = lab.cluster.node('n2').podCIDRs
    const young = node('n0', ['192.168.77.250'], [podCIDR!])
    await lab.apply(young)
    for (const name of ['n1', 'n2']) {
      const { conditions, ready } = await status(name)
      expect(conditions).toContain(`pod CIDR ${podCIDR} of node n0 overlaps ${podCIDR} of node n2: it is left out`)
      expect(ready).toBe(true)
    }
    expect(await ask('a', 'b')).toEqual(['b', 'b'])
    await lab.cluster.delete([young])

    // n2 shall be the younger one.
    await lab.cluster.delete([node('n2')])
    await lab.apply(young)
    await lab.apply(node('n2', youngIPs))
    const { conditions, ready } = await status('n2')
    expect(ready).toBe(false)
    expect(conditions).toContain(`pod CIDR ${podCIDR} of node n2 overlaps ${podCIDR} of node n0`)
    expect(await ask('b', 'b')).toEqual(['b', 'b'])
    await expect(lab.apply(serverPod('late', 'n2'))).rejects.toThrow('pods must wait for addresses')
    await lab.cluster.delete([young])
    expect((await status('n2')).ready).toBe(true)
    await lab.apply(serverPod('late', 'n2'))
    expect(await ask('a', 'late')).toEqual(['late', 'late'])
  })

  test('after a reboot of the node, pins and routes gone, everything is made again', async () => {
    await restart('n2', async () => {
      const bpffs = `${nodeDir(lab.name, 'n2')}/bpf`
      await runTool(['umount', '--lazy', bpffs])
      await runTool(['mount', '-t', 'bpf', 'bpf', bpffs])
      await lab.shell('node/n2', 'ip route flush proto 78; ip -6 route flush proto 78')
    })
    expect(await ask('a', 'b')).toEqual(['b', 'b'])
    expect(await ask('b', 'a')).toEqual(['a', 'a'])
  })

  test('plugin and network configuration come with readiness, and stay when the agent stops', async () => {
    const dir = nodeDir(lab.name, 'n1')
    const configuration = `${dir}/net.d/05-heddle.conflist`
    expect(readdirSync(`${dir}/bin`)).toEqual(['heddle-cni'])
    expect(JSON.parse(readFileSync(configuration, 'utf8')).plugins[0]).toEqual({
      type: 'heddle-cni',
      agentSocket: `${dir}/run/cni.sock`,
    })
    await restart('n1', async () => {
      expect(existsSync(configuration)).toBe(true)
      rmSync(configuration)
    })
    expect(await waitUntil(async () => existsSync(configuration), 5_000)).toBe(true)
    lab.cluster.setNode(await endAgent(lab.cluster.node('n1'), 'SIGTERM'))
    expect(existsSync(configuration)).toBe(true)
    lab.cluster.setNode(startAgent(lab.name, lab.cluster.node('n1')))
    await agentReady(lab.name, lab.cluster.node('n1'))
  })
})
