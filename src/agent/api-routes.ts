// SPDX-License-Identifier: Apache-2.0
// The requests that the agent answers: api.ts on its socket, Prometheus and probes over HTTP.

import type { ServerResponse } from 'node:http'
import type { PolicySettings } from '../policy/compile.ts'
import type { PlanReply, RuleUse, ServiceDetail, Status, SyncReply, TraceReply } from './api.ts'
import { json, type Reply, type Routes, text } from './http.ts'
import { type ListSources, listEndpoints, listNodes, listPolicies, listServices } from './lists.ts'
import { policyObjects } from './policy-objects.ts'
import { describeService, type ServiceDescription } from './service-detail.ts'

export interface Answers {
  status(): Promise<Status>
  /** Rejects with a sentence while the data plane is not up. */
  lists(): ListSources
  /** What only the node can say of a Service. */
  serviceUse(
    service: ServiceDescription,
  ): Promise<Pick<ServiceDetail, 'loadBalancerMode' | 'traffic' | 'clients' | 'problems'>>
  readonly policySettings: PolicySettings
  ruleUses(): Promise<readonly RuleUse[]>
  plan(): Promise<readonly string[]>
  trace(query: URLSearchParams): Promise<TraceReply>
  sync(signal: AbortSignal): Promise<SyncReply>
  events(response: ServerResponse, signal: AbortSignal): void
}

export function apiRoutes(answers: Answers): Routes {
  return {
    'GET /v1/status': async () => json(await answers.status()),
    'GET /v1/endpoints': async () => json(await listEndpoints(answers.lists())),
    'GET /v1/services': async () => json(await listServices(answers.lists())),
    'GET /v1/service': async ({ query }) => json(await serviceDetail(answers, query.get('name') ?? '')),
    'GET /v1/policies': async () => json(await listPolicies(answers.lists())),
    'GET /v1/policy-objects': async () => json(policyObjects(answers.lists().world, answers.policySettings)),
    'GET /v1/rule-uses': async () => json(await answers.ruleUses()),
    'GET /v1/nodes': async () => json(await listNodes(answers.lists())),
    'GET /v1/plan': async () => json({ steps: await answers.plan() } satisfies PlanReply),
    'GET /v1/trace': async ({ query }) => json(await answers.trace(query)),
    'POST /v1/sync': async ({ signal }) => json(await answers.sync(signal)),
    'GET /v1/events': () => ({ stream: answers.events }),
  }
}

async function serviceDetail(answers: Answers, name: string): Promise<ServiceDetail> {
  const described = await describeService(answers.lists(), name)
  const { problems, ...use } = await answers.serviceUse(described)
  return { ...described, ...use, problems: [...described.problems, ...problems] }
}

export interface Probes {
  metrics(): Promise<string>
  /** Why the node is not ready; empty: it is. */
  notReady(): readonly string[]
}

export function probeRoutes({ metrics, notReady }: Probes): Routes {
  return {
    'GET /metrics': async (): Promise<Reply> => ({
      status: 200,
      type: 'text/plain; version=0.0.4; charset=utf-8',
      body: await metrics(),
    }),
    // Answering at all is what is asked: the loop and this server share one thread.
    'GET /healthz': () => text(200, 'ok'),
    'GET /readyz': () => {
      const reasons = notReady()
      return reasons.length === 0 ? text(200, 'ok') : text(503, reasons.join('\n'))
    },
  }
}
