// SPDX-License-Identifier: Apache-2.0
// GET /v1/service: one Service with all its ways in, who is led where, and why an endpoint gets nothing.

import { protocolText } from '../datapath/tables.ts'
import { explainEndpoints } from '../services/explain.ts'
import { type Candidates, type Frontend, serviceFrontends } from '../services/frontends.ts'
import type { ServiceDetail, ServiceFrontend, ServiceRow } from './api.ts'
import { RequestError } from './http.ts'
import { type ListSources, listServices } from './lists.ts'
import { refusedServices, serviceNotices } from './service-problems.ts'

/** What the tables say; the rest is asked of the node. */
export type ServiceDescription = Omit<ServiceDetail, 'loadBalancerMode' | 'traffic' | 'clients'>

/** name: "namespace/name". Throws RequestError where there is no such Service. */
export async function describeService(sources: ListSources, name: string): Promise<ServiceDescription> {
  const { world, store, compiled } = sources
  const service = world.service(name)
  if (service === undefined) throw new RequestError(400, `there is no Service ${name} here`)
  const { place, healthChecks } = compiled().services
  const slices = [...world.slicesOfService(name)]
  const rows = new Map(
    (await listServices(sources)).map((row) => [frontendKey(row.address, row.port, row.protocol), row]),
  )
  return {
    namespace: service.namespace,
    name: service.name,
    frontends: serviceFrontends(service, slices, place).map((frontend) => describeFrontend(frontend, rows)),
    endpoints: explainEndpoints(service, slices, place).map(({ endpoint, protocol, ...each }) => ({
      portName: each.portName,
      protocol: protocolText(protocol),
      address: endpoint.address,
      port: each.port,
      node: endpoint.nodeName,
      ready: endpoint.ready,
      serving: endpoint.serving,
      terminating: endpoint.terminating,
      zoneHints: endpoint.hints?.zones ?? [],
      nodeHints: endpoint.hints?.nodes ?? [],
      weight: each.weight,
      inCluster: each.inCluster,
      inLocal: each.inLocal,
      excluded: each.excluded,
    })),
    healthCheck: healthChecks.get(name) ?? null,
    problems: [...refusedServices(compiled(), name), ...serviceNotices(compiled(), store, name)],
  }
}

function describeFrontend(frontend: Frontend, rows: ReadonlyMap<string, ServiceRow>): ServiceFrontend {
  const { portName, kind, address, port, internal, external, sourceRanges, affinitySeconds, balancing } = frontend
  const protocol = protocolText(frontend.protocol)
  const row = rows.get(frontendKey(address, port, protocol))
  const isOurs = row !== undefined && `${row.namespace}/${row.name}` === frontend.service
  return {
    portName,
    kind,
    address,
    port,
    protocol,
    internal: describeCandidates(internal),
    external: external === null ? null : describeCandidates(external),
    sourceRanges,
    affinitySeconds,
    algorithm: balancing.algorithm,
    drift: row === undefined ? 'missing' : isOurs ? row.drift : 'different',
  }
}

function describeCandidates({ backends, isLocal, dropsWhenEmpty }: Candidates): ServiceFrontend['internal'] {
  const led = backends.map(({ address, port }) => ({ address, port }))
  return { backends: led, policy: isLocal ? 'Local' : 'Cluster', whenEmpty: dropsWhenEmpty ? 'drop' : 'refuse' }
}

function frontendKey(address: string, port: number, protocol: string): string {
  return `${address} ${port} ${protocol}`
}
