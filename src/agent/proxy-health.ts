// SPDX-License-Identifier: Apache-2.0
// What load balancers ask a node, in kube-proxy's words (kubernetes pkg/proxy/healthcheck, v1.34): /healthz and /livez,
// and on the healthCheckNodePort of a Service whether this node has an endpoint of it.

import type { Server } from 'node:http'
import type { Logger } from 'pino'
import type { Address } from '../core/address.ts'
import type { HealthCheck } from '../services/compile.ts'
import type { ObjectName } from '../world/objects.ts'
import { createHttpServer, listening, type Reply, type Routes } from './http.ts'
import type { Health } from './service-sync.ts'

/** isLeaving: the node is being deleted, or about to be; it is alive, and no place for new connections. */
export function healthRoutes(health: () => Health, isLeaving: () => boolean, now: () => number): Routes {
  const times = ({ isHealthy, updatedMs }: Health, isServing: boolean): string => {
    const nowMs = now()
    // Whoever is well is up to date, also where nothing has changed for long.
    return `"lastUpdated": "${timeText(isHealthy && isServing ? nowMs : updatedMs)}","currentTime": "${timeText(nowMs)}"`
  }
  return {
    'GET /healthz': () => {
      const current = health()
      const isEligible = !isLeaving()
      const body = `{${times(current, isEligible)}, "nodeEligible": ${isEligible}}`
      return reply(current.isHealthy && isEligible, body)
    },
    'GET /livez': () => {
      const current = health()
      return reply(current.isHealthy, `{${times(current, true)}}`)
    },
  }
}

/** Answers whatever is asked on the port of one Service. */
export function serviceHealthReply(service: ObjectName, localEndpoints: number, isHealthy: boolean): Reply {
  const [namespace, name] = service.split('/')
  const body = { service: { namespace, name }, localEndpoints, serviceProxyHealthy: isHealthy }
  return reply(localEndpoints > 0 && isHealthy, JSON.stringify(body, null, '\t'), {
    'x-load-balancing-endpoint-weight': String(localEndpoints),
  })
}

function reply(isGood: boolean, body: string, headers: Readonly<Record<string, string>> = {}): Reply {
  const status = isGood ? 200 : 503
  return { status, type: 'application/json', body, headers: { 'x-content-type-options': 'nosniff', ...headers } }
}

/** As Go prints a time. */
function timeText(ms: number): string {
  if (ms === 0) return '0001-01-01 00:00:00 +0000 UTC'
  return `${new Date(ms).toISOString().replace('T', ' ').replace('Z', '')} +0000 UTC`
}

export interface HealthPorts {
  /** Opens, keeps and closes ports, so that those of `checks` answer; what could not be opened is tried again. */
  sync(checks: ReadonlyMap<ObjectName, HealthCheck>): Promise<void>
  /** Ports that somebody else has, one sentence each. */
  problems(): readonly string[]
  close(): void
}

interface Port {
  check: HealthCheck
  readonly servers: readonly Server[]
  problem: string
}

/** addresses: where the ports are; empty: everywhere on the node. */
export function createHealthPorts(
  addresses: readonly Address[],
  isHealthy: () => boolean,
  log: Pick<Logger, 'warn' | 'error'>,
): HealthPorts {
  const ports = new Map<ObjectName, Port>()

  async function open(service: ObjectName, check: HealthCheck): Promise<void> {
    const hosts = addresses.length === 0 ? [undefined] : addresses
    const answer = (): Reply => serviceHealthReply(service, ports.get(service)?.check.localEndpoints ?? 0, isHealthy())
    const servers = hosts.map(() =>
      createHttpServer({ '*': answer }, (error) => log.error({ err: error, service }, 'health check failed')),
    )
    const port: Port = { check, servers, problem: '' }
    ports.set(service, port)
    for (const [i, server] of servers.entries()) server.listen({ port: check.port, host: hosts[i] })
    await Promise.all(servers.map(listening)).catch((error: Error) => {
      closeAll(servers)
      port.problem = `Service ${service}: its health check port ${check.port} cannot be opened: ${error.message}`
      log.warn(port.problem)
    })
  }

  function drop(service: ObjectName, { servers }: Port): void {
    ports.delete(service)
    closeAll(servers)
  }

  return {
    async sync(checks) {
      for (const [service, port] of ports) {
        const wanted = checks.get(service)
        if (wanted?.port !== port.check.port || port.problem !== '') drop(service, port)
        else port.check = wanted
      }
      const missing = [...checks].filter(([service]) => !ports.has(service))
      await Promise.all(missing.map(([service, check]) => open(service, check)))
    },
    problems: () => [...ports.values()].map(({ problem }) => problem).filter((problem) => problem !== ''),
    close() {
      for (const [service, port] of ports) drop(service, port)
    },
  }
}

function closeAll(servers: readonly Server[]): void {
  for (const server of servers) {
    server.close()
    server.closeAllConnections()
  }
}
