// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import { type Finding, findingsOf } from './floors.ts'
import type { Test } from './netperf.ts'
import type { Table } from './statistics.ts'

type Ratios = Readonly<Record<string, Readonly<Partial<Record<Test, number>>>>>

function tableOfRatios(rows: Ratios): Table {
  return new Map(
    Object.entries(rows).map(([row, byTest]) => [
      row,
      new Map(
        (Object.entries(byTest) as [Test, number][]).map(([test, ratio]) => [
          test,
          { ratio, blockRatios: [ratio], rate: 0, samples: 1 },
        ]),
      ),
    ]),
  )
}

function onlyFinding(rows: Ratios, isShort = false): Finding {
  const findings = findingsOf({ table: tableOfRatios(rows), add: null, services: [] }, isShort)
  expect(findings).toHaveLength(1)
  return findings[0]!
}

const across = 'Heddle: across, native'
const bare = 'bare forwarder: across'

describe('a latency is held to what the machine allows, and never to more than its floor', () => {
  test.each([
    {
      heddle: 0.85,
      forwarder: 0.8,
      holds: true,
      why: 'the floor itself is enough, whatever the bare forwarder reaches',
    },
    { heddle: 0.81, forwarder: 0.83, holds: true, why: '.97 of a bare forwarder below the floor is enough' },
    { heddle: 0.8, forwarder: 0.83, holds: false, why: 'less is not' },
    { heddle: 0.84, forwarder: 0.95, holds: false, why: 'a bare forwarder far above the floor excuses nothing' },
  ])('$why', ({ heddle, forwarder, holds }) => {
    expect(onlyFinding({ [across]: { TCP_RR: heddle }, [bare]: { TCP_RR: forwarder } }).holds).toBe(holds)
  })

  test('a fast bare forwarder does not raise the floor', () => {
    const finding = onlyFinding({ [across]: { UDP_RR: 0.84 }, [bare]: { UDP_RR: 0.99 } })
    expect(finding).toMatchObject({ floor: 0.84, bare: 0.99, bound: 0.84, holds: true })
  })

  test('each row has its own bare forwarder', () => {
    const rows = { 'Heddle: across, vxlan': { TCP_RR: 0.7 }, [bare]: { TCP_RR: 0.5 } }
    expect(onlyFinding(rows)).toMatchObject({ bare: null, bound: 0.8, holds: false })
  })
})

test('a finding says what it was held to and why', () => {
  const { floor, bare: ratio, bound, atLeast } = onlyFinding({ [across]: { TCP_RR: 0.8 }, [bare]: { TCP_RR: 0.8 } })
  expect([floor, ratio, bound, atLeast]).toEqual([0.85, 0.8, 0.97 * 0.8, 0.97 * 0.8])
})

test('new connections and streams keep their floors: a bare forwarder spends nothing on them', () => {
  for (const [test, floor] of [
    ['TCP_CRR', 0.7],
    ['TCP_STREAM', 0.88],
  ] as const) {
    const finding = onlyFinding({ [across]: { [test]: floor - 0.01 }, [bare]: { [test]: 0.1 } })
    expect(finding).toMatchObject({ floor, bare: null, bound: floor, holds: false })
  }
})

test('where no bare forwarder was measured the floor stays', () => {
  expect(onlyFinding({ [across]: { TCP_RR: 0.849 } })).toMatchObject({ bare: null, bound: 0.85, holds: false })
})

test('the slack of a short run comes off the bound', () => {
  const rows = (heddle: number) => ({ [across]: { TCP_RR: heddle }, [bare]: { TCP_RR: 0.8 } })
  expect(onlyFinding(rows(0.74), true)).toMatchObject({ bound: 0.776, holds: true })
  expect(onlyFinding(rows(0.73), true).holds).toBe(false)
})
