// SPDX-License-Identifier: Apache-2.0
// The journal's text: one fact in a line, "<crc32, 8 hex digits> <JSON>". A damaged byte reaches one line, or two when it
// was the newline between them.

import { crc32 } from 'node:zlib'
import type { Fact } from './allocator.ts'

const CHECKSUM_DIGITS = 8
const NEWLINE = 0x0a

/** Copies follow the whole, so that damage at one place leaves one of them. */
export function encodeFacts(facts: readonly Fact[], copies = 1): Buffer {
  return Buffer.from(facts.map(encodeFact).join('').repeat(copies))
}

function encodeFact(fact: Fact): string {
  const json = JSON.stringify(plain(fact))
  return `${checksum(Buffer.from(json))} ${json}\n`
}

/** Without a bigint. Not by a replacer: with one, JSON.stringify takes a slow way for the whole. */
function plain(fact: Fact): object {
  const wired = fact.fact === 'put' ? fact.attachment.wired : null
  if (fact.fact !== 'put' || wired === null) return fact
  const netnsCookie = String(wired.netnsCookie)
  return { ...fact, attachment: { ...fact.attachment, wired: { ...wired, netnsCookie } } }
}

/** The facts that are whole, in order; `damaged` counts the lines that are not (a torn tail is one). */
export function decodeFacts(bytes: Uint8Array): { readonly facts: readonly Fact[]; readonly damaged: number } {
  const facts: Fact[] = []
  let damaged = 0
  for (let start = 0; start < bytes.length; ) {
    const newline = bytes.indexOf(NEWLINE, start)
    const end = newline < 0 ? bytes.length : newline
    if (end > start) {
      const fact = decodeFact(Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start))
      if (fact === null) damaged++
      else facts.push(fact)
    }
    start = end + 1
  }
  return { facts, damaged }
}

function decodeFact(line: Buffer): Fact | null {
  const json = line.subarray(CHECKSUM_DIGITS + 1)
  const head = line.toString('latin1', 0, CHECKSUM_DIGITS + 1)
  if (head !== `${checksum(json)} `) return null
  return JSON.parse(json.toString(), (key, value) => (key === 'netnsCookie' ? BigInt(value) : value)) as Fact
}

function checksum(bytes: Buffer): string {
  return crc32(bytes).toString(16).padStart(CHECKSUM_DIGITS, '0')
}
