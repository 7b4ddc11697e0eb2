// SPDX-License-Identifier: Apache-2.0
// Writes into this node's own Node object what node-life.ts says, off every path that a pod or a packet waits for.

import { isConflict } from './api-error.ts'
import type { ApiClient } from './client.ts'
import { type NodeAnnouncement, readNodeFacts, statusPatch, taintPatch } from './node-life.ts'
import { resources } from './resources.ts'

const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 60_000
/** Somebody may have set the taint or the condition again: an autoscaler, a cloud's route controller. */
const LOOK_AGAIN_MS = 300_000
const FIELD_MANAGER = 'heddle-agent'

export interface NodeWriterOptions {
  readonly client: Pick<ApiClient, 'get' | 'patch'>
  readonly nodeName: string
  /** null while the node is not ready: nothing is written then. */
  readonly announcement: () => NodeAnnouncement | null
  /** What was written, in words. */
  readonly onWritten: (what: string) => void
  /** A failure that is another one than before; it is tried again. */
  readonly onFailure: (error: Error, retryMs: number) => void
}

export interface NodeWriter extends Disposable {
  /** Looks at the Node soon and writes what is missing. */
  look(): void
  /** Why the Node does not say yet what it should; '' when it does, or nothing is to be said. */
  problem(): string
}

export function createNodeWriter(options: NodeWriterOptions): NodeWriter {
  const { client, nodeName: name } = options
  const ending = new AbortController()
  let failures = 0 // in a row
  let problem = ''
  let told = '' // the problem that onFailure heard last
  let timer: NodeJS.Timeout | undefined
  let running = false
  let asked = false

  /** Reads first, so that nothing is written when it is all there. */
  async function bringUpToDate(announcement: NodeAnnouncement): Promise<void> {
    const { signal } = ending
    const write = { fieldManager: FIELD_MANAGER, signal }
    let facts = readNodeFacts(await client.get(resources.nodes, { name }, signal))
    const said = statusPatch(facts, announcement, new Date())
    if (said !== null) {
      const target = { name, subresource: 'status' }
      facts = readNodeFacts(await client.patch(resources.nodes, target, 'strategic', said, write))
      options.onWritten('condition and annotations')
    }
    const untainted = taintPatch(facts)
    if (untainted === null) return
    await client.patch(resources.nodes, { name }, 'merge', untainted, write)
    options.onWritten('taint removed')
  }

  async function run(): Promise<void> {
    asked = false
    const announcement = options.announcement()
    if (announcement === null) return
    try {
      await bringUpToDate(announcement)
      failures = 0
      problem = ''
      told = ''
      schedule(LOOK_AGAIN_MS)
    } catch (error) {
      if (ending.signal.aborted) return
      problem = (error as Error).message
      const retryMs = Math.min(RETRY_MS_MIN * 2 ** failures++, RETRY_MS_MAX) * (0.75 + Math.random() / 2)
      // Kubelet writes its Node at the same time: a conflict is no failure worth a word, unless it stays.
      if (problem !== told && (!isConflict(error) || failures > 3)) {
        told = problem
        options.onFailure(error as Error, retryMs)
      }
      schedule(retryMs)
    }
  }

  function schedule(ms: number): void {
    clearTimeout(timer)
    if (ending.signal.aborted) return
    timer = setTimeout(start, ms)
    timer.unref()
  }

  function start(): void {
    if (running) return
    clearTimeout(timer)
    running = true
    void run().finally(() => {
      running = false
      if (asked && failures === 0 && !ending.signal.aborted) start()
    })
  }

  return {
    look() {
      asked = true
      if (!running && failures === 0) start() // else the retry sees it
    },
    problem: () => problem,
    [Symbol.dispose]() {
      ending.abort()
      clearTimeout(timer)
    },
  }
}
