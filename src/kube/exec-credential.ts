// SPDX-License-Identifier: Apache-2.0
// Credentials from an exec plugin. It runs without a shell, bounded in time and output; what it prints is secret.
// Source: client.authentication.k8s.io/v1 ExecCredential.

import { spawn } from 'node:child_process'
import { BadField, field, pathText, root, text, timeMs } from '../api/cursor.ts'
import type { ExecPlugin } from './kubeconfig.ts'

export interface ExecCredential {
  readonly token: string
  /** PEM. */
  readonly cert: string
  readonly key: string
  /** Milliseconds since 1970; 0: until the server refuses it. */
  readonly expiresMs: number
}

const RUN_MS_MAX = 30_000
const OUTPUT_BYTES_MAX = 1 << 20

/** Throws one sentence that repeats nothing of the plugin's output. */
export async function runExecPlugin(plugin: ExecPlugin, timeoutMs = RUN_MS_MAX): Promise<ExecCredential> {
  const output = await run(plugin, timeoutMs)
  try {
    const status = field(root(JSON.parse(output)), 'status')
    const secretOf = (key: string): string => {
      const { value = '' } = field(status, key)
      if (typeof value !== 'string') throw new BadField(field(status, key), 'expected a text')
      return value
    }
    const token = secretOf('token')
    const cert = secretOf('clientCertificateData')
    if (token === '' && cert === '') throw new BadField(status, 'has neither token nor clientCertificateData')
    const expires = field(status, 'expirationTimestamp')
    text(expires, '')
    return { token, cert, key: secretOf('clientKeyData'), expiresMs: timeMs(expires) }
  } catch (error) {
    const why = error instanceof BadField ? `${pathText(error.path)}: ${error.message}` : 'its output is not JSON'
    throw new Error(`exec plugin ${plugin.command}: ${why}`)
  }
}

function run({ command, args, env, apiVersion }: ExecPlugin, timeoutMs: number): Promise<string> {
  const info = JSON.stringify({ apiVersion, kind: 'ExecCredential', spec: { interactive: false } })
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, ...env, KUBERNETES_EXEC_INFO: info },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      child.stdout.destroy() // a process that the plugin left behind may hold the other end for ever
    }, timeoutMs)
    const chunks: Buffer[] = []
    let size = 0
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > OUTPUT_BYTES_MAX) child.kill('SIGKILL')
      else chunks.push(chunk)
    })
    const fail = (why: string): void => {
      clearTimeout(timer)
      reject(new Error(`exec plugin ${command}: ${why}`))
    }
    child.on('error', (error: NodeJS.ErrnoException) => fail(`cannot be run (${error.code})`))
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (size > OUTPUT_BYTES_MAX) fail(`more than ${OUTPUT_BYTES_MAX} bytes of output`)
      else if (signal !== null) fail(`ended by ${signal} (it may take ${timeoutMs} ms)`)
      else if (code !== 0) fail(`exit code ${code}; run it by hand to see why`)
      else resolve(Buffer.concat(chunks).toString('utf8'))
    })
  })
}
