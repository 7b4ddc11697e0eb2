// SPDX-License-Identifier: Apache-2.0
// Readiness: whether a pod's containers answer their readinessProbe. exec runs in the pod; tcpSocket and httpGet come from
// the pod's node, as a kubelet's do, in one process per node that knocks on every pod at once (knock.ts).

import { cgroupPath, checkout, netnsPath } from './names.ts'
import type { Container, PodManifest, Probe } from './objects.ts'
import { podCgroup } from './pods.ts'
import { inside, runProgram, waitUntil } from './process.ts'
import { portNumber } from './services.ts'
import type { LabPod } from './state.ts'

/** One target of knock.ts. */
export interface Knock {
  readonly id: string
  readonly host: string
  readonly port: number
  /** null: a TCP connection is enough. */
  readonly httpPath: string | null
  readonly delayMs: number
  readonly timeoutMs: number
  /** How long to go on trying. */
  readonly patienceMs: number
}

/** Names of the pods whose every probe succeeds. A pod that never was ready is tried for periodSeconds times
 *  failureThreshold, one that was gets a single try. */
export async function readyPods(
  lab: string,
  pods: readonly { readonly pod: LabPod; readonly manifest: PodManifest }[],
): Promise<Set<string>> {
  const probes = pods.flatMap(({ pod, manifest }) =>
    (manifest.spec.containers ?? []).flatMap((container) =>
      container.readinessProbe ? [{ pod, container, manifest, probe: container.readinessProbe }] : [],
    ),
  )
  const byNode = Map.groupBy(
    probes.filter(({ probe }) => !probe.exec),
    ({ pod }) => pod.node,
  )
  const failed = new Set<string>()
  await Promise.all([
    ...probes.map(async ({ pod, probe }) => {
      if (probe.exec && !(await execProbe(lab, pod, probe))) failed.add(pod.name)
    }),
    ...[...byNode].map(async ([node, members]) => {
      const knocks = members.map(({ pod, manifest, probe }) => knockOf(pod, manifest.spec.containers ?? [], probe))
      for (const name of await knockFrom(lab, node, knocks)) failed.add(name)
    }),
  ])
  return new Set(pods.map(({ pod }) => pod.name).filter((name) => !failed.has(name)))
}

function patienceMs(pod: LabPod, probe: Probe): number {
  return pod.ready ? 0 : (probe.periodSeconds ?? 10) * (probe.failureThreshold ?? 3) * 1_000
}

function knockOf(pod: LabPod, containers: readonly Container[], probe: Probe): Knock {
  const { port, host = pod.podIPs[0]! } = (probe.httpGet ?? probe.tcpSocket)!
  return {
    id: pod.name,
    host,
    port: typeof port === 'number' ? port : (portNumber(containers, port) ?? 0),
    httpPath: probe.httpGet ? (probe.httpGet.path ?? '/') : null,
    delayMs: pod.ready ? 0 : (probe.initialDelaySeconds ?? 0) * 1_000,
    timeoutMs: (probe.timeoutSeconds ?? 1) * 1_000,
    patienceMs: patienceMs(pod, probe),
  }
}

async function execProbe(lab: string, pod: LabPod, probe: Probe): Promise<boolean> {
  const argv = inside(podCgroup(lab, pod), netnsPath(lab, pod.place), probe.exec!.command)
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1_000
  return waitUntil(
    async () => (await runProgram(argv, { timeoutMs }).catch(() => null))?.exitCode === 0,
    patienceMs(pod, probe),
  )
}

/** Ids of the targets that did not answer. */
async function knockFrom(lab: string, node: string, knocks: readonly Knock[]): Promise<string[]> {
  const argv = [process.execPath, '--max-semi-space-size=2', `${checkout}/src/lab/knock.ts`]
  const outcome = await runProgram(inside(cgroupPath(lab, node, 'host'), netnsPath(lab, node), argv), {
    input: JSON.stringify(knocks),
  })
  if (outcome.exitCode !== 0) throw new Error(`knock.ts on ${node}: ${outcome.stderr}`)
  return JSON.parse(outcome.stdout) as string[]
}
