// SPDX-License-Identifier: Apache-2.0

/** Stops on a broken invariant: a bug here, never bad input (that is a ParseError) nor a kernel failure. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`broken invariant: ${message}`)
}
