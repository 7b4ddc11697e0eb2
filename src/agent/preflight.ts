// SPDX-License-Identifier: Apache-2.0
// What must hold before the agent touches anything; each failure is one sentence that names what is missing.

import { existsSync, readFileSync, statfsSync } from 'node:fs'
import { release } from 'node:os'
import { CommandError } from '../core/command-error.ts'
import type { KernelFeature } from './api.ts'
import type { Config } from './config.ts'

/** include/uapi/linux/magic.h */
const BPF_FS_MAGIC = 0xcafe4a11
const CGROUP2_SUPER_MAGIC = 0x63677270

/** include/uapi/linux/capability.h. Why: docs/kubernetes.md. */
const CAPABILITIES = { NET_ADMIN: 12n, SYS_ADMIN: 21n } as const

const KERNEL_MIN = [6, 1] as const
/** BPF links for tc programs (tcx). */
const KERNEL_TCX = [6, 6] as const

/** Throws a CommandError with exit code 2 for the first thing that is missing. */
export function checkHost(config: Config): void {
  require(process.getuid?.() === 0, 'the agent must run as root')
  const missing = missingCapabilities(readFileSync('/proc/self/status', 'utf8'))
  require(missing.length ===
    0, `the agent lacks ${missing.join(' and ')}: its container's securityContext.capabilities must add NET_ADMIN and SYS_ADMIN`)
  require(isKernelAtLeast(KERNEL_MIN), `Linux ${KERNEL_MIN.join('.')} or newer is needed, this is ${release()}`)
  require(existsSync('/sys/kernel/btf/vmlinux'), 'the kernel offers no BTF: it needs CONFIG_DEBUG_INFO_BTF')
  require(isBpffs(config.bpffs), `${config.bpffs} is no bpf file system: mount -t bpf bpf ${config.bpffs}`)
  const cgroup = findCgroup(config)
  require(cgroup !== undefined, 'no cgroup2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup')
  require(isFileSystem(cgroup!, CGROUP2_SUPER_MAGIC), `${cgroup} is no folder of a cgroup2 hierarchy`)
  require(config.kubeconfig !== '' ||
    existsSync(config.manifests), `there is no ${config.manifests}, where manifests should be`)
  require(existsSync(config.objectsDir), `${config.objectsDir} has no compiled programs: make build`)
}

/** Of what the agent needs, by what /proc/PID/status says is in effect (man 5 proc_pid_status: CapEff, in hexadecimal). */
export function missingCapabilities(status: string): readonly string[] {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  return Object.entries(CAPABILITIES).flatMap(([name, bit]) => ((effective >> bit) & 1n ? [] : [name]))
}

/** The configured folder, or where cgroup2 is mounted; undefined: nowhere. */
export function findCgroup({ cgroup }: Config): string | undefined {
  return cgroup === 'auto' ? highestCgroupMount(readFileSync('/proc/self/mountinfo', 'utf8')) : cgroup
}

export function kernelFeatures(sortsFragments: boolean): readonly KernelFeature[] {
  return [
    { name: 'BTF', found: existsSync('/sys/kernel/btf/vmlinux'), without: '' },
    { name: 'tcx', found: isKernelAtLeast(KERNEL_TCX), without: 'clsact filters, which end when the device does' },
    {
      name: 'defragmenter',
      found: sortsFragments,
      without: 'fragments that come before the first of their datagram are dropped',
    },
  ]
}

/** Whether netfilter links are there and hold their namespace: one that outlives it harms the kernel (CVE-2024-50130). */
export function maySortFragments(version: string = release()): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number)
  const fixedIn: Readonly<Record<number, number>> = { 6: 59, 11: 6 }
  return major > 6 || (major === 6 && (minor >= 12 || patch >= (fixedIn[minor] ?? Number.POSITIVE_INFINITY)))
}

function isKernelAtLeast([major, minor]: readonly [number, number]): boolean {
  const [runningMajor = 0, runningMinor = 0] = release().split('.').map(Number)
  return runningMajor > major || (runningMajor === major && runningMinor >= minor)
}

export function isBpffs(path: string): boolean {
  return isFileSystem(path, BPF_FS_MAGIC)
}

function isFileSystem(path: string, magic: number): boolean {
  try {
    return statfsSync(path).type === magic
  } catch {
    return false
  }
}

/** Where the hierarchy is seen from highest up; undefined: it is not mounted. In a container its own mount shows the
 *  container alone; the host's, mounted into it, has a root above that: "/../../..". man 5 proc_pid_mountinfo (optional
 *  fields end with a lone dash, then comes the type), man 7 cgroup_namespaces. */
export function highestCgroupMount(mountinfo: string): string | undefined {
  const height = (root: string): number => (/^(\/\.\.)+$/.test(root) ? root.length : root === '/' ? 0 : -root.length)
  return mountinfo
    .split('\n')
    .filter((line) => line.includes(' - cgroup2 '))
    .map((line) => line.split(' '))
    .toSorted((a, b) => height(b[3]!) - height(a[3]!))[0]?.[4]
}

function require(holds: boolean, sentence: string): void {
  if (!holds) throw new CommandError(sentence, 2)
}
