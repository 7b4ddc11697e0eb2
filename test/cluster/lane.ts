// SPDX-License-Identifier: Apache-2.0
// A cluster of its own for a test file. Names carry the pid of the test process, so that clusters of a run that was
// killed are recognised and removed by the next one.

import { buildPrograms } from './build.ts'
import { type Cluster, type ClusterPlan, clusterDown, clusterUp, sweepClusters } from './cluster.ts'

export async function startTestCluster(label: string, plan: Omit<ClusterPlan, 'name' | 'nodes'>): Promise<Cluster> {
  await sweepClusters()
  const name = `t${process.pid}-${label}`
  const built = await buildPrograms((text) => console.log(text))
  const started = performance.now()
  const seconds = () => `${((performance.now() - started) / 1000).toFixed(1)} s`
  try {
    return await clusterUp({ name, nodes: 2, ...plan }, built, (text) =>
      console.log(`${label}: ${text} (${seconds()})`),
    )
  } catch (error) {
    await clusterDown(name)
    throw error
  }
}
