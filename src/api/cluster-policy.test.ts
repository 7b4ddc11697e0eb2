// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import { readClusterNetworkPolicy, standInForClusterPolicy } from './cluster-policy.ts'
import { BadField, pathText, root } from './cursor.ts'
import { unreadRules } from './network-policy.ts'

const everyNamespace = { namespaces: {} }
const good = { tier: 'Admin', priority: 5, subject: everyNamespace }

function policy(spec: object) {
  return root({ metadata: { name: 'p' }, spec: { ...good, ...spec } })
}

function refusal(spec: object): string {
  try {
    readClusterNetworkPolicy(policy(spec))
    return ''
  } catch (error) {
    if (!(error instanceof BadField)) throw error
    return `${pathText(error.path)}: ${error.message}`
  }
}

describe('what cannot be enforced as it is written is refused whole, by name', () => {
  const to = (peer: object, more = {}) => ({ egress: [{ action: 'Accept', to: [peer], ...more }] })
  test.each([
    [to({ domainNames: ['example.org'] }), 'spec.egress[0].to[0].domainNames: names of domains are not supported'],
    [to({ networks: ['mars'] }), 'spec.egress[0].to[0].networks[0]: '],
    [to({ networks: [] }), 'spec.egress[0].to[0].networks: needs at least one CIDR'],
    [to({ namespaces: {}, planet: 'mars' }), 'spec.egress[0].to[0].planet: not a field that Heddle knows'],
    [to({ namespaces: {}, nodes: {} }), 'spec.egress[0].to[0].nodes: cannot stand beside namespaces'],
    [to({ pods: { podSelector: {} } }), 'spec.egress[0].to[0].pods.namespaceSelector: missing'],
    [to({ nodes: {} }, { protocols: [{ destinationNamedPort: 'dns' }] }), 'networks and nodes have no named ports'],
    [to(everyNamespace, { protocols: [] }), 'spec.egress[0].protocols: needs at least one protocol'],
    [to(everyNamespace, { protocols: [{ icmp: {} }] }), 'protocols[0].icmp: not a field that Heddle knows'],
    [to(everyNamespace, { protocols: [{ tcp: {} }] }), 'protocols[0].tcp: needs one of destinationPort'],
    [
      to(everyNamespace, { protocols: [{ udp: { destinationPort: { range: { start: 9, end: 9 } } } }] }),
      'range.end: 9 is not above 9',
    ],
    [to(everyNamespace, { ports: [] }), 'spec.egress[0].ports: not a field that Heddle knows'],
    [to(everyNamespace, { action: 'Allow' }), 'spec.egress[0].action: "Allow" is none of Accept, Deny, Pass'],
    [{ ingress: [{ action: 'Deny', from: [] }] }, 'spec.ingress[0].from: needs at least one peer'],
    [{ ingress: [{ action: 'Deny' }] }, 'spec.ingress[0].from: needs at least one peer'],
    [{ subject: {} }, 'spec.subject: needs one of namespaces, pods'],
    [{ subject: { nodes: {} } }, 'spec.subject.nodes: not a field that Heddle knows'],
    [{ tier: 'Base' }, 'spec.tier: "Base" is none of Admin, Baseline'],
    [{ priority: 1001 }, 'spec.priority: expected a whole number from 0 to 1000'],
    [{ audit: true }, 'spec.audit: not a field that Heddle knows'],
  ])('%j', (spec, message) => {
    expect(refusal(spec)).toContain(message)
  })
})

describe('a peer of a kind that nobody knows closes its rule', () => {
  test.each([
    ['Accept', { action: 'Accept', peers: [] }, 'matches nothing'],
    ['Deny', { action: 'Deny', peers: null, ports: null }, 'denies all'],
    ['Pass', { action: 'Deny', peers: null, ports: null }, 'denies all'],
  ])('%s', (action, rule, effect) => {
    const protocols = [{ tcp: { destinationPort: { number: 80 } } }]
    // Ingress has no networks, whatever egress has.
    const read = readClusterNetworkPolicy(
      policy({ ingress: [{ action, from: [everyNamespace, { networks: ['10.0.0.0/8'] }], protocols }] }),
    )
    expect(read.ingress).toMatchObject([{ ...rule, unknownField: 'spec.ingress[0].from[1]' }])
    expect(unreadRules(read)).toEqual([expect.stringContaining(effect)])
  })
})

describe('what stands for a policy that is refused and never was good', () => {
  const bad = { to: [{ domainNames: ['example.org'] }] }
  const denyAll = [{ action: 'Deny', peers: null, ports: null }]

  test('accepts nothing where it would only accept', () => {
    const standIn = standInForClusterPolicy(policy({ egress: [{ action: 'Accept', ...bad }] }))
    expect(standIn).toMatchObject({ tier: 'Admin', priority: 5, ingress: [], egress: [], unreadable: true })
  })

  test('denies all in a direction in which it denies or passes, or in which nobody can tell', () => {
    const standIn = standInForClusterPolicy(
      policy({
        tier: 'Base',
        priority: -1,
        ingress: 'all',
        egress: [{ action: 'Accept', ...bad }, { action: 'Pass' }],
      }),
    )
    expect(standIn).toMatchObject({ tier: 'Admin', priority: 0, ingress: denyAll, egress: denyAll })
  })

  test('is nobody where its subject cannot be read', () => {
    expect(standInForClusterPolicy(policy({ subject: { nodes: {} } }))).toBeNull()
  })
})
