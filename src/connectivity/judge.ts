// SPDX-License-Identifier: Apache-2.0
// What came of a probe, against what should have. Pure.

import { isParseError, parseAddress } from '../core/address.ts'
import type { Check, Expectation, Outcome, ProbeResult } from './check.ts'

/** Codes of a connection or datagram that something on its way turned away. */
const turnedAway = ['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH', 'ENETUNREACH', 'EACCES', 'EPERM']

/** The outcome of a path that was tried. */
export function judge(check: Check, expect: Expectation, result: ProbeResult): Outcome {
  const fault = faultOf(expect, result)
  return { ...outcomeOf(check, fault === '' ? 'passed' : 'failed', fault), milliseconds: result.milliseconds }
}

/** Of a path that was not tried, or about which the pod said nothing. */
export function outcomeOf(check: Check, result: Outcome['result'], detail: string): Outcome {
  const { name, group, from, to, family } = check
  return { name, group, from, to, family, result, detail, milliseconds: 0 }
}

/** '' where it came as expected. */
function faultOf(expect: Expectation, result: ProbeResult): string {
  switch (expect.outcome) {
    case 'refused':
      if (result.error === '') return `answered by ${result.servers.join(', ')}, although nothing is there`
      return result.error === 'ECONNREFUSED' ? '' : `${tried(result)}, not refused`
    case 'denied':
      if (result.error === '') return `answered by ${result.servers.join(', ')}, although a policy forbids it`
      return result.error === 'timeout' || turnedAway.includes(result.error) ? '' : tried(result)
    case 'addresses':
      if (result.error !== '') return tried(result)
      return sameAddresses(expect.addresses, result.addresses)
        ? ''
        : `found ${listText(result.addresses)}, not ${listText(expect.addresses)}`
    case 'answer':
      return result.error === '' ? answerFault(expect, result) : tried(result)
  }
}

function answerFault({ servers, source }: Expectation & { outcome: 'answer' }, result: ProbeResult): string {
  if (servers !== null && servers.join() !== result.servers.join())
    return `answered by ${listText(result.servers)}, not by ${listText(servers)}`
  if (source !== null && canonical(result.source) !== source)
    return `the server saw ${result.source} as source, not the pod's ${source}`
  return ''
}

function tried({ error, milliseconds }: ProbeResult): string {
  return error === 'timeout' ? `no answer in ${(milliseconds / 1_000).toFixed(1)} s` : error
}

function sameAddresses(expected: readonly string[], found: readonly string[]): boolean {
  return [...new Set(found.map(canonical))].toSorted().join() === expected.toSorted().join()
}

function canonical(address: string): string {
  const parsed = parseAddress(address)
  return isParseError(parsed) ? address : parsed
}

function listText(items: readonly string[]): string {
  return items.length === 0 ? 'nothing' : items.join(', ')
}
