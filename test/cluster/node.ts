// SPDX-License-Identifier: Apache-2.0
// A node: containerd, kubelet and (on request) kube-proxy in namespaces of their own; node.sh is its first process.

import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { CommandError } from '../../src/core/command-error.ts'
import { isAlive, type ProcessId, startDetached } from '../../src/lab/process.ts'
import type { Families } from '../../src/lab/state.ts'
import { joinableCgroup, makeCgroups } from './cgroups.ts'
import { clusterDir, netnsPath } from './names.ts'
import { addressesOf, dnsIPs, familiesOf, podCIDRs } from './network.ts'

export const pauseImage = 'registry.k8s.io/pause:3.10.1'

export interface NodePlan {
  readonly cluster: string
  readonly name: string
  readonly families: Families
  readonly kubeProxy: boolean
  /** Folders of the programs and of the image archives that a node starts with. */
  readonly programs: string
  readonly images: string
}

/** Starts a node; returns the process whose end is the end of all that runs in it. */
export function startNode(plan: NodePlan): ProcessId {
  const dir = `${clusterDir(plan.cluster)}/${plan.name}`
  writeConfiguration(plan, dir)
  const cgroups = makeCgroups(plan.cluster, plan.name)
  const script = [
    'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done; shift',
    'exec nsenter --net="$0" -- unshare -m -p -u -i -C --fork --kill-child --propagation private "$@"',
  ].join('; ')
  const first = fileURLToPath(new URL('node.sh', import.meta.url))
  return startDetached(['/bin/sh', '-c', script, netnsPath(plan.cluster, plan.name), ...cgroups, '--', first], {
    log: `${dir}/node.log`,
    env: {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: '/root',
      NODE: plan.name,
      DIR: dir,
      PROGRAMS: plan.programs,
      IMAGES: plan.images,
      KUBELET_FLAGS: `--node-ip=${addressesOf(plan.name, plan.families).join(',')} --v=2`,
      KUBE_PROXY: plan.kubeProxy ? 'yes' : '',
    },
    cwd: '/',
  })
}

/** The command line that runs `argv` in every namespace and in the cgroup2 of a node. A signal to it does not reach
 *  `argv`: a process cannot enter a process id namespace, only its child can. */
export function commandInNode(
  cluster: string,
  node: string,
  unshare: ProcessId | null,
  argv: readonly string[],
): string[] {
  if (!isAlive(unshare)) throw new CommandError(`node ${node} does not run`)
  const init = readFileSync(`/proc/${unshare.pid}/task/${unshare.pid}/children`, 'utf8').trim().split(' ')[0]
  if (!init) throw new CommandError(`node ${node} has no first process`)
  const script = 'echo $$ >"$0/cgroup.procs" && exec nsenter -t "$@"'
  return [
    '/bin/sh',
    '-c',
    script,
    joinableCgroup(cluster, node),
    init,
    '-m',
    '-n',
    '-p',
    '-u',
    '-i',
    '-C',
    '--',
    ...argv,
  ]
}

function writeConfiguration({ cluster, name, families }: NodePlan, dir: string): void {
  const kubernetes = `${dir}/etc/kubernetes`
  const pki = `${clusterDir(cluster)}/pki`
  for (const folder of [kubernetes, `${dir}/etc/containerd`]) mkdirSync(folder, { recursive: true })
  cpSync(`${pki}/ca.crt`, `${kubernetes}/ca.crt`)
  for (const ending of ['crt', 'key', 'kubeconfig'])
    cpSync(`${pki}/${name}.${ending}`, `${kubernetes}/kubelet.${ending}`)
  cpSync(`${pki}/kube-proxy.kubeconfig`, `${kubernetes}/kube-proxy.kubeconfig`)
  writeFileSync(`${kubernetes}/resolv.conf`, '')
  writeFileSync(`${kubernetes}/kubelet.json`, JSON.stringify(kubeletConfiguration(families)))
  writeFileSync(`${kubernetes}/kube-proxy.json`, JSON.stringify(kubeProxyConfiguration(name, families)))
  writeFileSync(`${dir}/etc/containerd/config.toml`, containerdConfiguration)
  const names = addressesOf(name, families).map((ip) => `${ip} ${name}\n`)
  writeFileSync(`${dir}/etc/hosts`, `127.0.0.1 localhost\n::1 localhost\n${names.join('')}`)
}

function kubeletConfiguration(families: Families): object {
  const never = { 'nodefs.available': '0%', 'imagefs.available': '0%', 'nodefs.inodesFree': '0%' }
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: '/etc/kubernetes/ca.crt' },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: '/etc/kubernetes/kubelet.crt',
    tlsPrivateKeyFile: '/etc/kubernetes/kubelet.key',
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    cgroupDriver: 'cgroupfs',
    failCgroupV1: false,
    failSwapOn: false,
    clusterDomain: 'cluster.local',
    clusterDNS: familiesOf(families).map((family) => dnsIPs[family]),
    resolvConf: '/etc/kubernetes/resolv.conf',
    evictionHard: { 'memory.available': '100Mi', ...never, 'imagefs.inodesFree': '0%' },
    // An image that was collected could not be had again.
    imageGCHighThresholdPercent: 100,
    imageMaximumGCAge: '0s',
    maxPods: 110,
    // The defaults are for fewer pods at once than a test starts.
    registryPullQPS: 0,
    eventRecordQPS: 0,
    kubeAPIQPS: 200,
    kubeAPIBurst: 400,
    nodeStatusUpdateFrequency: '4s',
    shutdownGracePeriod: '0s',
  }
}

function kubeProxyConfiguration(node: string, families: Families): object {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'nftables',
    clientConnection: { kubeconfig: '/etc/kubernetes/kube-proxy.kubeconfig' },
    hostnameOverride: node,
    clusterCIDR: familiesOf(families)
      .map((family) => podCIDRs[family])
      .join(','),
    // These settings cannot be written in a network namespace.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  }
}

/** restrict_oom_score_adj: without CAP_SYS_RESOURCE runc may not lower a process' score, and no sandbox would start. */
const containerdConfiguration = `version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[metrics]
  address = "127.0.0.1:1338"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`
