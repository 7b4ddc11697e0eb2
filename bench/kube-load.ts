// SPDX-License-Identifier: Apache-2.0
// The part of bench/kube.ts that speaks to the API server, run inside the node's network namespace:
//   node bench/kube-load.ts KUBECONFIG load SERVICES ENDPOINTS
//   node bench/kube-load.ts KUBECONFIG change BPFFS CHANGES PER_SECOND     prints JSON

import { setTimeout as delay } from 'node:timers/promises'
import type { Address, Port } from '../src/core/address.ts'
import { Protocol } from '../src/core/protocol.ts'
import { frontend, frontendKey, maps } from '../src/generated/abi.ts'
import { loadAddon } from '../src/kernel/load-addon.ts'
import { createApiClient } from '../src/kube/client.ts'
import { connectionFrom } from '../src/kube/connection.ts'
import { resources } from '../src/kube/resources.ts'

const NAMESPACE = 'bench'
/** Objects of one transaction. */
const BATCH = 100

const [kubeconfig = '', task, ...rest] = process.argv.slice(2)
const client = createApiClient(connectionFrom({ kubeconfig }))
if (task === 'load') await load(Number(rest[0]), Number(rest[1]))
else await change(rest[0]!, Number(rest[1]), Number(rest[2]))
client[Symbol.dispose]()

/** Straight into etcd, as kube-apiserver would store it: through the API 20,000 objects take minutes. */
async function load(serviceCount: number, endpointCount: number): Promise<void> {
  const perService = endpointCount / serviceCount
  const numbers = Array.from({ length: serviceCount }, (_, index) => index)
  await put([[`namespaces/${NAMESPACE}`, { apiVersion: 'v1', kind: 'Namespace', metadata: metadataOf(NAMESPACE, 0) }]])
  const batches = Array.from({ length: Math.ceil(serviceCount / BATCH) }, (_, at) =>
    numbers.slice(at * BATCH, (at + 1) * BATCH),
  )
  for (const batch of batches) {
    await put(batch.map((index) => [`services/specs/${NAMESPACE}/s${index}`, serviceOf(index)]))
    await put(batch.map((index) => [`endpointslices/${NAMESPACE}/s${index}`, sliceOf(index, perService)]))
  }
}

function serviceOf(index: number): object {
  const clusterIP = `10.96.${128 + (index >> 8)}.${index & 255}`
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { ...metadataOf(`s${index}`, index), namespace: NAMESPACE },
    spec: {
      type: 'ClusterIP',
      clusterIP,
      clusterIPs: [clusterIP],
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
      sessionAffinity: 'None',
      internalTrafficPolicy: 'Cluster',
      ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }],
    },
    status: { loadBalancer: {} },
  }
}

function sliceOf(index: number, perService: number): object {
  const labels = {
    'kubernetes.io/service-name': `s${index}`,
    'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
  }
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { ...metadataOf(`s${index}`, index), namespace: NAMESPACE, labels },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: Array.from({ length: perService }, (_, each) => {
      const at = index * perService + each
      return {
        addresses: [`10.${128 + (at >> 16)}.${(at >> 8) & 255}.${at & 255}`],
        conditions: { ready: true, serving: true, terminating: false },
        nodeName: `n${2 + (at % 500)}`,
        targetRef: { kind: 'Pod', namespace: NAMESPACE, name: `pod-${at}`, uid: uidOf(at) },
        zone: `zone-${at % 3}`,
      }
    }),
  }
}

function metadataOf(name: string, at: number): object {
  return { name, uid: uidOf(at), creationTimestamp: '2026-01-02T03:04:05Z', generation: 1 }
}

async function put(objects: readonly (readonly [key: string, object: object])[]): Promise<void> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  const success = objects.map(([key, object]) => ({
    requestPut: { key: base64(`/registry/${key}`), value: base64(`${JSON.stringify(object)}\n`) },
  }))
  const body = JSON.stringify({ success })
  const answer = await fetch('http://127.0.0.1:2379/v3/kv/txn', { method: 'POST', body })
  if (!answer.ok) throw new Error(`etcd: ${answer.status} ${await answer.text()}`)
}

function uidOf(at: number): string {
  return `00000000-0000-4000-8000-${at.toString(16).padStart(12, '0')}`
}

interface Change {
  readonly sentMs: number
  answeredMs: number
  seenMs: number
  writtenMs: number
}

/** Takes an endpoint of one Service after the other out of readiness, or back into it, and looks when others notice. */
async function change(bpffs: string, count: number, perSecond: number): Promise<void> {
  const addon = loadAddon()
  const frontends = addon.openPinned(`${bpffs}/heddle/frontends_v${maps.frontends.layout}`)
  const services = (await client.list(resources.services, { namespace: NAMESPACE })).slice(0, count)
  const slices = await client.list(resources.endpointSlices, { namespace: NAMESPACE })
  const isReady = new Map(slices.map((slice) => [slice.metadata.name, firstIsReady(slice)]))
  const changes = new Map<string, Change>()
  const ending = new AbortController()
  const watching = watch(changes, ending.signal)
  await delay(1000)
  const pending = new Map<string, { readonly key: Uint8Array; readonly before: number }>()
  let isOver = false
  const polling = (async () => {
    while (!isOver || pending.size > 0) {
      for (const [name, { key, before }] of pending) {
        if (frontendCount(addon.mapLookup(frontends, key)) === before) continue
        changes.get(name)!.writtenMs = performance.now()
        pending.delete(name)
      }
      await delay(1)
    }
  })()
  const startMs = performance.now()
  const requests: Promise<unknown>[] = []
  for (const [index, service] of services.entries()) {
    const { name } = service.metadata
    const address = (service.spec as { clusterIP: Address }).clusterIP
    const key = new Uint8Array(frontendKey.size)
    frontendKey.write(key, 0, { address, port: 80 as Port, protocol: Protocol.TCP })
    pending.set(name, { key, before: frontendCount(addon.mapLookup(frontends, key)) })
    const made: Change = { sentMs: performance.now(), answeredMs: 0, seenMs: 0, writtenMs: 0 }
    changes.set(name, made)
    const patch = [{ op: 'replace', path: '/endpoints/0/conditions/ready', value: !isReady.get(name) }]
    const patched = client.patch(resources.endpointSlices, { namespace: NAMESPACE, name }, 'json', patch)
    requests.push(
      patched.then(() => {
        made.answeredMs = performance.now()
      }),
    )
    await delay(Math.max(0, startMs + ((index + 1) * 1000) / perSecond - performance.now()))
  }
  await Promise.all(requests)
  isOver = true
  await Promise.race([polling, delay(10_000)])
  ending.abort()
  await watching
  addon.closeFd(frontends)
  const all = [...changes.values()]
  const complete = all.filter(({ seenMs, writtenMs }) => seenMs > 0 && writtenMs > 0)
  const figures = {
    changes: all.length,
    programmed: complete.length,
    perSecond: (all.length * 1000) / (performance.now() - startMs),
    answered: quantiles(complete.map(({ sentMs, answeredMs }) => answeredMs - sentMs)),
    seenByWatch: quantiles(complete.map(({ sentMs, seenMs }) => seenMs - sentMs)),
    inMap: quantiles(complete.map(({ sentMs, writtenMs }) => writtenMs - sentMs)),
    inMapAfterWatch: quantiles(complete.map(({ seenMs, writtenMs }) => writtenMs - seenMs)),
  }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
  process.exit(0) // a poll that waits for ever has been counted
}

async function watch(changes: ReadonlyMap<string, Change>, signal: AbortSignal): Promise<void> {
  for await (const { type, object } of client.watch(resources.endpointSlices, { namespace: NAMESPACE, signal })) {
    const made = changes.get(object.metadata.name)
    if (type === 'MODIFIED' && made !== undefined && made.seenMs === 0) made.seenMs = performance.now()
  }
}

function firstIsReady(slice: object): boolean {
  return (slice as { endpoints: { conditions: { ready: boolean } }[] }).endpoints[0]!.conditions.ready
}

function frontendCount(value: Uint8Array | null): number {
  return value === null ? -1 : frontend.read(value, 0).count
}

function quantiles(values: readonly number[]): { readonly p50: number; readonly p99: number; readonly max: number } {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number): number => Number((sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN).toFixed(2))
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}
