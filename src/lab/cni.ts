// SPDX-License-Identifier: Apache-2.0
// Calls the CNI plugin as a container runtime does: the executable, CNI_* in the environment, the network configuration
// on standard input, a result or an error as JSON on standard output. Source: CNI specification 1.1.0, sections 2 and 3.

import { CommandError } from '../core/command-error.ts'
import { checkout, netnsPath, nodeDir } from './names.ts'
import { runProgram } from './process.ts'
import type { LabPod } from './state.ts'

interface CniResult {
  readonly ips?: readonly { readonly address: string }[]
}

interface CniFailure {
  readonly code: number
  readonly msg: string
  readonly details?: string
}

/** ADD: the pod's addresses, without prefix lengths. */
export async function cniAdd(lab: string, pod: LabPod, uid: string): Promise<string[]> {
  const result = await callPlugin('ADD', lab, pod, uid)
  return (JSON.parse(result) as CniResult).ips?.map(({ address }) => address.slice(0, address.indexOf('/'))) ?? []
}

export async function cniDel(lab: string, pod: LabPod, uid: string): Promise<void> {
  await callPlugin('DEL', lab, pod, uid)
}

async function callPlugin(command: 'ADD' | 'DEL', lab: string, pod: LabPod, uid: string): Promise<string> {
  const slash = pod.name.indexOf('/')
  const args = [
    'IgnoreUnknown=1',
    `K8S_POD_NAMESPACE=${pod.name.slice(0, slash)}`,
    `K8S_POD_NAME=${pod.name.slice(slash + 1)}`,
    `K8S_POD_INFRA_CONTAINER_ID=${pod.containerId}`,
    `K8S_POD_UID=${uid}`,
  ]
  const configuration = {
    cniVersion: '1.1.0',
    name: 'heddle',
    type: 'heddle-cni',
    agentSocket: `${nodeDir(lab, pod.node)}/run/cni.sock`,
  }
  const outcome = await runProgram([`${checkout}/build/heddle-cni`], {
    input: JSON.stringify(configuration),
    env: {
      PATH: process.env.PATH,
      CNI_COMMAND: command,
      CNI_CONTAINERID: pod.containerId,
      CNI_NETNS: netnsPath(lab, pod.place),
      CNI_IFNAME: 'eth0',
      CNI_ARGS: args.join(';'),
      CNI_PATH: `${checkout}/build`,
    },
  }).catch((cause: Error) => {
    throw new CommandError(`cannot run ${checkout}/build/heddle-cni: ${cause.message}; run \`make build\``, 1, {
      cause,
    })
  })
  if (outcome.exitCode === 0) return outcome.stdout
  throw new CommandError(
    `pod ${pod.name}: CNI ${command} on ${pod.node}: ${failureText(outcome.stdout, outcome.stderr)}`,
  )
}

function failureText(stdout: string, stderr: string): string {
  try {
    const { code, msg, details } = JSON.parse(stdout) as CniFailure
    return `code ${code}: ${msg}${details ? `: ${details}` : ''}`
  } catch {
    return stderr.trim() || stdout.trim() || 'the plugin failed without a word'
  }
}
