// SPDX-License-Identifier: Apache-2.0
// The programs of build/bpf, asked from a test: one worker process per test file, in its own network namespace.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Reply, RunRequest, StepResult } from './kernel-worker.ts'

export interface Kernel extends AsyncDisposable {
  /** Writes the tables, then runs the steps in order on the state that each leaves. One call at a time. */
  run(request: RunRequest): Promise<readonly StepResult[]>
}

/** Needs root. Rejects when the worker cannot load the programs or build its devices. */
export async function startKernel(): Promise<Kernel> {
  const worker = fileURLToPath(new URL('kernel-worker.ts', import.meta.url))
  const child = spawn('unshare', ['--net', process.execPath, worker], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  })
  await nextMessage(child)
  return {
    async run(request) {
      child.send(request)
      const reply = (await nextMessage(child)) as Reply
      if ('failure' in reply) throw new Error(`the kernel worker: ${reply.failure}`)
      return reply.results
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return
      const exited = once(child, 'exit')
      child.disconnect()
      await exited
    },
  }
}

function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`the kernel worker ended with exit code ${code}`))
    child.once('exit', onExit)
    child.once('message', (message) => {
      child.off('exit', onExit)
      resolve(message)
    })
  })
}
