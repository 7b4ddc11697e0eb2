// SPDX-License-Identifier: Apache-2.0
// One interface of one container, as the journal keeps it: what the node must know to answer for it after a restart.

import type { Address } from '../core/address.ts'
import type { Endpoint } from '../world/objects.ts'

/** The pair that the CNI specification makes unique. */
export interface AttachmentId {
  readonly containerId: string
  readonly ifname: string
}

/** Which network namespace a path meant when it was recorded: the path alone may come to mean another one. */
export interface NetnsIdentity {
  readonly path: string
  /** Inode in nsfs; unique among the namespaces that exist at one time. */
  readonly inode: number
  /** /proc/sys/kernel/random/boot_id: no namespace survives a boot. */
  readonly bootId: string
}

/** What the kernel gave the veth pair. */
export interface Wired {
  /** Host side. */
  readonly ifindex: number
  readonly hostMac: string
  readonly podMac: string
  readonly mtu: number
  readonly netnsCookie: bigint
}

export interface Attachment extends AttachmentId {
  /** Name of the CNI network configuration; GC is per network. */
  readonly network: string
  readonly netns: NetnsIdentity
  /** From CNI_ARGS; '' where the runtime gave none. */
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string }
  readonly hostIfname: string
  /** One per pool, in the order of the pools. */
  readonly addresses: readonly Address[]
  /** null until the ADD is complete. */
  readonly wired: Wired | null
  /** The runtime has the result: a further ADD is an error. Until then a repeated ADD completes this one. */
  readonly answered: boolean
}

export function attachmentKey(id: AttachmentId): string {
  return `${id.containerId}/${id.ifname}`
}

/** The endpoint that a wired attachment is in World; null before it is wired. */
export function endpointOf(attachment: Attachment): Endpoint | null {
  const { containerId, ifname, pod, addresses, hostIfname, wired } = attachment
  if (wired === null) return null
  return {
    containerId,
    ifname,
    namespace: pod.namespace,
    name: pod.name,
    uid: pod.uid,
    addresses,
    ifindex: wired.ifindex,
    hostIfname,
    netnsCookie: wired.netnsCookie,
  }
}
