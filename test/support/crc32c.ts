// SPDX-License-Identifier: Apache-2.0
// CRC32c bit by bit, as RFC 9260 appendix A defines it.

const POLYNOMIAL = 0x82f63b78

/** Of the bytes; as SCTP's header has it, in little-endian order. */
export function crc32c(bytes: Uint8Array): number {
  let register = 0xffffffff
  for (const byte of bytes) {
    register ^= byte
    for (let bit = 0; bit < 8; bit++) register = (register >>> 1) ^ (register & 1 ? POLYNOMIAL : 0)
  }
  return ~register >>> 0
}
