// SPDX-License-Identifier: Apache-2.0
// The two files that a container runtime looks for: the plugin, and last the network configuration that makes it start
// pods. Both replace what is there in one step, so that a runtime never sees half of one.

import { lstatSync, readFileSync } from 'node:fs'
import { open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { NEWEST_VERSION } from '../cni/protocol.ts'
import type { Config } from './config.ts'

const root = new URL('../../', import.meta.url).pathname
const PLUGIN = 'heddle-cni'
/** Before what others install as 10-*, behind a meta plugin's 00-*. */
const CONFIGURATION = '05-heddle.conflist'
const DEFAULT_RUN_DIR = '/run/heddle'

export interface InstalledFiles {
  /** Paths that did not have these contents before. */
  readonly written: readonly string[]
  /** Of another network, which the runtime takes instead; '' when ours is the first. */
  readonly shadowedBy: string
}

type CniFolders = Pick<Config, 'cniBinDir' | 'cniConfDir' | 'runDir'>

/** Idempotent. Rejects with the file system's error. */
export async function installCniFiles({ cniBinDir, cniConfDir, runDir }: CniFolders): Promise<InstalledFiles> {
  const written: string[] = []
  const put = async (path: string, contents: Uint8Array, mode: number): Promise<void> => {
    if (await replace(path, contents, mode)) written.push(path)
  }
  if (cniBinDir !== '') await put(join(cniBinDir, PLUGIN), await readFile(`${root}build/${PLUGIN}`), 0o755)
  if (cniConfDir === '') return { written, shadowedBy: '' }
  const text = networkConfiguration(runDir, (plugin) => cniBinDir !== '' && isThere(join(cniBinDir, plugin)))
  await put(join(cniConfDir, CONFIGURATION), Buffer.from(text), 0o644)
  // github.com/containernetworking/cni libcni/conf.go ConfFiles; runtimes take the first by name.
  const [first = ''] = (await readdir(cniConfDir)).filter((name) => /\.(conf|conflist|json)$/.test(name)).sort()
  return { written, shadowedBy: first === CONFIGURATION ? '' : join(cniConfDir, first) }
}

/** Takes the network configuration away, so that the runtime starts no more pods here. The plugin stays: pods that are
 *  still there are deleted through it. */
export async function removeNetworkConfiguration({ cniConfDir }: Pick<Config, 'cniConfDir'>): Promise<void> {
  if (cniConfDir !== '') await rm(join(cniConfDir, CONFIGURATION), { force: true })
}

/** deploy/cni's, without chained plugins that the node does not have, and with the agent's socket where it is not the
 *  plugin's default. It asks for 1.0.0, since runtimes and chained plugins that know no newer version refuse one (libcni
 *  before 1.2, portmap before 1.6); a runtime that knows `cniVersions` takes the newest where no other plugin has a say,
 *  and with it GC and STATUS. */
export function networkConfiguration(runDir: string, isInstalled: (plugin: string) => boolean): string {
  const { plugins, ...rest } = JSON.parse(readFileSync(`${root}deploy/cni/${CONFIGURATION}`, 'utf8')) as {
    readonly cniVersion: string
    readonly plugins: readonly { readonly type: string }[]
  }
  const agentSocket = runDir === DEFAULT_RUN_DIR ? {} : { agentSocket: `${runDir}/cni.sock` }
  const kept = plugins
    .filter(({ type }) => type === PLUGIN || isInstalled(type))
    .map((plugin) => (plugin.type === PLUGIN ? { ...plugin, ...agentSocket } : plugin))
  const versions = kept.length === 1 ? { cniVersions: [rest.cniVersion, NEWEST_VERSION] } : {}
  return `${JSON.stringify({ ...rest, ...versions, plugins: kept }, null, 2)}\n`
}

/** Also a link, although it may lead nowhere from inside the agent's container. */
function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}

/** False: the file was like that. What a crash leaves under the other name is overwritten the next time; runtimes do not
 *  take it for a configuration. */
async function replace(path: string, contents: Uint8Array, mode: number): Promise<boolean> {
  const before = await readFile(path).catch(() => null)
  if (before !== null && Buffer.compare(before, contents) === 0) return false
  const next = `${path}~`
  await rm(next, { force: true }) // it may have another mode
  const handle = await open(next, 'wx', mode)
  try {
    await handle.chmod(mode) // whatever the umask
    await handle.writeFile(contents)
    await handle.datasync()
  } finally {
    await handle.close()
  }
  await rename(next, path)
  return true
}
