// SPDX-License-Identifier: Apache-2.0
// `trace`: half-open TCP connections give way where there is no room (bpf/lib/openings.h).

import { type Translation, TranslationFlags, type Tuple } from '../generated/abi.ts'
import { type FlowState, tupleText } from './trace-tables.ts'
import { reverse, type Walk } from './trace-walk.ts'

const TRIES = 16
const GRACE_NS = 250_000_000n

/** Makes room in a full table: the oldest of those, if there is one among the first few. */
export function giveUpOldest({ input: { state } }: Walk): boolean {
  for (let tries = 0; tries < TRIES && state.openings.length > 0; tries++) {
    const key = state.openings.shift()!
    const translation = state.translations.get(tupleText(key))?.[1]
    if (translation && isHalfOpen(translation)) {
      end(key, translation, state)
      return true
    }
  }
  return false
}

/** Whether the translation of these answers, who has a port that another wants, has had its time to go on. */
export function mayEndOwner({ input: { state, nowNs } }: Walk, answers: Translation): boolean {
  const forward = state.translations.get(tupleText(reverse(answers.to)))?.[1]
  const isOfAnswers = (answers.flags & TranslationFlags.REVERSE) !== 0
  return isOfAnswers && forward !== undefined && nowNs - answers.seenNs >= GRACE_NS && isHalfOpen(forward)
}

export function endOwner({ input: { state } }: Walk, answers: Translation) {
  const key = reverse(answers.to)
  end(key, state.translations.get(tupleText(key))![1], state)
}

function end(key: Tuple, { to }: Translation, { translations }: FlowState) {
  translations.delete(tupleText(reverse(to)))
  translations.delete(tupleText(key))
}

function isHalfOpen({ flags }: Translation): boolean {
  return (flags & (TranslationFlags.OPENING | TranslationFlags.HOST)) === TranslationFlags.OPENING
}
