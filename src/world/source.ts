// SPDX-License-Identifier: Apache-2.0
// What the sources of World (src/manifests, src/kube) have in common for those who use them.

import type { Kind, KubeObject } from './objects.ts'

/** A difference: what came or changed, what went. Applied deleted first. */
export interface SourceChange {
  readonly put: readonly KubeObject[]
  readonly deleted: readonly KubeObject[]
  /** What the reading and parsing of this change took, milliseconds. */
  readonly parseMs: number
}

export interface SourceProblem {
  /** A manifest's path; of the API the resource, as RBAC names it. */
  readonly file: string
  /** 1-based; where the field stands, or the document when the field is missing. Of the API 1. */
  readonly line: number
  /** 1-based. Of the API 1. */
  readonly document: number
  /** "Service shop/cart", or '' where not even kind and name could be read, or a whole kind is meant. */
  readonly object: string
  /** "spec.ports[0].port", or '' for the whole document. */
  readonly field: string
  readonly message: string
}

/** A problem and how old the version in force is; null: there never was a good one, or the object is not kept. */
export interface HeldProblem extends SourceProblem {
  readonly keptSinceMs: number | null
  /** There never was a good one, so what it may select is isolated. */
  readonly isolates: boolean
}

/** How far one part of a source is. */
export interface SourcePart {
  /** "pods of n1", "endpointslices.discovery.k8s.io". */
  readonly name: string
  readonly synchronised: boolean
  readonly objectCount: number
  /** Milliseconds since the part was last known to be up to date; null: never yet. */
  readonly ageMs: number | null
  /** Why it is not up to date; '' when it is. */
  readonly failure: string
}

export interface SourceState {
  /** A folder, or a server's URL. */
  readonly name: string
  /** Everything that matters here was seen once since the start. */
  readonly synchronised: boolean
  readonly parts: readonly SourcePart[]
  /** Since when something of it is not up to date, milliseconds since 1970; null: all is. */
  readonly staleSinceMs: number | null
  /** Sent to and received from a server since the start; 0 of a folder. */
  readonly requestCount: number
  readonly receivedBytes: number
}

/** Lists and watches that failed and were begun anew. */
export interface StreamFailures {
  readonly kind: Kind
  /** One of a few words. */
  readonly reason: string
  readonly count: number
}

export interface Source extends Disposable {
  /** Resolves after the change that holds everything written before the call was told, as far as the source can know. */
  sync(): Promise<void>
  state(): SourceState
  problems(): readonly HeldProblem[]
  /** What is ignored or out of date, one sentence each. */
  notices(): readonly string[]
  /** Kinds of which objects may exist that were not seen yet: nothing that an unseen one may want is taken away. */
  unseenKinds(): ReadonlySet<Kind>
  /** Since the start; a kind and reason may come twice. */
  failures(): readonly StreamFailures[]
}
