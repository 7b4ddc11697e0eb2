// SPDX-License-Identifier: Apache-2.0
// Every name that a cluster has on the machine. All follow from the cluster's name, so that taking down finds what a
// crash left behind without trusting a state file.
//
//   /srv/heddle-cluster/<cluster>/              state.json, pki/, control/, and a folder per node
//   <each cgroup hierarchy>/heddle-cluster/<cluster>/<place>
//   /run/netns/heddle-k8s-<cluster>-<place>         place: fabric, control, n1, n2 ...

import { existsSync, readdirSync } from 'node:fs'
import { CommandError } from '../../src/core/command-error.ts'
import { cgroup2Mount } from '../../src/lab/names.ts'

/** Not below /etc, /opt or /var: a node lays overlays over those, and their upper folders are in here. */
export const clustersRoot = '/srv/heddle-cluster'

const clusterName = /^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$/

/** `name` itself; throws a usage error when a cluster cannot be called so. */
export function checkClusterName(name: string): string {
  if (clusterName.test(name)) return name
  throw new CommandError(`a cluster's name is up to 24 lower-case letters, digits and dashes, not "${name}"`, 2)
}

export function clusterDir(cluster: string): string {
  return `${clustersRoot}/${cluster}`
}

export function netnsName(cluster: string, place: string): string {
  return `heddle-k8s-${cluster}-${place}`
}

export function netnsPath(cluster: string, place: string): string {
  return `/run/netns/${netnsName(cluster, place)}`
}

/** Network namespaces of this very cluster: cluster `a` does not own those of cluster `a-b`. */
export function netnsOf(cluster: string): string[] {
  const prefix = `heddle-k8s-${cluster}-`
  if (!existsSync('/run/netns')) return []
  return readdirSync('/run/netns').filter(
    (netns) => netns.startsWith(prefix) && /^(fabric|control|n\d+)$/.test(netns.slice(prefix.length)),
  )
}

/** Clusters that have a folder, complete or not. */
export function existingClusters(): string[] {
  return existsSync(clustersRoot) ? readdirSync(clustersRoot) : []
}

/** The cgroup2 folder of a place, or of the whole cluster. */
export function cgroup2Path(cluster: string, ...below: readonly string[]): string {
  return [cgroup2Mount(), 'heddle-cluster', cluster, ...below].join('/')
}
