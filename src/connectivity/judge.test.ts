// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest'
import type { Address } from '../core/address.ts'
import type { Check, Expectation, ProbeResult } from './check.ts'
import { judge } from './judge.ts'

const check: Check = { name: 'x', group: 'pod', from: 'a', to: 'b', family: 4, todo: { do: 'skip', why: '' } }

function verdict(wanted: Expectation, result: Partial<ProbeResult>): string {
  const nothing = { error: '', milliseconds: 1_500, bytes: 0, source: '', servers: [], addresses: [] }
  const { result: word, detail } = judge(check, wanted, { ...nothing, ...result })
  return detail === '' ? word : `${word}: ${detail}`
}

const answer = (servers: readonly string[] | null, source: string | null): Expectation => ({
  outcome: 'answer',
  servers,
  source: source as Address | null,
})
const denied: Expectation = { outcome: 'denied', target: '10.0.0.1' as Address, port: 80 }
const found = (...addresses: string[]): Expectation => ({ outcome: 'addresses', addresses: addresses as Address[] })

describe('what came of a path, against what should have', () => {
  test.each([
    [answer(null, null), {}, 'passed'],
    [answer(null, null), { error: 'timeout' }, 'failed: no answer in 1.5 s'],
    [answer(null, null), { error: 'ECONNREFUSED' }, 'failed: ECONNREFUSED'],
    [answer(['server-1'], null), { servers: ['server-1'] }, 'passed'],
    [answer(['server-1'], null), { servers: ['server-2'] }, 'failed: answered by server-2, not by server-1'],
    [
      answer(['server-1', 'server-2'], null),
      { servers: ['server-1'] },
      'failed: answered by server-1, not by server-1, server-2',
    ],
    [answer(null, '10.0.0.2'), { source: '10.0.0.2' }, 'passed'],
    [answer(null, '10.0.0.2'), { source: '::ffff:10.0.0.2' }, 'passed'],
    [
      answer(null, '10.0.0.2'),
      { source: '172.18.0.1' },
      "failed: the server saw 172.18.0.1 as source, not the pod's 10.0.0.2",
    ],
    [{ outcome: 'refused' }, { error: 'ECONNREFUSED' }, 'passed'],
    [{ outcome: 'refused' }, { error: 'timeout' }, 'failed: no answer in 1.5 s, not refused'],
    [{ outcome: 'refused' }, { servers: ['x'] }, 'failed: answered by x, although nothing is there'],
    [denied, { error: 'timeout' }, 'passed'],
    [denied, { error: 'EHOSTUNREACH' }, 'passed'],
    [denied, { error: 'something else answered' }, 'failed: something else answered'],
    [denied, { servers: ['guarded-1'] }, 'failed: answered by guarded-1, although a policy forbids it'],
    [found('10.0.0.1'), { addresses: ['10.0.0.1'] }, 'passed'],
    [found('fd00::1', 'fd00::2'), { addresses: ['fd00:0::2', 'fd00::1', 'fd00::1'] }, 'passed'],
    [found('10.0.0.1'), { addresses: [] }, 'failed: found nothing, not 10.0.0.1'],
    [found('10.0.0.1'), { error: 'ENOTFOUND' }, 'failed: ENOTFOUND'],
  ] as [Expectation, Partial<ProbeResult>, string][])('%j, %j: %s', (wanted, result, expected) => {
    expect(verdict(wanted, result)).toBe(expected)
  })
})
