// SPDX-License-Identifier: Apache-2.0
// The pods of this node between the CNI handlers and the kernel: their wire, and their place in World.

import type { Endpoints, InspectedInterface, Site, Wire, Wiring } from '../cni/interfaces.ts'
import type { Address } from '../core/address.ts'
import { endpointKey, objectName } from '../core/names.ts'
import { type AttachmentId, attachmentKey } from '../ipam/attachment.ts'
import { inspectPod } from '../kernel/inspect.ts'
import type { Datapath } from '../kernel/loader.ts'
import type { NodeNetwork } from '../kernel/node-network.ts'
import { podGateway, unwirePod, wirePod } from '../kernel/veth.ts'
import type { Endpoint } from '../world/objects.ts'
import type { World } from '../world/world.ts'
import type { Loop } from './loop.ts'
import type { LocalNode } from './node-setup.ts'

/** The node speaks to pods from its InternalIPs: any other source would not be its own to policy. */
export function createWiring(
  network: NodeNetwork,
  datapath: Datapath,
  { podMtu: mtu, podGsoIPv4MaxBytes: gsoIPv4MaxBytes, nodeAddresses }: LocalNode,
): Wiring {
  return {
    wire(site: Site, addresses: readonly Address[]): Wire {
      // With the programs attached and no entry in `endpoints` nothing passes: the pod is isolated until it joins.
      const pod = { ...site, addresses, nodeAddresses, mtu, gsoIPv4MaxBytes }
      const { wired, done } = wirePod(network, pod, (ifindex) => datapath.podFilters(ifindex))
      return { wired, done: done.then(() => datapath.linkPod(wired.ifindex, site.hostIfname)) }
    },
    async unwire(hostIfname: string): Promise<void> {
      await unwirePod(network, hostIfname)
      datapath.detachPod(hostIfname)
    },
    inspect: (site: Site): Promise<InspectedInterface | null> => inspectPod(network, site),
    gateway: podGateway,
  }
}

/** isInForce: whether the tables have the endpoint with its policy. stopping: who waits then is told at once, so that an
 *  agent that is replaced is gone in time. */
export function createEndpoints(
  world: World,
  loop: Loop,
  isInForce: (addresses: readonly Address[]) => boolean,
  stopping: AbortSignal,
): Endpoints {
  const waiting = new Set<(reason: unknown) => void>()
  stopping.addEventListener('abort', () => {
    for (const reject of waiting) reject(stopping.reason)
  })

  return {
    async join(endpoint, signal) {
      stopping.throwIfAborted() // nobody tells it any more
      world.putEndpoint(endpoint)
      const { promise: stopped, reject } = Promise.withResolvers<never>()
      waiting.add(reject)
      try {
        await Promise.race([loop.settled({ isDone: () => isInForce(endpoint.addresses), signal }), stopped])
      } catch (cause) {
        if (stopping.aborted || world.podOf(endpoint) !== undefined) throw cause
        throw new Error(unknownPod(world, endpoint), { cause })
      } finally {
        waiting.delete(reject)
      }
    },
    async leave(id: AttachmentId) {
      if (world.endpoint(endpointKey(id)) === undefined) return
      world.deleteEndpoint(attachmentKey(id))
      // A pass that fails is repeated by the loop; the removal itself must not fail because of it.
      await loop.settled({ failFast: true }).catch(() => {})
    },
  }
}

function unknownPod(world: World, { namespace, name, uid }: Endpoint): string {
  const pod = objectName(namespace, name)
  const other = world.pod(pod)
  if (other !== undefined) return `the Pod ${pod} is known with the uid ${other.uid}, not yet with ${uid}`
  return world.isLive()
    ? `no source knows the Pod ${pod}, so its policy is unknown`
    : `the Pod ${pod} cannot be asked for now, and a policy of its namespace might select it`
}
