// SPDX-License-Identifier: Apache-2.0
// The table of Service cases with the reference network and the real kube-proxy: what passes here is what Kubernetes means.

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Cluster } from './cluster.ts'
import { installCoreDns } from './coredns.ts'
import { startTestCluster } from './lane.ts'
import { prepareServices, type ServiceFixture, serviceCases } from './service-cases.ts'

let cluster: Cluster
let fixture: ServiceFixture

beforeAll(async () => {
  cluster = await startTestCluster('reference', { families: '46', cni: 'ptp', kubeProxy: true })
  await installCoreDns(cluster)
  fixture = await prepareServices(cluster)
})

afterAll(async () => {
  expect(await cluster?.down()).toEqual([])
})

test.each(serviceCases)('$name', async ({ check }) => {
  await check(fixture)
})
