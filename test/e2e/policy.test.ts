// SPDX-License-Identifier: Apache-2.0
// Policies in force, live: who gets through before, with and after each, in both families.
//
//   n1: web, cart (app=cart)      n2: db, far (app=cart)      outside

import { appendFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { PacketEvent, RuleUse, Status, TraceReply } from '../../src/agent/api.ts'
import { askAgent, streamAgent } from '../../src/agent/client.ts'
import { runCli } from '../../src/cli/main.ts'
import { agentSocket } from '../../src/lab/agents.ts'
import { nodeDir } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import type { KubeManifest } from '../../src/lab/objects.ts'
import type { Reply, Target } from '../support/ask.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import {
  httpPort,
  idlePod,
  namespace,
  namespaceObject,
  networkPolicy,
  serverPod,
  service,
  udpPort,
} from '../support/manifests.ts'

let lab: TestLab
const path = (pod: string) => `${namespace}/${pod}`

beforeAll(async () => {
  lab = await startTestLab('policy', { mode: 'vxlan', families: '46' })
  const visitor = idlePod('visitor', 'n2', { app: 'cart' })
  await lab.apply(
    namespaceObject('other', { team: 'guests' }),
    serverPod('web', 'n1', { app: 'web' }),
    serverPod('db', 'n2', { app: 'db' }),
    idlePod('cart', 'n1', { app: 'cart' }),
    idlePod('far', 'n2', { app: 'cart' }),
    idlePod('stranger', 'n2'),
    { ...visitor, metadata: { ...visitor.metadata, namespace: 'other' } },
    service('web', { app: 'web' }),
  )
  await lab.serve('outside', { http: 7000, udp: 7001 })
})

afterAll(async () => {
  expect(await lab?.down()).toEqual([])
})

const timeoutMs = 1_500

/** What gets through: "cart" ... of those who ask the target by TCP, UDP and ping in both families. */
async function whoReaches(
  askers: readonly string[],
  target: (family: 4 | 6) => Target[],
): Promise<Record<string, string>> {
  const results = await Promise.all(
    askers.map(async (place): Promise<[string, string]> => {
      const targets = lab.families().flatMap((family) => target(family).map((each) => ({ ...each, timeoutMs })))
      const replies = await lab.script<Reply[]>(place, 'ask.ts', targets)
      const reached = targets.map(({ protocol }, index) => ('answer' in replies[index]! ? protocol : '-'))
      return [place, reached.join(' ')]
    }),
  )
  return Object.fromEntries(results)
}

const web = (family: 4 | 6): Target[] => [
  { protocol: 'TCP', host: lab.podIP(path('web'), family), port: httpPort },
  { protocol: 'UDP', host: lab.podIP(path('web'), family), port: udpPort },
  { protocol: 'ICMP', host: lab.podIP(path('web'), family), port: 0 },
]
const outside = (family: 4 | 6): Target[] => [{ protocol: 'TCP', host: outsideIPs[family], port: 7000 }]
const all = 'TCP UDP ICMP TCP UDP ICMP'
const none = '- - - - - -'
const tcpOnly = 'TCP - - TCP - -'

const selectWeb = { podSelector: { matchLabels: { app: 'web' } } }

/** A policy for the time of one test. */
async function withPolicy(policies: readonly KubeManifest[], work: () => Promise<void>): Promise<void> {
  await lab.apply(...policies)
  try {
    await work()
  } finally {
    await lab.delete(...policies)
  }
}

describe('ingress', () => {
  const askers = [path('cart'), path('far'), path('stranger'), 'other/visitor', 'node/n2']

  test('without a policy everyone reaches web', async () => {
    expect(await whoReaches(askers, web)).toEqual(Object.fromEntries(askers.map((place) => [place, all])))
  })

  test('default deny: nobody but the own node', async () => {
    await withPolicy([networkPolicy('deny', { ...selectWeb, policyTypes: ['Ingress'] })], async () => {
      expect(await whoReaches([...askers, 'node/n1'], web)).toEqual({
        ...Object.fromEntries(askers.map((place) => [place, none])),
        'node/n1': all,
      })
    })
    expect(await whoReaches([path('cart')], web)).toEqual({ [path('cart')]: all })
  })

  test('podSelector means the own namespace; a port means that port only', async () => {
    const ingress = [{ from: [{ podSelector: { matchLabels: { app: 'cart' } } }], ports: [{ port: httpPort }] }]
    await withPolicy([networkPolicy('cart', { ...selectWeb, ingress })], async () => {
      expect(await whoReaches(askers, web)).toEqual({
        [path('cart')]: tcpOnly,
        [path('far')]: tcpOnly,
        [path('stranger')]: none,
        'other/visitor': none,
        'node/n2': none,
      })
    })
  })

  test('namespaceSelector and podSelector in one peer are both needed', async () => {
    const ingress = [
      {
        from: [
          { namespaceSelector: { matchLabels: { team: 'guests' } }, podSelector: { matchLabels: { app: 'cart' } } },
        ],
      },
    ]
    await withPolicy([networkPolicy('guests', { ...selectWeb, ingress })], async () => {
      expect(await whoReaches(askers, web)).toEqual({
        [path('cart')]: none,
        [path('far')]: none,
        [path('stranger')]: none,
        'other/visitor': all,
        'node/n2': none,
      })
    })
  })

  test('ipBlock with an exception, for pods and nodes alike', async () => {
    const ingress = [
      {
        from: [
          { ipBlock: { cidr: '10.244.0.0/16', except: [`${lab.podIP(path('far'), 4)}/32`] } },
          { ipBlock: { cidr: 'fd00:77::/64' } },
        ],
      },
    ]
    await withPolicy([networkPolicy('block', { ...selectWeb, ingress })], async () => {
      expect(await whoReaches(askers, web)).toEqual({
        [path('cart')]: 'TCP UDP ICMP - - -',
        [path('far')]: none,
        [path('stranger')]: 'TCP UDP ICMP - - -',
        'other/visitor': 'TCP UDP ICMP - - -',
        'node/n2': '- - - TCP UDP ICMP',
      })
    })
  })

  test('a pod gains and loses access with its labels', async () => {
    const ingress = [{ from: [{ podSelector: { matchLabels: { key: 'held' } } }] }]
    await withPolicy([networkPolicy('key', { ...selectWeb, ingress })], async () => {
      const stranger = path('stranger')
      expect(await whoReaches([stranger], web)).toEqual({ [stranger]: none })
      await lab.apply(idlePod('stranger', 'n2', { key: 'held' }))
      expect(await whoReaches([stranger], web)).toEqual({ [stranger]: all })
      await lab.apply(idlePod('stranger', 'n2'))
      expect(await whoReaches([stranger], web)).toEqual({ [stranger]: none })
    })
  })

  test('a namespace gains and loses access with its labels, to pods of both nodes', async () => {
    const servers = (family: 4 | 6) =>
      ['web', 'db'].map((pod): Target => ({ protocol: 'TCP', host: lab.podIP(path(pod), family), port: httpPort }))
    const ingress = [{ from: [{ namespaceSelector: { matchLabels: { season: 'open' } } }] }]
    await withPolicy([networkPolicy('season', { podSelector: {}, ingress })], async () => {
      await lab.apply(namespaceObject('other', { team: 'guests', season: 'open' }))
      expect(await whoReaches(['other/visitor'], servers)).toEqual({ 'other/visitor': 'TCP TCP TCP TCP' })
      await lab.apply(namespaceObject('other', { team: 'guests' }))
      expect(await whoReaches(['other/visitor'], servers)).toEqual({ 'other/visitor': '- - - -' })
    })
  })

  test('an established connection that a policy no longer allows is cut, another goes on', async () => {
    await lab.apply(service('web', { app: 'web' }))
    const loadInput = (family: 4 | 6) => ({
      host: lab.podIP(path('web'), family),
      port: httpPort,
      keptConnections: 3,
      requestsPerSecond: 6,
      newConnectionsPerSecond: 0,
      seconds: 3,
      timeoutMs: 1_000,
    })
    for (const family of lab.families()) {
      const running = await Promise.all(['cart', 'far'].map((pod) => lab.load(path(pod), loadInput(family))))
      const ingress = [
        { from: [{ ipBlock: { cidr: `${lab.podIP(path('far'), family)}/${family === 4 ? 32 : 128}` } }] },
      ]
      await withPolicy([networkPolicy('cut', { ...selectWeb, ingress })], async () => {
        const reports = await Promise.all(running.map(({ report }) => report))
        console.log(
          `IPv${family}: cut: ${JSON.stringify(reports[0]!.failures)}, allowed: ${JSON.stringify(reports[1]!.failures)}`,
        )
        expect(Object.keys(reports[0]!.failures).length).toBeGreaterThan(0)
        expect(reports[1]!.failures).toEqual({})
      })
    }
  })
})

describe('egress', () => {
  const selectCart = { podSelector: { matchLabels: { app: 'cart' } }, policyTypes: ['Egress'] }
  const askers = [path('cart'), path('far')]

  test('default deny: neither pods, nor Services, nor outside; replies to others still pass', async () => {
    const policy = networkPolicy('silent', { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Egress'] })
    await withPolicy([policy], async () => {
      expect(await whoReaches([path('web')], outside)).toEqual({ [path('web')]: '- -' })
      expect(await whoReaches(askers, web)).toEqual({ [path('cart')]: all, [path('far')]: all })
    })
  })

  test('to one port of some pods, also through their Service', async () => {
    const egress = [{ to: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: httpPort }] }]
    await withPolicy([networkPolicy('to-web', { ...selectCart, egress })], async () => {
      expect(await whoReaches(askers, web)).toEqual({ [path('cart')]: tcpOnly, [path('far')]: tcpOnly })
      const viaService = (family: 4 | 6): Target[] => [
        { protocol: 'TCP', host: lab.clusterIP('test/web', family), port: 80 },
        { protocol: 'UDP', host: lab.clusterIP('test/web', family), port: 53 },
      ]
      expect(await whoReaches(askers, viaService)).toEqual({
        [path('cart')]: 'TCP - TCP -',
        [path('far')]: 'TCP - TCP -',
      })
      expect(await whoReaches(askers, outside)).toEqual({ [path('cart')]: '- -', [path('far')]: '- -' })
    })
  })

  test('to an ipBlock outside', async () => {
    const egress = [{ to: [{ ipBlock: { cidr: '203.0.113.0/24' } }] }]
    await withPolicy([networkPolicy('to-outside', { ...selectCart, egress })], async () => {
      expect(await whoReaches(askers, outside)).toEqual({ [path('cart')]: 'TCP -', [path('far')]: 'TCP -' })
      expect(await whoReaches(askers, web)).toEqual({ [path('cart')]: none, [path('far')]: none })
    })
  })
})

describe("Cilium's policies", () => {
  const askers = [path('cart'), path('far'), path('stranger'), 'other/visitor', 'node/n2']
  const http = { toPorts: [{ ports: [{ port: String(httpPort), protocol: 'TCP' }] }] }
  const cilium = (name: string, spec: object): KubeManifest => ({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { namespace, name },
    spec,
  })
  const clusterwide = (name: string, spec: object): KubeManifest => ({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumClusterwideNetworkPolicy',
    metadata: { name },
    spec,
  })

  test('endpoints of the own namespace and of labelled ones, nodes by ICMP type; a denial wins over what admits', async () => {
    const ingress = [
      { fromEndpoints: [{ matchLabels: { 'k8s:app': 'cart' } }], ...http },
      {
        fromEntities: ['remote-node'],
        icmps: [{ fields: [{ type: 8 }, { family: 'IPv6', type: 'EchoRequest' }] }],
      },
    ]
    const guests = [{ matchLabels: { 'io.cilium.k8s.namespace.labels.team': 'guests' } }]
    const policies = [
      cilium('web', { endpointSelector: { matchLabels: { app: 'web' } }, ingress }),
      clusterwide('guests', {
        endpointSelector: { matchLabels: { 'k8s:io.kubernetes.pod.namespace': namespace, app: 'web' } },
        ingress: [{ fromEndpoints: guests }],
        ingressDeny: [{ fromEndpoints: guests, toPorts: [{ ports: [{ port: String(udpPort), protocol: 'UDP' }] }] }],
      }),
    ]
    await withPolicy(policies, async () => {
      expect(await whoReaches(askers, web)).toEqual({
        [path('cart')]: tcpOnly,
        [path('far')]: tcpOnly,
        [path('stranger')]: none,
        'other/visitor': 'TCP - ICMP TCP - ICMP',
        'node/n2': '- - ICMP - - ICMP',
      })
    })
  })

  test('world is outside; what a NetworkPolicy admits beside it adds up', async () => {
    const carts = [path('cart'), path('far')]
    const endpointSelector = { matchLabels: { app: 'cart' } }
    const toWorld = cilium('to-world', { endpointSelector, egress: [{ toEntities: ['world'] }] })
    await withPolicy([toWorld], async () => {
      expect(await whoReaches(carts, outside)).toEqual({ [path('cart')]: 'TCP TCP', [path('far')]: 'TCP TCP' })
      expect(await whoReaches(carts, web)).toEqual({ [path('cart')]: none, [path('far')]: none })
      const egress = [{ to: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: httpPort }] }]
      const toWeb = networkPolicy('to-web', { podSelector: endpointSelector, policyTypes: ['Egress'], egress })
      await withPolicy([toWeb], async () => {
        expect(await whoReaches(carts, web)).toEqual({ [path('cart')]: tcpOnly, [path('far')]: tcpOnly })
      })
    })
  })

  test('denials alone leave the rest open where enableDefaultDeny says so', async () => {
    const policy = clusterwide('no-udp', {
      endpointSelector: {},
      enableDefaultDeny: { ingress: false },
      ingressDeny: [{ fromEntities: ['all'], toPorts: [{ ports: [{ port: '0', protocol: 'UDP' }] }] }],
    })
    await withPolicy([policy], async () => {
      expect(await whoReaches(askers, web)).toEqual(
        Object.fromEntries(askers.map((place) => [place, 'TCP - ICMP TCP - ICMP'])),
      )
    })
  })
})

describe('audit', () => {
  test('an audited policy keeps nobody out, and tells, counts and explains whom it would', async () => {
    const policy = networkPolicy('audited', { ...selectWeb, policyTypes: ['Ingress'] })
    const audited = { ...policy, metadata: { ...policy.metadata, annotations: { 'heddle.network/audit': 'true' } } }
    const socket = agentSocket(lab.name, 'n1')
    await withPolicy([audited], async () => {
      const ended = new AbortController()
      const events = streamAgent<PacketEvent>(socket, '/v1/events', ended.signal)
      const first = events.next()
      const askers = [path('cart'), path('far'), 'node/n1']
      expect(await whoReaches(askers, web)).toEqual(Object.fromEntries(askers.map((place) => [place, all])))
      expect((await first).value).toMatchObject({
        type: 'audit',
        reason: 'policy-ingress',
        rule: expect.stringContaining('test/audited'),
      })
      ended.abort()
      const { audited: counts } = await askAgent<Status>(socket, 'GET', '/v1/status')
      expect(counts).toMatchObject([{ reason: 'policy-ingress' }])
      const query = `from=${path('cart')}&to=${path('web')}&port=${httpPort}&protocol=TCP`
      expect(await askAgent<TraceReply>(socket, 'GET', `/v1/trace?${query}`)).toMatchObject({
        verdict: 'allow',
        audit: 'test/audited',
      })
    })
  })
})

describe('heddle policy unused', () => {
  const uses = () => askAgent<readonly RuleUse[]>(agentSocket(lab.name, 'n1'), 'GET', '/v1/rule-uses')
  const command = async (...options: readonly string[]) => {
    const [printed, warned]: [string[], string[]] = [[], []]
    const argv = ['policy', 'unused', '--lab', lab.name, '--node', 'n1', '-o', 'json', ...options]
    const io = { print: (text: string) => printed.push(text), warn: (text: string) => warned.push(text), colour: false }
    expect(await runCli(argv, io), warned.join()).toBe(0)
    return { rules: (JSON.parse(printed.join('')) as readonly RuleUse[]).map(({ rule }) => rule), warned }
  }
  const unused = async () => (await command()).rules
  const from = (app: string) => ({ from: [{ podSelector: { matchLabels: { app } } }] })
  const policyOf = (...apps: readonly string[]) => networkPolicy('used', { ...selectWeb, ingress: apps.map(from) })

  test('names the rules that no flow has met, across a restart; a changed rule counts anew, one that is gone is gone', async () => {
    await withPolicy([policyOf('cart', 'nobody', 'db')], async () => {
      expect(await unused()).toEqual([0, 1, 2].map((index) => `test/used ingress[${index}]`))
      expect(await whoReaches([path('cart'), path('stranger')], web)).toEqual({
        [path('cart')]: all,
        [path('stranger')]: none,
      })
      expect(await unused()).toEqual(['test/used ingress[1]', 'test/used ingress[2]'])
      expect(await command('--since', '30d')).toEqual({
        rules: [],
        warned: [expect.stringContaining('2 rules are younger')],
      })
      const before = await uses()
      await lab.killAgents()
      await lab.startAgents()
      const after = await uses()
      expect(after.map(({ rule, lastUsed }) => [rule, lastUsed === null])).toEqual([
        ['test/used ingress[0]', false],
        ['test/used ingress[1]', true],
        ['test/used ingress[2]', true],
      ])
      expect(Math.abs(Date.parse(after[1]!.since) - Date.parse(before[1]!.since))).toBeLessThan(1_000)
      await lab.apply(policyOf('db', 'nobody'))
      expect(await unused()).toEqual(['test/used ingress[0]', 'test/used ingress[1]'])
    })
    expect(await uses()).toEqual([])
  })
})

describe('with policyRefuse', () => {
  beforeAll(async () => {
    await lab.killAgents()
    for (const node of ['n1', 'n2']) appendFileSync(`${nodeDir(lab.name, node)}/config.yaml`, 'policyRefuse: true\n')
    await lab.startAgents()
  })

  const deny = networkPolicy('refuse', { ...selectWeb, policyTypes: ['Ingress'] })

  test('who is denied hears so at once, from the same node and from another', async () => {
    await withPolicy([deny], async () => {
      for (const asker of [path('cart'), path('far')]) {
        for (const family of lab.families()) {
          const targets = web(family).filter(({ protocol }) => protocol !== 'ICMP')
          const replies = await lab.script<Reply[]>(asker, 'ask.ts', targets)
          const errors = replies.map((reply) => ('error' in reply ? reply.error : 'answered'))
          expect(errors, `${asker} IPv${family}`).toEqual(['ECONNREFUSED', family === 4 ? 'EHOSTUNREACH' : 'EACCES'])
        }
      }
    })
  })

  test('of a burst only so many datagrams are answered as the limit says, and what is not is counted', async () => {
    const burst = 5_000
    const send = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(${burst}): s.sendto(b"x", ("${lab.podIP(path('web'), 4)}", ${udpPort}))`
    const drops = async (reason: string) => {
      const status = await askAgent<Status>(agentSocket(lab.name, 'n1'), 'GET', '/v1/status')
      return status.drops.find((each) => each.reason === reason)?.packets ?? 0
    }
    await withPolicy([deny], async () => {
      const [denied, limited] = [await drops('policy-ingress'), await drops('answer-limit')]
      const { exitCode, stderr } = await lab.run(path('cart'), ['python3', '-c', send])
      expect(stderr).toBe('')
      expect(exitCode).toBe(0)
      expect((await drops('policy-ingress')) - denied).toBe(burst)
      const unanswered = (await drops('answer-limit')) - limited
      expect(unanswered).toBeGreaterThan(0)
      expect(unanswered).toBeLessThan(burst)
    })
  })

  test('an established connection that a policy no longer allows is reset', async () => {
    const asks = (host: string) => `
import socket, time
s = socket.create_connection(("${host}", ${httpPort}), 3)
print("connected", flush=True)
try:
    while True:
        s.sendall(b"GET / HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n")
        if not s.recv(65536): break
        time.sleep(0.05)
except Exception as error:
    print(type(error).__name__, flush=True)`
    for (const asker of [path('cart'), path('far')]) {
      for (const family of lab.families()) {
        const asking = lab.start(asker, ['python3', '-c', asks(lab.podIP(path('web'), family))])
        await asking.until((output) => output.includes('connected'))
        await withPolicy([deny], async () => {
          expect(await asking.ended, `${asker} IPv${family}`).toBe('connected\nConnectionResetError\n')
        })
      }
    }
  })
})
