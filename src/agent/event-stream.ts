// SPDX-License-Identifier: Apache-2.0
// Packet events to everyone who listens. Nobody listening costs nothing but the ring; a slow reader loses events, not the
// agent's memory, and of a flood a sample is told, with counts.

import type { ServerResponse } from 'node:http'
import { describeEvent, type Names, type PacketEvent, sampleEvents } from '../observe/events.ts'

const BACKLOG_BYTES_MAX = 1 << 20
/** Without a line a reader could not tell a quiet node from a dead one. */
const KEEPALIVE_MS = 15_000

export interface EventStream {
  /** For the ring's callback. */
  records(bytes: Uint8Array, count: number): void
  /** Writes one JSON object per line until the signal aborts; an empty line now and then. */
  serve(response: ServerResponse, signal: AbortSignal): void
}

export function createEventStream(names: Names): EventStream {
  const listeners = new Set<(events: readonly PacketEvent[]) => void>()
  return {
    records(bytes, count) {
      if (listeners.size === 0) return
      const bootMs = Date.now() - Number(process.hrtime.bigint() / 1_000_000n)
      const events = sampleEvents(bytes, count).map((sample) => describeEvent(sample, names, bootMs))
      for (const listener of listeners) listener(events)
    },
    serve(response, signal) {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' })
      response.flushHeaders()
      const listener = (events: readonly PacketEvent[]): void => {
        if (response.writableLength > BACKLOG_BYTES_MAX) return
        response.write(events.map((event) => `${JSON.stringify(event)}\n`).join(''))
      }
      const keepalive = setInterval(() => response.write('\n'), KEEPALIVE_MS)
      listeners.add(listener)
      signal.addEventListener('abort', () => {
        clearInterval(keepalive)
        listeners.delete(listener)
      })
    },
  }
}
