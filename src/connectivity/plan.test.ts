// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest'
import type { Address, Family } from '../core/address.ts'
import { type Check, groups } from './check.ts'
import { type Facts, nodePairs, planChecks } from './plan.ts'

/** Pods and nodes with one address per family, made of their number. */
function facts(nodeNames: readonly string[], families: readonly Family[], change: Partial<Facts> = {}): Facts {
  const addresses = (four: string, six: string) =>
    families.map((each) => (each === 4 ? four : six) as Address) as readonly Address[]
  const pod = (role: string, node: number, host: number) => ({
    name: `${role}-${node}`,
    addresses: addresses(`10.244.${node}.${host}`, `fd00:10:244:${node}::${host}`),
  })
  const service = (last: number) => addresses(`10.96.0.${last}`, `fd00:96::${last}`)
  return {
    namespace: 'test',
    families,
    nodes: nodeNames.map((name, index) => ({
      name,
      server: pod('server', index + 1, 2),
      client: pod('client', index + 1, 3),
      host: { name: `node-${index + 1}`, addresses: addresses(`192.168.0.${index + 1}`, `fd00:192::${index + 1}`) },
    })),
    guarded: pod('guarded', 1, 4),
    confined: pod('confined', 1, 5),
    nodePort: 20_000,
    hostPort: 20_002,
    services: { server: service(10), self: service(11), guarded: service(12), nobody: service(13) },
    exposed: { tcp: 30_080, udp: 30_081 },
    externalIPs: addresses('192.0.2.1', '2001:db8::1'),
    loadBalancerIPs: addresses('198.51.100.1', '2001:db8:1::1'),
    apiServer: { addresses: ['10.96.0.1' as Address], port: 443 },
    hasDns: true,
    ...change,
  }
}

function line({ name, from, to, todo }: Check): string {
  if (todo.do !== 'probe') return `${name}: ${todo.do}: ${todo.why}`
  const { probe, expect: wanted } = todo
  const what =
    probe.kind === 'lookup'
      ? 'lookup'
      : `${probe.kind}${probe.kind === 'http' && probe.count > 1 ? ` x${probe.count}` : ''}${'bytes' in probe ? ` ${probe.bytes}` : ''} ${probe.port}`
  const expected = {
    answer: () =>
      wanted.outcome === 'answer'
        ? `answer${wanted.servers ? ` of ${wanted.servers.join()}` : ''}${wanted.source ? ` that saw ${wanted.source}` : ''}`
        : '',
    refused: () => 'refused',
    denied: () => (wanted.outcome === 'denied' ? `denied at ${wanted.target} ${wanted.port}` : ''),
    addresses: () => (wanted.outcome === 'addresses' ? wanted.addresses.join() : ''),
  }[wanted.outcome]()
  return `${name}: ${from} -> ${to}: ${what}: ${expected}`
}

test('one node, IPv4: every path by name, and that paths between nodes are not among them', () => {
  expect(
    planChecks(facts(['n1'], [4]))
      .map(line)
      .join('\n'),
  ).toMatchInlineSnapshot(`
    "mtu/ipv4/datagram/n1-to-n1: pod client-1 -> pod server-1, 10.244.1.2: udp mtu 8080: answer
    mtu/ipv4/fragments/n1-to-n1: pod client-1 -> pod server-1, 10.244.1.2: udp 12000 8080: answer
    mtu/ipv4/transfer/n1-to-n1: pod client-1 -> pod server-1, 10.244.1.2: transfer 1048576 8080: answer
    pod/ipv4/tcp/n1-to-n1: pod client-1 -> pod server-1, 10.244.1.2: http 8080: answer of server-1 that saw 10.244.1.3
    pod/ipv4/udp/n1-to-n1: pod client-1 -> pod server-1, 10.244.1.2: udp 256 8080: answer of server-1 that saw 10.244.1.3
    node/ipv4/tcp/node-to-pod/n1-to-n1: node n1 -> pod server-1, 10.244.1.2: http 8080: answer of server-1
    node/ipv4/udp/node-to-pod/n1-to-n1: node n1 -> pod server-1, 10.244.1.2: udp 256 8080: answer of server-1
    node/ipv4/tcp/pod-to-node/n1-to-n1: pod client-1 -> node n1, 192.168.0.1: http 20000: answer of node-1
    node/ipv4/udp/pod-to-node/n1-to-n1: pod client-1 -> node n1, 192.168.0.1: udp 256 20000: answer of node-1
    node/ipv4/tcp/host-port/from-pod/n1-to-n1: pod client-1 -> host port of n1, 192.168.0.1: http 20002: answer of server-1
    node/ipv4/udp/host-port/from-pod/n1-to-n1: pod client-1 -> host port of n1, 192.168.0.1: udp 256 20002: answer of server-1
    node/ipv4/tcp/host-port/from-node/n1-to-n1: node n1 -> host port of n1, 192.168.0.1: http 20002: answer of server-1
    node/ipv4/udp/host-port/from-node/n1-to-n1: node n1 -> host port of n1, 192.168.0.1: udp 256 20002: answer of server-1
    service/ipv4/tcp/from-pod/n1: pod client-1 -> Service server, 10.96.0.10: http 80: answer
    service/ipv4/udp/from-pod/n1: pod client-1 -> Service server, 10.96.0.10: udp 256 80: answer
    service/ipv4/tcp/from-node/n1: node n1 -> Service server, 10.96.0.10: http 80: answer
    service/ipv4/udp/from-node/n1: node n1 -> Service server, 10.96.0.10: udp 256 80: answer
    service/ipv4/balanced/n1: pod client-1 -> Service server, 10.96.0.10: http 80: answer of server-1
    service/ipv4/no-endpoints/n1: pod client-1 -> Service nobody, 10.96.0.13: http 80: refused
    service/ipv4/api-server/n1: pod client-1 -> Service default/kubernetes, 10.96.0.1: connect 443: answer
    service/ipv4/itself/n1: pod server-1 -> Service self, whose only backend it is, 10.96.0.11: http 80: answer of server-1
    service/ipv4/tcp/node-port/from-pod/n1-to-n1: pod client-1 -> node port of n1, 192.168.0.1: http 30080: answer
    service/ipv4/udp/node-port/from-pod/n1-to-n1: pod client-1 -> node port of n1, 192.168.0.1: udp 256 30081: answer
    service/ipv4/tcp/node-port/from-node/n1-to-n1: node n1 -> node port of n1, 192.168.0.1: http 30080: answer
    service/ipv4/udp/node-port/from-node/n1-to-n1: node n1 -> node port of n1, 192.168.0.1: udp 256 30081: answer
    service/ipv4/tcp/external-ip/from-pod/n1: pod client-1 -> Service external, 192.0.2.1: http 80: answer
    service/ipv4/udp/external-ip/from-pod/n1: pod client-1 -> Service external, 192.0.2.1: udp 256 80: answer
    service/ipv4/tcp/external-ip/from-node/n1: node n1 -> Service external, 192.0.2.1: http 80: answer
    service/ipv4/udp/external-ip/from-node/n1: node n1 -> Service external, 192.0.2.1: udp 256 80: answer
    service/ipv4/tcp/load-balancer/from-pod/n1: pod client-1 -> Service load-balanced, 198.51.100.1: http 80: answer
    service/ipv4/udp/load-balancer/from-pod/n1: pod client-1 -> Service load-balanced, 198.51.100.1: udp 256 80: answer
    service/ipv4/tcp/load-balancer/from-node/n1: node n1 -> Service load-balanced, 198.51.100.1: http 80: answer
    service/ipv4/udp/load-balancer/from-node/n1: node n1 -> Service load-balanced, 198.51.100.1: udp 256 80: answer
    policy/ipv4/unselected/n1: pod client-1 -> pod server-1, unselected, 10.244.1.2: http 8081: answer
    policy/ipv4/ingress/allowed/n1: pod client-1 -> pod guarded-1, 10.244.1.4: http 8080: answer
    policy/ipv4/ingress/allowed-by-service/n1: pod client-1 -> Service guarded, 10.96.0.12: http 80: answer
    policy/ipv4/ingress/denied/n1: pod server-1 -> pod guarded-1, 10.244.1.4: http 8080: denied at 10.244.1.4 8080
    policy/ipv4/ingress/denied-port/n1: pod client-1 -> pod guarded-1, 10.244.1.4: http 8081: denied at 10.244.1.4 8081
    policy/ipv4/ingress/denied-protocol/n1: pod client-1 -> pod guarded-1, 10.244.1.4: udp 256 8080: denied at 10.244.1.4 8080
    policy/ipv4/ingress/denied-by-service/n1: pod server-1 -> Service guarded, 10.96.0.12: http 80: denied at 10.244.1.4 8080
    policy/ipv4/egress/allowed/n1: pod confined-1 -> pod server-1, 10.244.1.2: http 8080: answer
    policy/ipv4/egress/denied-port/n1: pod confined-1 -> pod server-1, 10.244.1.2: http 8081: denied at 10.244.1.2 8081
    policy/ipv4/egress/denied/n1: pod confined-1 -> pod client-1, 10.244.1.3: http 8080: denied at 10.244.1.3 8080
    dns/ipv4/kubernetes/n1: pod client-1 -> kubernetes.default.svc: lookup: 10.96.0.1
    dns/ipv4/service/n1: pod client-1 -> server: lookup: 10.96.0.10
    dns/ipv4/service-qualified/n1: pod client-1 -> server.test.svc: lookup: 10.96.0.10
    dns/ipv4/service-from-node/n1: node n1 -> server.test.svc: lookup: 10.96.0.10
    dns/ipv4/headless/n1: pod client-1 -> headless: lookup: 10.244.1.2
    pod/cross-node: skip: one node was tested"
  `)
})

test('two nodes: what crosses them, IPv6', () => {
  const lines = planChecks(facts(['n1', 'n2'], [6])).map(line)
  expect(lines.filter((text) => text.includes('n1-to-n2')).join('\n')).toMatchInlineSnapshot(`
    "mtu/ipv6/datagram/n1-to-n2: pod client-1 -> pod server-2, fd00:10:244:2::2: udp mtu 8080: answer
    mtu/ipv6/fragments/n1-to-n2: pod client-1 -> pod server-2, fd00:10:244:2::2: udp 12000 8080: answer
    mtu/ipv6/transfer/n1-to-n2: pod client-1 -> pod server-2, fd00:10:244:2::2: transfer 1048576 8080: answer
    pod/ipv6/tcp/n1-to-n2: pod client-1 -> pod server-2, fd00:10:244:2::2: http 8080: answer of server-2 that saw fd00:10:244:1::3
    pod/ipv6/udp/n1-to-n2: pod client-1 -> pod server-2, fd00:10:244:2::2: udp 256 8080: answer of server-2 that saw fd00:10:244:1::3
    node/ipv6/tcp/node-to-pod/n1-to-n2: node n1 -> pod server-2, fd00:10:244:2::2: http 8080: answer of server-2
    node/ipv6/udp/node-to-pod/n1-to-n2: node n1 -> pod server-2, fd00:10:244:2::2: udp 256 8080: answer of server-2
    node/ipv6/tcp/pod-to-node/n1-to-n2: pod client-1 -> node n2, fd00:192::2: http 20000: answer of node-2
    node/ipv6/udp/pod-to-node/n1-to-n2: pod client-1 -> node n2, fd00:192::2: udp 256 20000: answer of node-2
    node/ipv6/tcp/node-to-node/n1-to-n2: node n1 -> node n2, fd00:192::2: http 20000: answer of node-2
    node/ipv6/udp/node-to-node/n1-to-n2: node n1 -> node n2, fd00:192::2: udp 256 20000: answer of node-2
    node/ipv6/tcp/host-port/from-pod/n1-to-n2: pod client-1 -> host port of n2, fd00:192::2: http 20002: answer of server-2
    node/ipv6/udp/host-port/from-pod/n1-to-n2: pod client-1 -> host port of n2, fd00:192::2: udp 256 20002: answer of server-2
    node/ipv6/tcp/host-port/from-node/n1-to-n2: node n1 -> host port of n2, fd00:192::2: http 20002: answer of server-2
    node/ipv6/udp/host-port/from-node/n1-to-n2: node n1 -> host port of n2, fd00:192::2: udp 256 20002: answer of server-2
    service/ipv6/tcp/node-port/from-pod/n1-to-n2: pod client-1 -> node port of n2, fd00:192::2: http 30080: answer
    service/ipv6/udp/node-port/from-pod/n1-to-n2: pod client-1 -> node port of n2, fd00:192::2: udp 256 30081: answer
    service/ipv6/tcp/node-port/from-node/n1-to-n2: node n1 -> node port of n2, fd00:192::2: http 30080: answer
    service/ipv6/udp/node-port/from-node/n1-to-n2: node n1 -> node port of n2, fd00:192::2: udp 256 30081: answer"
  `)
  expect(lines.filter((text) => text.includes('balanced/n2')).join('\n')).toMatchInlineSnapshot(
    `"service/ipv6/balanced/n2: pod client-2 -> Service server, fd00:96::10: http x48 80: answer of server-1,server-2"`,
  )
})

describe('what is not there', () => {
  const named = (given: Facts, part: string) =>
    planChecks(given)
      .filter(({ name }) => name.includes(part))
      .map(({ todo }) => (todo.do === 'probe' ? 'probe' : `${todo.do}: ${todo.why}`))

  test('a pod without an address of a family that is tested fails its paths', () => {
    const given = facts(['n1'], [4])
    expect(named({ ...given, families: [4, 6] }, 'pod/ipv6/tcp')).toEqual(['fail: client-1 has no IPv6 address'])
  })

  test('a node may lack a family: its own paths are skipped, those of its pods are not', () => {
    const given = facts(['n1'], [4, 6])
    const nodes = given.nodes.map((node) => ({
      ...node,
      host: { name: 'node-1', addresses: ['192.168.0.1' as Address] },
    }))
    expect(named({ ...given, nodes }, 'node/ipv6/tcp')).toEqual(Array(4).fill('skip: node-1 has no IPv6 address'))
    expect(named({ ...given, nodes }, 'pod/ipv6/tcp')).toEqual(['probe'])
  })

  test('a cluster that forbids external IPs, or an account that may not write status: skipped by name', () => {
    const given = facts(['n1'], [4, 6], { externalIPs: [], loadBalancerIPs: [] })
    const forbidden = Array(2).fill('skip: the cluster does not permit it')
    expect(named(given, 'external-ip')).toEqual(forbidden)
    expect(named(given, 'load-balancer')).toEqual(forbidden)
  })

  test('no DNS in the cluster: lookups are skipped by name', () => {
    expect(named(facts(['n1'], [4], { hasDns: false }), 'dns/')).toEqual([
      'skip: no Service in kube-system is labelled k8s-app=kube-dns',
    ])
  })
})

test('names are unique and groups are known, also with ten nodes', () => {
  const nodes = Array.from({ length: 10 }, (_, index) => `n${index}`)
  const checks = planChecks(facts(nodes, [4, 6]))
  expect(new Set(checks.map(({ name }) => name)).size).toBe(checks.length)
  expect(checks.every(({ group }) => groups.includes(group))).toBe(true)
})

test('pairs grow with the nodes: each with itself and the next, so that every node sends and receives across', () => {
  expect(nodePairs(['a'])).toEqual([['a', 'a']])
  expect(nodePairs(['a', 'b', 'c'])).toEqual([
    ['a', 'a'],
    ['b', 'b'],
    ['c', 'c'],
    ['a', 'b'],
    ['b', 'c'],
    ['c', 'a'],
  ])
})
