// SPDX-License-Identifier: Apache-2.0
// Services that come, change and go at a rate, on every node of a lab, while something else is looked at.

import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { manifestsDir, syncAgent } from '../../src/lab/agents.ts'
import { nodeDir } from '../../src/lab/names.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import { replaceFile } from '../../src/lab/state.ts'
import type { TestLab } from './lab.ts'
import { httpPort, namespace, udpPort } from './manifests.ts'

export interface ChurnedService {
  readonly name: string
  readonly spec: Readonly<Record<string, unknown>>
  /** Of its slices. */
  readonly endpoints: Readonly<Record<4 | 6, readonly string[]>>
}

/** What becomes of a Service; null: it goes. */
export interface ServiceChange {
  readonly name: string
  readonly now: ChurnedService | null
}

/** The Service and a slice for each family. */
function objectsOf({ name, spec, endpoints }: ChurnedService): KubeManifest[] {
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { namespace, name },
      spec: { ipFamilyPolicy: 'PreferDualStack', ...spec },
    },
    ...([4, 6] as const).map((family) => sliceOf(name, family, endpoints[family])),
  ]
}

function sliceOf(service: string, family: 4 | 6, addresses: readonly string[]): KubeManifest {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace, name: `${service}-${family}`, labels: { 'kubernetes.io/service-name': service } },
    addressType: `IPv${family}`,
    ports: [
      { name: 'http', port: httpPort, protocol: 'TCP' },
      { name: 'udp', port: udpPort, protocol: 'UDP' },
    ],
    endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true }, nodeName: 'n2' })),
  }
}

/** Ports, cluster IPs and node ports that no other index has. Nobody is behind the endpoints. */
export function crowdService(index: number, shape: CrowdShape): ChurnedService {
  const offset = 1_000 + index
  const port = (name: string, number: number, nodePort: number, protocol: string): Record<string, unknown> => ({
    name,
    port: number,
    protocol,
    ...(shape.type !== 'ClusterIP' && { nodePort }),
  })
  return {
    name: `crowd-${index}`,
    spec: {
      type: shape.type,
      clusterIPs: [`10.96.${offset >> 8}.${offset & 255}`, `fd00:96::${offset.toString(16)}`],
      ports: [port('http', shape.port, 30_500 + 2 * index, 'TCP'), port('udp', 53, 30_501 + 2 * index, 'UDP')],
      ...(shape.isLocal && shape.type !== 'ClusterIP' && { externalTrafficPolicy: 'Local' }),
      ...(shape.isSticky && { sessionAffinity: 'ClientIP' }),
    },
    endpoints: {
      4: shape.endpoints.map((host) => `10.244.9.${host}`),
      6: shape.endpoints.map((host) => `fd00:10:244:9::${host}`),
    },
  }
}

export interface CrowdShape {
  readonly type: 'ClusterIP' | 'NodePort' | 'LoadBalancer'
  readonly port: number
  readonly isLocal: boolean
  readonly isSticky: boolean
  readonly endpoints: readonly number[]
}

const shapes: fc.Arbitrary<CrowdShape> = fc.record({
  type: fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer'),
  port: fc.constantFrom(80, 81),
  isLocal: fc.boolean(),
  isSticky: fc.boolean(),
  endpoints: fc.uniqueArray(fc.integer({ min: 1, max: 250 }), { maxLength: 8 }),
})

/** The same for the same seed: of five changes one is of `hot`, as one of `hotStates`, the others of the crowd. */
export function serviceChanges(
  seed: number,
  count: number,
  crowd: number,
  hotStates: readonly ChurnedService[],
): ServiceChange[] {
  const ofCrowd = fc
    .tuple(fc.nat(crowd - 1), fc.option(shapes, { freq: 4 }))
    .map(([index, shape]): ServiceChange => ({ name: `crowd-${index}`, now: shape && crowdService(index, shape) }))
  const ofHot = fc.constantFrom(...hotStates).map((now): ServiceChange => ({ name: now.name, now }))
  const change = fc.oneof({ arbitrary: ofCrowd, weight: 4 }, { arbitrary: ofHot, weight: 1 })
  return fc.sample(change, { seed, numRuns: count })
}

/** Brings the changes to every node's agent, `perSecond`; late ones follow at once. */
export async function churn(lab: TestLab, changes: readonly ServiceChange[], perSecond: number): Promise<void> {
  const started = performance.now()
  for (const [index, change] of changes.entries()) {
    await sleep(Math.max(0, started + (index * 1_000) / perSecond - performance.now()))
    bring(lab, [change])
  }
}

/** Resolves when these are in force on every node. */
export async function settle(lab: TestLab, services: readonly ChurnedService[]): Promise<void> {
  bring(
    lab,
    services.map((now) => ({ name: now.name, now })),
  )
  const syncs = await Promise.all(lab.cluster.state.nodes.map((node) => syncAgent(lab.name, node)))
  const problems = syncs.flatMap((sync) => sync.problems)
  if (problems.length > 0) throw new Error(problems.join('\n'))
}

/** A file for each Service, beside those that the lab writes. */
function bring(lab: TestLab, changes: readonly ServiceChange[]): void {
  for (const node of lab.cluster.state.nodes) {
    for (const { name, now } of changes) {
      const file = `${manifestsDir(lab.name, node.name)}/${name}.yaml`
      if (now === null) rmSync(file, { force: true })
      else
        replaceFile(
          file,
          objectsOf(now)
            .map((object) => JSON.stringify(object))
            .join('\n---\n'),
          nodeDir(lab.name, node.name),
        )
    }
  }
}
