// SPDX-License-Identifier: Apache-2.0
// Once the node is ready the container runtime and the cluster are told: plugin and network configuration on the disk,
// condition, taint and annotations in the Node. Nothing of it is taken back when the agent stops.

import type { Logger } from 'pino'
import type { ApiClient } from '../kube/client.ts'
import type { NodeAnnouncement } from '../kube/node-life.ts'
import { createNodeWriter } from '../kube/node-writer.ts'
import { installCniFiles } from './cni-files.ts'
import type { Config } from './config.ts'
import type { LocalNode } from './node-setup.ts'
import { kernelFeatures } from './preflight.ts'
import { notReady, type Progress } from './progress.ts'

/** Somebody may have removed the files. */
const LOOK_AGAIN_MS = 60_000
const RETRY_MS_MIN = 1_000

export interface AnnouncerParts {
  readonly config: Config
  readonly log: Logger
  readonly progress: Progress
  readonly version: { readonly version: string }
  /** null: the source is no API server, so there is no Node to write to. */
  readonly api: Pick<ApiClient, 'get' | 'patch'> | null
}

export interface Announcer extends Disposable {
  /** The node may be ready now. Cheap; it looks by itself once a second. */
  look(): void
  /** The own Node object is another one. */
  nodeChanged(): void
  /** What could not be said so far, one sentence each; empty: all is said. */
  problems(): readonly string[]
}

export function createAnnouncer({ config, log, progress, version, api }: AnnouncerParts): Announcer {
  let notBefore = 0 // performance.now()
  let failures = 0 // in a row
  let problem = ''
  let shadowedBy = ''
  let running = false
  let isInstalled = false
  const timer = setInterval(look, RETRY_MS_MIN)
  timer.unref()
  const node =
    api === null
      ? null
      : createNodeWriter({
          client: api,
          nodeName: config.nodeName,
          announcement: () => announcement(),
          onWritten: (what) => log.info({ what }, 'own Node written'),
          onFailure: (error, retryMs) => log.warn({ retryMs }, `own Node: ${error.message}`),
        })

  function announcement(): NodeAnnouncement | null {
    const local = progress.dataPlane?.local
    if (local === undefined || notReady(progress).length > 0) return null
    return announcementOf(config, local, version.version)
  }

  async function install(): Promise<void> {
    try {
      const installed = await installCniFiles(config)
      problem = ''
      failures = 0
      notBefore = performance.now() + LOOK_AGAIN_MS
      if (installed.written.length > 0) log.info({ files: installed.written }, 'CNI files written')
      if (installed.shadowedBy !== shadowedBy) {
        shadowedBy = installed.shadowedBy
        if (shadowedBy !== '') log.warn(shadowSentence(shadowedBy))
      }
    } catch (error) {
      problem = `CNI files: ${(error as Error).message}`
      notBefore = performance.now() + Math.min(RETRY_MS_MIN * 2 ** failures++, LOOK_AGAIN_MS)
      log.error({ err: error }, problem)
    }
  }

  function look(): void {
    if (running || performance.now() < notBefore || notReady(progress).length > 0) return
    running = true
    // The Node last: whoever places pods here must find them served.
    void install().finally(() => {
      running = false
      if (problem !== '' || isInstalled) return
      isInstalled = true
      node?.look()
    })
  }

  return {
    look,
    nodeChanged() {
      if (isInstalled) node?.look()
    },
    problems: () =>
      [
        problem,
        shadowedBy === '' ? '' : shadowSentence(shadowedBy),
        node === null || node.problem() === '' ? '' : `own Node: ${node.problem()}`,
      ].filter((sentence) => sentence !== ''),
    [Symbol.dispose]() {
      clearInterval(timer)
      node?.[Symbol.dispose]()
    },
  }
}

function shadowSentence(path: string): string {
  return `the container runtime takes ${path} instead of Heddle's network configuration: it comes first by name`
}

function announcementOf(config: Config, { nodeAddresses, sorter }: LocalNode, version: string): NodeAnnouncement {
  return {
    mode: config.mode,
    tunnelAddresses: config.mode === 'vxlan' ? nodeAddresses : [],
    tunnelPort: config.tunnelPort,
    vni: config.vni,
    capabilities: kernelFeatures(sorter !== 0).flatMap(({ name, found }) => (found ? [name] : [])),
    dsr: config.loadBalancerMode !== 'snat',
    version,
  }
}
