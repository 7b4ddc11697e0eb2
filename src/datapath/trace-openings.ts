// SPDX-License-Identifier: Apache-2.0
// `trace`: translations that give way because nobody has gone on with them (bpf/lib/openings.h).

import { Protocol } from '../core/protocol.ts'
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
    if (translation && !isAlive(translation, state)) {
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
  return isOfAnswers && forward !== undefined && nowNs - answers.seenNs >= GRACE_NS && !isAlive(forward, state)
}

export function endOwner({ input: { state } }: Walk, answers: Translation) {
  const key = reverse(answers.to)
  end(key, state.translations.get(tupleText(key))![1], state)
}

function end(key: Tuple, { to }: Translation, { translations }: FlowState) {
  translations.delete(tupleText(reverse(to)))
  translations.delete(tupleText(key))
}

/** Of TCP, the client has sent an ACK: a backend answers a forged SYN too. */
function isAlive({ flags, to }: Translation, { translations }: FlowState): boolean {
  if (flags & (TranslationFlags.REVERSE | TranslationFlags.HOST)) return true
  if (to.protocol === Protocol.TCP) return (flags & TranslationFlags.WENT_ON) !== 0
  return ((translations.get(tupleText(reverse(to)))?.[1].flags ?? 0) & TranslationFlags.REPLIED) !== 0
}
