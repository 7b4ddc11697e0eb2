// SPDX-License-Identifier: Apache-2.0

export interface Backoff {
  /** Milliseconds to wait after one more failure: doubled each time, spread over half to one and a half of that, so that
   *  agents that lost one server together do not come back together. */
  next(): number
  /** It went well again. */
  reset(): void
}

export function createBackoff(minMs: number, maxMs: number, random: () => number = Math.random): Backoff {
  let failures = 0
  return {
    next: () => Math.min(minMs * 2 ** Math.min(failures++, 30), maxMs) * (0.5 + random()),
    reset() {
      failures = 0
    },
  }
}
