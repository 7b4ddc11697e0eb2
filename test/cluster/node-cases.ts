// SPDX-License-Identifier: Apache-2.0
// When a node says that it takes pods, to its container runtime and in its Node object: once its agent is ready, not
// before, and nothing is taken back when the agent stops (docs/nodes.md).

import { expect } from 'vitest'
import type { Cluster } from './cluster.ts'
import { type RoleRule, setRules, withoutVerb } from './deploy-cases.ts'
import { agentLabel, agentStatus, podsOf, readyPods } from './pods.ts'
import type { ClusterCase } from './workload-cases.ts'
import { idleSpec, pod } from './workloads.ts'

const configuration = '/etc/cni/net.d/05-heddle.conflist'
/** An agent that remembers policies goes on with those. */
const memory = '/var/lib/heddle/kubernetes.journal'
const notReady = 'node.heddle.network/not-ready'
const unavailable = { type: 'NetworkUnavailable', status: 'True', reason: 'NoNetworkYet' }

interface Said {
  /** Status and reason of the condition NetworkUnavailable. */
  readonly condition: string
  readonly isTainted: boolean
  readonly isConfigured: boolean
}

const ready: Said = { condition: 'False HeddleIsReady', isTainted: false, isConfigured: true }
const fresh: Said = { condition: 'True NoNetworkYet', isTainted: true, isConfigured: false }

/** The Node is read first: what the agent says last is not seen without what it says before. */
async function said(cluster: Cluster, node: string): Promise<Said> {
  const { spec, status } = await cluster.getJson<{
    spec: { taints?: { key: string }[] }
    status: { conditions: { type: string; status: string; reason: string }[] }
  }>('node', node)
  const condition = status.conditions.find(({ type }) => type === unavailable.type)
  return {
    condition: `${condition?.status} ${condition?.reason}`,
    isTainted: spec.taints?.some(({ key }) => key === notReady) ?? false,
    isConfigured: (await cluster.run(node, ['test', '-e', configuration])).exitCode === 0,
  }
}

/** As a node is that has never had a network, on a cloud that says so and with kubeadm's taint. */
async function makeFresh(cluster: Cluster, node: string): Promise<void> {
  expect((await cluster.run(node, ['rm', configuration, memory])).stderr).toBe('')
  await cluster.kubectl(['taint', 'node', node, `${notReady}:NoSchedule`])
  const patch = JSON.stringify({ status: { conditions: [unavailable] } })
  await cluster.kubectl(['patch', 'node', node, '--subresource=status', '--type=strategic', '-p', patch])
}

async function agentOn(cluster: Cluster, node: string) {
  return (await podsOf(cluster, 'kube-system', agentLabel)).find((agent) => agent.node === node)!
}

async function takesPodsOnceReady(cluster: Cluster): Promise<void> {
  const node = 'n2'
  for (const each of cluster.nodes) expect(await said(cluster, each), each).toEqual(ready)
  const { rules } = await cluster.getJson<{ rules: RoleRule[] }>('clusterrole', 'heddle')
  try {
    // Nobody makes another agent meanwhile.
    await cluster.stopControl('kube-controller-manager')
    try {
      await cluster.kubectl(['-n', 'kube-system', 'delete', 'pod', (await agentOn(cluster, node)).name])
      expect(await said(cluster, node), 'its agent has stopped').toEqual(ready)
      await makeFresh(cluster, node)
      await setRules(cluster, withoutVerb(rules, 'watch', 'networkpolicies'))
    } finally {
      cluster.startControl('kube-controller-manager')
    }
    await cluster.apply(
      pod('default', 'waits', idleSpec({ pod: { nodeSelector: { 'kubernetes.io/hostname': node } } })),
    )
    await expect
      .poll(async () => agentStatus(cluster, await agentOn(cluster, node)), { timeout: 60_000 })
      .toMatch(/^Ready +no[\s\S]*needs verb watch on networkpolicies/m)
    // It looks once a second whether it is ready.
    for (const pause of [1_000, 1_000, 1_000]) {
      expect(await said(cluster, node), 'its agent is not ready').toEqual(fresh)
      await new Promise((resolve) => setTimeout(resolve, pause))
    }
    expect(await podsOf(cluster, 'default', 'app=waits')).toMatchObject([{ node: '', ready: false }])
  } finally {
    await setRules(cluster, rules)
  }
  let last = fresh
  await expect
    .poll(
      async () => {
        last = await said(cluster, node)
        return last.isTainted
      },
      { timeout: 60_000 },
    )
    .toBe(false)
  expect(last, 'the taint goes last').toEqual(ready)
  await readyPods(cluster, 'default', 'app=waits', 1)
  await cluster.kubectl(['delete', 'pod', 'waits'])
  // While the runtime had no network its node was not Ready, nor were its pods.
  await cluster.nodesReady()
  await cluster.kubectl(['-n', 'kube-system', 'rollout', 'status', 'deploy/coredns', '--timeout=60s'])
}

export const nodeCases: readonly ClusterCase[] = [
  { name: 'a node takes pods once its agent is ready, not before, and when it stops', check: takesPodsOnceReady },
]
