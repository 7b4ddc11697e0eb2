// SPDX-License-Identifier: Apache-2.0
// `trace`: direct server return (bpf/lib/dsr.h). The node that a client of the world asks chooses a backend; that backend's
// node is told what was asked, and answers.

import { family } from '../core/address.ts'
import { DropReason, type Translation, TranslationFlags, type Tuple } from '../generated/abi.ts'
import { isFromInside } from './trace-conntrack.ts'
import { reopen, used } from './trace-nat.ts'
import { longestPrefix, tupleText } from './trace-tables.ts'
import { drop, isOwnAddress, isSyn, isTcp, note, reverse, type Stage, type Walk } from './trace-walk.ts'

/** Enters what another node has brought as if the client had asked this one. */
export function enterDsr(walk: Walk): Stage {
  const { asked, tuple } = walk
  if (!isFirst(walk)) return drop(DropReason.TUNNEL_INNER)
  const { destination } = walk
  if (destination.kind === 'nobody' && destination.reason === DropReason.NO_ENDPOINT)
    return drop(DropReason.NO_ENDPOINT)
  if (destination.kind !== 'endpoint') return drop(DropReason.TUNNEL_INNER)
  note(walk, 'dsr', `asked for ${asked.destination} port ${asked.destinationPort} elsewhere; answered from here`)
  walk.asked = { ...tuple, destination: asked.destination, destinationPort: asked.destinationPort }
  walk.to = tuple
  walk.isNewTranslation = !resumes(walk, tuple)
  return null
}

/** The first packet of a client that is nobody of the cluster. */
function isFirst(walk: Walk): boolean {
  const { input, asked, tuple, packet } = walk
  if (!isTcp(tuple) || !isSyn(packet) || packet.fragment || isFromInside(walk)) return false
  const isOurs = isOwnAddress(input.config, asked.destination) || longestPrefix(input.tables.routes, asked.destination)
  return !isOurs && family(asked.destination) === packet.family
}

/** Whether the client's translation leads there already; one that leads elsewhere ends. */
function resumes(walk: Walk, to: Tuple): boolean {
  const { translations } = walk.input.state
  const known = translations.get(tupleText(walk.asked))
  if (!known) return false
  const [key, translation] = known
  const answer = tupleText(reverse(translation.to))
  const back = translations.get(answer)
  if (back && tupleText(translation.to) === tupleText(to)) {
    translations.set(tupleText(key), [key, ofDsr(used(translation, walk))])
    reopen(walk, translation)
    translations.set(answer, [back[0], ofDsr(translations.get(answer)![1])])
    return true
  }
  translations.delete(answer)
  translations.delete(tupleText(key))
  return false
}

/** It may be from when this node was asked. */
function ofDsr(translation: Translation): Translation {
  return { ...translation, flags: translation.flags | TranslationFlags.DSR }
}

/** Whether the packet, no SYN, belongs to a connection that another node has led here. */
export function isOfDsr(walk: Walk): boolean {
  const { input, tuple, packet } = walk
  if (input.config.dsr === 0 || !isTcp(tuple) || isSyn(packet)) return false
  const { translations } = input.state
  const answers = translations.get(tupleText(reverse(tuple)))?.[1]
  if (!answers || !(answers.flags & TranslationFlags.DSR)) return false
  const key = { ...tuple, destination: answers.to.source, destinationPort: answers.to.sourcePort }
  const translation = translations.get(tupleText(key))?.[1]
  if (!translation || tupleText(translation.to) !== tupleText(tuple)) return false
  translations.set(tupleText(key), [key, used(translation, walk)])
  note(walk, 'dsr', `of a connection to ${key.destination} port ${key.destinationPort} elsewhere, answered from here`)
  walk.asked = key
  walk.to = tuple
  return true
}
