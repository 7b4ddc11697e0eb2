// SPDX-License-Identifier: Apache-2.0
// Every name that a lab has on the machine. All of them follow from the lab's name alone, so that `lab down` finds what a
// crash left behind without trusting a state file.
//
//   /run/heddle-lab/<lab>/                 state.json, objects/
//   /run/heddle-lab/<lab>/<node>/          bpf/ (a bpffs), run/, state/, manifests/, logs, config.yaml
//   <cgroup2>/heddle-lab/<lab>/<node>/     agent, host and one folder per pod
//   /run/netns/heddle-<lab>-<node>[-<n>]   nodes and their pods; also -fabric and -outside

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { CommandError } from '../core/command-error.ts'

export const labsRoot = '/run/heddle-lab'
export const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

const labName = /^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$/

/** `name` itself; throws a usage error when a lab cannot be called so. */
export function checkLabName(name: string): string {
  if (labName.test(name)) return name
  throw new CommandError(`a lab's name is up to 30 lower-case letters, digits and dashes, not "${name}"`, 2)
}

export function labDir(lab: string): string {
  return `${labsRoot}/${lab}`
}

export function nodeDir(lab: string, node: string): string {
  return `${labDir(lab)}/${node}`
}

export function netnsName(lab: string, place: string): string {
  return `heddle-${lab}-${place}`
}

export function netnsPath(lab: string, place: string): string {
  return `/run/netns/${netnsName(lab, place)}`
}

/** True for the network namespaces of this very lab: lab `a` does not own those of lab `a-n1`. */
export function isNetnsOf(lab: string, netns: string): boolean {
  const prefix = `heddle-${lab}-`
  return netns.startsWith(prefix) && /^(fabric|outside|n\d+(-\d+)?)$/.test(netns.slice(prefix.length))
}

/** Where cgroup2 is mounted; on hybrid systems that is not /sys/fs/cgroup. */
export function cgroup2Mount(): string {
  const mount = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .find((fields) => fields[2] === 'cgroup2')
  if (mount) return mount[1]!
  throw new CommandError('no cgroup2 file system is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup', 2)
}

/** The cgroup of a place in the lab: a node's name, `outside`, or below one of them. */
export function cgroupPath(lab: string, ...below: readonly string[]): string {
  return [cgroup2Mount(), 'heddle-lab', lab, ...below].join('/')
}
