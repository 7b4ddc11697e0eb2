// SPDX-License-Identifier: Apache-2.0
// The whole printed result of small worlds that a person can check, written as manifests.

import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { Address } from '../core/address.ts'
import { endpointKey, objectName } from '../core/names.ts'
import { POLICY_FIXED_BITS, PolicyLevels } from '../generated/abi.ts'
import type { LabelSelector, NetworkPolicy, Pod, PolicyRule } from '../world/objects.ts'
import { createWorld } from '../world/world.ts'
import { compilePolicies, createPolicyCompiler } from './compile.ts'
import { protocolText } from './ports.ts'
import type { CompiledPolicies, PolicyTableEntry } from './tables.ts'

function pod(name: string, address: string, app: string, ports: Pod['containerPorts'] = []): Pod {
  return {
    kind: 'Pod',
    namespace: 'shop',
    name,
    uid: '',
    labels: { app },
    nodeName: 'n1',
    hostNetwork: false,
    podIPs: [address] as Address[],
    finished: false,
    createdMs: 0,
    containerPorts: ports,
  }
}

/** Rules in YAML: [{peers: [app=till | any pod | CIDR [except CIDR]], ports: [80 | 80-89 | http | all]}], TCP. */
function policy(
  name: string,
  app: string,
  directions: { readonly ingress?: string; readonly egress?: string },
): NetworkPolicy {
  const rules = (text: string | undefined) =>
    text === undefined ? null : (parse(text) as readonly Readonly<Record<string, readonly string[]>>[]).map(rule)
  return {
    kind: 'NetworkPolicy',
    namespace: 'shop',
    name,
    podSelector: labelled(app),
    ingress: rules(directions.ingress),
    egress: rules(directions.egress),
  }
}

function rule({ peers, ports }: Readonly<Record<string, readonly string[]>>): PolicyRule {
  return {
    peers:
      peers?.map((peer) => {
        if (peer === 'any pod') return { podSelector: null, namespaceSelector: labelled('') }
        const [cidr, except] = peer.split(' except ')
        if (peer.includes('/')) return { ipBlock: { cidr, except: except ? [except] : [] } } as never
        return { podSelector: labelled(peer.replace('app=', '')), namespaceSelector: null }
      }) ?? null,
    ports:
      ports?.map((port) => {
        const [first, end] = String(port).split('-')
        const number = /^\d/.test(first!) ? Number(first) : first === 'all' ? null : first
        return { protocol: 6, port: number, endPort: end === undefined ? null : Number(end) } as never
      }) ?? null,
  }
}

function labelled(app: string): LabelSelector {
  return { matchLabels: app === '' ? {} : { app }, matchExpressions: [] }
}

const levelTexts = new Map<number, string>(Object.entries(PolicyLevels).map(([text, bit]) => [bit, text]))

function print(compiled: CompiledPolicies, local: readonly Pod[]): string {
  const name = (id: bigint) => compiled.classNames.get(id) ?? String(id)
  const scope = ({ level, scope: of }: PolicyTableEntry['key']) =>
    level === PolicyLevels.CLASS ? ` "${name(of)}"` : ''
  const ports = ({ prefixLength, protocol, port }: PolicyTableEntry['key']) => {
    const length = prefixLength - POLICY_FIXED_BITS
    return length === 0
      ? 'everything'
      : length === 16
        ? protocolText(protocol)
        : `${protocolText(protocol)}/${port}:${length - 16}`
  }
  const sets = local.flatMap((each) => {
    const key = endpointKey({ containerId: each.name, ifname: 'eth0' })
    const { egressSet, ingressSet } = compiled.endpoints.get(key)!
    return [egressSet, ingressSet].map((id, index) => {
      const set = compiled.sets.get(id)
      const head = `${objectName(each.namespace, each.name)} ${index === 0 ? 'egress' : 'ingress'}:`
      if (set === undefined) return `${head} free`
      const levels = [...levelTexts].filter(([bit]) => set.levels & bit).map(([, text]) => text)
      const lines = set.entries.map(
        ({ key: at, value }) =>
          `  ${levelTexts.get(at.level)}${scope(at)} ${ports(at)} <- ${compiled.rules.get(value.rule)}`,
      )
      return [`${head} ${set.policies.join(', ')} [${levels.join(' ')}]`, ...lines.sort()].join('\n')
    })
  })
  const classes = [...compiled.classPrefixes, ...compiled.classes].map(([at, of]) => `${at} is "${name(of.classId)}"`)
  return [...sets, ...classes].join('\n')
}

const wiring = { ifname: 'eth0', uid: '', ifindex: 1, hostIfname: 'h', netnsCookie: 1n }

function compiled(local: readonly Pod[], others: readonly (Pod | NetworkPolicy)[]): string {
  const world = createWorld()
  for (const object of [...local, ...others]) world.put(object)
  for (const { name, namespace, podIPs } of local) {
    world.putEndpoint({ ...wiring, containerId: name, name, namespace, addresses: podIPs })
  }
  return print(compilePolicies(world, 'n1'), local)
}

const cart = pod('cart', '10.1.0.5', 'cart', [{ name: 'http', port: 8080 as never, protocol: 6 }])
const till = pod('till', '10.2.0.6', 'till', [{ name: 'http', port: 8081 as never, protocol: 6 }])

describe('tables that a person can check', () => {
  test('nobody isolated: no class but the world, however many pods there are', () => {
    expect(compiled([cart], [till, policy('p', 'other', { ingress: '[{}]' })])).toBe(
      ['shop/cart egress: free', 'shop/cart ingress: free', '0.0.0.0/0 is "world"', '::/0 is "world"'].join('\n'),
    )
  })

  test('default deny has no entry and asks for no level', () => {
    expect(compiled([cart], [till, policy('deny', 'cart', { ingress: '[]' })])).toMatchInlineSnapshot(`
      "shop/cart egress: free
      shop/cart ingress: shop/deny []
      0.0.0.0/0 is "world"
      ::/0 is "world""
    `)
  })

  test('one level each: anybody, any pod, selected pods, a block with a hole', () => {
    const web = policy('web', 'cart', {
      ingress: `
        - {ports: [443]}
        - {peers: [any pod], ports: [80]}
        - {peers: [app=till], ports: [22]}
        - {peers: [10.0.0.0/8 except 10.3.0.0/16]}`,
    })
    expect(compiled([cart], [till, web])).toMatchInlineSnapshot(`
      "shop/cart egress: free
      shop/cart ingress: shop/web [CLASS REALM ANY]
        ANY TCP/443:16 <- shop/web ingress[0]
        CLASS "pod; 10.0.0.0/8 except 10.3.0.0/16" TCP/443:16 <- shop/web ingress[0]
        CLASS "pod; 10.0.0.0/8 except 10.3.0.0/16" TCP/80:16 <- shop/web ingress[1]
        CLASS "pod; 10.0.0.0/8 except 10.3.0.0/16" everything <- shop/web ingress[3]
        CLASS "pod; 10.0.0.0/8 except 10.3.0.0/16; pods(app=till) in shop" TCP/22:16 <- shop/web ingress[2]
        CLASS "pod; 10.0.0.0/8 except 10.3.0.0/16; pods(app=till) in shop" TCP/443:16 <- shop/web ingress[0]
        CLASS "pod; 10.0.0.0/8 except 10.3.0.0/16; pods(app=till) in shop" TCP/80:16 <- shop/web ingress[1]
        CLASS "pod; 10.0.0.0/8 except 10.3.0.0/16; pods(app=till) in shop" everything <- shop/web ingress[3]
        CLASS "world; 10.0.0.0/8 except 10.3.0.0/16" TCP/443:16 <- shop/web ingress[0]
        CLASS "world; 10.0.0.0/8 except 10.3.0.0/16" everything <- shop/web ingress[3]
        REALM TCP/80:16 <- shop/web ingress[1]
      10.3.0.0/16 is "world"
      10.0.0.0/8 is "world; 10.0.0.0/8 except 10.3.0.0/16"
      0.0.0.0/0 is "world"
      ::/0 is "world"
      10.1.0.5 is "pod; 10.0.0.0/8 except 10.3.0.0/16"
      10.2.0.6 is "pod; 10.0.0.0/8 except 10.3.0.0/16; pods(app=till) in shop""
    `)
  })

  test('broader rules inside narrower ones are repeated once, so that they are the ones named', () => {
    const nested = policy('nested', 'cart', {
      ingress: `
        - {peers: [app=till]}
        - {peers: [any pod], ports: [all]}
        - {ports: [80-83, 81]}
        - {peers: [app=till, any pod], ports: [81]}`,
    })
    expect(compiled([cart], [till, nested])).toMatchInlineSnapshot(`
      "shop/cart egress: free
      shop/cart ingress: shop/nested [CLASS REALM ANY]
        ANY TCP/80:14 <- shop/nested ingress[2]
        CLASS "pod; pods(app=till) in shop" TCP <- shop/nested ingress[1]
        CLASS "pod; pods(app=till) in shop" TCP/80:14 <- shop/nested ingress[2]
        CLASS "pod; pods(app=till) in shop" everything <- shop/nested ingress[0]
        REALM TCP <- shop/nested ingress[1]
        REALM TCP/80:14 <- shop/nested ingress[2]
      0.0.0.0/0 is "world"
      ::/0 is "world"
      10.1.0.5 is "pod"
      10.2.0.6 is "pod; pods(app=till) in shop""
    `)
  })

  test('port names: the own pod’s on ingress, the peer’s on egress', () => {
    const named = policy('named', 'cart', { ingress: '[{ports: [http]}]', egress: '[{ports: [http]}]' })
    expect(compiled([cart], [till, named])).toMatchInlineSnapshot(`
      "shop/cart egress: shop/named [CLASS ANY]
        CLASS "pod; http/TCP=8080" TCP/8080:16 <- shop/named egress[0]
        CLASS "pod; http/TCP=8081" TCP/8081:16 <- shop/named egress[0]
      shop/cart ingress: shop/named [ANY]
        ANY TCP/8080:16 <- shop/named ingress[0]
      0.0.0.0/0 is "world"
      ::/0 is "world"
      10.1.0.5 is "pod; http/TCP=8080"
      10.2.0.6 is "pod; http/TCP=8081""
    `)
  })
})

test('a policy that asks for another port name is not answered with the old one', () => {
  const world = createWorld()
  for (const object of [cart, till]) world.put(object)
  world.putEndpoint({ ...wiring, containerId: 'cart', name: 'cart', namespace: 'shop', addresses: cart.podIPs })
  const compileAgain = createPolicyCompiler()
  for (const name of ['dns', 'http']) {
    world.put(policy('named', 'cart', { egress: `[{ports: [${name}]}]` }))
    expect(compileAgain(world, 'n1', world.takeDirty()).compiled).toEqual(compilePolicies(world, 'n1'))
  }
})
