// SPDX-License-Identifier: Apache-2.0
// Heddle on a real Kubernetes without kube-proxy, installed by Helm, in both of its modes.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Mode } from '../../src/lab/state.ts'
import { describeServices } from '../conformance/service-suite.ts'
import { isSoak } from '../support/soak.ts'
import type { Cluster } from './cluster.ts'
import { installCoreDns } from './coredns.ts'
import { outlivesItsToken, takesTokensOfKubelet } from './credential-cases.ts'
import { deployCases, takeOff } from './deploy-cases.ts'
import { faultCases, prepareFaults } from './fault-cases.ts'
import { everyPathHolds, installHeddle, upgradeHeddle } from './heddle.ts'
import { obstacle, startTestCluster, type TestCluster } from './lane.ts'
import { nodeCases } from './node-cases.ts'
import { prepareServices, serviceCases } from './service-cases.ts'
import { startServiceStage } from './service-stage.ts'
import { leftOut, runOtherSpecs, runSpecs, type SpecResult, specNames } from './specs.ts'
import { policyCases, prepareWorkloads, workloadCases } from './workload-cases.ts'

const reason = await obstacle()
/** What does not depend on the mode runs in one of them. */
const isWhole = (mode: Mode) => mode === 'vxlan'
const inEveryMode =
  /^(pods reach|nodes reach|NetworkPolicies|a rolling update|kubectl exec|a StatefulSet|the DaemonSet|kubelet and containerd)/
const concerns =
  (mode: Mode) =>
  ({ name }: { readonly name: string }) =>
    isWhole(mode) || inEveryMode.test(name)

function expectPassed(results: readonly SpecResult[]): void {
  const failed = results.filter(({ passed }) => !passed)
  console.log(`${results.length - failed.length} of ${results.length} specs passed`)
  for (const { name, message } of failed) console.log(`${name}: ${message}`)
  expect(failed).toEqual([])
  expect(results).not.toEqual([])
}

describe.skipIf(reason !== null).each(['vxlan', 'native'] as const)('%s', (mode) => {
  let lane: TestCluster
  let cluster: Cluster

  beforeAll(async () => {
    lane = await startTestCluster(mode, { families: '46', cni: 'heddle', kubeProxy: false })
    cluster = lane.cluster
    if (lane.isPrepared) return
    const started = performance.now()
    await installHeddle(cluster, mode)
    console.log(`${mode}: nodes Ready ${((performance.now() - started) / 1000).toFixed(1)} s after helm install began`)
    await installCoreDns(cluster)
  })

  afterAll(async () => {
    expect(await lane?.down()).toEqual([])
  })

  test.each(deployCases)('$name', async ({ check }) => {
    await check(cluster, mode)
  })

  test.each(isWhole(mode) ? nodeCases : [])('$name', async ({ check }) => {
    await check(cluster)
  })

  describe('Services', () => {
    let fixture: Awaited<ReturnType<typeof prepareServices>>

    beforeAll(async () => {
      fixture = await prepareServices(cluster)
    })

    test.each(serviceCases)('$name', async ({ check }) => {
      await check(fixture)
    })

    // Both modes have the whole suite in the lab.
    if (isWhole(mode)) describe('every promise', () => describeServices(() => startServiceStage(cluster)))
  })

  describe('workloads', () => {
    beforeAll(async () => {
      await prepareWorkloads(cluster)
    })

    test.each([...workloadCases, ...policyCases].filter(concerns(mode)))('$name', async ({ check }) => {
      await check(cluster)
    })
  })

  test('heddle connectivity test', async () => {
    await everyPathHolds(cluster, mode)
  })

  if (isWhole(mode))
    test.each(['a file', 'an exec plugin'] as const)(
      'a client outlives its token, which comes from %s',
      async (from) => {
        await outlivesItsToken(cluster, from)
      },
    )

  describe('faults', () => {
    let fixture: Awaited<ReturnType<typeof prepareFaults>>

    beforeAll(async () => {
      fixture = await prepareFaults(cluster)
    })

    test.each(faultCases.filter(concerns(mode)))('$name', async ({ check }) => {
      await check(fixture, () => upgradeHeddle(cluster, mode, 'next'))
    })
  })

  if (isWhole(mode))
    test('agents take the tokens that kubelet writes into their running pods', async () => {
      await takesTokensOfKubelet(cluster)
    })

  if (isWhole(mode))
    test("Kubernetes' own [sig-network] [Conformance] specs", async () => {
      expectPassed(await runSpecs(cluster, specNames))
    })

  if (isWhole(mode) && isSoak)
    test("Kubernetes' other [sig-network] specs, but for those left out by name", { timeout: 5_400_000 }, async () => {
      for (const [part, why] of Object.entries(leftOut)) console.log(`left out: ${part}: ${why}`)
      expectPassed(await runOtherSpecs(cluster))
    })

  // The last case: nothing has a network afterwards.
  test('Heddle is taken off every node, then the chart is uninstalled', async () => {
    await takeOff(cluster, mode)
  })
})

if (reason !== null) test('this machine can run a cluster', ({ skip }) => skip(reason))
