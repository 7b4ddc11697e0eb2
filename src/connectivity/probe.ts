// SPDX-License-Identifier: Apache-2.0
// Runs inside a pod: performs a Batch and says what came of each probe. It judges nothing.
//
// A datagram is sent once. Linux sets DF on IPv4 datagrams that fit the device, so one of exactly the MTU either arrives whole
// or does not arrive: the kernel would cut only a second one, after it has learnt that the path is narrower.

import { createSocket } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Batch, Probe, ProbeResult } from './check.ts'
import { type Answer, ASK, TELL } from './serve.ts'

const REPEAT_MS = 200
const UDP_HEADER_BYTES = 8
const ERROR_CHARS_MAX = 200
const BODY_BYTES_MAX = 4 << 20

type Found = Partial<Omit<ProbeResult, 'error' | 'milliseconds'>>

/** Results in the order of the probes. */
export async function runBatch({ timeoutMs, patienceMs, until, probes }: Batch): Promise<readonly ProbeResult[]> {
  const results: ProbeResult[] = []
  const giveUpAt = performance.now() + patienceMs
  for (const probe of probes) {
    let result = await runProbe(probe, timeoutMs)
    while (!isWanted(result, until) && performance.now() < giveUpAt) {
      await sleep(REPEAT_MS)
      result = await runProbe(probe, timeoutMs)
    }
    results.push(result)
  }
  return results
}

function isWanted({ error }: ProbeResult, until: Batch['until']): boolean {
  return error === (until === 'answer' ? '' : 'ECONNREFUSED')
}

export async function runProbe(probe: Probe, timeoutMs: number): Promise<ProbeResult> {
  const started = performance.now()
  const nothing = { bytes: 0, source: '', servers: [], addresses: [] }
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const found = await attempt(probe, signal)
    return { error: '', milliseconds: performance.now() - started, ...nothing, ...found }
  } catch (error) {
    const why = signal.aborted ? 'timeout' : errorText(error)
    return { error: why, milliseconds: performance.now() - started, ...nothing }
  }
}

function errorText(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return (code ?? message).slice(0, ERROR_CHARS_MAX)
}

function attempt(probe: Probe, signal: AbortSignal): Promise<Found> {
  switch (probe.kind) {
    case 'http':
      return askOften(probe.address, probe.port, probe.count, signal)
    case 'connect':
      return connectOnce(probe.address, probe.port, signal)
    case 'udp':
      return sendDatagram(probe.address, probe.port, probe.bytes, signal)
    case 'transfer':
      return transfer(probe.address, probe.port, probe.bytes, signal)
    case 'lookup':
      return Promise.race([resolve(probe.host, probe.family), aborted(signal)])
  }
}

async function askOften(host: string, port: number, count: number, signal: AbortSignal): Promise<Found> {
  const answers: Answer[] = []
  for (let i = 0; i < count; i++) {
    const body = await exchange({ host, port, method: 'GET' }, null, signal)
    answers.push(readAnswer(body.toString()))
  }
  return { servers: [...new Set(answers.map(({ server }) => server))].toSorted(), source: answers[0]!.client }
}

async function transfer(host: string, port: number, bytes: number, signal: AbortSignal): Promise<Found> {
  const sent = Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + (i >> 8)) & 0xff))
  const back = await exchange({ host, port, method: 'POST' }, sent, signal)
  if (!back.equals(sent)) throw new Error(`${back.length} of ${bytes} bytes came back, or others than were sent`)
  return { bytes }
}

/** One request on a connection of its own; the body of its answer. */
function exchange(
  to: { readonly host: string; readonly port: number; readonly method: 'GET' | 'POST' },
  body: Buffer | null,
  signal: AbortSignal,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const headers = body ? { 'content-length': body.length } : {}
    const outgoing = request({ ...to, headers, agent: false, signal }, (response) => {
      if (response.statusCode === 200) readBody(response).then(resolve, reject)
      else reject(new Error(`HTTP status ${response.statusCode}`))
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

async function readBody(response: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response) {
    size += chunk.length
    if (size > BODY_BYTES_MAX) throw new Error(`the answer is larger than ${BODY_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function connectOnce(host: string, port: number, signal: AbortSignal): Promise<Found> {
  const socket = connect({ host, port })
  try {
    await once(socket, 'connect', { signal })
    return {}
  } finally {
    socket.destroy()
  }
}

async function sendDatagram(address: string, port: number, bytes: number | 'mtu', signal: AbortSignal): Promise<Found> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  try {
    socket.connect(port, address)
    await once(socket, 'connect', { signal })
    const asked = Buffer.alloc(bytes === 'mtu' ? fullPayload(socket.address().address) : bytes)
    ASK.copy(asked)
    const answered = once(socket, 'message', { signal })
    socket.send(asked)
    const [told] = (await answered) as [Buffer]
    if (told.length !== asked.length || !told.subarray(0, TELL.length).equals(TELL))
      throw new Error(`${told.length} bytes came back for ${asked.length}`)
    const { server, client } = readAnswer(told.toString('utf8', TELL.length).replace(/\0+$/, ''))
    return { bytes: told.length, servers: [server], source: client }
  } finally {
    socket.close()
  }
}

/** Payload of the datagram that fills a packet of the device with this address. */
function fullPayload(local: string): number {
  const device = Object.entries(networkInterfaces()).find(([, all]) => all?.some(({ address }) => address === local))
  if (device === undefined) throw new Error(`no device has the address ${local}`)
  const mtu = Number(readFileSync(`/sys/class/net/${device[0]}/mtu`, 'utf8'))
  return mtu - UDP_HEADER_BYTES - (isIPv6(local) ? 40 : 20)
}

async function resolve(host: string, family: 4 | 6): Promise<Found> {
  const found = await lookup(host, { all: true, family })
  return { addresses: found.map(({ address }) => address).toSorted() }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
}

/** What answers may be anyone: a stranger's reply is an error, whatever it is. */
function readAnswer(body: string): Answer {
  try {
    const { server, client } = JSON.parse(body) as Record<string, unknown>
    if (typeof server === 'string' && typeof client === 'string')
      return { server: server.slice(0, 253), client: client.slice(0, 45) }
  } catch {
    // no JSON
  }
  throw new Error('something else answered')
}
