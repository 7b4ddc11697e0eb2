// SPDX-License-Identifier: Apache-2.0
// A kubeconfig file -> the server and how to prove who we are. What Heddle does not do is refused by name, or it would
// act as somebody else. Source: client-go clientcmd v1 Config.

import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parse } from 'yaml'
import { BadField, bool, type Cursor, field, isMissing, list, pathText, root, text } from '../api/cursor.ts'

/** Bytes in the file itself, or where they are read each time. */
export type Material = { readonly inline: string } | { readonly file: string } | null

export interface ExecPlugin {
  /** A name for PATH, or an absolute path. */
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** client.authentication.k8s.io/v1 or v1beta1. */
  readonly apiVersion: string
}

export interface Kubeconfig {
  readonly server: string
  /** PEM; null: the authorities that Node.js knows. */
  readonly ca: Material
  /** Name that the server's certificate must carry; '': the server's own. */
  readonly serverName: string
  /** PEM. */
  readonly cert: Material
  readonly key: Material
  readonly token: Material
  readonly exec: ExecPlugin | null
  readonly namespace: string
}

const FILE_BYTES_MAX = 1 << 20
const SECRET_MAX = 1 << 18

/** Throws one sentence that names file and field, never their contents. */
export function readKubeconfig(file: string): Kubeconfig {
  const source = readFileSync(file, 'utf8')
  if (source.length > FILE_BYTES_MAX) throw new Error(`${file}: larger than ${FILE_BYTES_MAX} bytes`)
  try {
    return kubeconfigOf(root(parseYaml(source)), dirname(resolve(file)))
  } catch (error) {
    if (!(error instanceof BadField)) throw new Error(`${file}: ${(error as Error).message}`)
    throw new Error(`${file}: ${pathText(error.path)}: ${error.message}`)
  }
}

/** The parser's messages quote the text, in which secrets stand. */
function parseYaml(source: string): unknown {
  try {
    return parse(source, { logLevel: 'silent', maxAliasCount: 0 })
  } catch (error) {
    const line = /at line (\d+)/.exec((error as Error).message)?.[1]
    throw new Error(`not YAML${line === undefined ? '' : ` (line ${line})`}`)
  }
}

function kubeconfigOf(config: Cursor, folder: string): Kubeconfig {
  const current = text(field(config, 'current-context'), '')
  if (current === '') throw new BadField(field(config, 'current-context'), 'missing')
  const context = named(config, 'contexts', 'context', current)
  const cluster = named(config, 'clusters', 'cluster', text(field(context, 'cluster')))
  const user = named(config, 'users', 'user', text(field(context, 'user')))
  refuse(
    cluster,
    'insecure-skip-tls-verify',
    'the server could not be told from an impostor; give certificate-authority',
  )
  refuse(cluster, 'proxy-url', 'proxies are not supported')
  refuse(user, 'auth-provider', 'removed from Kubernetes; use exec')
  refuse(user, 'username', 'removed from Kubernetes')
  refuse(user, 'as', 'impersonation is not supported')
  const exec = field(user, 'exec')
  return {
    server: readServer(field(cluster, 'server')),
    ca: material(cluster, 'certificate-authority', folder, 'base64'),
    serverName: text(field(cluster, 'tls-server-name'), ''),
    cert: material(user, 'client-certificate', folder, 'base64'),
    key: material(user, 'client-key', folder, 'base64'),
    token: readToken(user, folder),
    exec: isMissing(exec) ? null : readExec(exec, folder),
    namespace: text(field(context, 'namespace'), 'default'),
  }
}

function named(config: Cursor, listName: string, key: string, name: string): Cursor {
  const found = list(field(config, listName)).find((item) => text(field(item, 'name')) === name)
  if (found === undefined) throw new BadField(field(config, listName), 'has no entry of the name that is asked for')
  return field(found, key)
}

function refuse(at: Cursor, key: string, why: string): void {
  const given = field(at, key)
  if (!isMissing(given) && given.value !== false && given.value !== '') throw new BadField(given, why)
}

/** https, or http to this very host (a proxy beside us). */
function readServer(at: Cursor): string {
  const url = URL.parse(text(at))
  if (url === null || url.username !== '' || url.password !== '') throw new BadField(at, 'not a URL of a server')
  const isLoopback = ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback)) throw new BadField(at, 'must be https')
  return url.href.replace(/\/$/, '')
}

/** `key`-data holds base64 and wins over the file of `key`. */
function material(at: Cursor, key: string, folder: string, encoding: BufferEncoding): Material {
  const data = secret(field(at, `${key}-data`))
  if (data !== '') return { inline: Buffer.from(data, encoding).toString('utf8') }
  const path = text(field(at, key), '')
  return path === '' ? null : { file: resolve(folder, path) }
}

function readToken(user: Cursor, folder: string): Material {
  const path = text(field(user, 'tokenFile'), '')
  if (path !== '') return { file: resolve(folder, path) }
  const token = secret(field(user, 'token'))
  return token === '' ? null : { inline: token }
}

/** A text of any length that never appears in a message. */
function secret(at: Cursor): string {
  if (isMissing(at)) return ''
  if (typeof at.value !== 'string') throw new BadField(at, 'expected a text')
  if (at.value.length > SECRET_MAX) throw new BadField(at, `longer than ${SECRET_MAX} characters`)
  return at.value
}

function readExec(exec: Cursor, folder: string): ExecPlugin {
  const command = text(field(exec, 'command'))
  const apiVersion = text(field(exec, 'apiVersion'))
  if (!/^client\.authentication\.k8s\.io\/v1(beta1)?$/.test(apiVersion)) {
    throw new BadField(field(exec, 'apiVersion'), 'must be client.authentication.k8s.io/v1')
  }
  if (text(field(exec, 'interactiveMode'), 'IfAvailable') === 'Always') {
    throw new BadField(field(exec, 'interactiveMode'), 'an agent has no terminal')
  }
  refuse(exec, 'provideClusterInfo', 'is not supported')
  bool(field(exec, 'provideClusterInfo'), false)
  return {
    command: command.includes('/') ? resolve(folder, command) : command,
    args: list(field(exec, 'args'), 1000).map(secret),
    env: Object.fromEntries(
      list(field(exec, 'env'), 1000).map((item) => [text(field(item, 'name')), secret(field(item, 'value'))]),
    ),
    apiVersion,
  }
}
