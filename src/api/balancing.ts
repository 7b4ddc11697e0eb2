// SPDX-License-Identifier: Apache-2.0
// How a Service's annotations want its backends chosen.
//
//   service.heddle.network/balancing: maglev       an algorithm, or its name in IPVS
//   service.heddle.network/weights: n1=3,n2=1      of endpoints, by their node

import { Algorithm, AT_RANDOM, type Balancing } from '../world/objects.ts'
import { BadField, type Cursor, choice, clip, field, isMissing, text } from './cursor.ts'

export const BALANCING_ANNOTATION = 'service.heddle.network/balancing'
export const WEIGHTS_ANNOTATION = 'service.heddle.network/weights'

const WEIGHT_MAX = 100

/** By the names of ip_vs schedulers after ours. */
const algorithms: Readonly<Record<string, Algorithm>> = {
  random: Algorithm.RANDOM,
  'round-robin': Algorithm.ROUND_ROBIN,
  rr: Algorithm.ROUND_ROBIN,
  wrr: Algorithm.ROUND_ROBIN,
  'source-hash': Algorithm.SOURCE_HASH,
  sh: Algorithm.SOURCE_HASH,
  maglev: Algorithm.MAGLEV,
  mh: Algorithm.MAGLEV,
  'least-connections': Algorithm.LEAST_CONNECTIONS,
  lc: Algorithm.LEAST_CONNECTIONS,
  wlc: Algorithm.LEAST_CONNECTIONS,
}

export function readBalancing(metadata: Cursor): Balancing {
  const annotations = field(metadata, 'annotations')
  const algorithm = choice(field(annotations, BALANCING_ANNOTATION), algorithms, 'random')
  const weights = readWeights(field(annotations, WEIGHTS_ANNOTATION))
  return algorithm === Algorithm.RANDOM && weights === null ? AT_RANDOM : { algorithm, weights }
}

function readWeights(at: Cursor): Balancing['weights'] {
  if (isMissing(at)) return null
  const weights = new Map<string, number>()
  for (const item of text(at).split(',')) {
    const [, node, weight] = /^([^=\s]+)=(\d{1,3})$/.exec(item.trim()) ?? []
    const isWeight = Number(weight) >= 1 && Number(weight) <= WEIGHT_MAX
    if (node === undefined || !isWeight) {
      throw new BadField(at, `"${clip(item)}": expected NODE=WEIGHT, with a weight from 1 to ${WEIGHT_MAX}`)
    }
    if (weights.has(node)) throw new BadField(at, `"${clip(node)}" has two weights`)
    weights.set(node, Number(weight))
  }
  return Object.fromEntries(weights)
}
