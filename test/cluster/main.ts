// SPDX-License-Identifier: Apache-2.0
// A cluster by hand:
//
//   node test/cluster/main.ts build                               (its programs; the others do it too)
//   node test/cluster/main.ts up --name k [--nodes 2] [--families 4|6|46] [--cni ptp|heddle] [--kube-proxy]
//   node test/cluster/main.ts kubectl --name k -- get pods -A
//   node test/cluster/main.ts helm --name k -- list -A
//   node test/cluster/main.ts exec --name k n1 -- ip route        (n1, n2 ..., or control)
//   node test/cluster/main.ts import --name k ARCHIVE             (an image, into every node)
//   node test/cluster/main.ts install --name k [--mode vxlan]     (Heddle by Helm, the image of `make image`)
//   node test/cluster/main.ts dns --name k                        (CoreDNS)
//   node test/cluster/main.ts down --name k
//   node test/cluster/main.ts sweep                               (takes down what killed tests left)
//
// HEDDLE_CLUSTER=k npx vitest run --project cluster FILE -t NAME runs cases on it.

import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { CommandError } from '../../src/core/command-error.ts'
import { runForeground } from '../../src/lab/process.ts'
import type { Families, Mode } from '../../src/lab/state.ts'
import { buildPrograms } from './build.ts'
import { clusterDown, clusterUp, openCluster, sweepClusters } from './cluster.ts'
import { installCoreDns } from './coredns.ts'
import { installHeddle } from './heddle.ts'

const usage =
  'usage: node test/cluster/main.ts build|up|install|dns|kubectl|helm|exec|import|down|sweep --name NAME [...] (see its first lines)'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: 'string', default: 'k' },
    nodes: { type: 'string', default: '2' },
    families: { type: 'string', default: '46' },
    mode: { type: 'string', default: 'vxlan' },
    cni: { type: 'string', default: 'ptp' },
    'kube-proxy': { type: 'boolean', default: false },
  },
})

function oneOf<T extends string>(option: string, text: string, known: readonly T[]): T {
  const found = known.find((value) => value === text)
  if (found) return found
  throw new CommandError(`--${option} is one of ${known.join(', ')}, not "${text}"`, 2)
}

async function run(command: string | undefined, rest: readonly string[]): Promise<number> {
  const name = values.name
  const started = performance.now()
  const say = (text: string) =>
    process.stdout.write(`${((performance.now() - started) / 1000).toFixed(1)} s  ${text}\n`)
  switch (command) {
    case 'build':
      await buildPrograms(say)
      return 0
    case 'up': {
      const plan = {
        name,
        nodes: Number(values.nodes),
        families: oneOf<Families>('families', values.families, ['4', '6', '46']),
        cni: oneOf('cni', values.cni, ['ptp', 'heddle']),
        kubeProxy: values['kube-proxy'],
      }
      const cluster = await clusterUp(plan, await buildPrograms(say), say)
      say(`kubeconfig ${cluster.kubeconfig}`)
      return 0
    }
    case 'install':
      await installHeddle(openCluster(name), oneOf<Mode>('mode', values.mode, ['vxlan', 'native']))
      say('Heddle is installed, the nodes are Ready')
      return 0
    case 'dns':
      await installCoreDns(openCluster(name))
      say('CoreDNS answers')
      return 0
    case 'down':
      await clusterDown(name)
      return 0
    case 'sweep':
      await sweepClusters()
      return 0
    case 'kubectl':
      return runForeground(openCluster(name).kubectlCommand(rest))
    case 'helm':
      return runForeground(openCluster(name).helmCommand(rest))
    case 'exec':
      return runForeground(openCluster(name).commandAt(rest[0] ?? '', rest.slice(1)))
    case 'import': {
      const cluster = openCluster(name)
      await cluster.importImage(resolve(rest[0] ?? ''))
      return 0
    }
    default:
      throw new CommandError(usage, 2)
  }
}

try {
  process.exitCode = await run(positionals[0], positionals.slice(1))
} catch (error) {
  if (!(error instanceof CommandError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = error.exitCode
}
