// SPDX-License-Identifier: Apache-2.0
// Places where `lab exec` runs a command: a pod, a node, the host outside, the fabric between them.

import { CommandError } from '../core/command-error.ts'
import { makeCgroup } from './cgroup.ts'
import { cgroupPath, netnsPath } from './names.ts'
import { podCgroup } from './pods.ts'
import { inside } from './process.ts'
import type { LabState } from './state.ts'

/** The command line that runs `argv` at a place: "namespace/pod", "node/name", "outside" or "fabric". */
export function commandAt(lab: LabState, place: string, argv: readonly string[]): string[] {
  const { netns, cgroup } = resolvePlace(lab, place)
  return inside(makeCgroup(cgroup), netns, argv)
}

function resolvePlace(lab: LabState, place: string): { readonly netns: string; readonly cgroup: string } {
  if (place === 'outside' || place === 'fabric')
    return { netns: netnsPath(lab.name, place), cgroup: cgroupPath(lab.name, place) }
  if (place.startsWith('node/')) {
    const name = place.slice('node/'.length)
    if (lab.nodes.some((node) => node.name === name))
      return { netns: netnsPath(lab.name, name), cgroup: cgroupPath(lab.name, name, 'host') }
  }
  const pod = lab.pods.find(({ name, wired }) => wired && name === place)
  if (pod) return { netns: netnsPath(lab.name, pod.place), cgroup: podCgroup(lab.name, pod) }
  const known = [...lab.pods.map(({ name }) => name), ...lab.nodes.map(({ name }) => `node/${name}`), 'outside']
  const shown = known.length > 12 ? [...known.slice(0, 12), '...'] : known
  throw new CommandError(`lab ${lab.name} has no place ${place}; it has ${shown.join(', ')}`, 2)
}
