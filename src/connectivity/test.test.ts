// SPDX-License-Identifier: Apache-2.0
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text as textOf } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Connection, Identity } from '../kube/connection.ts'
import { runTest, type TestOptions } from './test.ts'

const identity: Identity = { authorization: null, ca: undefined, cert: undefined, key: undefined, serverName: '' }
const options: TestOptions = {
  namespacePrefix: 'probe',
  image: 'heddle:test',
  families: null,
  nodeCount: 1,
  timeoutMs: 0,
  only: null,
  except: null,
  keep: false,
}
const node = {
  metadata: { name: 'n1', labels: { 'kubernetes.io/os': 'linux' } },
  status: { conditions: [{ type: 'Ready', status: 'True' }] },
}

describe('who waits for a cluster that does not answer is told so in one sentence', () => {
  let server: Server
  let asked: string[]
  /** The answer to a path; undefined: none ever comes. */
  let answer: (method: string, path: string, body: string) => object | undefined

  beforeEach(async () => {
    asked = []
    server = createServer(async (request, response: ServerResponse) => {
      const [method, path] = [request.method!, request.url!.replace(/[?].*/, '')]
      asked.push(`${method} ${path.replace(/probe-[a-z0-9]{5}/, 'NAMESPACE')}`)
      const isGone = asked.includes('DELETE /api/v1/namespaces/NAMESPACE') && method === 'GET'
      const body = isGone ? { code: 404 } : answer(method, path, await textOf(request))
      if (body !== undefined) response.writeHead('code' in body ? Number(body.code) : 200).end(JSON.stringify(body))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  })

  afterEach(() => {
    server.close()
    server.closeAllConnections()
  })

  async function run(interrupted: AbortSignal, timeoutMs = 500): Promise<unknown> {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const connection: Connection = {
      source: 'test',
      namespace: 'default',
      servers: () => [url],
      identity: async () => identity,
      renew: async (refused) => refused,
    }
    return runTest(connection, { ...options, timeoutMs }, { step: () => {}, group: () => {} }, interrupted)
  }
  const never = new AbortController().signal

  test('nodes are never listed', async () => {
    answer = () => undefined
    await expect(run(never)).rejects.toThrow('not done in 0.5 s (--timeout)')
    expect(asked).toEqual(['GET /api/v1/nodes'])
  })

  test('interrupted before anything was made', async () => {
    const interrupting = new AbortController()
    answer = () => {
      interrupting.abort()
      return undefined
    }
    await expect(run(interrupting.signal)).rejects.toThrow(/^interrupted$/)
  })

  test('the time is over while pods are asked for: the first that does not run is named, and the namespace goes', async () => {
    answer = (method, path) => {
      if (path === '/api/v1/nodes') return { items: [node], metadata: {} }
      if (method === 'GET' && path.endsWith('/pods')) return undefined
      return { kind: 'Any', metadata: { name: 'any' } }
    }
    await expect(run(never, 3_000)).rejects.toThrow(/^not done in 3 s \(--timeout\): (\d+) of \1 pods do not run; /)
    expect(asked).toContain('DELETE /api/v1/namespaces/NAMESPACE')
  })

  test('external IPs and the status of a Service are forbidden: everything else is tested', async () => {
    answer = (method, path, body) => {
      if (path === '/api/v1/nodes') return { items: [node], metadata: {} }
      if (body.includes('externalIPs') || path.endsWith('/status')) return { kind: 'Status', code: 403 }
      if (method === 'GET' && path.endsWith('/pods')) return undefined
      return { kind: 'Any', metadata: { name: 'any' } }
    }
    await expect(run(never, 3_000)).rejects.toThrow(/pods do not run/)
  })

  test('another Service is forbidden: it says so, and the namespace goes', async () => {
    answer = (_, path, body) => {
      if (path === '/api/v1/nodes') return { items: [node], metadata: {} }
      if (body.includes('NodePort')) return { kind: 'Status', code: 403 }
      return { kind: 'Any', metadata: { name: 'any' } }
    }
    await expect(run(never, 3_000)).rejects.toThrow(/needs verb create on services/)
    expect(asked).toContain('DELETE /api/v1/namespaces/NAMESPACE')
  })
})
