// SPDX-License-Identifier: Apache-2.0
// How late a drop's event reaches `heddle monitor` while a pod offers 100,000 drops a second. Prints it, and ends with 1
// where more than 1 % of the events are later than the bound.
//   node bench/monitor.ts [--rate 100000] [--seconds 10]

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { PacketEvent, Status } from '../src/agent/api.ts'
import { askAgent, streamAgent } from '../src/agent/client.ts'
import { facts } from '../src/cli/print.ts'
import { agentSocket } from '../src/lab/agents.ts'
import { withLabLock } from '../src/lab/lock.ts'
import { type HeddleLab, makeHeddle, removeHeddle } from './heddle.ts'
import { quantile } from './statistics.ts'

/** Source: issue 6. */
const BOUND_MS = 50
/** What begins is no part of it. */
const WARM_UP_MS = 1_000
/** What is on its way when the last packet was sent is told by then. */
const DRAIN_MS = 500

const { values } = parseArgs({
  options: { rate: { type: 'string', default: '100000' }, seconds: { type: 'string', default: '10' } },
})

/** Datagrams to one port, in bursts of 2 ms. */
const sender = `
import socket, sys, time
host, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((host, 9))
began = time.monotonic()
sent = 0
while (now := time.monotonic()) < began + seconds:
    while sent < (now - began) * rate:
        s.send(b"x")
        sent += 1
    time.sleep(0.002)
print(sent, time.monotonic() - began)
`

const denyAll = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'default', name: 'deny' },
  spec: { podSelector: { matchLabels: { app: 'b' } }, policyTypes: ['Ingress'] },
}

async function main(): Promise<number> {
  await removeHeddle()
  const lab = await makeHeddle('native')
  try {
    await lab.announce('deny', [denyAll])
    return await measure(lab)
  } finally {
    await removeHeddle()
  }
}

async function measure(lab: HeddleLab): Promise<number> {
  const socket = agentSocket('bench-native', 'n1')
  const before = await dropsOf(socket)
  const ended = new AbortController()
  const collecting = collect(socket, ended.signal)
  const { sent, seconds } = await flood(lab)
  await sleep(DRAIN_MS)
  const after = await dropsOf(socket)
  ended.abort()
  const { late, told, stoodFor } = await collecting
  const at = (share: number): number => quantile(late, share)
  const perSecond = (count: number): string => `${Math.round(count / seconds)} a second`
  process.stdout.write(
    facts([
      ['Sent', perSecond(sent)],
      ['Dropped by policy', perSecond(after.dropped - before.dropped)],
      ['Events lost in the ring', perSecond(after.lost - before.lost)],
      ['Drops that were told', `${perSecond(stoodFor)}, by ${perSecond(told)}`],
      ['Late by', `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, at most ${at(1)} ms; ${BOUND_MS} wanted`],
    ]),
  )
  return at(0.99) <= BOUND_MS ? 0 : 1
}

async function dropsOf(socket: string): Promise<{ readonly dropped: number; readonly lost: number }> {
  const { drops } = await askAgent<Status>(socket, 'GET', '/v1/status')
  const packets = (wanted: string): number => drops.find(({ reason }) => reason === wanted)?.packets ?? 0
  return { dropped: packets('policy-ingress'), lost: packets('event-lost') }
}

interface Collected {
  /** Milliseconds from the drop to here, of each event after the warm-up. */
  readonly late: readonly number[]
  /** Events, and drops that they stand for. */
  readonly told: number
  readonly stoodFor: number
}

async function collect(socket: string, signal: AbortSignal): Promise<Collected> {
  const late: number[] = []
  let told = 0
  let stoodFor = 0
  let from: number | undefined // the warm-up begins with the first
  try {
    for await (const { time, count } of streamAgent<PacketEvent>(socket, '/v1/events', signal)) {
      const now = Date.now()
      from ??= now + WARM_UP_MS
      if (now >= from) late.push(now - Date.parse(time))
      told++
      stoodFor += count
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return { late, told, stoodFor }
}

/** What was sent, and in how many seconds. */
async function flood(lab: HeddleLab): Promise<{ readonly sent: number; readonly seconds: number }> {
  const { netns } = lab.place('a')
  const argv = [`--net=${netns}`, 'python3', '-c', sender, lab.place('b').address, values.rate, values.seconds]
  const child = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  let printed = ''
  child.stdout.on('data', (chunk) => {
    printed += chunk
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`the sender ended with ${code}`)
  const [sent, seconds] = printed.split(' ').map(Number) as [number, number]
  return { sent, seconds }
}

process.exitCode = await withLabLock('bench', main)
