// SPDX-License-Identifier: Apache-2.0
// A cluster of its own for a test file. Names carry the pid of the test process, so that clusters of a run that was
// killed are recognised and removed by the next one.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runProgram } from '../../src/lab/process.ts'
import { buildPrograms, cacheDir } from './build.ts'
import { type Cluster, type ClusterPlan, clusterDown, clusterUp, openCluster, sweepClusters } from './cluster.ts'

/** Why a cluster cannot be had on this machine; null where it can. What is missing is fetched here, as far as it can be: a
 *  program that does not build is not an obstacle but a failure. */
export async function obstacle(): Promise<string | null> {
  const missing = ['containerd', 'runc', 'openssl', 'dig', 'nc.openbsd'].filter((program) => !isOnPath(program))
  if (missing.length > 0) return `${missing.join(', ')} not installed; tools/cluster.sh says why`
  if (existsSync(cacheDir())) return null
  for (const folder of ['tools', 'coredns']) {
    const outcome = await runProgram(['go', '-C', fileURLToPath(new URL(folder, import.meta.url)), 'mod', 'download'], {
      timeoutMs: 600_000,
    })
    if (outcome.exitCode !== 0) return `Go modules cannot be had: ${outcome.stderr.trim().split('\n').at(-1)}`
  }
  return null
}

function isOnPath(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, program)))
}

/** HEDDLE_CLUSTER names a cluster that is up already and was prepared by hand, to work on a few cases: it is used as it
 *  is, and stays. */
const standing = process.env.HEDDLE_CLUSTER

export interface TestCluster {
  readonly cluster: Cluster
  /** A cluster of an earlier command: what a test installs is there. */
  readonly isPrepared: boolean
  /** Takes the cluster down and returns what it left: nothing, or the test that asks fails. */
  readonly down: () => Promise<string[]>
}

export async function startTestCluster(
  label: string,
  plan: Omit<ClusterPlan, 'name' | 'nodes'> & { readonly nodes?: number },
): Promise<TestCluster> {
  if (standing !== undefined) return { cluster: openCluster(standing), isPrepared: true, down: async () => [] }
  await sweepClusters()
  const name = `t${process.pid}-${label}`
  const built = await buildPrograms((text) => console.log(text))
  const started = performance.now()
  const seconds = () => `${((performance.now() - started) / 1000).toFixed(1)} s`
  try {
    const cluster = await clusterUp({ name, nodes: 2, ...plan }, built, (text) =>
      console.log(`${label}: ${text} (${seconds()})`),
    )
    return { cluster, isPrepared: false, down: () => cluster.down() }
  } catch (error) {
    await clusterDown(name)
    throw error
  }
}
