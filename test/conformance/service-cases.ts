// SPDX-License-Identifier: Apache-2.0
// Cases of Services that bring objects of their own and take them away again; each asks in both families.

import { expect } from 'vitest'
import type { KubeManifest } from '../../src/lab/objects.ts'
import type { Reply } from '../support/ask.ts'
import { httpPort, namespace, udpPort } from '../support/manifests.ts'
import { startUdpClient } from '../support/udp-exchange.ts'
import {
  both,
  clientsOf,
  dualService,
  during,
  type Family,
  families,
  MANY,
  type PortPair,
  path,
  quick,
  reached,
  reachedSoon,
  type ServiceLab,
  serversOf,
  targets,
  vips,
} from './service-lab.ts'

export interface ServiceCase {
  readonly name: string
  /** Where the behaviour is promised: a page below kubernetes.io/docs, a Kubernetes e2e test, or a KEP. */
  readonly source: string
  readonly check: (services: ServiceLab) => Promise<void>
}

const e2e = (name: string): string => `Kubernetes e2e: ${name}`
const virtualIPs = (section: string): string => `docs/reference/networking/virtual-ips/#${section}`
const web = { app: 'web' }

interface EndpointShape {
  readonly pod: 'web-1' | 'web-2'
  readonly conditions?: { readonly ready: boolean; readonly serving: boolean; readonly terminating: boolean }
  readonly hints?: Readonly<Record<string, unknown>>
}

const terminating = { ready: false, serving: true, terminating: true }
const gone = { ready: false, serving: false, terminating: true }

/** A Service without selector and its slices: endpoints as a controller would write them. */
function withSlices(service: KubeManifest, services: ServiceLab, endpoints: readonly EndpointShape[]): KubeManifest[] {
  return [service, ...slicesOf(service.metadata.name, services, endpoints)]
}

/** One for each family. */
function slicesOf(
  service: string,
  { lab }: ServiceLab,
  endpoints: readonly EndpointShape[],
  [http, udp]: PortPair = [httpPort, udpPort],
): KubeManifest[] {
  return families.map((family) => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace, name: `${service}-${http}-${family}`, labels: { 'kubernetes.io/service-name': service } },
    addressType: `IPv${family}`,
    ports: [
      { name: 'http', port: http, protocol: 'TCP' },
      { name: 'udp', port: udp, protocol: 'UDP' },
    ],
    endpoints: endpoints.map(({ pod, ...shape }) => ({
      addresses: [lab.podIP(path(pod), family)],
      nodeName: pod === 'web-1' ? 'n1' : 'n2',
      ...shape,
    })),
  }))
}

async function healthOf({ lab }: ServiceLab, node: string, family: Family, port: number): Promise<unknown> {
  const ip = lab.nodeIP(node, family)
  const host = family === 6 ? `[${ip}]` : ip
  const script = `fetch("http://${host}:${port}/").then(async (r) => console.log(JSON.stringify([r.status, await r.json()])))`
  const { exitCode, stdout, stderr } = await lab.run('outside', [process.execPath, '-e', script])
  if (exitCode !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}

export const serviceCases: readonly ServiceCase[] = [
  {
    name: 'an external IP leads to every backend, from outside, pods and nodes',
    source: e2e(
      'should be possible to connect to a service via ExternalIP when the external IP is not assigned to a node',
    ),
    async check(services) {
      const spec = { externalIPs: Object.values(vips.cases) }
      await during(services, [dualService('external', { selector: web, ports: [80, 53], spec })], async () => {
        for (const place of ['outside', path('near'), path('far'), 'node/n1', 'node/n2']) {
          expect(await reached(services, place, (family) => vips.cases[family], [80, 53], MANY), place).toEqual(both)
        }
      })
    },
  },
  {
    name: 'an external IP that is the node’s own address takes its port; the node’s other ports stay the node’s',
    source: 'docs/concepts/services-networking/service/#external-ips',
    async check(services) {
      const { lab } = services
      const n1 = (family: Family) => lab.nodeIP('n1', family)
      const server = await lab.serve('node/n1', { http: 7200, udp: 7201 })
      const service = dualService('own-address', {
        selector: web,
        ports: [88, 54],
        spec: { externalIPs: families.map(n1) },
      })
      await during(services, [service], async () => {
        expect(await reached(services, 'outside', n1, [88, 54], MANY)).toEqual(both)
        for (const family of families) {
          const replies = await services.ask('outside', targets(n1(family), [7200, 7201]))
          expect(replies).toMatchObject([
            { answer: { client: services.outsideIP(family) } },
            { answer: { client: services.outsideIP(family) } },
          ])
          expect(await services.ask('outside', targets(n1(family), [89, 55]))).toEqual([
            { error: 'ECONNREFUSED' },
            { error: 'ECONNREFUSED' },
          ])
        }
      })
      await server.stop()
    },
  },
  {
    name: 'internalTrafficPolicy Local: the node’s own backend, also past the socket hooks; none here: silence',
    source: e2e('should respect internalTrafficPolicy=Local Pod to Pod'),
    async check(services) {
      const { lab } = services
      const spec = { internalTrafficPolicy: 'Local' }
      const all = dualService('inner', { selector: web, ports: [80, 53], spec })
      const elsewhere = dualService('inner-far', { selector: { name: 'web-2' }, ports: [80, 53], spec })
      await during(services, [all, elsewhere], async () => {
        const inner = (family: Family) => lab.clusterIP('test/inner', family)
        const far = (family: Family) => lab.clusterIP('test/inner-far', family)
        for (const [place, server] of [
          [path('near'), 'web-1'],
          [path('far'), 'web-2'],
          ['node/n1', 'web-1'],
          ['node/n2', 'web-2'],
        ] as const) {
          expect(await reached(services, place, inner, [80, 53], MANY), place).toEqual([server])
        }
        for (const family of families) {
          expect(serversOf(await services.askPast('near', targets(inner(family), [80, 53], MANY)))).toEqual(['web-1'])
          expect(serversOf(await services.askPast('near', quick(targets(far(family), [80, 53]))))).toEqual(['timeout'])
        }
        expect(await reachedSoon(services, path('near'), far, [80, 53])).toEqual(['timeout'])
        expect(await reached(services, path('far'), far, [80, 53])).toEqual(['web-2'])
      })
    },
  },
  {
    name: 'endpoints that terminate serve while none is ready, and no longer than that',
    source: e2e(
      'should fallback to terminating endpoints when there are no ready endpoints with externalTrafficPolicy=Cluster',
    ),
    async check(services) {
      const { lab } = services
      const service = dualService('ending', { ports: [80, 53], nodePorts: [30070, 30043] })
      const clusterIP = (family: Family) => lab.clusterIP('test/ending', family)
      const n1 = (family: Family) => lab.nodeIP('n1', family)
      const answers = async (times = MANY): Promise<string[][]> => [
        await reached(services, path('near'), clusterIP, [80, 53], times),
        await reached(services, 'outside', n1, [30070, 30043], times),
      ]
      await during(
        services,
        withSlices(service, services, [{ pod: 'web-1', conditions: terminating }, { pod: 'web-2' }]),
        async () => {
          expect(await answers()).toEqual([['web-2'], ['web-2']])
          const all = both.map((pod) => ({ pod, conditions: terminating }) as EndpointShape)
          await lab.apply(...withSlices(service, services, all))
          expect(await answers()).toEqual([both, both])
          await lab.apply(...withSlices(service, services, [all[0]!, { pod: 'web-2', conditions: gone }]))
          expect(await answers()).toEqual([['web-1'], ['web-1']])
          await lab.apply(...withSlices(service, services, [{ pod: 'web-2', conditions: gone }]))
          // Once: kernels answer one client with six ICMP messages at a time (icmp_ratelimit).
          expect(await answers(1)).toEqual([['ECONNREFUSED'], ['ECONNREFUSED']])
        },
      )
    },
  },
  {
    name: 'the same for traffic policy Local, while the health check already sends others away',
    source: 'KEP-1669; Kubernetes e2e: should fail health check node port if there are only terminating endpoints',
    async check(services) {
      const { lab } = services
      const service = dualService('ending-local', {
        ports: [80, 53],
        nodePorts: [30071, 30044],
        vip: vips.cases,
        spec: { externalTrafficPolicy: 'Local', healthCheckNodePort: 32_101 },
      })
      const health = async (): Promise<unknown[]> =>
        Promise.all(
          families.flatMap((family) => both.map((_, node) => healthOf(services, `n${node + 1}`, family, 32_101))),
        )
      const local = (count: number) => [count > 0 ? 200 : 503, { localEndpoints: count, serviceProxyHealthy: true }]
      await during(services, withSlices(service, services, [{ pod: 'web-1' }, { pod: 'web-2' }]), async () => {
        expect(await health()).toMatchObject([local(1), local(1), local(1), local(1)])
        const objects = withSlices(service, services, [{ pod: 'web-1', conditions: terminating }, { pod: 'web-2' }])
        await lab.apply(...objects)
        expect(await health()).toMatchObject([local(0), local(1), local(0), local(1)])
        for (const family of families) {
          const asked = targets(vips.cases[family], [80, 53], 3)
          expect(clientsOf(await services.ask('outside', asked))).toEqual([`web-1 ${services.outsideIP(family)}`])
        }
      })
      await expect(healthOf(services, 'n1', 4, 32_101)).rejects.toThrow('ECONNREFUSED')
    },
  },
  {
    name: 'hints keep traffic near where every endpoint has some; one without: all get it',
    source: virtualIPs('traffic-distribution'),
    async check(services) {
      const { lab } = services
      const service = dualService('near-first', { ports: [80, 53], spec: { trafficDistribution: 'PreferSameNode' } })
      const clusterIP = (family: Family) => lab.clusterIP('test/near-first', family)
      const hinted = both.map((pod, i) => ({ pod, hints: { forNodes: [{ name: `n${i + 1}` }] } }) as EndpointShape)
      await during(services, withSlices(service, services, hinted), async () => {
        expect(await reached(services, path('near'), clusterIP, [80, 53], MANY)).toEqual(['web-1'])
        expect(await reached(services, path('far'), clusterIP, [80, 53], MANY)).toEqual(['web-2'])
        await lab.apply(...withSlices(service, services, [hinted[0]!, { pod: 'web-2' }]))
        expect(await reached(services, path('near'), clusterIP, [80, 53], MANY)).toEqual(both)
      })
    },
  },
  {
    name: 'one number means two things by TCP and UDP, at the cluster IP and at the node',
    source: e2e(
      'should be able to update service type to NodePort listening on same port number but different protocols',
    ),
    async check(services) {
      const { lab } = services
      const n2 = (family: Family) => lab.nodeIP('n2', family)
      const clusterIP = (family: Family) => lab.clusterIP('test/one-number', family)
      await during(services, [dualService('one-number', { selector: web, ports: [53, 53] })], async () => {
        expect(await reached(services, path('near'), clusterIP, [53, 53], MANY)).toEqual(both)
        await lab.apply(dualService('one-number', { selector: web, ports: [53, 53], nodePorts: [30072, 30072] }))
        expect(await reached(services, 'outside', n2, [30072, 30072], MANY)).toEqual(both)
        await lab.apply(dualService('one-number', { selector: web, ports: [53, 53] }))
        expect(await reached(services, 'outside', n2, [30072, 30072])).toEqual(['ECONNREFUSED'])
      })
    },
  },
  {
    name: 'a named target port is another number at another endpoint',
    source: e2e('should support named targetPorts that resolve to different ports on different endpoints'),
    async check(services) {
      const { lab } = services
      const other = await lab.serve(path('web-2'), { http: 8081, udp: 5354 }, 'other')
      const service = dualService('named', { ports: [80, 53] })
      const slices = [
        ...slicesOf('named', services, [{ pod: 'web-1' }]),
        ...slicesOf('named', services, [{ pod: 'web-2' }], [8081, 5354]),
      ]
      await during(services, [service, ...slices], async () => {
        const clusterIP = (family: Family) => lab.clusterIP('test/named', family)
        expect(await reached(services, path('far'), clusterIP, [80, 53], MANY)).toEqual(['other', 'web-1'])
      })
      await other.stop()
    },
  },
  {
    name: 'a Service that becomes ExternalName, headless or another proxy’s is served no longer, and again when it comes back',
    source: e2e('should implement service.kubernetes.io/service-proxy-name, …/headless; from NodePort to ExternalName'),
    async check(services) {
      const { lab } = services
      const shape = { selector: web, ports: [80, 53], nodePorts: [30073, 30045] } as const
      const served = dualService('changing', shape)
      await during(services, [served], async () => {
        const ips = { 4: lab.clusterIP('test/changing', 4), 6: lab.clusterIP('test/changing', 6) }
        const answers = async (ask: typeof reachedSoon): Promise<string[]> => [
          ...(await ask(services, path('near'), (family) => ips[family], [80, 53])),
          ...(await ask(services, 'outside', (family) => lab.nodeIP('n1', family), [30073, 30045])),
        ]
        const isServed = async (): Promise<boolean> => (await answers(reached)).every((name) => both.includes(name))
        const nobody = async (): Promise<boolean> => (await answers(reachedSoon)).every((name) => !both.includes(name))
        expect(await isServed()).toBe(true)
        for (const label of ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless']) {
          await lab.apply(dualService('changing', { ...shape, labels: { [label]: 'another' } }))
          expect(await nobody(), label).toBe(true)
          await lab.apply(served)
          expect(await isServed(), label).toBe(true)
        }
        const name = { type: 'ExternalName', spec: { externalName: 'example.org' } }
        await lab.apply(dualService('changing', { ports: [80, 53], ...name }))
        expect(await nobody(), 'ExternalName').toBe(true)
      })
    },
  },
  {
    name: 'source ranges let in whom they name; an address of ipMode Proxy is no Service’s',
    source: 'Kubernetes e2e: should only allow access from service loadbalancer source ranges; KEP-1860',
    async check(services) {
      const { lab } = services
      const ranges = families.map((family) => `${services.outsideIP(family)}/${family === 4 ? 32 : 128}`)
      const service = dualService('only-outside', {
        selector: web,
        ports: [80, 53],
        vip: vips.cases,
        spec: { loadBalancerSourceRanges: ranges },
      })
      const vip = (family: Family) => vips.cases[family]
      await during(services, [service], async () => {
        expect(await reached(services, 'outside', vip, [80, 53], MANY)).toEqual(both)
        expect(await reachedSoon(services, path('near'), vip, [80, 53])).toEqual(['timeout'])
        const ingress = Object.values(vips.cases).map((ip) => ({ ip, ipMode: 'Proxy' }))
        await lab.apply({ ...service, status: { loadBalancer: { ingress } } })
        expect((await reachedSoon(services, 'outside', vip, [80, 53])).filter((name) => both.includes(name))).toEqual(
          [],
        )
      })
    },
  },
  {
    name: 'a UDP client outside keeps its socket while the pod behind a NodePort is replaced',
    source: e2e('should be able to preserve UDP traffic when server pod cycles for a NodePort service'),
    async check(services) {
      const { lab } = services
      const service = dualService('cycling', { ports: [80, 53], nodePorts: [30074, 30046] })
      await during(services, withSlices(service, services, [{ pod: 'web-1' }]), async () => {
        const clients = families.map((family) =>
          startUdpClient(lab, 'outside', lab.nodeIP('n1', family), 30046, 'connected'),
        )
        const next = () => Promise.all(clients.map((client) => client.next()))
        const answeredBy = (server: string) => families.map(() => ({ server, error: null }))
        expect(await next()).toMatchObject(answeredBy('web-1'))
        await lab.apply(...withSlices(service, services, [{ pod: 'web-2' }]))
        expect(await next()).toMatchObject(answeredBy('web-2'))
        await lab.apply(...withSlices(service, services, [{ pod: 'web-1' }]))
        expect(await next()).toMatchObject(answeredBy('web-1'))
        for (const client of clients) await client.stop()
      })
    },
  },
  {
    name: 'session affinity is switched on and off',
    source: e2e('should be able to switch session affinity for NodePort service'),
    async check(services) {
      const { lab } = services
      const withAffinity = (sessionAffinity: string) =>
        dualService('switching', {
          selector: web,
          ports: [80, 53],
          nodePorts: [30075, 30047],
          spec: { sessionAffinity },
        })
      const seen = () => reached(services, 'outside', (family) => lab.nodeIP('n1', family), [30075, 30047], 2 * MANY)
      const perFlow = (protocol: 'TCP' | 'UDP', family: Family) => {
        const [tcp, udp] = targets(lab.nodeIP('n1', family), [30075, 30047])
        return Array.from({ length: MANY }, () => (protocol === 'TCP' ? tcp! : udp!))
      }
      await during(services, [withAffinity('None')], async () => {
        expect(await seen()).toEqual(both)
        await lab.apply(withAffinity('ClientIP'))
        for (const family of families) {
          for (const protocol of ['TCP', 'UDP'] as const) {
            const flow = perFlow(protocol, family)
            const first: Reply[] = await services.ask('outside', flow.slice(0, 1))
            expect(serversOf(await services.ask('outside', flow))).toEqual(serversOf(first))
          }
        }
        await lab.apply(withAffinity('None'))
        expect(await seen()).toEqual(both)
      })
    },
  },
]
