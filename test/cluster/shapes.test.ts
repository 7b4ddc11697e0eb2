// SPDX-License-Identifier: Apache-2.0
// Clusters of another shape than the two nodes with two families of the other tests: installed, and every path tried.

import { describe, expect, test } from 'vitest'
import { isSoak } from '../support/soak.ts'
import { installCoreDns } from './coredns.ts'
import { everyPathHolds, installHeddle } from './heddle.ts'
import { obstacle, startTestCluster } from './lane.ts'

const reason = await obstacle()
const shapes = [
  { families: '6', nodes: 3, mode: 'vxlan', isUsual: true },
  { families: '6', nodes: 2, mode: 'native', isUsual: false },
  { families: '4', nodes: 2, mode: 'vxlan', isUsual: false },
  { families: '4', nodes: 3, mode: 'native', isUsual: false },
  { families: '46', nodes: 3, mode: 'vxlan', isUsual: false },
] as const

describe.skipIf(reason !== null)('every path holds in clusters of other shapes', () => {
  test.each(shapes.filter(({ isUsual }) => isUsual || isSoak))(
    'families $families, $nodes nodes, $mode',
    async ({ families, nodes, mode }) => {
      const label = `f${families}n${nodes}${mode}`
      const lane = await startTestCluster(label, { families, nodes, cni: 'heddle', kubeProxy: false })
      try {
        if (!lane.isPrepared) {
          await installHeddle(lane.cluster, mode)
          await installCoreDns(lane.cluster)
        }
        await everyPathHolds(lane.cluster, label)
      } finally {
        expect(await lane.down()).toEqual([])
      }
    },
  )
})

if (reason !== null) test('this machine can run a cluster', ({ skip }) => skip(reason))
