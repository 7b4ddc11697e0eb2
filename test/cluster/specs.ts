// SPDX-License-Identifier: Apache-2.0
// Kubernetes' own [sig-network] specs: those of conformance, all 45 of 1.34, by their names without the labels behind; and
// the others, but for those that a table names with the reason.

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

/** Specs beyond conformance that are left out, by a part of their names with labels. */
export const leftOut: Readonly<Record<string, string>> = {
  SCTP: 'asks for SCTP sockets, which the kernels of these machines do not have: packet tables show SCTP',
  sctp: 'the same',
  'Feature:LoadBalancer': 'asks a cloud for load balancers',
  'Feature:Networking-IP': 'asks hosts of the internet',
  'Feature:Networking-DNS': 'asks hosts of the internet',
  'Provider:GCE': 'asks for a cloud of Google',
  'Feature:Networking-Performance': 'has no bound: `make bench` measures',
  'Feature:PerformanceDNS': 'is about CoreDNS',
  'DNS configMap nameserver': 'changes a ConfigMap of CoreDNS that this cluster does not have',
  KubeProxy: 'reads sysctls of the connection table and metrics of iptables, which Heddle does not use',
  'kube-proxy': 'talks to the process, or ends it',
  'recreate its iptables rules': 'is about iptables',
  'after restarting apiserver': 'ends it by SSH: fault-cases.ts does it otherwise',
  'invalid conntrack state bug': 'asks for an image that is not built here',
  'Feature:OffByDefault': 'asks for a feature gate that is off',
}

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
  const results = await Promise.all(
    shares.map(async (share) => {
      const reports = await ginkgo(cluster, share.map((name) => `sig-network. ${escaped(name)} \\[`).join('|'), [], 10)
      return share.map((name) => resultOf(name, reports))
    }),
  )
  return results.flat()
}

/** Every other spec of sig-network that is not left out: by area, so that areas can go on side by side. */
export async function runOtherSpecs(cluster: Cluster): Promise<SpecResult[]> {
  const skipped = [...Object.keys(leftOut).map(escaped), '\\[Conformance\\]']
  const areas = ['sig-network. Services', 'sig-network. Netpol']
  const reports = await Promise.all([
    ...areas.map((area) => ginkgo(cluster, area, skipped, 60)),
    ginkgo(cluster, 'sig-network', [...skipped, ...areas], 60),
  ])
  return reports.flatMap((part) => {
    const ran = part.filter(didRun)
    if (ran.length === 0) throw new Error('one of the three parts has run nothing')
    return ran.map((report) => result(fullName(report), report))
  })
}

function escaped(text: string): string {
  return text.replace(/[/.*+?^${}()|[\]\\]/g, '\\$&')
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

/** Specs whose names match `focus` and none of `skipped`, one after the other. */
async function ginkgo(
  cluster: Cluster,
  focus: string,
  skipped: readonly string[],
  minutes: number,
): Promise<SpecReport[]> {
  const work = mkdtempSync(join(tmpdir(), 'heddle-specs-'))
  try {
    const argv = [
      `${cluster.state.built.bin}/specs`,
      `--kubeconfig=${cluster.kubeconfig}`,
      ...['--provider=skeleton', '--num-nodes=2', `--report-dir=${work}/results`, '--disable-log-dump'],
      `-ginkgo.focus=${focus}`,
      ...(skipped.length > 0 ? [`-ginkgo.skip=${skipped.join('|')}`] : []),
      ...['-ginkgo.no-color', `-ginkgo.timeout=${minutes}m`, `-ginkgo.json-report=${work}/report.json`],
    ]
    const timeoutMs = (minutes * 60 + 20) * 1_000
    const outcome = await runProgram(cluster.commandAt('control', argv), { timeoutMs })
    const reports = readReports(`${work}/report.json`)
    if (reports === null) throw new Error(`the specs ended with ${outcome.exitCode}: ${outcome.stdout.slice(-2_000)}`)
    return reports
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

function fullName({ ContainerHierarchyTexts, LeafNodeText }: SpecReport): string {
  return [...(ContainerHierarchyTexts ?? []), LeafNodeText].join(' ')
}

/** A spec; or what goes before all of them, where it failed. */
function didRun({ LeafNodeType, State }: SpecReport): boolean {
  return State !== 'skipped' && (LeafNodeType === 'It' || State !== 'passed')
}

function resultOf(name: string, reports: readonly SpecReport[]): SpecResult {
  const report = reports.find((each) => didRun(each) && fullName(each).startsWith(`[sig-network] ${name}`))
  return report === undefined ? { name, passed: false, seconds: 0, message: 'it did not run' } : result(name, report)
}

function result(name: string, { State, RunTime, Failure }: SpecReport): SpecResult {
  const passed = State === 'passed'
  return { name, passed, seconds: RunTime / 1e9, message: passed ? '' : (Failure?.Message ?? State).slice(0, 1_000) }
}
