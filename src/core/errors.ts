// SPDX-License-Identifier: Apache-2.0

/** A bug here, never bad input (that is a ParseError) nor a kernel failure. Nothing retries it: the process stops. */
export class BrokenInvariant extends Error {
  override readonly name = 'BrokenInvariant'

  constructor(message: string, options?: ErrorOptions) {
    super(`broken invariant: ${message}`, options)
  }
}

export function isBrokenInvariant(error: unknown): error is BrokenInvariant {
  return error instanceof BrokenInvariant
}

/** Throws a BrokenInvariant where the condition does not hold. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new BrokenInvariant(message)
}

/** The result of pure work that cannot fail: whatever it throws is a BrokenInvariant, `doing` says of what. */
export function unfailing<T>(doing: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (isBrokenInvariant(error)) throw error
    throw new BrokenInvariant(`${doing}: ${(error as Error).message}`, { cause: error })
  }
}
