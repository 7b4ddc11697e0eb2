// SPDX-License-Identifier: Apache-2.0
// Kubernetes' own [sig-network] [Conformance] specs, all 45 of 1.34, by their names without the labels behind.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runProgram } from '../../src/lab/process.ts'
import type { Cluster } from './cluster.ts'

export const specNames = [
  'DNS should provide /etc/hosts entries for the cluster',
  'DNS should provide DNS for ExternalName services',
  'DNS should provide DNS for pods for Hostname',
  'DNS should provide DNS for pods for Subdomain',
  'DNS should provide DNS for services',
  'DNS should provide DNS for the cluster',
  'DNS should resolve DNS of partial qualified names for services',
  'DNS should support configurable pod DNS nameservers',
  'EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service',
  'EndpointSlice should create and delete Endpoints and EndpointSlices for a Service with a selector specified',
  'EndpointSlice should have Endpoints and EndpointSlices pointing to API Server',
  'EndpointSlice should support a Service with multiple endpoint IPs specified in multiple EndpointSlices',
  'EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices',
  'EndpointSlice should support creating EndpointSlice API operations',
  'EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete',
  'HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol',
  'Ingress API should support creating Ingress API operations',
  'IngressClass API should support creating IngressClass API operations',
  'Networking Granular Checks: Pods should function for intra-pod communication: http',
  'Networking Granular Checks: Pods should function for intra-pod communication: udp',
  'Networking Granular Checks: Pods should function for node-pod communication: http',
  'Networking Granular Checks: Pods should function for node-pod communication: udp',
  'Proxy version v1 A set of valid responses are returned for both pod and service Proxy',
  'Proxy version v1 A set of valid responses are returned for both pod and service ProxyWithPath',
  'Proxy version v1 should proxy through a service and a pod',
  'Service endpoints latency should not be very high',
  'ServiceCIDR and IPAddress API should support IPAddress API operations',
  'ServiceCIDR and IPAddress API should support ServiceCIDR API operations',
  'Services should be able to change the type from ClusterIP to ExternalName',
  'Services should be able to change the type from ExternalName to ClusterIP',
  'Services should be able to change the type from ExternalName to NodePort',
  'Services should be able to change the type from NodePort to ExternalName',
  'Services should be able to create a functioning NodePort service',
  'Services should be able to switch session affinity for NodePort service',
  'Services should be able to switch session affinity for service with type clusterIP',
  'Services should complete a service status lifecycle',
  'Services should delete a collection of services',
  'Services should find a service from listing all namespaces',
  'Services should have session affinity work for NodePort service',
  'Services should have session affinity work for service with type clusterIP',
  'Services should provide secure master service',
  'Services should serve a basic endpoint from pods',
  'Services should serve endpoints on same port and different protocols',
  'Services should serve multiport endpoints from pods',
  'Services should test the lifecycle of an Endpoint',
] as const

export interface SpecResult {
  readonly name: string
  readonly passed: boolean
  readonly seconds: number
  /** Why it did not pass; '' for one that did. */
  readonly message: string
}

/** Runs the named specs, a few at a time as separate suites; a spec that did not run counts as not passed. */
export async function runSpecs(cluster: Cluster, names: readonly string[], width = 3): Promise<SpecResult[]> {
  const shares = Array.from({ length: width }, (_, index) => names.filter((_, at) => at % width === index))
  const results = await Promise.all(shares.map((share) => runShare(cluster, share)))
  return results.flat()
}

/** What Ginkgo's JSON report says of one spec, as far as it is read. */
interface SpecReport {
  readonly ContainerHierarchyTexts: readonly string[] | null
  readonly LeafNodeText: string
  readonly LeafNodeType: string
  readonly State: string
  readonly RunTime: number
  readonly Failure?: { readonly Message: string }
}

async function runShare(cluster: Cluster, names: readonly string[]): Promise<SpecResult[]> {
  const work = mkdtempSync(join(tmpdir(), 'heddle-specs-'))
  try {
    const focus = names.map((name) => `sig-network. ${name.replace(/[/.*+?^${}()|[\]\\]/g, '\\$&')} \\[`).join('|')
    const argv = [
      `${cluster.state.built.bin}/specs`,
      `--kubeconfig=${cluster.kubeconfig}`,
      ...['--provider=skeleton', '--num-nodes=2', `--report-dir=${work}/results`, '--disable-log-dump'],
      ...[
        `-ginkgo.focus=${focus}`,
        '-ginkgo.no-color',
        '-ginkgo.timeout=10m',
        `-ginkgo.json-report=${work}/report.json`,
      ],
    ]
    const outcome = await runProgram(cluster.commandAt('control', argv), { timeoutMs: 620_000 })
    const reports = readReports(`${work}/report.json`)
    if (reports === null) throw new Error(`the specs ended with ${outcome.exitCode}: ${outcome.stdout.slice(-2_000)}`)
    return names.map((name) => resultOf(name, reports))
  } finally {
    rmSync(work, { recursive: true })
  }
}

function readReports(path: string): SpecReport[] | null {
  try {
    const suites = JSON.parse(readFileSync(path, 'utf8')) as { SpecReports: SpecReport[] }[]
    return suites.flatMap((suite) => suite.SpecReports)
  } catch {
    return null
  }
}

function resultOf(name: string, reports: readonly SpecReport[]): SpecResult {
  const full = (report: SpecReport) => [...(report.ContainerHierarchyTexts ?? []), report.LeafNodeText].join(' ')
  const report = reports.find(
    (candidate) =>
      candidate.LeafNodeType === 'It' &&
      full(candidate).startsWith(`[sig-network] ${name}`) &&
      candidate.State !== 'skipped',
  )
  if (report === undefined) return { name, passed: false, seconds: 0, message: 'it did not run' }
  return {
    name,
    passed: report.State === 'passed',
    seconds: report.RunTime / 1e9,
    message: report.State === 'passed' ? '' : (report.Failure?.Message ?? report.State).slice(0, 1_000),
  }
}
