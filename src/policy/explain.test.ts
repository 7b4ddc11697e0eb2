// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { clusterOf } from '../../test/support/policy-agreement.ts'
import { type PolicyWorld, policyWorlds } from '../../test/support/policy-worlds.ts'
import { Protocol } from '../core/protocol.ts'
import { BY_POLICY } from './compile.ts'
import { type PairChange, policyDiff } from './diff.ts'
import { modelEngine, type OfflineCluster, verdictsOf } from './offline.ts'
import { podPolicies } from './why.ts'

const pods = `
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: cart, labels: {app: cart}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: till, labels: {app: till}}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1, containers: [{ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.1.0.5}]}
`

function webPolicy(rules: string): string {
  return `${pods}---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: web}
spec: {podSelector: {matchLabels: {app: web}}, ingress: ${rules}}
`
}

test('why: tiers in the order in which they count; Baseline only where no NetworkPolicy isolates', () => {
  const tier = (name: string, of: string, priority: number, action: string) => `---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: ${name}}
spec:
  tier: ${of}
  priority: ${priority}
  subject: {namespaces: {}}
  ingress: [{name: n, action: ${action}, from: [{namespaces: {}}]}]
  egress: [{action: ${action}, to: [{nodes: {}}, {networks: [10.0.0.0/8]}]}]
`
  const { world } = clusterOf(
    tier('late', 'Admin', 9, 'Pass') +
      tier('base', 'Baseline', 0, 'Deny') +
      tier('early', 'Admin', 1, 'Accept') +
      `---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web}, spec: {containers: []}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: shop, name: web}, spec: {podSelector: {}}}
`,
  )
  const { ingress, egress } = podPolicies(world, world.pod('shop/web')!)
  expect(ingress.rules.map(({ rule, action }) => [rule, action])).toEqual([
    ['Admin:early ingress[0] "n"', 'Accept'],
    ['Admin:late ingress[0] "n"', 'Pass'],
  ])
  expect(egress.rules.map(({ rule }) => rule)).toEqual([
    'Admin:early egress[0]',
    'Admin:late egress[0]',
    'Baseline:base egress[0]',
  ])
  expect(egress.rules[0]).toMatchObject({ peers: ['10.0.0.0/8', 'nodes()'], ports: ['all'] })
})

test('why: an audited policy isolates nobody, so Baseline counts beside it; the configuration audits all', () => {
  const { world } = clusterOf(`
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web}, spec: {containers: []}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: web, annotations: {heddle.network/audit: "true"}}
spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: base}
spec: {tier: Baseline, priority: 0, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}
`)
  const { ingress } = podPolicies(world, world.pod('shop/web')!)
  expect(ingress).toMatchObject({ isolatedBy: [], auditedBy: ['shop/web'] })
  expect(ingress.rules.map(({ rule, audited }) => [rule, audited])).toEqual([
    ['shop/web ingress[0]', true],
    ['Baseline:base ingress[0]', false],
  ])
  const all = podPolicies(world, world.pod('shop/web')!, { ...BY_POLICY, auditAll: true })
  expect(all.ingress.rules.map(({ audited }) => audited)).toEqual([true, true])
  const denying = { ...BY_POLICY, defaultDeny: ['shop'] }
  expect(podPolicies(world, world.pod('shop/web')!, denying).egress).toMatchObject({ otherwise: 'deny', rules: [] })
})

test('why: the policies that isolate, and what each rule admits now', () => {
  const { world } = clusterOf(
    webPolicy(
      '[{from: [{podSelector: {matchLabels: {app: cart}}}, {ipBlock: {cidr: 203.0.113.0/24}}], ports: [{port: http}, {port: 1, endPort: 9}]}, {ports: [{port: 53, protocol: UDP}]}, {from: [{planet: mars}]}]',
    ),
  )
  expect(podPolicies(world, world.pod('shop/web')!)).toEqual({
    pod: 'shop/web',
    node: 'n1',
    addresses: ['10.1.0.5'],
    ingress: {
      isolatedBy: ['shop/web'],
      auditedBy: [],
      otherwise: 'allow',
      rules: [
        {
          rule: 'shop/web ingress[0]',
          action: 'Accept',
          audited: false,
          peers: ['203.0.113.0/24', 'pods(app=cart) in shop'],
          ports: ['http/TCP=8080', 'TCP/1-9'],
          pods: ['shop/cart'],
          unknownField: null,
        },
        {
          rule: 'shop/web ingress[1]',
          action: 'Accept',
          audited: false,
          peers: ['everybody'],
          ports: ['UDP/53'],
          pods: null,
          unknownField: null,
        },
        {
          rule: 'shop/web ingress[2]',
          action: 'Accept',
          audited: false,
          peers: [],
          ports: ['all'],
          pods: [],
          unknownField: 'spec.ingress[2].from[0].planet',
        },
      ],
    },
    egress: { isolatedBy: [], auditedBy: [], otherwise: 'allow', rules: [] },
  })
})

test('why: Cilium denials before what admits, whichever kind of policy says so; entities, blocks and labels in words', () => {
  const { world } = clusterOf(
    webPolicy('[{from: [{podSelector: {matchLabels: {app: cart}}}]}]') +
      `---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: shop, name: web}
spec:
  endpointSelector: {matchLabels: {'k8s:app': web}}
  ingress:
  - fromEndpoints: [{matchLabels: {'k8s:io.kubernetes.pod.namespace': other}}, {}]
    toPorts: [{ports: [{port: http}, {port: '80', endPort: 90, protocol: TCP}]}]
  ingressDeny: [{fromEntities: [world], icmps: [{fields: [{type: EchoRequest}]}]}]
specs:
- endpointSelector: {}
  egress: [{toCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}, {toEntities: [kube-apiserver, cluster]}]
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: all}
spec: {endpointSelector: {}, enableDefaultDeny: {ingress: false}, ingress: [{fromEndpoints: [{}]}]}
`,
  )
  const { ingress, egress } = podPolicies(world, world.pod('shop/web')!)
  expect(ingress.isolatedBy).toEqual(['shop/web', 'Cilium:shop/web'])
  expect(ingress.rules.map(({ rule, action, peers, ports, pods: now }) => [rule, action, peers, ports, now])).toEqual([
    ['Cilium:shop/web ingressDeny[0]', 'Deny', ['outside the cluster'], ['ICMP/8'], []],
    ['shop/web ingress[0]', 'Accept', ['pods(app=cart) in shop'], ['all'], ['shop/cart']],
    ['Cilium:all ingress[0]', 'Accept', ['every pod'], ['all'], ['shop/cart', 'shop/till', 'shop/web']],
    [
      'Cilium:shop/web ingress[0]',
      'Accept',
      ['pods() in namespaces(kubernetes.io/metadata.name=other)', 'pods() in shop'],
      ['http/TCP=8080', 'http/UDP=none', 'http/SCTP=none', 'TCP/80-90'],
      ['shop/cart', 'shop/till', 'shop/web'],
    ],
  ])
  expect(egress.isolatedBy).toEqual(['Cilium:shop/web'])
  expect(egress.rules.map(({ rule, peers }) => [rule, peers])).toEqual([
    ['Cilium:shop/web specs[0].egress[0]', ['10.0.0.0/8 except 10.1.0.0/16 outside']],
    ['Cilium:shop/web specs[0].egress[1]', ['every pod', 'other nodes', 'own host', 'pod ranges', 'kube-apiserver']],
  ])
})

test('diff: pairs and ports that are newly allowed and newly denied', () => {
  const before = clusterOf(
    webPolicy('[{from: [{podSelector: {matchLabels: {app: cart}}}], ports: [{port: 80, endPort: 90}]}]'),
  )
  const after = clusterOf(webPolicy('[{from: [{podSelector: {}}], ports: [{port: 85, endPort: 99}]}]'))
  const families = ['IPv4'] as const
  expect(policyDiff(before, after)).toEqual([
    { from: 'shop/cart', to: 'shop/web', families, newlyAllowed: ['TCP/91-99'], newlyDenied: ['TCP/80-84'] },
    { from: 'shop/till', to: 'shop/web', families, newlyAllowed: ['TCP/85-99'], newlyDenied: [] },
  ])
  expect(policyDiff(clusterOf(pods), after).map(({ newlyDenied }) => newlyDenied)).toEqual([
    ['TCP/1-84', 'TCP/100-65535', 'UDP', 'SCTP', 'ICMP'],
    ['TCP/1-84', 'TCP/100-65535', 'UDP', 'SCTP', 'ICMP'],
  ])
  expect(policyDiff(clusterOf(webPolicy('[]')), clusterOf(pods)).map(({ newlyAllowed }) => newlyAllowed)).toEqual([
    ['everything'],
    ['everything'],
  ])
  expect(policyDiff(after, after)).toEqual([])
})

test('diff: types of ICMP', () => {
  const before = clusterOf(pods)
  const after = clusterOf(
    `${pods}---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: shop, name: ping}
spec:
  endpointSelector: {matchLabels: {app: web}}
  enableDefaultDeny: {ingress: false}
  ingressDeny: [{fromEndpoints: [{matchLabels: {app: cart}}], icmps: [{fields: [{type: 8}, {type: 0}]}]}]
`,
  )
  expect(policyDiff(before, after)).toMatchObject([
    { from: 'shop/cart', to: 'shop/web', newlyAllowed: [], newlyDenied: ['ICMP/0', 'ICMP/8'] },
  ])
})

test('diff says of every pair and port whether its verdict changes', async () => {
  await fc.assert(
    fc.asyncProperty(policyWorlds(1), policyWorlds(1), async (world, other) => {
      const isPolicy = ({ kind }: { readonly kind: string }) => kind === 'NetworkPolicy'
      const rest = world.objects.filter((object) => !isPolicy(object))
      const [before, after] = [listed(world.objects), listed([...rest, ...other.objects.filter(isPolicy)])]
      const changes = policyDiff(before, after)
      const names = rest
        .filter(({ kind }) => kind === 'Pod')
        .map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)
      for (const [from, to] of names.flatMap((a) => names.filter((b) => b !== a).map((b) => [a, b] as const))) {
        for (const family of [4, 6] as const) {
          for (const [protocol, port] of probes(family)) {
            const query = { from: { pod: from }, to: { pod: to }, protocol, port, family }
            const [was, is] = [await allowed(before, query), await allowed(after, query)]
            if (was === undefined || is === undefined) continue
            const change = changes.find(
              (each) => each.from === from && each.to === to && each.families.includes(`IPv${family}`),
            )
            const told = [covers(change?.newlyAllowed, protocol, port), covers(change?.newlyDenied, protocol, port)]
            if (isRunning(before, from) && isRunning(before, to))
              expect(told, JSON.stringify(query)).toEqual([is && !was, was && !is])
          }
        }
      }
    }),
    { numRuns: 60 },
  )
})

function listed(objects: PolicyWorld['objects']): OfflineCluster {
  return clusterOf(JSON.stringify({ kind: 'List', items: objects }))
}

function probes(family: 4 | 6): readonly (readonly [Protocol, number])[] {
  const ports = [1, 53, 80, 82, 8000, 8191, 65535]
  return [
    ...[Protocol.TCP, Protocol.UDP, Protocol.SCTP].flatMap((protocol) =>
      ports.map((port) => [protocol, port] as const),
    ),
    [family === 4 ? Protocol.ICMP : Protocol.ICMPv6, 8 << 8],
  ]
}

async function allowed(
  of: OfflineCluster,
  query: Parameters<OfflineCluster['resolve']>[0],
): Promise<boolean | undefined> {
  const questions = of.resolve(query)
  if (typeof questions === 'string') return undefined
  const [answer] = await verdictsOf(of, [questions], modelEngine)
  return answer!.verdict === 'allow'
}

function isRunning({ world }: OfflineCluster, name: string): boolean {
  const pod = world.pod(name)!
  return !pod.hostNetwork && !pod.finished
}

function covers(texts: PairChange['newlyAllowed'] | undefined, protocol: Protocol, port: number): boolean {
  const name = Object.entries(Protocol).find(([, number]) => number === protocol)![0]
  return (texts ?? []).some((text) => {
    if (text === 'everything' || text === name) return true
    const [of, range = ''] = text.split('/')
    const [first, last = first] = range.split('-').map(Number)
    const at = name.startsWith('ICMP') ? port >> 8 : port
    return of === name && at >= first! && at <= last!
  })
}
