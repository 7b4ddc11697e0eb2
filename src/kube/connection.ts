// SPDX-License-Identifier: Apache-2.0
// Where the API servers are and who we are to them. Secrets are read again when their files may have changed or a server
// refused them; none of them is ever part of a message.

import { readFileSync } from 'node:fs'
import { type ExecCredential, runExecPlugin } from './exec-credential.ts'
import { type Kubeconfig, type Material, readKubeconfig } from './kubeconfig.ts'

/** What a request is sent with. The same object as long as nothing of it changed. */
export interface Identity {
  /** Value of the Authorization header; null: the client certificate speaks. */
  readonly authorization: string | null
  /** PEM; undefined: Node's own authorities, no client certificate. */
  readonly ca: string | undefined
  readonly cert: string | undefined
  readonly key: string | undefined
  /** Name that the server's certificate must carry; '': the address asked for, or SERVICE_NAME. */
  readonly serverName: string
}

export interface Connection {
  /** For messages: "in-cluster" or the file's path. */
  readonly source: string
  /** Namespace of the account or context. */
  readonly namespace: string
  /** Base URLs, the preferred one first; never empty. */
  servers(): readonly string[]
  /** Throws one sentence when there is none. */
  identity(): Promise<Identity>
  /** A server refused this one (401): what the files or the plugin say now. */
  renew(refused: Identity): Promise<Identity>
}

export interface ConnectionOptions {
  /** IN_CLUSTER, or the path of a kubeconfig file. */
  readonly kubeconfig: string
  /** Instead of what the kubeconfig or the environment names. */
  readonly apiServers?: readonly string[]
  /** Further ones, when the others do not answer: what was remembered. */
  readonly moreServers?: () => readonly string[]
  /** Folder of token, ca.crt and namespace. */
  readonly serviceAccountDir?: string
  readonly env?: Readonly<Record<string, string | undefined>>
}

export const IN_CLUSTER = 'in-cluster'
/** A name that the certificate of every API server carries. */
export const SERVICE_NAME = 'kubernetes.default.svc'
const SERVICE_ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount'
/** How old files may be known; kubelet rotates a token long before it expires. */
const REREAD_MS = 30_000
/** A plugin's credential is renewed this long before it expires. */
const EXPIRY_LEEWAY_MS = 10_000

/** Throws one sentence when file or environment do not say where the API is. */
export function connectionFrom(options: ConnectionOptions): Connection {
  const { kubeconfig, env = process.env, moreServers = () => [] } = options
  const dir = options.serviceAccountDir ?? SERVICE_ACCOUNT_DIR
  const read = kubeconfig === IN_CLUSTER ? () => inCluster(dir, env) : () => readKubeconfig(kubeconfig)
  const first = read()
  const identities = rememberIdentity(createLoader(read))
  return {
    source: kubeconfig,
    namespace: first.namespace,
    servers() {
      const own = options.apiServers?.length ? options.apiServers : [first.server]
      return [...new Set([...own, ...moreServers()].map((url) => url.replace(/\/$/, '')))]
    },
    ...identities,
  }
}

function inCluster(dir: string, env: Readonly<Record<string, string | undefined>>): Kubeconfig {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env
  if (!host) throw new Error('KUBERNETES_SERVICE_HOST is not set: this is no pod; name a kubeconfig file')
  let namespace = 'default'
  try {
    namespace = readFileSync(`${dir}/namespace`, 'utf8').trim()
  } catch {
    // Only for messages.
  }
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca: { file: `${dir}/ca.crt` },
    serverName: '',
    cert: null,
    key: null,
    token: { file: `${dir}/token` },
    exec: null,
    namespace,
  }
}

interface Loaded {
  readonly identity: Identity
  /** On the clock of Date.now(). */
  readonly expiresMs: number
}

/** `isRefused`: what a plugin printed before is worth nothing any more. */
type Load = (isRefused: boolean) => Promise<Loaded>

function createLoader(read: () => Kubeconfig): Load {
  let printed: ExecCredential | undefined
  return async (isRefused) => {
    const config = read()
    if (config.exec !== null) {
      const isOver =
        printed !== undefined && printed.expiresMs > 0 && printed.expiresMs - EXPIRY_LEEWAY_MS <= Date.now()
      if (printed === undefined || isOver || isRefused) printed = await runExecPlugin(config.exec)
    }
    const token = contents(config.token)?.trim() || (config.exec && printed?.token) || ''
    const pluginEndsMs = config.exec !== null && printed && printed.expiresMs > 0 ? printed.expiresMs : Infinity
    return {
      identity: {
        authorization: token === '' ? null : `Bearer ${token}`,
        ca: contents(config.ca),
        cert: contents(config.cert) ?? ((config.exec && printed?.cert) || undefined),
        key: contents(config.key) ?? ((config.exec && printed?.key) || undefined),
        serverName: config.serverName,
      },
      expiresMs: Math.min(Date.now() + REREAD_MS, pluginEndsMs - EXPIRY_LEEWAY_MS),
    }
  }
}

function contents(material: Material): string | undefined {
  if (material === null) return undefined
  if ('inline' in material) return material.inline
  try {
    return readFileSync(material.file, 'utf8')
  } catch (error) {
    throw new Error(`${material.file} cannot be read (${(error as NodeJS.ErrnoException).code})`, { cause: error })
  }
}

function rememberIdentity(load: Load): Pick<Connection, 'identity' | 'renew'> {
  let known: Loaded | undefined
  let loading: Promise<Identity> | undefined

  async function reload(isRefused: boolean): Promise<Identity> {
    try {
      const loaded = await load(isRefused)
      const same = known !== undefined && sameIdentity(known.identity, loaded.identity)
      known = same ? { ...loaded, identity: known!.identity } : loaded
      return known.identity
    } catch (error) {
      // A file that is being replaced: what was read before may still do.
      if (known === undefined || isRefused) throw error
      known = { ...known, expiresMs: Date.now() + 1000 }
      return known.identity
    }
  }

  function start(isRefused: boolean): Promise<Identity> {
    loading ??= reload(isRefused).finally(() => {
      loading = undefined
    })
    return loading
  }

  return {
    identity: async () => (known !== undefined && known.expiresMs > Date.now() ? known.identity : start(false)),
    renew: async (refused) => (known !== undefined && known.identity !== refused ? known.identity : start(true)),
  }
}

function sameIdentity(a: Identity, b: Identity): boolean {
  return (
    a.authorization === b.authorization &&
    a.ca === b.ca &&
    a.cert === b.cert &&
    a.key === b.key &&
    a.serverName === b.serverName
  )
}
