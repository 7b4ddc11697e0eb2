// SPDX-License-Identifier: Apache-2.0
// A lab of its own for a test file. Names carry the pid of the test process, so that labs of a run that was killed are
// recognised and removed by the next one.

import { existsSync } from 'node:fs'
import { agentReady, endAgent, startAgent } from '../../src/lab/agents.ts'
import type { Cluster } from '../../src/lab/cluster.ts'
import { bringUp, leftovers, takeDown } from '../../src/lab/lifecycle.ts'
import { withLabLock } from '../../src/lab/lock.ts'
import { checkout } from '../../src/lab/names.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { commandAt } from '../../src/lab/places.ts'
import { type Outcome, runProgram } from '../../src/lab/process.ts'
import { familyOf } from '../../src/lab/services.ts'
import { existingLabs, type Families, type LabPod, type Mode } from '../../src/lab/state.ts'
import { type Background, startBackground } from './background.ts'
import type { Load, LoadReport } from './load.ts'

const testLab = /^test-(\d+)-/

/** Starts a lab for this test process; `await using` takes it down. */
export async function startTestLab(
  label: string,
  plan: { readonly mode: Mode; readonly families: Families; readonly nodeCount?: number },
): Promise<TestLab> {
  await sweepTestLabs()
  const name = `test-${process.pid}-${label}`
  const cluster = await bringUp({ name, nodeCount: 2, wire: 'fabric', ...plan }, () => {}).catch(async (error) => {
    await takeDown(name)
    throw error
  })
  return new TestLab(cluster)
}

/** Takes down the labs of test processes that are no more. Returns their names. */
export async function sweepTestLabs(): Promise<string[]> {
  const stale = existingLabs().filter((lab) => {
    const pid = testLab.exec(lab)?.[1]
    return pid !== undefined && !existsSync(`/proc/${pid}`)
  })
  // Another test process may be at it.
  for (const lab of stale) await withLabLock(lab, () => takeDown(lab))
  return stale
}

export class TestLab implements AsyncDisposable {
  readonly cluster: Cluster

  constructor(cluster: Cluster) {
    this.cluster = cluster
  }

  get name(): string {
    return this.cluster.state.name
  }

  /** Runs to its end at a place ("namespace/pod", "node/n1", "outside", "fabric"). */
  run(
    place: string,
    argv: readonly string[],
    options: { readonly input?: string; readonly timeoutMs?: number } = {},
  ): Promise<Outcome> {
    return runProgram(commandAt(this.cluster.state, place, argv), { timeoutMs: 60_000, ...options })
  }

  /** A shell command that must succeed; its standard output. */
  async shell(place: string, script: string): Promise<string> {
    const outcome = await this.run(place, ['sh', '-c', script])
    if (outcome.exitCode === 0) return outcome.stdout
    throw new Error(`${place}: ${script}: exit code ${outcome.exitCode}: ${outcome.stderr || outcome.stdout}`)
  }

  /** Runs one of the programs beside this file with `input` as JSON; what it printed, as JSON. */
  async script<T>(place: string, file: string, input: unknown, timeoutMs = 60_000): Promise<T> {
    return runScript<T>(place, commandAt(this.cluster.state, place, scriptArgv(file)), input, timeoutMs)
  }

  /** Starts something that goes on; it ends with the lab, or by `stop`, which resolves to its output. */
  start(place: string, argv: readonly string[]): Background {
    return startBackground(commandAt(this.cluster.state, place, argv))
  }

  /** Starts `heddle lab serve` at a place and waits until it listens. */
  async serve(
    place: string,
    ports: { readonly http: number; readonly udp: number },
    name = 'unnamed',
  ): Promise<Background> {
    return listening(this.start(place, serverArgv(ports, name)))
  }

  /** Puts a place under load (load.ts); resolves when every kept connection has answered once. */
  async load(place: string, load: Load): Promise<{ readonly report: Promise<LoadReport> }> {
    const running = this.start(place, scriptArgv('load.ts', JSON.stringify(load)))
    await running.until((output) => output.includes('running\n'))
    const report = running.ended.then((output) => JSON.parse(output.slice(output.indexOf('{'))) as LoadReport)
    return { report }
  }

  async apply(...objects: readonly KubeManifest[]): Promise<void> {
    const syncs = await this.cluster.apply(objects)
    const problems = syncs.flatMap((sync) => sync.problems)
    if (problems.length > 0) throw new Error(problems.join('\n'))
  }

  async delete(...objects: readonly KubeManifest[]): Promise<void> {
    await this.cluster.delete(objects)
  }

  /** Every node's agent ends at once; what it has written stays in force. */
  async killAgents(): Promise<void> {
    for (const node of this.cluster.state.nodes) this.cluster.setNode(await endAgent(node, 'SIGKILL'))
  }

  /** Resolves when every node's agent is ready. */
  async startAgents(): Promise<void> {
    for (const node of this.cluster.state.nodes) this.cluster.setNode(startAgent(this.name, node))
    await Promise.all(this.cluster.state.nodes.map((node) => agentReady(this.name, node)))
  }

  pod(name: string): LabPod {
    const pod = this.cluster.state.pods.find((candidate) => candidate.name === name)
    if (!pod)
      throw new Error(`no pod ${name} in ${this.cluster.state.pods.map((candidate) => candidate.name).join(', ')}`)
    return pod
  }

  /** The pod's address of a family. */
  podIP(name: string, family: 4 | 6): string {
    return this.pod(name).podIPs.find((ip) => familyOf(ip) === family)!
  }

  nodeIP(name: string, family: 4 | 6): string {
    return this.cluster.node(name).internalIPs.find((ip) => familyOf(ip) === family)!
  }

  clusterIP(service: string, family: 4 | 6): string {
    const found = this.cluster.services().find(({ namespace, name }) => `${namespace}/${name}` === service)
    return found!.clusterIPs.find((ip) => familyOf(ip) === family)!
  }

  families(): (4 | 6)[] {
    return [...this.cluster.state.families].map(Number) as (4 | 6)[]
  }

  /** Takes the lab down and returns what it left: nothing, or the test that asks fails. */
  async down(): Promise<string[]> {
    await takeDown(this.name)
    return Object.values(leftovers(this.name)).flat()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down()
  }
}

/** Runs a program beside this file by its whole command line, with `input` as JSON; what it printed, as JSON. */
export async function runScript<T>(
  place: string,
  command: readonly string[],
  input: unknown,
  timeoutMs = 60_000,
): Promise<T> {
  const outcome = await runProgram(command, { input: JSON.stringify(input), timeoutMs })
  if (outcome.exitCode === 0) return JSON.parse(outcome.stdout) as T
  throw new Error(`${command.at(-1)} at ${place}: exit code ${outcome.exitCode}: ${outcome.stderr}`)
}

/** The command line of a server that calls itself `name`. */
export function serverArgv(ports: { readonly http: number; readonly udp: number }, name: string): string[] {
  const argv = ['lab', 'serve', '--http', String(ports.http), '--udp', String(ports.udp)]
  return ['env', `HOSTNAME=${name}`, `${checkout}/bin/heddle`, ...argv]
}

/** Resolves to the server once it listens. */
export async function listening(server: Background): Promise<Background> {
  await server.until((output) => output.includes('listening\n'))
  return server
}

/** The command line of a program beside this file, with the Node that runs the tests. */
export function scriptArgv(file: string, ...args: readonly string[]): string[] {
  return [process.execPath, '--max-semi-space-size=2', `${checkout}/test/support/${file}`, ...args]
}
