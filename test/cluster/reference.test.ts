// SPDX-License-Identifier: Apache-2.0
// The table of Service cases with the reference network and the real kube-proxy: what passes here is what Kubernetes means.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { installCoreDns } from './coredns.ts'
import { obstacle, startTestCluster, type TestCluster } from './lane.ts'
import { prepareServices, type ServiceFixture, serviceCases } from './service-cases.ts'

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
})

if (reason !== null) test('this machine can run a cluster', ({ skip }) => skip(reason))
