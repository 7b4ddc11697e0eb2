// SPDX-License-Identifier: Apache-2.0
// Keys and certificates of a cluster, and the kubeconfigs that carry them; valid for 30 days.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { runTool } from '../../src/lab/process.ts'

interface Identity {
  /** File name in the folder, without its ending. */
  readonly file: string
  /** As openssl writes it: "/O=system:masters/CN=admin". */
  readonly subject: string
  /** Names it serves under: "IP:…", "DNS:…". */
  readonly names?: readonly string[]
  /** Writes FILE.kubeconfig too. */
  readonly client?: boolean
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** Makes the authority, every identity signed by it, and the service account key (sa.key, sa.pub) in `dir`. */
export async function makePki(dir: string, server: string, identities: readonly Identity[]): Promise<void> {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const path = (file: string) => `${dir}/${file}`
  const authority = [
    ...['openssl', 'req', '-x509', ...newKey, '-days', '30', '-subj', '/CN=heddle-test-ca'],
    ...['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    ...['-keyout', path('ca.key'), '-out', path('ca.crt')],
  ]
  await Promise.all([runTool(authority), makeAccountKey(dir)])
  await Promise.all(identities.map((identity) => certify(dir, identity)))
  for (const { file, client } of identities)
    if (client) writeFileSync(path(`${file}.kubeconfig`), kubeconfig(dir, file, server), { mode: 0o600 })
}

/** The key that tokens of service accounts are signed with; in the place of the one before, if there was one. */
export async function makeAccountKey(dir: string): Promise<void> {
  await runTool(['openssl', 'genrsa', '-out', `${dir}/sa.key`, '2048'])
  await runTool(['openssl', 'rsa', '-in', `${dir}/sa.key`, '-pubout', '-out', `${dir}/sa.pub`])
}

async function certify(dir: string, { file, subject, names = [] }: Identity): Promise<void> {
  const base = `${dir}/${file}`
  const extensions = [
    'extendedKeyUsage=clientAuth,serverAuth',
    ...(names.length > 0 ? [`subjectAltName=${names.join(',')}`] : []),
  ]
  writeFileSync(`${base}.ext`, `${extensions.join('\n')}\n`)
  await runTool([
    'openssl',
    'req',
    '-new',
    ...newKey,
    '-subj',
    subject,
    '-keyout',
    `${base}.key`,
    '-out',
    `${base}.csr`,
  ])
  await runTool([
    ...['openssl', 'x509', '-req', '-in', `${base}.csr`, '-days', '30', '-CA', `${dir}/ca.crt`],
    ...['-CAkey', `${dir}/ca.key`, '-set_serial', `0x${Buffer.from(file).toString('hex').slice(0, 32)}`],
    ...['-extfile', `${base}.ext`, '-out', `${base}.crt`],
  ])
}

/** JSON, which every reader of kubeconfigs takes for YAML. */
function kubeconfig(dir: string, file: string, server: string): string {
  const base64 = (name: string) => readFileSync(`${dir}/${name}`).toString('base64')
  const cluster = { server, 'certificate-authority-data': base64('ca.crt') }
  const user = {
    'client-certificate-data': base64(`${file}.crt`),
    'client-key-data': base64(`${file}.key`),
  }
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'cluster',
    contexts: [{ name: 'cluster', context: { cluster: 'cluster', user: file } }],
    clusters: [{ name: 'cluster', cluster }],
    users: [{ name: file, user }],
  })
}
