// SPDX-License-Identifier: Apache-2.0
// The source that the configuration names, wired to World and the loop.

import type { Logger } from 'pino'
import type { BrokenInvariant } from '../core/errors.ts'
import type { ApiClient } from '../kube/client.ts'
import type { ServerMemory } from '../kube/servers.ts'
import { followKubernetes } from '../kube/source.ts'
import { watchManifests } from '../manifests/source.ts'
import type { Node } from '../world/objects.ts'
import type { Source, SourceChange } from '../world/source.ts'
import { keyOf, type World } from '../world/world.ts'
import type { Config } from './config.ts'
import type { Progress } from './progress.ts'

export interface FollowParts {
  readonly config: Config
  readonly log: Logger
  readonly world: World
  readonly progress: Progress
  /** null: the source is a folder of manifests. */
  readonly api: ApiClient | null
  readonly servers: ServerMemory
  /** The own Node is in World and has an InternalIP. */
  readonly onOwnNode: (node: Node) => void
  readonly onBroken: (error: BrokenInvariant) => void
}

/** What the source is called while nobody has heard of it. */
export function sourceName({ kubeconfig, manifests }: Config): string {
  return kubeconfig === '' ? `manifests in ${manifests}` : 'the Kubernetes API'
}

/** Manifests have been read when it resolves; an API server may take its time, and status says how far it is. */
export async function followSource(parts: FollowParts): Promise<Source> {
  const { config, log, world, progress, api } = parts
  let ownNode: Node | undefined

  function onChange({ put, deleted, parseMs }: SourceChange): void {
    progress.serviceSync.queued({ put, deleted })
    for (const object of deleted) world.delete(object.kind, keyOf(object))
    for (const object of put) world.put(object)
    log.debug({ put: put.length, deleted: deleted.length, parseMs }, 'objects changed')
    const node = world.node(config.nodeName)
    const isNews = node !== ownNode
    ownNode = node
    if (node !== undefined && node.internalIPs.length > 0) parts.onOwnNode(node)
    if (progress.dataPlane === undefined) return
    if (node !== undefined && isNews) {
      progress.announcer?.nodeChanged()
      progress.dataPlane.nodeChanged(node).catch((err) => log.error({ err }, 'own node'))
    }
    progress.dataPlane.loop.wake()
  }

  if (api === null) {
    return watchManifests(config.manifests, {
      journalPath: `${config.stateDir}/manifests.journal`,
      onError: (error) => log.warn({ err: error }, 'manifests'),
      onChange,
    })
  }
  return followKubernetes({
    client: api,
    nodeName: config.nodeName,
    journalPath: `${config.stateDir}/kubernetes.journal`,
    servers: parts.servers,
    onError: (error) => log.warn({ server: api.server() }, error.message),
    onBroken: parts.onBroken,
    onChange,
    onOwnNode: () => progress.announcer?.nodeChanged(),
    onReachable(isReachable) {
      world.setLive(isReachable)
      progress.dataPlane?.loop.wake()
    },
  })
}
