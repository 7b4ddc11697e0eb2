// SPDX-License-Identifier: Apache-2.0
// Credentials that end while a client goes on: the real API server refuses a token as soon as the Secret is gone that it
// was bound to, and every token once it knows another signing key.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { expect } from 'vitest'
import { startBackground } from '../support/background.ts'
import { scriptArgv } from '../support/lab.ts'
import type { Cluster } from './cluster.ts'
import { clusterDir } from './names.ts'
import { makeAccountKey } from './pki.ts'
import { agentLabel, agentStatus, readyPods } from './pods.ts'

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

/** Has every token refused at once and kubelet write new ones into the pods that run: it asks for them anew when it was
 *  started anew, or after most of their hour. Asserts that the agents say so, then go on, without a restart. */
export async function takesTokensOfKubelet(cluster: Cluster): Promise<void> {
  const agents = () => readyPods(cluster, namespace, agentLabel, cluster.nodes.length)
  const before = await agents()
  const statuses = () => Promise.all(before.map((agent) => agentStatus(cluster, agent)))
  for (const program of ['kube-controller-manager', 'kube-apiserver'] as const) await cluster.stopControl(program)
  await makeAccountKey(`${clusterDir(cluster.state.name)}/pki`)
  cluster.startControl('kube-apiserver')
  await cluster.apiServerReady()
  cluster.startControl('kube-controller-manager')
  const isRefused = expect.stringContaining('the API server does not accept the credentials (401)')
  await expect.poll(statuses, { timeout: 60_000 }).toEqual(before.map(() => isRefused))
  for (const node of cluster.nodes) await cluster.killProgram(node, 'kubelet')
  await expect.poll(statuses, { timeout: 120_000 }).toEqual(before.map(() => expect.not.stringMatching(/401|as of/)))
  expect(await agents()).toEqual(before)
}
