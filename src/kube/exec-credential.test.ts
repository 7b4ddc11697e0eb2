// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import { runExecPlugin } from './exec-credential.ts'

function shell(script: string) {
  const apiVersion = 'client.authentication.k8s.io/v1'
  return { command: '/bin/sh', args: ['-c', script], env: {}, apiVersion }
}

test('a process that a plugin leaves behind with its output open does not hold up every request', async () => {
  const credential = runExecPlugin(shell(`sleep 20 & echo '{"status":{"token":"t"}}'`), 200)
  expect(await credential).toMatchObject({ token: 't' })
}, 5_000)

test('nor does one that hangs, and whose own child has its output', async () => {
  await expect(runExecPlugin(shell('sleep 20; true'), 200)).rejects.toThrow('ended by SIGKILL')
}, 5_000)
