// SPDX-License-Identifier: Apache-2.0
// Endpoints whose Pod object is another pod's, has not arrived, or cannot be asked for.

import { describe, expect, test } from 'vitest'
import type { Address, Prefix } from '../core/address.ts'
import { endpointKey } from '../core/names.ts'
import { Protocol } from '../core/protocol.ts'
import { PolicyVerdict } from '../generated/abi.ts'
import type {
  ClusterNetworkPolicy,
  ClusterPolicyRule,
  Endpoint,
  KubeObject,
  Labels,
  NetworkPolicy,
  Pod,
} from '../world/objects.ts'
import { createWorld, type World } from '../world/world.ts'
import { BY_POLICY, compilePolicies } from './compile.ts'
import { classOfAddress, judge } from './verdict.ts'

const everyone = { matchLabels: {}, matchExpressions: [] }

/** Pods with that label admit those with app=client, and nobody else. */
const policy: NetworkPolicy = {
  kind: 'NetworkPolicy',
  namespace: 'shop',
  name: 'guarded',
  podSelector: { ...everyone, matchLabels: { guarded: 'yes' } },
  ingress: [
    {
      peers: [{ podSelector: { ...everyone, matchLabels: { app: 'client' } }, namespaceSelector: null }],
      ports: null,
    },
  ],
  egress: null,
}

function pod(uid: string, labels: Labels, podIPs: readonly string[] = []): Pod {
  return {
    kind: 'Pod',
    namespace: 'shop',
    name: 'db-0',
    uid,
    labels,
    nodeName: 'n1',
    hostNetwork: false,
    podIPs: podIPs as Address[],
    finished: false,
    createdMs: 0,
    containerPorts: [],
  }
}

function endpoint(uid: string, address = '10.1.0.5', name = 'db-0'): Endpoint {
  return {
    containerId: `c${uid}`,
    ifname: 'eth0',
    namespace: 'shop',
    name,
    uid,
    addresses: [address as Address],
    ifindex: 7,
    hostIfname: 'hd0',
    netnsCookie: 7n,
  }
}

/** 'isolated': nothing passes; 'guarded': the policy selects it; 'free': none does. */
function stateOf(world: World, of: Endpoint, settings = BY_POLICY): 'isolated' | 'guarded' | 'free' {
  const found = compilePolicies(world, 'n1', settings).endpoints.get(endpointKey(of))
  if (found === undefined) return 'isolated'
  return found.ingressSet === 0n ? 'free' : 'guarded'
}

function classAt(world: World, address: string): string | undefined {
  const { classes, classNames } = compilePolicies(world, 'n1')
  const found = classes.get(address as Address)
  return found && classNames.get(found.classId)
}

describe('a pod recreated under the same name (StatefulSet) has its own labels, and only those', () => {
  test.each([
    ['the old one was free, the new one is guarded', {}, { guarded: 'yes' }, 'free', 'guarded'],
    ['the old one was guarded, the new one is free', { guarded: 'yes' }, {}, 'guarded', 'free'],
  ] as const)('%s', (_, before, after, stateBefore, stateAfter) => {
    const world = createWorld()
    const [old, young] = [endpoint('1'), endpoint('2', '10.1.0.6')]
    world.put(policy)
    world.put(pod('1', before))
    world.putEndpoint(old)
    world.putEndpoint(young) // the runtime is ahead of the watch
    expect([stateOf(world, old), stateOf(world, young)]).toEqual([stateBefore, 'isolated'])
    world.put(pod('2', after)) // and the watch ahead of the old one's DEL
    expect([stateOf(world, old), stateOf(world, young)]).toEqual(['isolated', stateAfter])
    world.deleteEndpoint(endpointKey(old))
    expect(stateOf(world, young)).toBe(stateAfter)
  })

  test('as a peer: what the new one may is not what the old one may', () => {
    const world = createWorld()
    world.put(policy)
    world.put({ ...pod('9', { guarded: 'yes' }), name: 'server' })
    world.putEndpoint(endpoint('9', '10.1.0.9', 'server'))
    world.put(pod('1', { app: 'client' }, ['10.1.0.5']))
    world.putEndpoint(endpoint('1'))
    world.putEndpoint(endpoint('2', '10.1.0.6'))
    const client = classAt(world, '10.1.0.5')
    expect(client).toContain('client')
    expect(classAt(world, '10.1.0.6')).not.toBe(client)
    world.put(pod('2', { app: 'client' }, ['10.1.0.6']))
    expect(classAt(world, '10.1.0.6')).toBe(client)
    expect(classAt(world, '10.1.0.5')).not.toBe(client)
  })

  test('as a peer: one that has finished is nobody, though its wire is still there', () => {
    const world = createWorld()
    world.put(policy)
    world.put({ ...pod('9', { guarded: 'yes' }), name: 'server' })
    world.putEndpoint(endpoint('9', '10.1.0.9', 'server'))
    world.put(pod('1', { app: 'client' }))
    world.putEndpoint(endpoint('1'))
    expect(classAt(world, '10.1.0.5')).toContain('client')
    world.put({ ...pod('1', { app: 'client' }), finished: true })
    expect(classAt(world, '10.1.0.5')).toBe(undefined)
  })

  test('a source or a runtime without uids goes by the name', () => {
    for (const [known, given] of [
      ['', '2'],
      ['1', ''],
    ] as const) {
      const world = createWorld()
      world.put(policy)
      world.put(pod(known, { guarded: 'yes' }))
      world.putEndpoint(endpoint(given))
      expect(stateOf(world, endpoint(given))).toBe('guarded')
    }
  })
})

describe('a pod that nobody knows', () => {
  test('is isolated as long as the source can say who it is', () => {
    const world = createWorld()
    world.putEndpoint(endpoint('1'))
    expect(stateOf(world, endpoint('1'))).toBe('isolated')
    world.put(policy)
    expect(stateOf(world, endpoint('1'))).toBe('isolated')
  })

  test('while the source cannot be asked: free where no policy of its namespace could select it, else isolated', () => {
    const world = createWorld()
    world.takeDirty()
    world.setLive(false)
    expect(world.takeDirty().policy).toBe(true)
    world.putEndpoint(endpoint('1'))
    world.put({ ...policy, namespace: 'other' })
    expect(stateOf(world, endpoint('1'))).toBe('free')
    world.put(policy)
    expect(stateOf(world, endpoint('1'))).toBe('isolated')
  })

  test('while the source cannot be asked: isolated where the configuration denies by default', () => {
    const denying = { ...BY_POLICY, defaultDeny: ['shop'] }
    const world = createWorld()
    world.setLive(false)
    world.putEndpoint(endpoint('1'))
    expect(stateOf(world, endpoint('1'), denying)).toBe('isolated')
    world.put(pod('1', {}))
    expect(stateOf(world, endpoint('1'), denying)).toBe('guarded')
  })

  test('is isolated again when the source comes back and does not know it', () => {
    const world = createWorld()
    world.setLive(false)
    world.putEndpoint(endpoint('1'))
    world.setLive(true)
    expect(stateOf(world, endpoint('1'))).toBe('isolated')
    world.put(pod('1', {}))
    expect(stateOf(world, endpoint('1'))).toBe('free')
  })
})

describe('an endpoint without a pod name, which no policy can select', () => {
  const everywhere = { ...BY_POLICY, defaultDeny: ['*'], defaultAllow: ['tools'] }
  const shop = { ...BY_POLICY, defaultDeny: ['shop'] }

  test.each([
    ['nothing is denied by default', BY_POLICY, 'shop', 'free'],
    ['its namespace is denied by default', shop, 'shop', 'denied'],
    ['another namespace is', shop, 'tools', 'free'],
    ['every namespace is', everywhere, 'shop', 'denied'],
    ['every namespace but its own is', everywhere, 'tools', 'free'],
    ['nobody says which namespace it has, and one is', shop, '', 'denied'],
    ['nobody says which namespace it has, and every one but some are', everywhere, '', 'denied'],
    ['nobody says which namespace it has, and none is', BY_POLICY, '', 'free'],
    ['what is denied by default is audited', { ...shop, auditAll: true }, 'shop', 'audited'],
  ])('where %s', (_, settings, namespace, expected) => {
    const world = createWorld()
    const nameless = { ...endpoint('', '10.1.0.5', ''), namespace }
    world.putEndpoint(nameless)
    const { endpoints, sets } = compilePolicies(world, 'n1', settings)
    const policy = endpoints.get(endpointKey(nameless))!
    for (const id of [policy.egressSet, policy.ingressSet]) {
      const set = sets.get(id)
      const isOpen = set?.entries.some(({ value }) => value.verdict === PolicyVerdict.ALLOW)
      const found = set === undefined ? 'free' : isOpen ? 'audited' : 'denied'
      expect(found).toBe(expected)
    }
  })
})

describe('what denies pods by what they are, denies those of which that is not known yet', () => {
  const anywhere = { namespaceSelector: everyone, podSelector: null }
  const banned = { namespaceSelector: everyone, podSelector: { ...everyone, matchLabels: { app: 'banned' } } }
  const inZone = { namespaceSelector: { ...everyone, matchLabels: { zone: 'red' } }, podSelector: null }
  const everyBlock = { ipBlock: { cidr: '0.0.0.0/0' as Prefix, except: [] } }
  const ruleOf = (action: ClusterPolicyRule['action'], peers: ClusterPolicyRule['peers']): ClusterPolicyRule => ({
    name: '',
    action,
    peers,
    ports: null,
  })

  function tier(ingress: readonly ClusterPolicyRule[]): ClusterNetworkPolicy {
    const subject = { namespaceSelector: everyone, podSelector: everyone }
    return { kind: 'ClusterNetworkPolicy', name: 'ban', tier: 'Admin', priority: 1, subject, ingress, egress: [] }
  }

  /** shop/server on this node, another node with 10.2.0.0/24, and its pod 10.2.0.7. */
  function worldWith(...objects: readonly KubeObject[]): World {
    const world = createWorld()
    world.put({ ...pod('9', { app: 'server' }), name: 'server' })
    world.putEndpoint(endpoint('9', '10.1.0.9', 'server'))
    world.put({
      kind: 'Node',
      name: 'n2',
      labels: {},
      internalIPs: ['192.0.2.2' as Address],
      podCIDRs: ['10.2.0.0/24' as Prefix],
      createdMs: 0,
    })
    world.put({ kind: 'Namespace', name: 'shop', labels: { zone: 'green' } })
    for (const object of objects) world.put(object)
    return world
  }

  function mayReach(world: World, from: string): boolean {
    const compiled = compilePolicies(world, 'n1')
    const { ingressSet } = compiled.endpoints.get(endpointKey(endpoint('9', '10.1.0.9', 'server')))!
    return judge(compiled, ingressSet, classOfAddress(compiled, from as Address), Protocol.TCP, 80).allowed
  }

  const elsewhere = { ...pod('4', { app: 'fine' }, ['10.2.0.7']), name: 'elsewhere', nodeName: 'n2' }

  test.each([
    ['by labels', [tier([ruleOf('Deny', [banned])])], true],
    ['by labels of namespaces', [tier([ruleOf('Deny', [inZone])])], true],
    ['whatever they are', [tier([ruleOf('Deny', [anywhere])])], false],
    [
      'for they may be passed to a policy that isolates',
      [tier([ruleOf('Pass', [banned]), ruleOf('Accept', [everyBlock])]), { ...policy, podSelector: everyone }],
      true,
    ],
  ])('of another node, by its pod CIDR: %s', (_, policies, isLetIn) => {
    const world = worldWith(...policies)
    expect(mayReach(world, '10.2.0.7')).toBe(false)
    world.put(elsewhere)
    expect(mayReach(world, '10.2.0.7')).toBe(isLetIn)
  })

  test('of this node, whose Pod has not arrived', () => {
    const world = worldWith(tier([ruleOf('Deny', [banned])]))
    world.putEndpoint(endpoint('1'))
    expect(mayReach(world, '10.1.0.5')).toBe(false)
    world.put(pod('1', {}, ['10.1.0.5']))
    expect(mayReach(world, '10.1.0.5')).toBe(true)
  })

  test('of a namespace whose labels are not known', () => {
    const world = worldWith(tier([ruleOf('Deny', [inZone])]))
    world.put({ ...elsewhere, namespace: 'new' })
    expect(mayReach(world, '10.2.0.7')).toBe(false)
    world.put({ kind: 'Namespace', name: 'new', labels: {} })
    expect(mayReach(world, '10.2.0.7')).toBe(true)
  })

  test('and not who is no pod, nor anybody where nothing denies', () => {
    expect(mayReach(worldWith(tier([ruleOf('Deny', [banned])])), '203.0.113.7')).toBe(true)
    expect(mayReach(worldWith(tier([ruleOf('Accept', [banned])])), '10.2.0.7')).toBe(true)
  })
})
