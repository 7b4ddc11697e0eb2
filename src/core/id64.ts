// SPDX-License-Identifier: Apache-2.0
// Ids of classes, policy sets, rules, nodes and backend lists (bpf/abi/address.h): equal text, equal id, on every
// node and after every restart.

import { sha256Words } from './sha256.ts'

export type Id64 = bigint

/** First 64 bits, big-endian, of SHA-256 over the text's UTF-8. Cost: about 2 us for 100 characters. */
export function id64(text: string): Id64 {
  const words = sha256Words(new TextEncoder().encode(text))
  return (BigInt(words[0]!) << 32n) | BigInt(words[1]!)
}
