// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import type { KubeObject } from '../world/objects.ts'
import { createManifestParser, type ParsedFile } from './parse.ts'

function parse(text: string): ParsedFile {
  return createManifestParser().parse('f.yaml', text)
}

/** "line document object field: message", one for each. */
function problems(text: string): readonly string[] {
  return parse(text).problems.map((each) =>
    [`${each.line}`, `${each.document}`, each.object || '-', `${each.field || '-'}: ${each.message}`].join(' '),
  )
}

function only(text: string): KubeObject {
  const { objects, problems } = parse(text)
  expect(problems).toEqual([])
  expect(objects.size).toBe(1)
  return [...objects.values()][0]!
}

describe('API objects come out trimmed, canonical and with the API’s defaults', () => {
  test('what kubelet shows of a static pod has the uid that the runtime knows it by', () => {
    const pod = only(`
apiVersion: v1
kind: Pod
metadata: {name: etcd-n1, namespace: x, uid: 7f0c, annotations: {kubernetes.io/config.mirror: 5e0d}}
`)
    expect(pod).toMatchObject({ uid: '5e0d' })
  })

  test('Pod', () => {
    const pod = only(`
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, uid: 7f0c, labels: {app: cart}, creationTimestamp: 2026-01-02T03:04:05Z}
spec:
  nodeName: n1
  initContainers:
    - {name: once, ports: [{name: gone, containerPort: 1}]}
    - {name: mesh, restartPolicy: Always, ports: [{name: mesh, containerPort: 15001}]}
  containers:
    - {name: c, image: x, ports: [{name: http, containerPort: 8080}, {containerPort: 53, protocol: UDP}]}
status: {phase: Running, podIPs: [{ip: 10.1.0.5}, {ip: 'FD00:1:0::5'}]}
`)
    expect(pod).toEqual({
      kind: 'Pod',
      namespace: 'shop',
      name: 'cart-1',
      uid: '7f0c',
      labels: { app: 'cart' },
      nodeName: 'n1',
      hostNetwork: false,
      podIPs: ['10.1.0.5', 'fd00:1::5'],
      finished: false,
      createdMs: Date.UTC(2026, 0, 2, 3, 4, 5),
      containerPorts: [
        { name: 'mesh', port: 15001, protocol: 6 },
        { name: 'http', port: 8080, protocol: 6 },
      ],
    })
  })

  test('Node, Namespace, in a List', () => {
    const { objects } = parse(`
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: red}}}
  - apiVersion: v1
    kind: Node
    metadata: {name: n1}
    spec: {podCIDR: 10.1.0.9/24}
    status: {addresses: [{type: Hostname, address: n1}, {type: InternalIP, address: 192.168.0.1}]}
`)
    expect([...objects.values()]).toEqual([
      { kind: 'Namespace', name: 'shop', labels: { team: 'red', 'kubernetes.io/metadata.name': 'shop' } },
      { kind: 'Node', name: 'n1', labels: {}, internalIPs: ['192.168.0.1'], podCIDRs: ['10.1.0.0/24'], createdMs: 0 },
    ])
  })

  test.each(['::/0', '::/80', '::fffe:0:0/95'])(
    'a Node whose pod CIDR %s would take all IPv4 addresses along is refused',
    (podCIDR) => {
      const { objects, problems } = parse(
        `{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: ["${podCIDR}"]}}`,
      )
      expect([objects.size, problems.length]).toEqual([0, 1])
    },
  )

  test.each([
    ['{clusterIP: None, ports: [{port: 80}]}', []],
    ['{type: ExternalName, clusterIP: 10.96.0.1}', []],
    ['{clusterIP: 10.96.0.1}', ['10.96.0.1']],
    ['{clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, "fd00::1"]}', ['10.96.0.1', 'fd00::1']],
    ['{}', []],
  ])('Service %s has cluster IPs %j', (spec, clusterIPs) => {
    expect(only(`{apiVersion: v1, kind: Service, metadata: {name: s}, spec: ${spec}}`)).toMatchObject({ clusterIPs })
  })

  test('EndpointSlice conditions that are missing', () => {
    const slice = only(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
ports: [{name: web, port: 8080}, {name: any}]
endpoints:
  - {addresses: [10.1.0.1]}
  - {addresses: [10.1.0.2], conditions: {ready: false, terminating: true}}
  - {addresses: [10.1.0.3], conditions: {ready: false, serving: true, terminating: true}, nodeName: n2}
`)
    expect(slice).toMatchObject({
      serviceName: 's',
      ports: [{ name: 'web', port: 8080, protocol: 6 }],
      endpoints: [
        { address: '10.1.0.1', ready: true, serving: true, terminating: false },
        { address: '10.1.0.2', ready: false, serving: false, terminating: true },
        { address: '10.1.0.3', ready: false, serving: true, terminating: true, nodeName: 'n2' },
      ],
    })
  })

  test.each([
    ['{podSelector: {}}', [], null],
    ['{podSelector: {}, egress: []}', [], null],
    ['{podSelector: {}, egress: [{}]}', [], [{ peers: null, ports: null }]],
    ['{podSelector: {}, policyTypes: [Egress]}', null, []],
    ['{podSelector: {}, policyTypes: [Egress], ingress: [{}]}', null, []],
    ['{podSelector: {}, ingress: [{from: [], ports: []}]}', [{ peers: null, ports: null }], null],
  ])('NetworkPolicy %s isolates as the API says', (spec, ingress, egress) => {
    const policy = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: ${spec}}`
    expect(only(policy)).toMatchObject({ ingress, egress })
  })
})

describe('a problem says file, line, document, object and field, and spares the others', () => {
  test('fields', () => {
    const text = `# shop
---
apiVersion: v1
kind: Service
metadata:
  name: good
---
apiVersion: v1
kind: Service
metadata:
  name: cart
  namespace: shop
spec:
  clusterIPs: [10.96.0.1]
  ports:
    - port: 80
    - port: 80000
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p}
spec:
  ingress:
    - from:
        - ipBlock:
            cidr: 10.0.0.0/8
            except:
              - 11.0.0.0/16
---
apiVersion: v1
kind: Pod
metadata:
  name: p
  labels:
    version: 1.0
---
apiVersion: v1
kind: Pod
metadata:
  labels: {}
---
- a list
`
    expect(problems(text)).toEqual([
      '17 2 Service shop/cart spec.ports[1].port: "80000": not a port (1..65535)',
      '28 3 NetworkPolicy default/p spec.ingress[0].from[0].ipBlock.except[0]: "11.0.0.0/16" is no strict part of 10.0.0.0/8',
      '35 4 Pod default/p metadata.labels.version: expected a text, found number 1 (unquoted?)',
      '40 5 - metadata.name: expected a text, found nothing',
      '42 6 - -: expected a mapping, found a list',
    ])
    expect([...parse(text).objects.keys()]).toEqual(['Service default/good'])
  })

  test.each([
    ['{from: [{}]}', 'from[0]: needs one of podSelector, namespaceSelector, ipBlock'],
    ['{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}', 'from[0]: ipBlock cannot stand beside a selector'],
    ['{from: [{ipBlock: {cidr: 10.0.0.0}}]}', 'from[0].ipBlock.cidr: "10.0.0.0": not a prefix (address/length)'],
    [
      '{ports: [{port: HTTP}]}',
      'ports[0].port: not a port name (a-z, 0-9 and single "-", at most 15, at least one letter)',
    ],
    ['{ports: [{port: 80, endPort: 79}]}', 'ports[0].endPort: 79 is below port 80'],
    ['{ports: [{port: http, endPort: 79}]}', 'ports[0].endPort: needs a numeric port'],
    ['{ports: [{endPort: 79}]}', 'ports[0].endPort: needs a port'],
    ['{ports: [{protocol: tcp}]}', 'ports[0].protocol: "tcp" is none of TCP, UDP, SCTP'],
    [
      '{from: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]}',
      'from[0].podSelector.matchExpressions[0].values: missing for In',
    ],
    [
      '{from: [{podSelector: {matchLabels: {"-a": b}}}]}',
      'from[0].podSelector.matchLabels.-a: "-a" is not a label key',
    ],
  ])('policy rule %s', (rule, message) => {
    const policy = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {ingress: [${rule}]}}`
    expect(problems(policy)).toEqual([`1 1 NetworkPolicy default/p spec.ingress[0].${message}`])
  })

  const ingress = (rules: string) =>
    `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, ingress: [${rules}]}}`

  test.each([
    ['{from: [{planet: mars}]}', 'from[0].planet'],
    ['{from: [{podSelector: {}, serviceAccountSelector: {}}]}', 'from[0].serviceAccountSelector'],
    ['{from: [{podSelector: {matchFields: []}}]}', 'from[0].podSelector.matchFields'],
    ['{from: [{ipBlock: {cidr: 10.0.0.0/8, family: 4}}]}', 'from[0].ipBlock.family'],
    ['{ports: [{port: 80}, {port: 80, hosts: [a]}]}', 'ports[1].hosts'],
    ['{to: [{podSelector: {}}]}', 'to'],
  ])('a policy rule with a field that nobody knows, %s, admits nobody, and the others hold', (rule, unknown) => {
    const { objects, problems, notices } = parse(ingress(`${rule}, {from: null, note: null}`))
    const unknownField = `spec.ingress[0].${unknown}`
    expect([...objects.values()]).toMatchObject([
      {
        ingress: [
          { peers: [], ports: null, unknownField },
          { peers: null, ports: null },
        ],
      },
    ])
    expect(problems).toEqual([])
    expect(notices).toEqual([expect.stringContaining(`${unknownField} is not a field that Heddle knows`)])
  })

  test.each([
    ['{podSelector: {}, action: Deny}', 'spec.action', {}],
    ['{podSelector: {matchLabels: {a: b}, matchFields: []}}', 'spec.podSelector.matchFields', {}],
    ['{podSelector: {matchLabels: {a: b}}, priority: 1}', 'spec.priority', { a: 'b' }],
  ])('a policy whose own meaning is not known, %s, is refused and isolates what it may select', (spec, at, labels) => {
    const policy = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, x: 1}, spec: ${spec}, status: {}, y: 1}`
    expect(problems(policy)).toEqual([`1 1 NetworkPolicy default/p ${at}: not a field that Heddle knows`])
    expect([...parse(policy).standIns.values()]).toMatchObject([{ podSelector: { matchLabels: labels }, ingress: [] }])
  })

  test('what is not YAML, and the documents after it', () => {
    const found = parse('a: [b\n---\n{apiVersion: v1, kind: Service, metadata: {name: s}}\n')
    expect(found.problems.map(({ line, document, object }) => [line, document, object])).toEqual([[2, 1, '']])
    expect([...found.objects.keys()]).toEqual(['Service default/s'])
  })

  test('two definitions of one object: the first counts, equal ones are one', () => {
    const service = (ip: string) => `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {clusterIP: ${ip}}}\n`
    const text = [service('10.0.0.1'), service('10.0.0.1'), service('10.0.0.2')].join('---\n')
    expect(problems(text)).toEqual(['5 3 Service default/s metadata.name: defined before, with other contents'])
    expect([...parse(text).objects.values()]).toMatchObject([{ clusterIPs: ['10.0.0.1'] }])
  })

  test('kinds that Heddle does not read are noticed, not refused', () => {
    const { objects, problems, notices } = parse('{apiVersion: serving.knative.dev/v1, kind: Service}\n')
    expect([objects.size, problems, notices]).toEqual([
      0,
      [],
      ['f.yaml: document 1: serving.knative.dev/v1 Service is not read'],
    ])
  })
})

describe('hostile text is refused at a bounded cost', () => {
  test('aliases that multiply', () => {
    const bomb = ['a0: &a0 [x,x,x,x,x,x,x,x,x]']
    for (let i = 1; i < 12; i++)
      bomb.push(
        `a${i}: &a${i} [${Array(9)
          .fill(`*a${i - 1}`)
          .join(',')}]`,
      )
    expect(problems(bomb.join('\n'))[0]).toContain('alias')
  })

  test('nesting beyond any stack', () => {
    for (const text of ['[', '{"a":'].map((opening) => opening.repeat(20_000))) {
      expect(parse(text).problems.length).toBe(1)
    }
  })

  test('names that are properties of every object', () => {
    const text = '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"__proto__":"x"}}}'
    expect(problems(text)).toHaveLength(1)
    expect(problems('{"apiVersion":"__proto__","kind":"constructor"}')).toEqual([])
  })
})

const kinds = [
  'v1 Namespace',
  'v1 Node',
  'v1 Pod',
  'v1 Service',
  'discovery.k8s.io/v1 EndpointSlice',
  'networking.k8s.io/v1 NetworkPolicy',
]
const names =
  'name namespace labels spec status metadata ports port protocol addresses endpoints ingress egress from to ipBlock cidr except podSelector matchLabels matchExpressions key operator values podIPs ip containers addressType conditions ready clusterIPs items kind type address InternalIP'.split(
    ' ',
  )
const scalar = fc.oneof(
  fc.constantFrom('10.0.0.1', '10.0.0.0/8', '::/0', 'TCP', 'IPv4', 'In', 'a', '', 'InternalIP'),
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.string({ maxLength: 8 }),
)
const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalar,
    fc.array(tie('tree'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...names), tie('tree'), { maxKeys: 5 }),
  ),
}))
const document = fc
  .record({
    type: fc.constantFrom(...kinds),
    metadata: tree,
    spec: tree,
    rest: fc.dictionary(fc.constantFrom(...names), tree),
  })
  .map(({ type, metadata, spec, rest }) => {
    const [apiVersion, kind] = type.split(' ')
    return { metadata, spec, ...rest, apiVersion, kind }
  })

test('no text makes the parser throw, and a document yields an object, a problem or a notice', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(document, tree), { minLength: 1, maxLength: 3 }), fc.boolean(), (documents, json) => {
      const text = documents.map((each) => (json ? JSON.stringify(each) : stringify(each))).join('\n---\n')
      const found = parse(text)
      for (const problem of found.problems) {
        expect(problem.line).toBeGreaterThanOrEqual(1)
        expect(problem.line).toBeLessThanOrEqual(text.split('\n').length + 1)
        expect(problem.document).toBeLessThanOrEqual(documents.length)
      }
    }),
    { numRuns: 1500 },
  )
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'{}[]:,-#&*!|>%@"\' \n\tkind') })),
      (text) => {
        parse(text)
      },
    ),
    { numRuns: 3000 },
  )
})

test('a document is remembered: an edit elsewhere gives the same object again', () => {
  const parser = createManifestParser()
  const service = (name: string) => `{apiVersion: v1, kind: Service, metadata: {name: ${name}}}\n`
  const before = parser.parse('f', `${service('a')}---\n${service('b')}`)
  const after = parser.parse('f', `${service('c')}---\n# moved\n---\n${service('b')}`)
  expect([...after.objects.keys()]).toEqual(['Service default/c', 'Service default/b'])
  const fresh = createManifestParser().parse('f', `${service('c')}---\n# moved\n---\n${service('b')}`)
  expect(after).toEqual(fresh)
  const again = parser.parse('f', `${service('a')}---\n${service('c')}---\n# moved\n---\n${service('b')}`)
  expect(again.objects.get('Service default/b')).toBe(after.objects.get('Service default/b'))
  expect(before.objects.size).toBe(2)
})
