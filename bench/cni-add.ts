// SPDX-License-Identifier: Apache-2.0
// How long a runtime waits for ADD: Heddle's executable and agent against ptp + host-local, turn by turn, on nodes and
// pod namespaces of the same kind.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { checkout } from '../src/lab/names.ts'
import { ipBatch, runProgram } from '../src/lab/process.ts'
import { type HeddleLab, podManifest } from './heddle.ts'
import { median, quantile } from './statistics.ts'

/** A plugin, and the node that it is executed on. */
interface Subject {
  readonly program: string
  readonly netns: string
  readonly configuration: object
}

export interface AddTimes {
  /** Milliseconds from exec to exit. */
  readonly heddleP50: number
  readonly heddleP90: number
  readonly ptpP50: number
  readonly ptpP90: number
  readonly ratio: number
  readonly pods: number
}

const prefix = 'hdn-add-'
/** After each ADD, so that what one leaves to do (links, router solicitations) is not in the other's time. */
const restMs = 50

/** Adds `pods` pods with each plugin, alternating, then deletes them; Heddle's on n1 of the lab. */
export async function timeAdds(pods: number, lab: HeddleLab): Promise<AddTimes> {
  await lab.announce(
    'pods',
    Array.from({ length: pods }, (_, pod) => podManifest(`${prefix}h${pod}`, 'n1')),
  )
  const folder = mkdtempSync(join(tmpdir(), 'heddle-bench-'))
  const reference = `${prefix}node`
  mkdirSync(join(folder, 'ipam'))
  await ipBatch(null, [`netns add ${reference}`])
  await ipBatch(reference, ['link set lo up'])
  const heddle: Subject = {
    program: `${checkout}/build/heddle-cni`,
    netns: lab.place('n1').netns,
    configuration: { cniVersion: '1.0.0', name: 'heddle', type: 'heddle-cni', agentSocket: lab.cniSocket },
  }
  const ptp: Subject = {
    program: '/usr/lib/cni/ptp',
    netns: `/run/netns/${reference}`,
    configuration: {
      cniVersion: '1.0.0',
      name: 'reference',
      type: 'ptp',
      ipam: { type: 'host-local', dataDir: join(folder, 'ipam'), ranges: [[{ subnet: '10.88.0.0/16' }]] },
    },
  }
  const times = { heddle: [] as number[], ptp: [] as number[] }
  const numbers = Array.from({ length: pods }, (_, pod) => pod)
  const namespaces = numbers.flatMap((pod) => [`${prefix}h${pod}`, `${prefix}p${pod}`])
  try {
    // Neither making nor deleting a namespace runs beside an ADD: both hold the kernel's one lock for devices.
    await ipBatch(
      null,
      namespaces.map((name) => `netns add ${name}`),
    )
    for (const pod of numbers) {
      times.heddle.push(await call(heddle, folder, 'ADD', `${prefix}h${pod}`))
      await setTimeout(restMs)
      times.ptp.push(await call(ptp, folder, 'ADD', `${prefix}p${pod}`))
      await setTimeout(restMs)
    }
    for (const pod of numbers) {
      await call(heddle, folder, 'DEL', `${prefix}h${pod}`)
      await call(ptp, folder, 'DEL', `${prefix}p${pod}`)
    }
  } finally {
    await ipBatch(
      null,
      [reference, ...namespaces].map((name) => `netns del ${name}`),
    )
    rmSync(folder, { recursive: true })
  }
  return {
    heddleP50: median(times.heddle),
    heddleP90: quantile(times.heddle, 0.9),
    ptpP50: median(times.ptp),
    ptpP90: quantile(times.ptp, 0.9),
    ratio: median(times.heddle) / median(times.ptp),
    pods,
  }
}

/** Milliseconds from exec to exit. */
async function call(subject: Subject, folder: string, command: string, netns: string): Promise<number> {
  const input = join(folder, 'configuration.json')
  writeFileSync(input, JSON.stringify(subject.configuration))
  const argv = ['nsenter', `--net=${subject.netns}`, '--', `${checkout}/build/bench/exec-timer`, input, subject.program]
  const { stdout, stderr } = await runProgram(argv, {
    env: {
      PATH: process.env.PATH,
      CNI_COMMAND: command,
      CNI_CONTAINERID: netns,
      CNI_NETNS: `/run/netns/${netns}`,
      CNI_IFNAME: 'eth0',
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${netns}`,
      CNI_PATH: '/usr/lib/cni',
    },
  })
  const [nanoseconds, status] = (stdout.split('\n', 1)[0] ?? '').split(' ').map(Number)
  if (nanoseconds !== undefined && status === 0) return nanoseconds / 1e6
  throw new Error(`${subject.program} ${command} failed: ${stdout || stderr}`)
}
