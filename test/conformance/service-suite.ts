// SPDX-License-Identifier: Apache-2.0
// What Services promise, with real clients and servers, in both families; each case names the behaviour and where it is
// promised. test/conformance/README.md says which case shows what, also those of other files.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { networkPolicy } from '../support/manifests.ts'
import { serviceCases } from './service-cases.ts'
import {
  clientsOf,
  dualService,
  during,
  families,
  type PortPair,
  path,
  quick,
  type ServiceLab,
  serversOf,
  targets,
  vips,
} from './service-lab.ts'

const web = { app: 'web' }
const services = [
  dualService('both', { selector: web, ports: [80, 53], nodePorts: [30080, 30053], vip: vips.both }),
  dualService('first', { selector: { name: 'web-1' }, ports: [80, 53], nodePorts: [30081, 30054] }),
  dualService('second', { selector: { name: 'web-2' }, ports: [80, 53], nodePorts: [30082, 30055] }),
  dualService('local', {
    selector: { name: 'web-2' },
    ports: [80, 53],
    nodePorts: [30083, 30056],
    spec: { externalTrafficPolicy: 'Local' },
  }),
  dualService('empty', { selector: { app: 'nobody' }, ports: [80, 53], nodePorts: [30084, 30057] }),
  dualService('ranges', {
    selector: web,
    ports: [80, 53],
    nodePorts: [30085, 30058],
    vip: vips.ranges,
    spec: { loadBalancerSourceRanges: ['192.0.2.0/24', '2001:db8:99::/64'] },
  }),
]

const masquerades =
  'it masquerades a client also towards a backend of the node itself, whose policy then takes everybody for the node'

/** The whole suite on a stage that `start` makes. */
export function describeServices(start: () => Promise<ServiceLab>, proxy: 'heddle' | 'kube-proxy' = 'heddle'): void {
  let shared: ServiceLab
  const lab = () => shared.lab
  const ask: ServiceLab['ask'] = (place, asked) => shared.ask(place, asked)
  const askPast: ServiceLab['askPast'] = (pod, asked) => shared.askPast(pod, asked)

  beforeAll(async () => {
    shared = await start()
    await lab().apply(...services)
  })

  afterAll(async () => {
    expect(await shared?.lab.down()).toEqual([])
  })

  describe.each(families)('IPv%s', (family) => {
    const n1 = () => lab().nodeIP('n1', family)
    const n2 = () => lab().nodeIP('n2', family)

    test('a host outside reaches every backend by a node’s port; one of that node sees who it is', async ({ skip }) => {
      if (proxy === 'kube-proxy') skip(masquerades)
      expect(clientsOf(await ask('outside', targets(n1(), [30080, 30053], 12)))).toEqual([
        `web-1 ${shared.outsideIP(family)}`,
        `web-2 ${n1()}`,
      ])
    })

    test('and by a load balancer’s address', async ({ skip }) => {
      if (proxy === 'kube-proxy') skip(masquerades)
      expect(clientsOf(await ask('outside', targets(vips.both[family], [80, 53], 12)))).toEqual([
        `web-1 ${shared.outsideIP(family)}`,
        `web-2 ${n1()}`,
      ])
    })

    test.each([
      ['of this node', [30081, 30054], 'web-1'],
      ['of another node', [30082, 30055], 'web-2'],
    ] as const)(
      'a large request finds its way to a backend %s: path MTU discovery works through NAT',
      async (_, [tcp], server) => {
        const asked = [{ protocol: 'TCP', host: n1(), port: tcp, bytes: 200_000 }] as const
        expect(await ask('outside', asked)).toMatchObject([{ answer: { server, bytes: 200_000 } }])
      },
    )

    test('a datagram in pieces reaches a backend of this node', async () => {
      const asked = [{ protocol: 'UDP', host: n1(), port: 30054, bytes: 4_000 }] as const
      expect(await ask('outside', asked)).toMatchObject([{ answer: { server: 'web-1', bytes: 4_000 } }])
    })

    test('traffic policy Local keeps the client, and drops where there is no backend', async () => {
      expect(clientsOf(await ask('outside', targets(n2(), [30083, 30056], 4)))).toEqual([
        `web-2 ${shared.outsideIP(family)}`,
      ])
      expect(serversOf(await ask('outside', quick(targets(n1(), [30083, 30056]))))).toEqual(['timeout'])
    })

    // Kubernetes e2e: should fallback to local terminating endpoints … with externalTrafficPolicy=Local, which says why.
    test('traffic policy Local: a pod is led to every backend by its own node, by another as one from beyond', async () => {
      expect(serversOf(await ask(path('near'), targets(n1(), [30083, 30056])))).toEqual(['web-2'])
      expect(serversOf(await ask(path('near'), targets(n2(), [30083, 30056])))).toEqual(['web-2'])
      expect(serversOf(await ask(path('far'), quick(targets(n1(), [30083, 30056]))))).toEqual(['timeout'])
    })

    test('a Service without endpoints refuses at once', async () => {
      expect(await ask('outside', targets(n1(), [30084, 30057]))).toEqual([
        { error: 'ECONNREFUSED' },
        { error: 'ECONNREFUSED' },
      ])
    })

    test('source ranges keep others out, outside and inside', async () => {
      for (const place of ['outside', path('near'), 'node/n1']) {
        expect(serversOf(await ask(place, quick(targets(vips.ranges[family], [80, 53])))), place).toEqual(['timeout'])
      }
      expect(serversOf(await ask('outside', targets(n1(), [30085, 30058], 8)))).toEqual(['web-1', 'web-2'])
    })

    test('pods and nodes reach the Service by every address', async () => {
      for (const place of [path('near'), path('far'), 'node/n1', 'node/n2']) {
        for (const host of [n1(), n2()]) {
          expect(serversOf(await ask(place, targets(host, [30080, 30053], 8))), `${place} ${host}`).toEqual([
            'web-1',
            'web-2',
          ])
        }
        expect(serversOf(await ask(place, targets(vips.both[family], [80, 53], 8))), place).toEqual(['web-1', 'web-2'])
      }
    })

    test('so do pods whom the socket hooks miss', async () => {
      for (const pod of ['near', 'far']) {
        for (const [host, ports] of [
          [n1(), [30080, 30053]],
          [n2(), [30080, 30053]],
          [vips.both[family], [80, 53]],
        ] as const) {
          expect(serversOf(await askPast(pod, targets(host, ports, 8))), `${pod} ${host}`).toEqual(['web-1', 'web-2'])
        }
      }
    })

    test('a pod that is its own backend reaches itself by its own node and by another', async () => {
      const clusterIP = lab().clusterIP('test/first', family)
      for (const host of [n1(), n2()]) {
        expect(serversOf(await ask(path('web-1'), targets(host, [30081, 30054]))), host).toEqual(['web-1'])
        expect(serversOf(await askPast('web-1', targets(host, [30081, 30054]))), `past ${host}`).toEqual(['web-1'])
      }
      expect(serversOf(await ask(path('web-1'), targets(clusterIP, [80, 53])))).toEqual(['web-1'])
      expect(serversOf(await askPast('web-1', targets(clusterIP, [80, 53])))).toEqual(['web-1'])
    })

    test('a port that a cluster IP does not have refuses at once, also past the socket hooks', async () => {
      const clusterIP = lab().clusterIP('test/first', family)
      const refused = [{ error: 'ECONNREFUSED' }, { error: 'ECONNREFUSED' }]
      for (const place of [path('near'), 'node/n1']) {
        expect(await ask(place, targets(clusterIP, [81, 54])), place).toEqual(refused)
      }
      expect(await askPast('near', targets(clusterIP, [81, 54]))).toEqual(refused)
    })

    test('policy judges the client by its own address where it is kept, and by the node’s where it is not', async ({
      skip,
    }) => {
      if (proxy === 'kube-proxy') skip('its network has no policy')
      const everything = { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Ingress'] }
      const from = [{ ipBlock: { cidr: `${shared.outsideIP(family)}/${family === 4 ? 32 : 128}` } }]
      const answers = async (host: string, ports: PortPair) =>
        serversOf(await ask('outside', quick(targets(host, ports))))
      // A cluster does not say when a policy is in force.
      const soon = (host: string, ports: PortPair) => expect.poll(() => answers(host, ports), { timeout: 20_000 })
      await during(shared, [networkPolicy('deny', everything)], async () => {
        await soon(n1(), [30081, 30054]).toEqual(['timeout'])
        await soon(n1(), [30082, 30055]).toEqual(['timeout'])
        expect(await answers(n2(), [30083, 30056])).toEqual(['timeout'])
        await lab().apply(networkPolicy('deny', { ...everything, ingress: [{ from }] }))
        await soon(n1(), [30081, 30054]).toEqual(['web-1'])
        await soon(n2(), [30083, 30056]).toEqual(['web-2'])
        expect(await answers(n1(), [30082, 30055])).toEqual(['timeout'])
      })
    })
  })

  test('ports that are no Service’s stay the node’s', async () => {
    const server = await lab().serve('node/n1', { http: 7100, udp: 7101 })
    for (const family of families) {
      expect(await ask('outside', targets(lab().nodeIP('n1', family), [7100, 7101]))).toMatchObject([
        { answer: { client: shared.outsideIP(family) } },
        { answer: { client: shared.outsideIP(family) } },
      ])
    }
    await server.stop()
  })

  for (const { name, source, check } of serviceCases) test(`${name} (${source})`, () => check(shared))
}
