// SPDX-License-Identifier: Apache-2.0

const isSoak = process.env.HEDDLE_SOAK === '1'

/** How long or how often: `usual` in `make test`, `long` in `make soak`. */
export function soak(usual: number, long: number): number {
  return isSoak ? long : usual
}
