// SPDX-License-Identifier: Apache-2.0
// The words of the connectivity test: what a pod tries (Probe), what came of it (ProbeResult), what should have (Expectation),
// and a path with its name (Check). Pure.

import type { Address, Family } from '../core/address.ts'

/** What one pod tries once. Ports and addresses are the packet's own; nothing is resolved but by `lookup`. */
export type Probe =
  /** `count` connections one after the other, a GET on each. */
  | { readonly kind: 'http'; readonly address: Address; readonly port: number; readonly count: number }
  /** A connection that is closed at once. */
  | { readonly kind: 'connect'; readonly address: Address; readonly port: number }
  /** One datagram and its echo, never repeated; bytes of payload, or as many as fill one packet of the device's MTU. */
  | { readonly kind: 'udp'; readonly address: Address; readonly port: number; readonly bytes: number | 'mtu' }
  /** So many bytes there and back on one connection. */
  | { readonly kind: 'transfer'; readonly address: Address; readonly port: number; readonly bytes: number }
  /** By the pod's resolver, search domains included. */
  | { readonly kind: 'lookup'; readonly host: string; readonly family: Family }

/** What a pod is given to do at once: probes one after the other. */
export interface Batch {
  /** How long each waits for an answer. */
  readonly timeoutMs: number
  /** How long all of them together may repeat until each succeeds (or is refused, where `until` says so); 0: once. */
  readonly patienceMs: number
  readonly until: 'answer' | 'refused'
  readonly probes: readonly Probe[]
}

export interface ProbeResult {
  /** '' when it succeeded; else 'timeout', a code such as ECONNREFUSED, or a sentence. */
  readonly error: string
  readonly milliseconds: number
  /** Bytes of a datagram's or a transfer's payload that came back. */
  readonly bytes: number
  /** The client's address as the server saw it; '' where none told. */
  readonly source: string
  /** Pods that answered, each once, sorted. */
  readonly servers: readonly string[]
  /** What a lookup found, sorted. */
  readonly addresses: readonly string[]
}

export type Expectation =
  | {
      readonly outcome: 'answer'
      /** Exactly these pods answer; null: any one. */
      readonly servers: readonly string[] | null
      /** The server sees this address; null: no promise is made about it. */
      readonly source: Address | null
    }
  /** Refused at once, as nothing is there. */
  | { readonly outcome: 'refused' }
  /** A policy forbids it: silence or a refusal, never an answer. The drop is of a packet to this pod's address and port. */
  | { readonly outcome: 'denied'; readonly target: Address; readonly port: number }
  /** Exactly these. */
  | { readonly outcome: 'addresses'; readonly addresses: readonly Address[] }

/** One path: who tries what, and what has to come of it. */
export interface Check {
  /** 'group/subject/.../FROM-to-TO'; unique in a plan. */
  readonly name: string
  readonly group: Group
  /** For people. */
  readonly from: string
  readonly to: string
  readonly family: Family | null
  readonly todo:
    | { readonly do: 'probe'; readonly pod: string; readonly probe: Probe; readonly expect: Expectation }
    /** Cannot be tried here; `why` says what is missing. */
    | { readonly do: 'skip'; readonly why: string }
    /** Fails without being tried. */
    | { readonly do: 'fail'; readonly why: string }
}

/** In the order in which they run. `mtu` is first among those that send large packets: the kernel remembers a path that was too narrow. */
export const groups = ['mtu', 'pod', 'node', 'service', 'dns', 'policy', 'drops'] as const
export type Group = (typeof groups)[number]

export interface Outcome {
  readonly name: string
  readonly group: Group | 'deploy'
  readonly from: string
  readonly to: string
  readonly family: Family | null
  readonly result: 'passed' | 'failed' | 'skipped'
  /** Why it failed or was skipped; where it passed, what is worth knowing. */
  readonly detail: string
  readonly milliseconds: number
}
