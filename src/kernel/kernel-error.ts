// SPDX-License-Identifier: Apache-2.0

/** A system call that failed: what was attempted, on what, and the kernel's answer. */
export class KernelError extends Error {
  override readonly name = 'KernelError'
  /** Such as ENOENT. */
  readonly code: string
  readonly errno: number
  readonly syscall: string
  /** Such as "attach from_pod to ifindex 7". */
  readonly subject: string
  /** Of a program that was refused; the last lines are in the message. */
  readonly verifierLog: string

  constructor(subject: string, cause: AddonError) {
    const verifierLog = cause.verifierLog ?? ''
    const verdict = verifierLog === '' ? '' : `\n${verifierLog.trimEnd().split('\n').slice(-VERIFIER_LINES).join('\n')}`
    super(`${subject}: ${cause.message}${verdict}`, { cause })
    this.code = cause.code
    this.errno = cause.errno
    this.syscall = cause.syscall
    this.subject = subject
    this.verifierLog = verifierLog
  }
}

/** What the addon throws. */
export interface AddonError extends Error {
  readonly code: string
  readonly errno: number
  readonly syscall: string
  readonly verifierLog?: string
}

const VERIFIER_LINES = 12

/** The work's value; a failure of the addon becomes a KernelError with that subject, anything else passes as it is. */
export async function attempt<T>(subject: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw explain(subject, error)
  }
}

/** The same for work that is done at once. */
export function attemptNow<T>(subject: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw explain(subject, error)
  }
}

/** Waits for all works also when one fails, for what is undone then must not be done after it; rejects with the first
 *  failure. */
export async function all(works: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(works)).find((result) => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

export function isCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(error.code as string)
}

function explain(subject: string, error: unknown): unknown {
  const isAddonError = error instanceof Error && 'syscall' in error && !(error instanceof KernelError)
  return isAddonError ? new KernelError(subject, error as AddonError) : error
}
