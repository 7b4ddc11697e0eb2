// SPDX-License-Identifier: Apache-2.0
// What goes wrong between here and the API server. Callers ask the predicates; nobody matches messages.

/** As RBAC names them. */
export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete'

/** What was asked. */
export interface Subject {
  readonly verb: Verb
  /** "pods", "endpointslices.discovery.k8s.io". */
  readonly resource: string
  /** "namespace/name"; '' for a collection. */
  readonly name: string
}

export interface ApiErrorFields extends Subject {
  /** HTTP status. */
  readonly status: number
  /** Status.reason: "NotFound", "Expired" ...; '' when the answer was no Status. */
  readonly reason: string
  /** Status.message, clipped. */
  readonly message: string
  /** From Retry-After; 0: the server asks for no delay. */
  readonly retryAfterMs: number
}

const BROKEN_ANSWER = 'BrokenAnswer'

/** The API server answered, and refused. Source: metav1.Status. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly fields: ApiErrorFields

  constructor(fields: ApiErrorFields) {
    super(sentence(fields))
    this.fields = fields
  }
}

/** No server answered, or an answer broke off. */
export class ApiUnreachable extends Error {
  override readonly name = 'ApiUnreachable'
}

export function isNotFound(error: unknown): boolean {
  return hasStatus(error, 404)
}

/** The account, or an admission controller, does not permit it. */
export function isForbidden(error: unknown): boolean {
  return hasStatus(error, 403)
}

/** Somebody else changed or made the object first. */
export function isConflict(error: unknown): boolean {
  return hasStatus(error, 409)
}

/** The resourceVersion asked for is no longer kept. */
export function isGone(error: unknown): boolean {
  return hasStatus(error, 410) || (error instanceof ApiError && error.fields.reason === 'Expired')
}

/** The server answered what no server should. */
export function isBrokenAnswer(error: unknown): boolean {
  return error instanceof ApiError && error.fields.reason === BROKEN_ANSWER
}

/** An answer that cannot be right is a refusal as well; 502 is what a gateway says then. */
export function brokenAnswer({ verb, resource, name }: Subject, message: string): ApiError {
  return new ApiError({ verb, resource, name, status: 502, reason: BROKEN_ANSWER, message, retryAfterMs: 0 })
}

/** The server does not know what was asked of it: an older one, or a feature that is off. */
export function isRefusedRequest(error: unknown): boolean {
  return hasStatus(error, 400) || hasStatus(error, 422)
}

/** Why something that was asked of the API failed, in a word: for counters. */
export type FailureReason =
  | 'unreachable'
  | 'unauthorized'
  | 'forbidden'
  | 'not-found'
  | 'expired'
  | 'throttled'
  | 'server-error'
  | 'broken-answer'
  | 'garbled'
  | 'refused'

const reasonsOfStatus: Readonly<Record<number, FailureReason>> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not-found',
  410: 'expired',
  429: 'throttled',
}

export function failureReason(error: Error): FailureReason {
  if (!(error instanceof ApiError)) return 'unreachable'
  if (isBrokenAnswer(error)) return 'broken-answer'
  if (isGone(error)) return 'expired'
  return reasonsOfStatus[error.fields.status] ?? (error.fields.status >= 500 ? 'server-error' : 'refused')
}

function hasStatus(error: unknown, status: number): boolean {
  return error instanceof ApiError && error.fields.status === status
}

function sentence({ verb, resource, name, status, message }: ApiErrorFields): string {
  const subject = name === '' ? resource : `${resource} ${name}`
  if (status === 401) return `${verb} ${subject}: the API server does not accept the credentials (401)`
  if (status === 403) {
    return `${verb} ${subject}: not permitted (403): the account needs verb ${verb} on ${resource}; Heddle's chart grants it with rbac.create=true`
  }
  return `${verb} ${subject}: ${message === '' ? 'refused' : message} (${status})`
}
