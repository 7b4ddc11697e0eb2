// SPDX-License-Identifier: Apache-2.0
// Credentials that end while a client goes on: the real API server refuses a token as soon as the Secret is gone that it
// was bound to.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { expect } from 'vitest'
import { startBackground } from '../support/background.ts'
import { scriptArgv } from '../support/lab.ts'
import type { Cluster } from './cluster.ts'
import { clusterDir } from './names.ts'

const namespace = 'kube-system'

/** A file with a token of the agent's own account, as kubelet projects one; `renew` replaces and `revoke` ends it. */
function tokenFile(cluster: Cluster, path: string) {
  const bindTo = (secret: string) =>
    cluster.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name: secret } })
  return {
    async renew(secret: string): Promise<void> {
      await bindTo(secret)
      const bound = ['--bound-object-kind=Secret', `--bound-object-name=${secret}`]
      writeFileSync(path, await cluster.kubectl(['-n', namespace, 'create', 'token', 'heddle', ...bound]))
    },
    async revoke(secret: string): Promise<void> {
      await cluster.kubectl(['-n', namespace, 'delete', 'secret', secret])
    },
  }
}

/** The cluster's kubeconfig with another user, written to `path`. */
function kubeconfigWith(cluster: Cluster, path: string, user: object): string {
  const config = JSON.parse(readFileSync(cluster.kubeconfig, 'utf8')) as { users: { name: string }[] }
  writeFileSync(path, JSON.stringify({ ...config, users: config.users.map(({ name }) => ({ name, user })) }))
  return path
}

/** Follows a token from one to the next with a client that never ends: it asks, is refused once nothing else is to be
 *  had, and is let in again. */
export async function outlivesItsToken(cluster: Cluster, from: 'a file' | 'an exec plugin'): Promise<void> {
  const folder = `${clusterDir(cluster.state.name)}/credentials`
  mkdirSync(folder, { recursive: true })
  const path = `${folder}/token`
  const token = tokenFile(cluster, path)
  const print = `printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}' "$(cat ${path})"`
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: '/bin/sh', args: ['-c', print] }
  const user = from === 'a file' ? { tokenFile: path } : { exec }
  const kubeconfig = kubeconfigWith(cluster, `${folder}/kubeconfig`, user)
  await token.renew('first')
  const client = startBackground(cluster.commandAt('control', scriptArgv('ask-server.ts', kubeconfig)))
  async function ask(): Promise<string> {
    const before = client.output().length
    client.write('ask\n')
    await client.until((output) => output.slice(before).includes('\n'))
    return client.output().slice(before).trim()
  }
  try {
    expect(await ask()).toBe('ok')
    await token.revoke('first')
    // The server remembers for some seconds that a token was good.
    await expect.poll(ask, { timeout: 60_000, interval: 500 }).toContain('401')
    await token.renew('second')
    expect(await ask()).toBe('ok')
  } finally {
    await client.stop()
    await token.revoke('second').catch(() => {})
  }
}
