// SPDX-License-Identifier: Apache-2.0
// What a kubelet and a container runtime do for one pod: its network namespace and cgroup, the CNI plugin, its containers
// as processes of this machine, and their end.

import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { cgroupPids, makeCgroup, removeCgroup } from './cgroup.ts'
import { cniAdd, cniDel } from './cni.ts'
import { cgroupPath, checkout, netnsName, netnsPath, nodeDir } from './names.ts'
import { deleteNetns, makePodNetns } from './network.ts'
import type { Container, PodManifest } from './objects.ts'
import { inside, isAlive, startDetached, waitUntil } from './process.ts'
import type { LabNode, LabPod } from './state.ts'

/** A record of what will be made for a pod. */
export function planPod(pod: PodManifest, number: number): LabPod {
  const node = pod.spec.nodeName!
  const hostNetwork = pod.spec.hostNetwork === true
  return {
    name: `${pod.metadata.namespace}/${pod.metadata.name}`,
    node,
    hostNetwork,
    containerId: randomBytes(32).toString('hex'),
    place: hostNetwork ? node : `${node}-${number}`,
    podIPs: [],
    wired: false,
    ready: false,
    containers: [],
    cgroup: `pod-${number}`,
  }
}

/** Wires the pod: namespace, then ADD. What an earlier attempt left is taken back first, as runtimes do with DEL. */
export async function wirePod(lab: string, pod: LabPod, node: LabNode, uid: string): Promise<LabPod> {
  if (pod.hostNetwork) return { ...pod, podIPs: node.internalIPs, wired: true }
  if (existsSync(netnsPath(lab, pod.place))) await unwirePod(lab, pod, uid)
  await makePodNetns(lab, pod.place)
  return { ...pod, podIPs: await cniAdd(lab, pod, uid), wired: true }
}

export function podCgroup(lab: string, pod: LabPod): string {
  return cgroupPath(lab, pod.node, pod.cgroup)
}

/** Starts every container that has a command; one without is only there to hold the pod's addresses. */
export function startContainers(lab: string, pod: LabPod, manifest: PodManifest, node: LabNode): LabPod {
  const cgroup = makeCgroup(podCgroup(lab, pod))
  const containers = (manifest.spec.containers ?? []).flatMap((container) => {
    const environment = containerEnvironment(container, manifest, pod, node)
    const argv = [...(container.command ?? []), ...(container.args ?? [])].map((text) => expand(text, environment))
    if (argv.length === 0) return []
    const log = containerLog(lab, pod, container.name)
    const process = startDetached(keepExitCode(inside(cgroup, netnsPath(lab, pod.place), argv), `${log}.exit`), {
      log,
      env: environment,
      cwd: container.workingDir ?? '/',
    })
    return [{ name: container.name, process }]
  })
  return { ...pod, containers }
}

export function containerLog(lab: string, pod: LabPod, container: string): string {
  return `${nodeDir(lab, pod.node)}/logs/${pod.name.replace('/', '_')}_${container}.log`
}

/** Runs `argv` to its end and leaves its exit code in a file, for the pod's phase. */
function keepExitCode(argv: readonly string[], file: string): string[] {
  return ['/bin/sh', '-c', 'file=$0; rm -f "$file"; "$@"; echo $? >"$file"', file, ...argv]
}

/** Running while a container runs; then Succeeded or Failed by exit code. A pod without processes runs once it is wired. */
export function podPhase(lab: string, pod: LabPod): 'Pending' | 'Running' | 'Succeeded' | 'Failed' {
  if (!pod.wired) return 'Pending'
  if (pod.containers.length === 0 || pod.containers.some(({ process }) => isAlive(process))) return 'Running'
  const codes = pod.containers.map(({ name }) => exitCode(`${containerLog(lab, pod, name)}.exit`))
  return codes.every((code) => code === 0) ? 'Succeeded' : 'Failed'
}

function exitCode(file: string): number | null {
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : null
}

/** SIGTERM to the pod's processes, after the grace period the kernel ends what is left. */
export async function stopContainers(lab: string, pod: LabPod, graceSeconds: number): Promise<void> {
  const cgroup = podCgroup(lab, pod)
  for (const pid of cgroupPids(cgroup)) endProcess(pid)
  await waitUntil(() => cgroupPids(cgroup).length === 0, graceSeconds * 1_000)
  await removeCgroup(cgroup)
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM')
  } catch {
    // It ended by itself.
  }
}

export async function unwirePod(lab: string, pod: LabPod, uid: string): Promise<void> {
  if (pod.hostNetwork) return
  await cniDel(lab, pod, uid)
  if (existsSync(netnsPath(lab, pod.place))) await deleteNetns([netnsName(lab, pod.place)])
}

/** The lab's own commands come first in PATH, so that manifests can say `heddle lab serve`. */
function containerEnvironment(
  container: Container,
  manifest: PodManifest,
  pod: LabPod,
  node: LabNode,
): Record<string, string> {
  const { namespace, name, uid = '' } = manifest.metadata
  const fields: Record<string, string> = {
    'metadata.name': name,
    'metadata.namespace': namespace,
    'metadata.uid': uid,
    'spec.nodeName': node.name,
    'status.podIP': pod.podIPs[0] ?? '',
    'status.podIPs': pod.podIPs.join(','),
    'status.hostIP': node.internalIPs[0] ?? '',
    'status.hostIPs': node.internalIPs.join(','),
  }
  const environment: Record<string, string> = {
    PATH: `${checkout}/bin:${process.env.PATH ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'}`,
    HOME: '/root',
    HOSTNAME: name,
  }
  for (const { name, value, valueFrom } of container.env ?? []) {
    const path = valueFrom?.fieldRef?.fieldPath
    environment[name] = path === undefined ? expand(value ?? '', environment) : (fields[path] ?? '')
  }
  return environment
}

/** $(NAME) as Kubernetes expands it in command, args and env: unknown names stay, $$ is a dollar. */
export function expand(text: string, environment: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([^)]*)\)/g, (match, name: string | undefined) =>
    name === undefined ? '$' : (environment[name] ?? match),
  )
}
