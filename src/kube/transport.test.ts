// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createApiClient } from './client.ts'
import { connectionFrom } from './connection.ts'
import { resources } from './resources.ts'

const configuration = `
[ca]
default_ca = only
[only]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = server
[any]
commonName = supplied
[server]
basicConstraints = CA:TRUE
subjectAltName = IP:127.0.0.1
`

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'heddle-transport-'))
  writeFileSync(join(folder, 'ca.cnf'), configuration)
  writeFileSync(join(folder, 'index'), '')
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'key']
  openssl('req', '-new', ...key, '-subj', '/CN=server', '-out', 'request')
})
afterAll(() => rmSync(folder, { recursive: true }))

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' })
}

/** An API server whose certificate, its own authority, holds for one year. */
async function serverOf(year: number) {
  const years = ['-startdate', `${year}0101000000Z`, '-enddate', `${year + 1}0101000000Z`]
  writeFileSync(join(folder, 'index'), '')
  openssl(
    'ca',
    '-batch',
    '-selfsign',
    '-config',
    'ca.cnf',
    '-keyfile',
    'key',
    '-in',
    'request',
    '-out',
    'cert',
    ...years,
  )
  const read = (file: string) => readFileSync(join(folder, file))
  const server = createServer({ key: read('key'), cert: read('cert') }, (_, response) => response.end('here'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

function kubeconfigOf(port: number): string {
  const file = join(folder, 'kubeconfig')
  const cluster = { server: `https://127.0.0.1:${port}`, 'certificate-authority': join(folder, 'cert') }
  const config = {
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user: { token: 'secret' } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  }
  writeFileSync(file, JSON.stringify(config))
  return file
}

test.each([
  ['not yet valid', 2099],
  ['expired', 2001],
])("a certificate that is %s is told with the node's clock, which may be what is wrong", async (what, year) => {
  const server = await serverOf(year)
  try {
    using client = createApiClient(connectionFrom({ kubeconfig: kubeconfigOf((server.address() as AddressInfo).port) }))
    const clock = new RegExp(`certificate (is|has) ${what}; this node's clock says 2\\d{3}-`)
    await expect(client.readPath('/version')).rejects.toThrow(clock)
  } finally {
    server.close()
  }
})

test.each([500, 401])('a refusal whose body never ends is one all the same (%s)', async (status) => {
  const server = createHttpServer((_, response) => response.writeHead(status).write('{"kind":"Sta'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const file = join(folder, 'plain')
  const clusters = [{ name: 'c', cluster: { server: `http://127.0.0.1:${port}` } }]
  const contexts = [{ name: 'c', context: { cluster: 'c', user: 'u' } }]
  const users = [{ name: 'u', user: { token: 't' } }]
  writeFileSync(file, JSON.stringify({ clusters, contexts, users, 'current-context': 'c' }))
  try {
    using client = createApiClient(connectionFrom({ kubeconfig: file }), 'test', 50)
    const opened = client.open('watch', resources.pods, '', {}, new AbortController().signal)
    await expect(opened).rejects.toThrow(/^watch pods/)
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
