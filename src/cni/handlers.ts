// SPDX-License-Identifier: Apache-2.0
// The CNI commands.

import type { Ipam } from '../ipam/ipam.ts'
import type { CniEvent, Endpoints, Wiring } from './interfaces.ts'
import type { CniReply, CniRequest } from './protocol.ts'

export interface CniParts {
  readonly ipam: Ipam
  readonly wiring: Wiring
  readonly endpoints: Endpoints
  /** null when ADD can be served, else why not (one sentence), for STATUS. */
  readonly unavailable: () => string | null
  readonly report: (event: CniEvent) => void
}

export interface CniHandlers {
  /** Never rejects: every failure is a reply with the specification's error JSON. */
  handle(request: CniRequest): Promise<CniReply>
  /** Removes every attachment whose network namespace is gone (after a reboot: all of them). The agent calls it at start,
   *  before it restores endpoints, and once a minute. Resolves to how many. */
  collect(): Promise<number>
}
