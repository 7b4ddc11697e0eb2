// SPDX-License-Identifier: Apache-2.0
// The agent's two servers: the API on the Unix socket, metrics and probes over HTTP.

import type { Logger } from 'pino'
import { CommandError } from '../core/command-error.ts'
import { objectName } from '../core/names.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { ServiceDetail, SyncReply } from './api.ts'
import { apiRoutes, probeRoutes } from './api-routes.ts'
import { type Config, policySettings } from './config.ts'
import type { DataPlane } from './data-plane.ts'
import type { EventStream } from './event-stream.ts'
import { createHttpServer, listening, listenPrivately, RequestError, type Routes } from './http.ts'
import { createNames } from './names.ts'
import { nodeConfigOf } from './node-setup.ts'
import { compiledOf, fullTables, notReady, type Progress } from './progress.ts'
import { healthRoutes } from './proxy-health.ts'
import type { ServiceDescription } from './service-detail.ts'
import { boundPortNotices } from './service-problems.ts'
import { backendTraffic, serviceClients } from './service-traffic.ts'
import { boundPortSources, currentStatus, describeProblem, type StatusParts } from './status.ts'
import { answerTrace } from './trace-answer.ts'

/** Resolves to what ends it. */
export async function serveApi(
  parts: StatusParts & { readonly log: Logger },
  events: EventStream,
): Promise<() => void> {
  const { config, log, progress, world } = parts
  const names = createNames(world, () => compiledOf(progress))
  const routes = apiRoutes({
    status: () => currentStatus(parts),
    lists: () => ({ ...dataPlaneOf(progress), ...dataPlaneOf(progress).reconciler, world }),
    serviceUse: (service) => serviceUse(parts, dataPlaneOf(progress), service),
    policySettings: policySettings(config),
    ruleUses: () => dataPlaneOf(progress).ruleUses.read(),
    plan: () => dataPlaneOf(progress).reconciler.planNow(),
    trace: (query) => {
      const { kernel, local } = dataPlaneOf(progress)
      const mtuBytes = local.uplink.mtu
      return answerTrace({ kernel, world, names, mtuBytes, config: nodeConfigOf(config, local, 0n) }, query)
    },
    sync: (signal) => sync(progress, signal),
    events: events.serve,
  })
  const server = createHttpServer(routes, (error, request) => log.error({ err: error, request }, 'request failed'))
  await listenPrivately(server, `${config.runDir}/agent.sock`)
  return () => {
    server.close()
    server.closeAllConnections()
  }
}

/** Resolves to what ends it. */
export async function serveProbes(
  { config, log, progress }: { config: Config; log: Logger; progress: Progress },
  metrics: Metrics,
): Promise<() => void> {
  const routes = probeRoutes({ metrics: metrics.text, notReady: () => notReady(progress) })
  return serveHttp('metrics', config.metricsAddress, routes, log)
}

/** kube-proxy's health. Resolves to what ends it. */
export function serveProxyHealth({
  config,
  log,
  progress,
  world,
}: StatusParts & { readonly log: Logger }): Promise<() => void> {
  const isLeaving = (): boolean => world.node(config.nodeName)?.leaving === true
  const routes = healthRoutes(progress.serviceSync.health, isLeaving, Date.now)
  return serveHttp('proxy health', config.proxyHealthAddress, routes, log)
}

/** at: ADDRESS:PORT or off. */
async function serveHttp(what: string, at: string, routes: Routes, log: Logger): Promise<() => void> {
  if (at === 'off') return () => {}
  const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(at)!
  const server = createHttpServer(routes, (error, request) => log.error({ err: error, request }, 'request failed'))
  server.listen(Number(port), host)
  await listening(server).catch((error: Error) => {
    throw new CommandError(`${what} cannot be served on ${at}: ${error.message}`)
  })
  return () => {
    server.close()
    server.closeAllConnections()
  }
}

async function serviceUse(
  parts: StatusParts,
  dataPlane: DataPlane,
  { namespace, name, frontends }: ServiceDescription,
): Promise<Pick<ServiceDetail, 'loadBalancerMode' | 'traffic' | 'clients' | 'problems'>> {
  const sources = dataPlane.trafficSources()
  const service = parts.world.service(objectName(namespace, name))
  return {
    loadBalancerMode: parts.config.loadBalancerMode,
    traffic: service === undefined ? [] : await backendTraffic(sources, [service], frontends),
    clients: service === undefined ? [] : await serviceClients(sources, service),
    problems: await boundPortNotices(boundPortSources(parts, dataPlane), objectName(namespace, name)),
  }
}

/** Reads every source again; resolves when what they say is in force, rejects when it cannot be. */
async function sync(progress: Progress, signal: AbortSignal): Promise<SyncReply> {
  const started = performance.now()
  await Promise.race([progress.up.promise, aborted(signal)])
  const { loop } = dataPlaneOf(progress)
  const before = progress.entriesWritten
  await progress.source!.sync()
  await loop.settled({ failFast: true, signal })
  const full = fullTables(progress)
  if (full.length > 0) throw new Error(full.join('; '))
  return {
    milliseconds: performance.now() - started,
    stepCount: progress.entriesWritten - before,
    problems: progress.source!.problems().map(describeProblem),
  }
}

function dataPlaneOf(progress: Progress): DataPlane {
  if (progress.dataPlane === undefined) throw new RequestError(503, `waiting for ${progress.waitingFor}`)
  return progress.dataPlane
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
}
