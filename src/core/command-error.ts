// SPDX-License-Identifier: Apache-2.0
// How a command of `heddle` ends when it does not succeed.

/** One sentence for standard error and the exit code: 1 the thing asked for does not hold or failed, 2 bad usage or bad
 *  input. */
export class CommandError extends Error {
  readonly exitCode: 1 | 2
  constructor(message: string, exitCode: 1 | 2 = 1, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}
