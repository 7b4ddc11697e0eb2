// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import type { CiliumPolicy } from '../world/objects.ts'
import {
  readCiliumClusterwideNetworkPolicy,
  readCiliumNetworkPolicy,
  standInForCiliumClusterwideNetworkPolicy,
  standInForCiliumNetworkPolicy,
} from './cilium-policy.ts'
import { BadField, pathText, root } from './cursor.ts'
import { refusalText } from './object.ts'

const web = { matchLabels: { app: 'web' } }
const everyPod = { matchLabels: {}, matchExpressions: [] }
const readWeb = { ...everyPod, ...web }
const FREE = { isolates: false, rules: [] }

function object(spec: object | undefined, more = {}) {
  return root({ metadata: { namespace: 'shop', name: 'p' }, ...(spec && { spec }), ...more })
}

function refusal(read: () => unknown): string {
  try {
    read()
    return ''
  } catch (error) {
    if (!(error instanceof BadField)) throw error
    return `${pathText(error.path)}: ${error.message}`
  }
}

describe('what cannot be enforced as it is written is refused whole, by name', () => {
  const ingress = (...rules: readonly object[]) => ({ endpointSelector: web, ingress: rules })
  const egress = (...rules: readonly object[]) => ({ endpointSelector: web, egress: rules })
  const port = (more: object) => ingress({ toPorts: [{ ports: [more] }] })
  const icmp = (more: object) => ingress({ icmps: [{ fields: [more] }] })
  const peers = (selector: object) => ingress({ fromEndpoints: [selector] })
  test.each([
    [{ nodeSelector: {} }, 'spec.nodeSelector: policies for nodes are not supported'],
    [{}, 'spec.endpointSelector: missing'],
    [{ endpointSelector: web, log: {} }, 'spec.log: not a field that Heddle knows'],
    [{ endpointSelector: web, enableDefaultDeny: { both: true } }, 'spec.enableDefaultDeny.both: not a field'],
    [{ endpointSelector: web, enableDefaultDeny: { egress: 'no' } }, 'spec.enableDefaultDeny.egress: expected true'],
    [egress({}, { toFQDNs: [{ matchName: 'a.example' }] }), 'spec.egress[1].toFQDNs: names of domains'],
    [egress({ toServices: [] }), 'spec.egress[0].toServices: Services as peers'],
    [egress({ toGroups: [{}] }), 'spec.egress[0].toGroups: groups of other providers'],
    [egress({ toNodes: [{}] }), 'spec.egress[0].toNodes: nodes by labels'],
    [egress({ toRequires: [{}] }), 'spec.egress[0].toRequires: requirements'],
    [egress({ fromEndpoints: [{}] }), 'spec.egress[0].fromEndpoints: not a field that Heddle knows'],
    [ingress({ authentication: { mode: 'required' } }), 'spec.ingress[0].authentication: authentication'],
    [ingress({ toPorts: [{ ports: [{ port: '80' }], rules: { http: [{}] } }] }), 'toPorts[0].rules: rules of layer 7'],
    [ingress({ toPorts: [{ ports: [{ port: '80' }], serverNames: ['a'] }] }), 'toPorts[0].serverNames: names of TLS'],
    [ingress({ toPorts: [{ ports: [{ port: '80' }], listener: {} }] }), 'toPorts[0].listener: listeners'],
    [ingress({ fromCIDRSet: [{ cidrGroupRef: 'g' }] }), 'spec.ingress[0].fromCIDRSet[0].cidrGroupRef: groups of CIDRs'],
    [
      ingress({ fromCIDRSet: [{ cidr: '10.0.0.0/8', except: ['11.0.0.0/9'] }] }),
      '"11.0.0.0/9" is no part of 10.0.0.0/8',
    ],
    [ingress({ fromCIDR: ['mars'] }), 'spec.ingress[0].fromCIDR[0]: "mars"'],
    [ingress({ fromEndpoints: [] }), 'spec.ingress[0].fromEndpoints: an empty list'],
    [ingress({ fromEntities: ['mars'] }), 'fromEntities[0]: "mars" is none of world, cluster, host'],
    [ingress({ fromEntities: ['host', 'init'] }), 'fromEntities[1]: "init" is not supported: no pod is wired before'],
    [egress({ toEntities: ['unmanaged'] }), 'toEntities[0]: "unmanaged" is not supported: pods that another plugin'],
    [ingress({ fromEntities: ['ingress'] }), 'fromEntities[0]: "ingress" is not supported: there is no ingress proxy'],
    [ingress({ fromEntities: ['world'], fromCIDR: ['10.0.0.0/8'] }), 'spec.ingress[0].fromCIDR: cannot stand beside'],
    [
      ingress({ toPorts: [{ ports: [{ port: '1' }] }], icmps: [{ fields: [{ type: 1 }] }] }),
      'icmps: cannot stand beside',
    ],
    [ingress({ toPorts: [{}] }), 'spec.ingress[0].toPorts[0].ports: needs at least one item'],
    [ingress({ icmps: [{ fields: [] }] }), 'spec.ingress[0].icmps[0].fields: needs at least one item'],
    [port({ port: '0' }), 'ports[0].port: 0 is every port of a protocol, which must be named'],
    [port({ port: '0', protocol: 'TCP', endPort: 9 }), 'ports[0].endPort: cannot stand beside port 0'],
    [port({ port: '65536' }), 'ports[0].port: '],
    [port({ port: 80 }), 'ports[0].port: expected a text'],
    [port({ port: '80', endPort: 79 }), 'ports[0].endPort: 79 is below port 80'],
    [port({ port: '80', protocol: 'ICMP' }), 'ports[0].protocol: "ICMP" is none of'],
    [icmp({ type: 256 }), 'fields[0].type: expected a whole number from 0 to 255'],
    [icmp({ type: 'Ping' }), 'fields[0].type: "Ping" is none of'],
    [icmp({ type: 'PacketTooBig' }), 'fields[0].type: "PacketTooBig" is none of'],
    [icmp({ type: 8, code: 0 }), 'fields[0].code: not a field that Heddle knows'],
    [icmp({ type: 8, family: 'IPv5' }), 'fields[0].family: "IPv5" is none of IPv4, IPv6'],
    [peers({ matchLabels: { 'reserved:init': '' } }), 'matchLabels.reserved:init: "init" is not supported'],
    [peers({ matchLabels: { 'reserved:cluster': '' } }), 'nothing has the label reserved:cluster'],
    [peers({ matchLabels: { 'reserved:mars': '' } }), '"mars" is none of world, cluster, host'],
    [peers({ matchLabels: { 'reserved:host': 'n1' } }), 'matchLabels.reserved:host: has no value'],
    [peers({ matchLabels: { app: 'web', 'reserved:host': '' } }), 'cannot stand beside other labels'],
    [
      peers({ matchLabels: { 'reserved:host': '' }, matchExpressions: [{ key: 'app', operator: 'Exists' }] }),
      'cannot stand beside other labels',
    ],
    [
      peers({ matchExpressions: [{ key: 'reserved:host', operator: 'Exists' }] }),
      'labels of the source "reserved" are not supported',
    ],
    [peers({ matchLabels: { 'reserved:host': '' }, matchNames: {} }), 'fromEndpoints[0].matchNames: not a field'],
    [{ endpointSelector: { matchLabels: { 'reserved:init': '' } } }, 'labels of the source "reserved" are not'],
    [
      peers({ matchLabels: { 'k8s:io.cilium.k8s.policy.serviceaccount': 'a' } }),
      'io.cilium.k8s.policy.serviceaccount is not supported: service accounts of pods are not read',
    ],
    [peers({ matchLabels: { 'io.cilium.k8s.policy.cluster': 'c' } }), 'io.cilium.k8s.policy.cluster is not supported'],
    [peers({ matchExpressions: [{ key: 'k8s:app', operator: 'Like' }] }), 'matchExpressions[0].operator: "Like"'],
    [peers({ matchNames: {} }), 'fromEndpoints[0].matchNames: not a field that Heddle knows'],
    [
      { endpointSelector: { matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'bank' } } },
      'spec.endpointSelector: a policy with a namespace selects pods of that namespace only',
    ],
  ])('%j', (spec, message) => {
    expect(refusal(() => readCiliumNetworkPolicy(object(spec)))).toContain(message)
  })

  test('neither spec nor specs, and the place of a fault in specs', () => {
    expect(refusal(() => readCiliumNetworkPolicy(object(undefined)))).toBe('spec: missing')
    const specs = [{ endpointSelector: web }, { endpointSelector: web, log: {} }]
    expect(refusal(() => readCiliumNetworkPolicy(object(undefined, { specs })))).toContain('specs[1].log: ')
  })
})

function only({ specs }: CiliumPolicy): CiliumPolicy['specs'][number] {
  expect(specs).toHaveLength(1)
  return specs[0]!
}

describe('whom a selector means', () => {
  const label = (matchLabels: object) => ({ ...everyPod, matchLabels })
  const named = (name: string) => label({ 'kubernetes.io/metadata.name': name })
  test.each([
    ['the own namespace where none is said', { matchLabels: { 'k8s:app': 'web' } }, null, label({ app: 'web' })],
    [
      'one by name',
      { matchLabels: { 'any:io.kubernetes.pod.namespace': 'b', app: 'c' } },
      named('b'),
      label({ app: 'c' }),
    ],
    [
      'some by label',
      { matchLabels: { 'io.cilium.k8s.namespace.labels.team/x': 'y' } },
      label({ 'team/x': 'y' }),
      everyPod,
    ],
    [
      'one label twice, which must be both',
      { matchLabels: { app: 'a', 'k8s:app': 'b' } },
      null,
      { matchLabels: { app: 'a' }, matchExpressions: [{ key: 'app', operator: 'In', values: ['b'] }] },
    ],
    [
      'expressions on both',
      {
        matchExpressions: [
          { key: 'k8s:io.kubernetes.pod.namespace', operator: 'NotIn', values: ['b'] },
          { key: 'app', operator: 'Exists' },
        ],
      },
      { ...everyPod, matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['b'] }] },
      { ...everyPod, matchExpressions: [{ key: 'app', operator: 'Exists', values: [] }] },
    ],
  ])('%s', (_, selector, namespaceSelector, podSelector) => {
    const spec = { endpointSelector: web, ingress: [{ fromEndpoints: [selector] }] }
    const { ingress } = only(readCiliumNetworkPolicy(object(spec)))
    expect(ingress.rules[0]!.peers).toEqual([{ namespaceSelector, podSelector }])
    const clusterwide = only(readCiliumClusterwideNetworkPolicy(object(spec))).ingress.rules[0]!.peers
    expect(clusterwide).toEqual([{ namespaceSelector: namespaceSelector ?? everyPod, podSelector }])
  })

  test('the own namespace may be said of the subject; a clusterwide one says any', () => {
    const endpointSelector = { matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'shop' } }
    const { subject } = only(readCiliumNetworkPolicy(object({ endpointSelector })))
    expect(subject).toEqual({ namespaceSelector: null, podSelector: everyPod })
    expect(only(readCiliumClusterwideNetworkPolicy(object({ endpointSelector }))).subject).toEqual({
      namespaceSelector: named('shop'),
      podSelector: everyPod,
    })
  })
})

describe('rules', () => {
  const rule = (written: object) => {
    const { peers, ports } = only(readCiliumNetworkPolicy(object({ endpointSelector: web, egress: [written] }))).egress
      .rules[0]!
    return { peers, ports }
  }

  test('without a peer: any where there are ports, nobody where there is nothing', () => {
    expect(rule({})).toEqual({ peers: [], ports: null })
    const http = { protocol: 6, port: 80, endPort: null }
    const ports = [{ port: '80', protocol: 'TCP' }]
    expect(rule({ toPorts: [{ ports }] })).toEqual({ peers: null, ports: [http] })
  })

  test('all is everybody, an address alone is a block, except may be the whole', () => {
    expect(rule({ toEntities: ['host', 'all'] })).toEqual({ peers: null, ports: null })
    expect(rule({ toCIDR: ['192.0.2.1', '2001:db8::1', '10.1.2.3/8'] }).peers).toEqual(
      ['192.0.2.1/32', '2001:db8::1/128', '10.0.0.0/8'].map((cidr) => ({ outsideBlock: { cidr, except: [] } })),
    )
    expect(rule({ toCIDRSet: [{ cidr: '10.0.0.0/8', except: ['10.0.0.0/8'] }] }).peers).toHaveLength(1)
  })

  test.each(['world', 'host', 'remote-node', 'kube-apiserver'] as const)('reserved:%s is that entity', (entity) => {
    expect(rule({ toEndpoints: [web, { matchLabels: { [`reserved:${entity}`]: '' } }] }).peers).toEqual([
      { namespaceSelector: null, podSelector: readWeb },
      { entity },
    ])
  })

  test('health endpoints are nobody', () => {
    expect(rule({ toEntities: ['health'] })).toEqual({ peers: [], ports: null })
    expect(rule({ toEntities: ['health', 'host'] }).peers).toEqual([{ entity: 'host' }])
    expect(rule({ toEndpoints: [{ matchLabels: { 'reserved:health': '' } }] }).peers).toEqual([])
  })

  test('ports: any protocol is three, 0 is all of one, a name knows no end; ICMP by number and name', () => {
    const ports = [
      { port: '53' },
      { port: '0', protocol: 'UDP' },
      { port: 'HTTP', protocol: 'TCP', endPort: 9 },
      { port: '80', endPort: 81, protocol: 'SCTP' },
    ]
    expect(rule({ toPorts: [{ ports }] }).ports).toEqual([
      ...[6, 17, 132].map((protocol) => ({ protocol, port: 53, endPort: null })),
      { protocol: 17, port: null, endPort: null },
      { protocol: 6, port: 'http', endPort: null },
      { protocol: 132, port: 80, endPort: 81 },
    ])
    const fields = [{ type: 8 }, { type: '0' }, { family: 'IPv6', type: 'EchoRequest' }]
    expect(rule({ icmps: [{ fields }] }).ports).toEqual([
      { protocol: 1, port: 8 << 8, endPort: (8 << 8) | 255 },
      { protocol: 1, port: 0, endPort: 255 },
      { protocol: 58, port: 128 << 8, endPort: (128 << 8) | 255 },
    ])
  })

  test.each([
    ['a direction with rules', { ingress: [{}] }, true, false],
    ['a direction with denials only', { egressDeny: [{}] }, false, true],
    ['empty lists are no rules', { ingress: [], egressDeny: [] }, false, false],
    ['said otherwise', { ingress: [{}], enableDefaultDeny: { ingress: false, egress: true } }, false, true],
  ])('isolation: %s', (_, spec, ingress, egress) => {
    const read = only(readCiliumNetworkPolicy(object({ endpointSelector: web, ...spec })))
    expect([read.ingress.isolates, read.egress.isolates]).toEqual([ingress, egress])
  })
})

describe('a policy that cannot be read and never could isolates what it may select, and denies where it denies', () => {
  const denies = (place: string) => ({
    isolates: true,
    rules: [{ place, action: 'Deny', peers: null, ports: null }],
  })
  const closed = { isolates: true, rules: [] }
  const shop = { namespaceSelector: null, podSelector: everyPod }
  const webs = { namespaceSelector: null, podSelector: readWeb }
  test.each([
    ['its subject in its directions', { endpointSelector: web, ingress: [{ toFQDNs: 1 }] }, webs, closed, FREE],
    ['denials', { endpointSelector: web, egressDeny: [{ planet: 1 }] }, webs, FREE, denies('egressDeny')],
    [
      'lists that are none',
      { endpointSelector: web, ingress: 'all', egressDeny: 1 },
      webs,
      closed,
      denies('egressDeny'),
    ],
    [
      'isolation as it says',
      { endpointSelector: web, ingress: [{ planet: 1 }], enableDefaultDeny: { ingress: false, egress: true } },
      webs,
      FREE,
      closed,
    ],
    ['a whole namespace', { endpointSelector: { planet: 1 }, ingress: [{}] }, shop, closed, FREE],
    ['a whole namespace without a word', undefined, shop, denies('ingressDeny'), denies('egressDeny')],
  ])('%s', (_, spec, subject, ingress, egress) => {
    expect(standInForCiliumNetworkPolicy(object(spec))).toEqual({
      kind: 'CiliumNetworkPolicy',
      namespace: 'shop',
      name: 'p',
      specs: [{ namespace: 'shop', policy: 'shop/p', subject, ingress, egress }],
      unreadable: true,
    })
  })

  test('each of its specs', () => {
    const specs = [
      { endpointSelector: web, ingress: [{}] },
      { endpointSelector: {}, egressDeny: [{ planet: 1 }] },
    ]
    expect(standInForCiliumNetworkPolicy(object(undefined, { specs }))?.specs).toMatchObject([
      { subject: webs, ingress: closed },
      { subject: shop, egress: denies('specs[1].egressDeny') },
    ])
  })

  test('and names the specs that select nobody knows whom, which isolate nobody', () => {
    const specs = [
      { endpointSelector: web, ingress: [{ planet: 1 }] },
      { endpointSelector: { planet: 1 }, ingress: [{}] },
    ]
    const clusterwide = standInForCiliumClusterwideNetworkPolicy(object({ nodeSelector: {} }, { specs }))
    expect(clusterwide).toMatchObject({ specs: [{ ingress: closed }], unselective: ['spec', 'specs[1]'] })
    expect(refusalText('no such field', clusterwide)).toBe(
      'no such field; nobody is isolated by spec, specs[1]: whom it means cannot be read',
    )
    const namespaced = standInForCiliumNetworkPolicy(object(undefined, { specs }))
    expect(namespaced).toMatchObject({ specs: [{ subject: webs }, { subject: shop }] })
    expect(refusalText('no such field', namespaced)).toBe('no such field')
  })

  test('nothing where it selects nodes, or where a clusterwide one may select anybody', () => {
    expect(standInForCiliumNetworkPolicy(object({ nodeSelector: {}, ingress: [{}] }))).toBeNull()
    expect(standInForCiliumClusterwideNetworkPolicy(object({ endpointSelector: { planet: 1 } }))).toBeNull()
    expect(standInForCiliumClusterwideNetworkPolicy(object({ endpointSelector: web, ingress: [{}] }))).toMatchObject({
      namespace: '',
      specs: [{ policy: 'p', subject: { namespaceSelector: everyPod, podSelector: readWeb }, ingress: closed }],
    })
  })
})
