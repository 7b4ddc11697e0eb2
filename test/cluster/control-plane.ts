// SPDX-License-Identifier: Apache-2.0
// etcd, kube-apiserver, kube-controller-manager and kube-scheduler, in the namespace `control` of a cluster. etcd does not
// sync its disk: nothing of a test cluster outlives the machine.

import { mkdirSync, readFileSync } from 'node:fs'
import { CommandError } from '../../src/core/command-error.ts'
import { inside, isAlive, type ProcessId, runProgram, startDetached, waitUntil } from '../../src/lab/process.ts'
import type { Families } from '../../src/lab/state.ts'
import { cgroup2Path, clusterDir, netnsPath } from './names.ts'
import { addressesOf, familiesOf, podCIDRs, serviceCIDRs } from './network.ts'

export type ControlProgram = 'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'kube-scheduler'

/** https://ADDRESS:6443 of the control plane, in the cluster's first family. */
export function serverUrl(families: Families): string {
  const ip = addressesOf('control', families)[0]!
  return `https://${ip.includes(':') ? `[${ip}]` : ip}:6443`
}

/** Command line of a program of the control plane, without the program's path. */
function argumentsOf(program: ControlProgram, cluster: string, families: Families): string[] {
  const dir = clusterDir(cluster)
  const pki = (file: string) => `${dir}/pki/${file}`
  const serviceRange = familiesOf(families).map((family) => serviceCIDRs[family])
  const podRange = familiesOf(families).map((family) => podCIDRs[family])
  switch (program) {
    case 'etcd':
      return [
        `--data-dir=${dir}/control/etcd`,
        '--listen-client-urls=http://127.0.0.1:2379',
        '--advertise-client-urls=http://127.0.0.1:2379',
        '--listen-peer-urls=http://127.0.0.1:2380',
        '--unsafe-no-fsync',
        '--log-level=warn',
      ]
    case 'kube-apiserver':
      return [
        '--etcd-servers=http://127.0.0.1:2379',
        `--advertise-address=${addressesOf('control', families)[0]}`,
        '--secure-port=6443',
        `--service-cluster-ip-range=${serviceRange.join(',')}`,
        '--authorization-mode=Node,RBAC',
        '--enable-admission-plugins=NodeRestriction',
        '--allow-privileged',
        `--client-ca-file=${pki('ca.crt')}`,
        `--tls-cert-file=${pki('apiserver.crt')}`,
        `--tls-private-key-file=${pki('apiserver.key')}`,
        `--kubelet-certificate-authority=${pki('ca.crt')}`,
        `--kubelet-client-certificate=${pki('kubelet-client.crt')}`,
        `--kubelet-client-key=${pki('kubelet-client.key')}`,
        '--kubelet-preferred-address-types=InternalIP',
        '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
        `--service-account-key-file=${pki('sa.pub')}`,
        `--service-account-signing-key-file=${pki('sa.key')}`,
        `--requestheader-client-ca-file=${pki('ca.crt')}`,
        '--requestheader-allowed-names=front-proxy',
        '--requestheader-username-headers=X-Remote-User',
        '--requestheader-group-headers=X-Remote-Group',
        '--requestheader-extra-headers-prefix=X-Remote-Extra-',
        `--proxy-client-cert-file=${pki('front-proxy.crt')}`,
        `--proxy-client-key-file=${pki('front-proxy.key')}`,
      ]
    case 'kube-controller-manager':
      return [
        `--kubeconfig=${pki('kube-controller-manager.kubeconfig')}`,
        '--leader-elect=false',
        '--use-service-account-credentials',
        `--service-account-private-key-file=${pki('sa.key')}`,
        `--root-ca-file=${pki('ca.crt')}`,
        '--allocate-node-cidrs',
        `--cluster-cidr=${podRange.join(',')}`,
        ...maskSizes(families),
        `--service-cluster-ip-range=${serviceRange.join(',')}`,
      ]
    case 'kube-scheduler':
      return [`--kubeconfig=${pki('kube-scheduler.kubeconfig')}`, '--leader-elect=false']
  }
}

function maskSizes(families: Families): string[] {
  if (families === '46') return ['--node-cidr-mask-size-ipv4=24', '--node-cidr-mask-size-ipv6=64']
  return [`--node-cidr-mask-size=${families === '4' ? 24 : 64}`]
}

export function startControl(
  cluster: string,
  families: Families,
  programs: string,
  program: ControlProgram,
): ProcessId {
  const dir = `${clusterDir(cluster)}/control`
  mkdirSync(dir, { recursive: true })
  const argv = [`${programs}/kubernetes`, program, ...argumentsOf(program, cluster, families)]
  return startDetached(inside(cgroup2Path(cluster, 'control'), netnsPath(cluster, 'control'), argv), {
    log: `${dir}/${program}.log`,
    env: { PATH: process.env.PATH, HOME: '/root' },
    cwd: '/',
  })
}

/** Waits until the API server serves; throws with its last words when it ends or does not get there. */
export async function apiServerReady(cluster: string, families: Families, server: ProcessId): Promise<void> {
  const pki = `${clusterDir(cluster)}/pki`
  const ask = [
    ...[
      'nsenter',
      `--net=${netnsPath(cluster, 'control')}`,
      '--',
      'curl',
      '-sgf',
      '-m',
      '2',
      '--cacert',
      `${pki}/ca.crt`,
    ],
    ...['--cert', `${pki}/admin.crt`, '--key', `${pki}/admin.key`, `${serverUrl(families)}/readyz`],
  ]
  const log = `${clusterDir(cluster)}/control/kube-apiserver.log`
  const ready = await waitUntil(async () => {
    if (!isAlive(server)) throw new CommandError(`kube-apiserver ended: ${lastLine(log)} (${log})`)
    return (await runProgram(ask)).exitCode === 0
  }, 60_000)
  if (!ready) throw new CommandError(`kube-apiserver is not ready after 60 s: ${lastLine(log)} (${log})`)
}

export function lastLine(log: string): string {
  try {
    return readFileSync(log, 'utf8').trimEnd().split('\n').at(-1) || 'it said nothing'
  } catch {
    return 'it said nothing'
  }
}
