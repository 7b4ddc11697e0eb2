// SPDX-License-Identifier: Apache-2.0
// A program that tests run at a place of a lab, with a Load as JSON for its argument: steady HTTP load, requests on kept connections and on new ones, at rates
// that do not follow the answers. Prints "running" on standard error when every kept connection has answered once, and
// the report as JSON on standard output at the end. A connection that breaks counts as failed, it is not opened again.

import { Agent, request } from 'node:http'

export interface Load {
  readonly host: string
  readonly port: number
  readonly keptConnections: number
  /** Over all kept connections. */
  readonly requestsPerSecond: number
  readonly newConnectionsPerSecond: number
  readonly seconds: number
  /** How long a request waits for its answer; 10,000 where absent. */
  readonly timeoutMs?: number
}

export interface LoadReport {
  readonly keptRequests: number
  readonly newConnections: number
  /** Message of each failure -> how often. */
  readonly failures: Readonly<Record<string, number>>
  /** Sockets that the kept requests went over; more than keptConnections means that some broke. */
  readonly keptSockets: number
  readonly latencyMsP50: number
  readonly latencyMsMax: number
}

const load = JSON.parse(process.argv[2]!) as Load
const timeoutMs = load.timeoutMs ?? 10_000
const latenciesMs: number[] = []
const failures: Record<string, number> = {}
const sockets = new Set<unknown>()
const kept = Array.from({ length: load.keptConnections }, () => new Agent({ keepAlive: true, maxSockets: 1 }))
let keptRequests = 0
let newConnections = 0

function get(agent: Agent | false): Promise<void> {
  const start = performance.now()
  return new Promise((resolve) => {
    const outgoing = request({ host: load.host, port: load.port, agent, timeout: timeoutMs }, (response) => {
      response.resume()
      response.on('end', () => {
        latenciesMs.push(performance.now() - start)
        resolve()
      })
    })
    outgoing.on('socket', (socket) => {
      if (agent) sockets.add(socket)
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer in ${timeoutMs} ms`)))
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      const what = error.code ?? error.message
      failures[what] = (failures[what] ?? 0) + 1
      resolve()
    })
    outgoing.end()
  })
}

await Promise.all(kept.map(get))
process.stderr.write('running\n')
const started = performance.now()
const pending = new Set<Promise<void>>()
const track = (work: Promise<void>) => {
  pending.add(work)
  void work.then(() => pending.delete(work))
}
// Every tick sends what is due by now, so a late tick does not lower the rate.
await new Promise<void>((resolve) => {
  const timer = setInterval(() => {
    const elapsed = (performance.now() - started) / 1_000
    if (elapsed >= load.seconds) {
      clearInterval(timer)
      resolve()
      return
    }
    for (; keptRequests < elapsed * load.requestsPerSecond; keptRequests++)
      track(get(kept[keptRequests % kept.length]!))
    for (; newConnections < elapsed * load.newConnectionsPerSecond; newConnections++) track(get(false))
  }, 5)
})
await Promise.all(pending)
latenciesMs.sort((a, b) => a - b)
const report: LoadReport = {
  keptRequests,
  newConnections,
  failures,
  keptSockets: sockets.size,
  latencyMsP50: latenciesMs[latenciesMs.length >> 1] ?? 0,
  latencyMsMax: latenciesMs.at(-1) ?? 0,
}
process.stdout.write(JSON.stringify(report))
process.exit(0)
