// SPDX-License-Identifier: Apache-2.0
// The cases of Services with the reference network and the real kube-proxy: what passes here is what Kubernetes means.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { describeServices } from '../conformance/service-suite.ts'
import { installCoreDns } from './coredns.ts'
import { obstacle, startTestCluster, type TestCluster } from './lane.ts'
import { prepareServices, type ServiceFixture, serviceCases } from './service-cases.ts'
import { startServiceStage } from './service-stage.ts'

const reason = await obstacle()

describe.skipIf(reason !== null)('ptp, host-local and kube-proxy', () => {
  let lane: TestCluster
  let fixture: ServiceFixture

  beforeAll(async () => {
    lane = await startTestCluster('reference', { families: '46', cni: 'ptp', kubeProxy: true })
    if (!lane.isPrepared) await installCoreDns(lane.cluster)
    fixture = await prepareServices(lane.cluster)
  })

  afterAll(async () => {
    expect(await lane?.down()).toEqual([])
  })

  test.each(serviceCases)('$name', async ({ check }) => {
    await check(fixture)
  })

  describe('every promise', () => {
    describeServices(() => startServiceStage(lane.cluster, 500), 'kube-proxy')
  })
})

if (reason !== null) test('this machine can run a cluster', ({ skip }) => skip(reason))
