// SPDX-License-Identifier: Apache-2.0
// What the CNI handlers need from the rest of the agent; src/agent composes them.

import type { Address, Prefix } from '../core/address.ts'
import type { AttachmentId, Wired } from '../ipam/attachment.ts'
import type { Endpoint } from '../world/objects.ts'

/** Where the veth pair of one attachment goes. */
export interface Site {
  /** A path that is a network namespace and not the node's own; checked before. */
  readonly netnsPath: string
  readonly ifname: string
  readonly hostIfname: string
}

/** What CHECK needs to know of an interface in a pod. */
export interface InspectedInterface {
  readonly mac: string
  readonly up: boolean
  readonly addresses: readonly Address[]
  /** gateway null: on link. */
  readonly routes: readonly { readonly destination: Prefix; readonly gateway: Address | null }[]
  /** Whether the other end of the veth pair is the host interface of that name. */
  readonly peerIsOurs: boolean
}

/** A wire in the making. */
export interface Wire {
  /** What it is when it is done; known from the start. */
  readonly wired: Wired
  /** Resolves when its addresses answer. Rejects with code 'EEXIST' when the namespace has an interface of that name;
   *  leaves nothing behind when it rejects. */
  readonly done: Promise<void>
}

/** The pod's wire: the veth pair, its addresses and routes, and the programs on its host side. */
export interface Wiring {
  /** Makes the pair with every address, the default routes and the programs attached before it goes up: nothing passes
   *  until its endpoint has joined, be that before or after. Throws when the site's namespace cannot be entered. */
  wire(site: Site, addresses: readonly Address[]): Wire
  /** Idempotent; succeeds for what never existed and when the pod's namespace is gone. */
  unwire(hostIfname: string): Promise<void>
  /** null: no such interface. */
  inspect(site: Site): Promise<InspectedInterface | null>
  /** Next hop of each default route in the pod, by family of the address. */
  gateway(address: Address): Address
}

/** The endpoints of World. */
export interface Endpoints {
  /** Adds or replaces the endpoint; resolves when its policy is in force. When the signal aborts first it rejects, and
   *  the caller leaves. */
  join(endpoint: Endpoint, signal: AbortSignal): Promise<void>
  /** Idempotent. */
  leave(id: AttachmentId): Promise<void>
}

/** Unix sockets; src/kernel/addon.ts says what each call does. */
export interface Sockets {
  listenAt(path: string): number
  acceptFrom(listener: number): number | null
  watch(fd: number, event: 'readable' | 'writable', onReady: () => void): () => void
}

/** One request as it ended, for the log. */
export interface CniEvent {
  readonly command: string
  readonly containerId: string
  readonly ifname: string
  /** "namespace/name" after an ADD of a pod, else ''. */
  readonly pod: string
  readonly addresses: readonly Address[]
  /** null: success. */
  readonly error: {
    readonly code: number
    readonly msg: string
    readonly details: string
    readonly cause?: unknown
  } | null
  readonly durationMs: number
}
