// SPDX-License-Identifier: Apache-2.0
// Heddle in a cluster, installed and upgraded as an operator does it: the image of this checkout, the chart, Helm.

import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { arch } from 'node:os'
import { expect } from 'vitest'
import { groups } from '../../src/connectivity/check.ts'
import type { Report } from '../../src/connectivity/report.ts'
import { CommandError } from '../../src/core/command-error.ts'
import { checkout } from '../../src/lab/names.ts'
import { runProgram } from '../../src/lab/process.ts'
import type { Mode } from '../../src/lab/state.ts'
import type { Cluster } from './cluster.ts'
import { addressesOf, familiesOf } from './network.ts'

const repository = 'ghcr.io/heddle-network/heddle'
const namespace = 'kube-system'

export const imageArchive = `${checkout}/build/image/heddle-${arch() === 'x64' ? 'amd64' : arch()}.tar`

function version(): string {
  return (JSON.parse(readFileSync(`${checkout}/package.json`, 'utf8')) as { version: string }).version
}

/** Imports the image, installs the chart and waits until every node is Ready because of it. */
export async function installHeddle(cluster: Cluster, mode: Mode): Promise<void> {
  if (!existsSync(imageArchive)) throw new CommandError(`${imageArchive} is missing; run \`make image\``)
  await cluster.importImage(imageArchive)
  await helm(cluster, 'install', mode, version())
  await agentsReady(cluster)
  await cluster.nodesReady()
}

/** Gives the image another tag on every node, as a registry would have it, and upgrades to it. Resolves when every agent
 *  runs the new tag and is ready. */
export async function upgradeHeddle(cluster: Cluster, mode: Mode, tag: string): Promise<void> {
  for (const node of cluster.nodes) {
    const names = [`${repository}:${version()}`, `${repository}:${tag}`]
    const outcome = await cluster.run(node, ['ctr', '-n', 'k8s.io', 'images', 'tag', '--force', ...names])
    if (outcome.exitCode !== 0) throw new Error(`${node}: ctr images tag: ${outcome.stderr}`)
  }
  await helm(cluster, 'upgrade', mode, tag)
  await agentsReady(cluster)
}

/** Release, chart and values for this cluster, as every `helm` command takes them. */
export async function chartArguments(cluster: Cluster, mode: Mode, tag = version()): Promise<readonly string[]> {
  const cgroup = (await cluster.run('n1', ['test', '-d', '/sys/fs/cgroup/unified'])).exitCode === 0
  const settings = [
    `image.tag=${tag}`,
    `config.mode=${mode}`,
    `k8sServiceHost=${addressesOf('control', cluster.state.families)[0]}`,
    `host.cgroup=${cgroup ? '/sys/fs/cgroup/unified' : '/sys/fs/cgroup'}`,
  ]
  return ['heddle', `${checkout}/deploy/helm/heddle`, '-n', namespace, ...settings.flatMap((s) => ['--set', s])]
}

async function helm(cluster: Cluster, action: 'install' | 'upgrade', mode: Mode, tag: string): Promise<void> {
  const argv = [action, ...(await chartArguments(cluster, mode, tag))]
  const outcome = await runProgram(cluster.helmCommand(argv), { timeoutMs: 120_000 })
  if (outcome.exitCode !== 0) throw new Error(`helm ${action}: ${outcome.stderr.trim()}`)
}

/** Runs `heddle connectivity test`; asserts that it tried every group of paths on every node in every family, that all
 *  hold, and that its JSON and its JUnit file say so. */
export async function everyPathHolds(cluster: Cluster, label: string): Promise<void> {
  const reports = `${checkout}/build/cluster`
  mkdirSync(reports, { recursive: true })
  const junit = `${reports}/connectivity-${label}.xml`
  const argv = ['connectivity', 'test', '--kubeconfig', cluster.kubeconfig, '--timeout', '240', '-o', 'json']
  const command = cluster.commandAt('control', [`${checkout}/bin/heddle`, ...argv, '--junit', junit])
  const { exitCode, stdout, stderr } = await runProgram(command, { timeoutMs: 300_000 })
  console.log(stderr)
  expect(stdout, stderr).toMatch(/^\{/)
  const report = JSON.parse(stdout) as Report
  expect(report.checks.filter(({ result }) => result !== 'passed')).toEqual([])
  const tried = report.checks.length
  const families = familiesOf(cluster.state.families)
  expect(report).toMatchObject({ ok: true, passed: tried, failed: 0, skipped: 0, nodes: cluster.nodes, families })
  expect(new Set(report.checks.map(({ group }) => group))).toEqual(new Set(groups))
  expect(readFileSync(junit, 'utf8')).toContain(` tests="${tried}" failures="0" skipped="0" `)
  expect(exitCode).toBe(0)
}

async function agentsReady(cluster: Cluster): Promise<void> {
  const argv = ['-n', namespace, 'rollout', 'status', 'daemonset/heddle', '--timeout=120s']
  try {
    await cluster.kubectl(argv)
  } catch (error) {
    const said = await cluster.kubectl(['-n', namespace, 'logs', 'daemonset/heddle', '--tail=5']).catch(String)
    const pods = await cluster.kubectl(['-n', namespace, 'get', 'pods', '-o', 'wide'])
    throw new Error(`${(error as Error).message}\n${pods}\n${said}`)
  }
}
