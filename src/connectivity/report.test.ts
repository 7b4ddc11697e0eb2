// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest'
import type { Outcome } from './check.ts'
import { junitText, makeReport } from './report.ts'

function outcome(name: string, result: Outcome['result'], detail = ''): Outcome {
  return { name, group: 'pod', from: 'pod a', to: 'pod b', family: 4, result, detail, milliseconds: 12 }
}

const run = {
  startedAt: '2026-01-01T00:00:00.000Z',
  milliseconds: 1_500,
  namespace: 'heddle-connectivity-abcde',
  image: 'heddle:1',
  nodes: ['n1'],
  families: [4],
} as const

test('JUnit: suites by group, and nothing of a name or a message leaves its attribute', () => {
  const checks = [
    outcome('pod/ipv4/tcp/n1-to-n1', 'passed', 'seen'),
    outcome('pod/ipv4/udp/<n1>-to-"n1"', 'failed', 'no\nanswer ]]> \u001b[31m & <b>\ud800'),
    outcome('pod/cross-node', 'skipped', 'one node was tested'),
  ]
  expect(junitText(makeReport({ ...run, checks }))).toMatchInlineSnapshot(`
    "<?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="heddle connectivity test" tests="3" failures="1" skipped="1" time="1.500">
      <testsuite name="pod" tests="3" failures="1" skipped="1" timestamp="2026-01-01T00:00:00.000Z" time="0.036">
        <testcase classname="connectivity.pod" name="pod/ipv4/tcp/n1-to-n1" time="0.012"/>
        <testcase classname="connectivity.pod" name="pod/ipv4/udp/&lt;n1&gt;-to-&quot;n1&quot;" time="0.012">
          <failure message="no&#10;answer ]]&gt; �[31m &amp; &lt;b&gt;�">pod a -&gt; pod b: no&#10;answer ]]&gt; �[31m &amp; &lt;b&gt;�</failure>
        </testcase>
        <testcase classname="connectivity.pod" name="pod/cross-node" time="0.012">
          <skipped message="one node was tested"/>
        </testcase>
      </testsuite>
    </testsuites>
    "
  `)
})

test('a run in which nothing passed does not hold', () => {
  expect(makeReport({ ...run, checks: [] }).ok).toBe(false)
  expect(makeReport({ ...run, checks: [outcome('x', 'skipped')] }).ok).toBe(false)
  expect(makeReport({ ...run, checks: [outcome('x', 'passed'), outcome('y', 'skipped')] }).ok).toBe(true)
  expect(makeReport({ ...run, checks: [outcome('x', 'passed'), outcome('y', 'failed')] }).ok).toBe(false)
})
