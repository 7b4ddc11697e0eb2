// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { servicePort, serviceWith, sliceEndpoint, sliceWith } from '../../test/support/services.ts'
import type { Address, Port, Prefix } from '../core/address.ts'
import { Protocol } from '../core/protocol.ts'
import { AT_RANDOM, type EndpointSlice, type ServicePort, type SliceEndpoint } from '../world/objects.ts'
import { ignoredIn } from './endpoints.ts'
import {
  backendListId,
  type Candidates,
  type Frontend,
  localReadyCount,
  type ServicePlace,
  serviceFrontends,
} from './frontends.ts'

const place: ServicePlace = {
  nodeName: 'n1',
  zone: 'z1',
  nodePortAddresses: ['192.0.2.1', '2001:db8::1'] as Address[],
}
const web = servicePort('web', 80)

/** An endpoint on n1, or on another node: "10.1.0.1" is ready, "!10.1.0.1" is not, "~10.1.0.1" serves while it
 *  terminates, "-10.1.0.1" only terminates, "?10.1.0.1" serves without being ready or terminating, which no controller
 *  writes. "10.1.0.1@n2" is on n2, "10.1.0.1 z1,z2" is hinted for zones, "10.1.0.1 z1/n1" also for nodes. */
function endpoint(written: string): SliceEndpoint {
  const [, mark, address, node, zones, nodes] = /^([!~?-]?)([^ @]+)(?:@(\S*))?(?: ([^/]*)(?:\/(.*))?)?$/.exec(written)!
  const names = (list: string | undefined): string[] => (list ? list.split(',') : [])
  return sliceEndpoint(address!, {
    ready: mark === '',
    serving: mark !== '!' && mark !== '-',
    terminating: mark === '~' || mark === '-',
    nodeName: node ?? 'n1',
    hints: zones === undefined ? null : { zones: names(zones), nodes: names(nodes) },
  })
}

function slice(family: 4 | 6, ports: readonly ServicePort[], ...endpoints: readonly string[]): EndpointSlice {
  return sliceWith({ name: `cart-${family}`, family, ports, endpoints: endpoints.map(endpoint) })
}

function print(frontends: readonly Frontend[]): readonly string[] {
  return frontends.map((frontend) => {
    const { address, port: number, protocol, portName, kind, internal, external, sourceRanges } = frontend
    const ranges = sourceRanges === null ? '' : ` only [${sourceRanges.join(' ')}]`
    const outside = external === null ? '' : ` | ${external.isLocal ? 'local ' : ''}${printCandidates(external)}`
    return `${kind} ${address} ${number}/${protocol} ${portName}${ranges} -> ${printCandidates(internal)}${outside}`
  })
}

function printCandidates({ backends, dropsWhenEmpty }: Candidates): string {
  if (backends.length === 0) return dropsWhenEmpty ? 'drop' : 'refuse'
  return backends.map((backend) => `${backend.address}:${backend.port}`).join(' ')
}

/** What a client of one cluster IP gets of these endpoints on port 80. */
function chosen(endpoints: readonly string[], internalLocal = false): string {
  const service = serviceWith({ clusterIPs: ['10.96.0.1' as Address], ports: [web], internalLocal })
  const frontends = serviceFrontends(service, [slice(4, [web], ...endpoints)], place)
  return printCandidates(frontends[0]!.internal).replaceAll(':80', '')
}

describe('a wrong backend gets somebody else’s requests', () => {
  test('both families, named ports, several slices, one number for two protocols, in a fixed order', () => {
    const frontends = serviceFrontends(
      serviceWith({
        clusterIPs: ['10.96.0.1', 'fd00:96::1'] as Address[],
        ports: [web, servicePort('dns', 53, Protocol.UDP), servicePort('dns-tcp', 53), servicePort('s', 53, 132)],
      }),
      [
        slice(4, [servicePort('web', 8080), servicePort('dns', 5353, Protocol.UDP)], '10.1.0.9', '10.1.0.10'),
        slice(4, [servicePort('web', 9090), servicePort('s', 36412, Protocol.SCTP)], '10.1.0.2', '10.1.0.9'),
        slice(6, [servicePort('web', 8080)], 'fd00:1::9'),
      ],
      place,
    )
    expect(print(frontends)).toEqual([
      'ClusterIP 10.96.0.1 53/6 dns-tcp -> refuse',
      'ClusterIP 10.96.0.1 80/6 web -> 10.1.0.2:9090 10.1.0.9:8080 10.1.0.9:9090 10.1.0.10:8080',
      'ClusterIP 10.96.0.1 53/17 dns -> 10.1.0.9:5353 10.1.0.10:5353',
      'ClusterIP 10.96.0.1 53/132 s -> 10.1.0.2:36412 10.1.0.9:36412',
      'ClusterIP fd00:96::1 53/6 dns-tcp -> refuse',
      'ClusterIP fd00:96::1 80/6 web -> [fd00:1::9]:8080'.replace(/[[\]]/g, ''),
      'ClusterIP fd00:96::1 53/17 dns -> refuse',
      'ClusterIP fd00:96::1 53/132 s -> refuse',
    ])
  })

  test.each([
    ['ready ones alone while there is one', ['10.1.0.1', '!10.1.0.2', '~10.1.0.3', '-10.1.0.4'], '10.1.0.1'],
    ['none ready: those that serve while they terminate', ['!10.1.0.2', '~10.1.0.3', '-10.1.0.4'], '10.1.0.3'],
    ['neither', ['!10.1.0.2', '-10.1.0.4', '?10.1.0.5'], 'refuse'],
    ['nobody', [], 'refuse'],
    ['what no packet can be sent to', ['127.0.0.1', '169.254.1.1', '224.0.0.5', '0.0.0.0', 'fd00::1'], 'refuse'],
  ])('%s', (_, endpoints, backends) => {
    expect(chosen(endpoints)).toBe(backends)
  })

  test('an SCTP port leads to backends of whatever number', () => {
    const s = servicePort('s', 36412, Protocol.SCTP, 30_001)
    const service = serviceWith({ clusterIPs: ['10.96.0.1' as Address], ports: [s] })
    const slices = [slice(4, [s], '10.1.0.1'), slice(4, [servicePort('s', 36413, Protocol.SCTP)], '10.1.0.2')]
    expect(print(serviceFrontends(service, slices, place))).toEqual([
      'ClusterIP 10.96.0.1 36412/132 s -> 10.1.0.1:36412 10.1.0.2:36413',
      'NodePort 192.0.2.1 30001/132 s -> 10.1.0.1:36412 10.1.0.2:36413 | 10.1.0.1:36412 10.1.0.2:36413',
    ])
    expect(ignoredIn([s], slices)).toBeNull()
  })

  test.each([
    ['name', servicePort('http', 8080)],
    ['protocol', servicePort('web', 8080, Protocol.UDP)],
  ])('a slice port of another %s is another port', (_, other) => {
    const service = serviceWith({ clusterIPs: ['10.96.0.1' as Address], ports: [web] })
    expect(print(serviceFrontends(service, [slice(4, [other], '10.1.0.1')], place))).toEqual([
      'ClusterIP 10.96.0.1 80/6 web -> refuse',
    ])
  })

  test('a headless Service has no frontend, whatever else it asks for', () => {
    const service = serviceWith({ ports: [web], externalIPs: ['203.0.113.1' as Address] })
    expect(serviceFrontends(service, [slice(4, [web], '10.1.0.1')], place)).toEqual([])
  })
})

describe('traffic policy Local sends to another node, or refuses what another node would serve', () => {
  test.each([
    ['those here', ['10.1.0.1', '10.1.0.2@n2'], '10.1.0.1'],
    ['none here, some elsewhere: drop', ['10.1.0.2@n2'], 'drop'],
    ['none anywhere: refuse', ['!10.1.0.1', '!10.1.0.2@n2'], 'refuse'],
    ['ready elsewhere does not stop what terminates here', ['~10.1.0.1', '10.1.0.2@n2'], '10.1.0.1'],
    ['ready here stops it', ['~10.1.0.1', '10.1.0.3'], '10.1.0.3'],
    ['hints do not count', ['10.1.0.1 z2', '10.1.0.2@n2 z1'], '10.1.0.1'],
    ['a node without a name is not here', ['10.1.0.1@'], 'drop'],
  ])('internal: %s', (_, endpoints, backends) => {
    expect(chosen(endpoints, true)).toBe(backends)
  })

  test('external: clients inside the cluster have all backends, those outside what is here', () => {
    const service = serviceWith({
      clusterIPs: ['10.96.0.1' as Address],
      ports: [servicePort('web', 80, Protocol.TCP, 30080)],
      loadBalancerIPs: ['203.0.113.7' as Address],
      externalLocal: true,
    })
    const at = (...endpoints: string[]): readonly string[] =>
      print(serviceFrontends(service, [slice(4, [web], ...endpoints)], place))
    expect(at('10.1.0.1', '10.1.0.2@n2')).toEqual([
      'ClusterIP 10.96.0.1 80/6 web -> 10.1.0.1:80 10.1.0.2:80',
      'NodePort 192.0.2.1 30080/6 web -> 10.1.0.1:80 10.1.0.2:80 | local 10.1.0.1:80',
      'LoadBalancer 203.0.113.7 80/6 web -> 10.1.0.1:80 10.1.0.2:80 | local 10.1.0.1:80',
    ])
    expect(at('10.1.0.2@n2').slice(1)).toEqual([
      'NodePort 192.0.2.1 30080/6 web -> 10.1.0.2:80 | local drop',
      'LoadBalancer 203.0.113.7 80/6 web -> 10.1.0.2:80 | local drop',
    ])
    expect(at().slice(1)).toEqual([
      'NodePort 192.0.2.1 30080/6 web -> refuse | local refuse',
      'LoadBalancer 203.0.113.7 80/6 web -> refuse | local refuse',
    ])
  })
})

describe('a hint for others cuts clients off, or sends them far away', () => {
  test.each([
    ['the zone’s own', ['10.1.0.1@n2 z1', '10.1.0.2@n3 z2', '10.1.0.3@n4 z2,z1'], '10.1.0.1 10.1.0.3'],
    ['the node’s own before the zone’s', ['10.1.0.1@n2 z1/n2', '10.1.0.2 z1/n1'], '10.1.0.2'],
    ['none for this node: the zone’s', ['10.1.0.1@n2 z1/n2', '10.1.0.2@n3 z2/n3'], '10.1.0.1'],
    ['one ready without a hint: all', ['10.1.0.1@n2 z1', '10.1.0.2@n3'], '10.1.0.1 10.1.0.2'],
    ['one without a node hint: zones', ['10.1.0.1@n2 z1/n1', '10.1.0.2@n3 z1'], '10.1.0.1 10.1.0.2'],
    ['none for this zone: all', ['10.1.0.1@n2 z2', '10.1.0.2@n3 z3'], '10.1.0.1 10.1.0.2'],
    ['one not ready without a hint does not count', ['10.1.0.1@n2 z1', '!10.1.0.2@n3'], '10.1.0.1'],
    ['of those that terminate all', ['~10.1.0.1@n2 z1', '~10.1.0.2@n3 z2'], '10.1.0.1 10.1.0.2'],
  ])('%s', (_, endpoints, backends) => {
    expect(chosen(endpoints)).toBe(backends)
  })
})

describe('an address that no frontend answers is a Service that is down', () => {
  test('every type in both families; a family without cluster IP has none', () => {
    const service = serviceWith({
      clusterIPs: ['10.96.0.1' as Address],
      ports: [servicePort('web', 80, Protocol.TCP, 30080), servicePort('dns', 53, Protocol.UDP, 30053)],
      externalIPs: ['203.0.113.1', '2001:db8:1::1'] as Address[],
      loadBalancerIPs: ['203.0.113.1', '203.0.113.7'] as Address[],
      sourceRanges: ['198.51.100.0/24', '2001:db8:9::/48'] as Prefix[],
      affinitySeconds: 60,
    })
    const frontends = serviceFrontends(service, [slice(4, [web], '10.1.0.1')], place)
    expect(print(frontends)).toEqual([
      'ClusterIP 10.96.0.1 80/6 web -> 10.1.0.1:80',
      'ClusterIP 10.96.0.1 53/17 dns -> refuse',
      'NodePort 192.0.2.1 30080/6 web -> 10.1.0.1:80 | 10.1.0.1:80',
      'NodePort 192.0.2.1 30053/17 dns -> refuse | refuse',
      // Also an external IP, which would let everybody in.
      'LoadBalancer 203.0.113.1 80/6 web only [198.51.100.0/24] -> 10.1.0.1:80 | 10.1.0.1:80',
      'LoadBalancer 203.0.113.1 53/17 dns only [198.51.100.0/24] -> refuse | refuse',
      'LoadBalancer 203.0.113.7 80/6 web only [198.51.100.0/24] -> 10.1.0.1:80 | 10.1.0.1:80',
      'LoadBalancer 203.0.113.7 53/17 dns only [198.51.100.0/24] -> refuse | refuse',
    ])
    expect(frontends.every(({ affinitySeconds }) => affinitySeconds === 60)).toBe(true)
  })

  test('source ranges of the other family alone let nobody in', () => {
    const service = serviceWith({
      clusterIPs: ['fd00:96::1' as Address],
      ports: [web],
      loadBalancerIPs: ['2001:db8:1::1' as Address],
      sourceRanges: ['198.51.100.0/24' as Prefix],
    })
    expect(serviceFrontends(service, [], place)[0]?.sourceRanges).toEqual([])
  })

  test('lists that are the same are one array', () => {
    const service = serviceWith({
      clusterIPs: ['10.96.0.1' as Address],
      ports: [servicePort('web', 80, Protocol.TCP, 30080)],
      externalLocal: true,
    })
    const [inside, outside] = serviceFrontends(service, [slice(4, [web], '10.1.0.1', '10.1.0.2')], place)
    expect(outside!.external!.backends).toBe(inside!.internal.backends)
  })
})

test('a health check counts ready endpoints here, once each', () => {
  const slices = [
    slice(4, [web], '10.1.0.1', '!10.1.0.2', '~10.1.0.3', '10.1.0.4@n2', '127.0.0.1'),
    slice(4, [servicePort('dns', 53)], '10.1.0.1', '10.1.0.5'),
    slice(6, [web], 'fd00:1::1', 'fd00:1::2@n2'),
  ]
  expect(localReadyCount(slices, 'n1')).toBe(2)
})

const written = fc.tuple(
  fc.constantFrom('', '!', '~', '-'),
  fc.nat(9).map((last) => `10.1.0.${last}`),
  fc.constantFrom('', '@n2'),
  fc.constantFrom('', '', ' z1', ' z2', ' z1/n1', ' /n2'),
)

test('frontends depend on the slices, not on their order or on repetition', () => {
  const service = serviceWith({
    clusterIPs: ['10.96.0.1' as Address],
    ports: [servicePort('web', 80, Protocol.TCP, 30080)],
    externalLocal: true,
  })
  fc.assert(
    fc.property(
      fc.array(
        fc.array(
          written.map((parts) => parts.join('')),
          { maxLength: 8 },
        ),
        { maxLength: 4 },
      ),
      (lists) => {
        const slices = lists.map((list) => slice(4, [web], ...list))
        const expected = serviceFrontends(service, slices, place)
        expect(serviceFrontends(service, [...slices, ...slices].toReversed(), place)).toEqual(expected)
        const turned = slices.map((each) => ({ ...each, endpoints: each.endpoints.toReversed() }))
        expect(serviceFrontends(service, turned, place)).toEqual(expected)
      },
    ),
  )
})

test('as long as anyone can serve, somebody does, and Local never leaves the node', () => {
  const service = serviceWith({
    clusterIPs: ['10.96.0.1' as Address],
    ports: [servicePort('web', 80, Protocol.TCP, 30080)],
    externalLocal: true,
  })
  fc.assert(
    fc.property(fc.uniqueArray(written, { selector: ([, address]) => address, maxLength: 9 }), (parts) => {
      const endpoints = parts.map((each) => each.join(''))
      const usable = endpoints
        .map(endpoint)
        .filter(({ ready, serving, terminating }) => ready || (serving && terminating))
      const [, frontend] = serviceFrontends(service, [slice(4, [web], ...endpoints)], place)
      const { internal, external } = frontend!
      expect(internal.backends.length > 0).toBe(usable.length > 0)
      expect(external!.dropsWhenEmpty).toBe(usable.length > 0)
      const here = new Set(usable.filter(({ nodeName }) => nodeName === 'n1').map(({ address }) => address))
      expect(external!.backends.length > 0).toBe(here.size > 0)
      expect(external!.backends.every(({ address }) => here.has(address))).toBe(true)
    }),
  )
})

test('5,000 endpoints in slices of 1,000, twice, are one list of 5,000', () => {
  const addresses = Array.from({ length: 5000 }, (_, i) => `10.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`)
  const slices = [0, 1, 2, 3, 4].map((i) => slice(4, [web], ...addresses.slice(i * 1000, (i + 1) * 1000)))
  const service = serviceWith({ clusterIPs: ['10.96.0.1' as Address], ports: [web] })
  const [frontend] = serviceFrontends(service, [...slices, ...slices], place)
  expect(frontend!.internal.backends).toEqual(addresses.map((address) => ({ address, port: 80 })))
})

test('a list id names its Service and its backends: another list or table, another id', () => {
  const lists = [['10.1.0.1'], ['10.1.0.2'], ['10.1.0.1', '10.1.0.2'], []]
  const backends = (list: string[], weight?: number) =>
    list.map((address) => ({ address: address as Address, port: 80 as Port, ...(weight && { weight }) }))
  const ids = ['shop/cart', 'shop/web'].flatMap((name) => [
    ...lists.map((list) => backendListId(name, backends(list), AT_RANDOM)),
    backendListId(name, backends(['10.1.0.1']), { algorithm: 'maglev', weights: null }),
    backendListId(name, backends(['10.1.0.1'], 2), { algorithm: 'maglev', weights: {} }),
    backendListId(name, backends(['10.1.0.1'], 2), { algorithm: 'round-robin', weights: {} }),
  ])
  expect(new Set(ids).size).toBe(ids.length)
})
