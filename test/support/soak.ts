// SPDX-License-Identifier: Apache-2.0
// The long figures of `make soak`. It runs the test files that import this module, and no others.

export const isSoak = process.env.HEDDLE_SOAK === '1'

/** How long or how often: `usual` in `make test`, `long` in `make soak`. */
export function soak(usual: number, long: number): number {
  return isSoak ? long : usual
}
