// SPDX-License-Identifier: Apache-2.0
// How late a drop's event reaches `heddle monitor` while a pod offers 100,000 drops a second. Prints it, and ends with 1
// where more than 1 % of the events are later than the bound.
//   node bench/monitor.ts [--rate 100000] [--seconds 10]

import { spawn } from 'node:child_process'
import { once } from 'node:events'
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
print(sent)
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
  const late = collect(socket, ended.signal)
  const began = performance.now()
  const sent = await flood(lab)
  const seconds = (performance.now() - began) / 1_000
  const after = await dropsOf(socket)
  ended.abort()
  const times = await late
  const at = (share: number): number => quantile(times, share)
  process.stdout.write(
    facts([
      ['Sent', `${Math.round(sent / seconds)} a second`],
      ['Dropped by policy', `${Math.round((after.dropped - before.dropped) / seconds)} a second`],
      ['Events lost in the ring', `${Math.round((after.lost - before.lost) / seconds)} a second`],
      ['Events that came', `${Math.round(times.length / seconds)} a second`],
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

/** Milliseconds from the drop to here. */
async function collect(socket: string, signal: AbortSignal): Promise<readonly number[]> {
  const late: number[] = []
  const from = Date.now() + WARM_UP_MS
  try {
    for await (const { time } of streamAgent<PacketEvent>(socket, '/v1/events', signal)) {
      const now = Date.now()
      if (now >= from) late.push(now - Date.parse(time))
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return late
}

async function flood(lab: HeddleLab): Promise<number> {
  const { netns } = lab.place('a')
  const argv = [`--net=${netns}`, 'python3', '-c', sender, lab.place('b').address, values.rate, values.seconds]
  const child = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  let printed = ''
  child.stdout.on('data', (chunk) => {
    printed += chunk
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`the sender ended with ${code}`)
  return Number(printed)
}

process.exitCode = await withLabLock('bench', main)
