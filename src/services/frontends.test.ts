// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Address, Port } from '../core/address.ts'
import { Protocol, type Protocol as ProtocolNumber } from '../core/protocol.ts'
import type { EndpointSlice, Service } from '../world/objects.ts'
import { backendListId, type Frontend, serviceFrontends } from './frontends.ts'

const port = (number: number) => number as Port

function service(clusterIPs: readonly string[], ports: Service['ports']): Service {
  return {
    kind: 'Service',
    namespace: 'shop',
    name: 'cart',
    clusterIPs: clusterIPs as Address[],
    ports,
    selector: null,
  }
}

function servicePort(name: string, number: number, protocol: ProtocolNumber = Protocol.TCP): Service['ports'][number] {
  return { name, port: port(number), protocol }
}

/** "10.1.0.1" is ready, "!10.1.0.1" is not, "~10.1.0.1" serves while it terminates, "-10.1.0.1" only terminates,
 *  "?10.1.0.1" serves without being ready or terminating, which no controller writes. */
function slice(family: 4 | 6, ports: EndpointSlice['ports'], ...endpoints: readonly string[]): EndpointSlice {
  return {
    kind: 'EndpointSlice',
    namespace: 'shop',
    name: `cart-${family}`,
    serviceName: 'cart',
    family,
    ports,
    endpoints: endpoints.map((written) => ({
      addresses: [written.replace(/^[!~?-]/, '')] as Address[],
      ready: !/^[!~?-]/.test(written),
      serving: !/^[!-]/.test(written),
      terminating: /^[~-]/.test(written),
      nodeName: 'n1',
    })),
  }
}

function print(frontends: readonly Frontend[]): readonly string[] {
  return frontends.map(({ address, port: number, protocol, portName, internal }) => {
    const list = internal.backends.map((backend) => `${backend.address}:${backend.port}`).join(' ')
    return `${address} ${number}/${protocol} ${portName} -> ${list || 'refuse'}`
  })
}

const web = servicePort('web', 80)

describe('a wrong backend gets somebody else’s requests', () => {
  test('both families, named ports, several slices, in a fixed order', () => {
    const frontends = serviceFrontends(
      service(['10.96.0.1', 'fd00:96::1'], [web, servicePort('dns', 53, Protocol.UDP)]),
      [
        slice(4, [servicePort('web', 8080), servicePort('dns', 5353, Protocol.UDP)], '10.1.0.9', '10.1.0.10'),
        slice(4, [servicePort('web', 9090)], '10.1.0.2', '10.1.0.9'),
        slice(6, [servicePort('web', 8080)], 'fd00:1::9'),
      ],
    )
    expect(print(frontends)).toEqual([
      '10.96.0.1 80/6 web -> 10.1.0.2:9090 10.1.0.9:8080 10.1.0.9:9090 10.1.0.10:8080',
      '10.96.0.1 53/17 dns -> 10.1.0.9:5353 10.1.0.10:5353',
      'fd00:96::1 80/6 web -> fd00:1::9:8080',
      'fd00:96::1 53/17 dns -> refuse',
    ])
  })

  test.each([
    ['ready ones alone while there is one', ['10.1.0.1', '!10.1.0.2', '~10.1.0.3', '-10.1.0.4'], '10.1.0.1:8080'],
    ['none ready: those that serve while they terminate', ['!10.1.0.2', '~10.1.0.3', '-10.1.0.4'], '10.1.0.3:8080'],
    ['neither', ['!10.1.0.2', '-10.1.0.4', '?10.1.0.5'], 'refuse'],
    ['nobody', [], 'refuse'],
  ])('%s', (_, endpoints, backends) => {
    const frontends = serviceFrontends(service(['10.96.0.1'], [web]), [
      slice(4, [servicePort('web', 8080)], ...endpoints),
    ])
    expect(print(frontends)).toEqual([`10.96.0.1 80/6 web -> ${backends}`])
  })

  test.each([
    ['name', servicePort('http', 8080)],
    ['protocol', servicePort('web', 8080, Protocol.UDP)],
  ])('a slice port of another %s is another port', (_, other) => {
    expect(print(serviceFrontends(service(['10.96.0.1'], [web]), [slice(4, [other], '10.1.0.1')]))).toEqual([
      '10.96.0.1 80/6 web -> refuse',
    ])
  })

  test('a headless Service has no frontend', () => {
    expect(serviceFrontends(service([], [web]), [slice(4, [servicePort('web', 8080)], '10.1.0.1')])).toEqual([])
  })
})

const addresses = fc.array(
  fc.nat(30).map((last) => `10.1.0.${last}`),
  { maxLength: 8 },
)

test('frontends depend on the slices, not on their order or on repetition', () => {
  fc.assert(
    fc.property(fc.array(addresses, { maxLength: 4 }), (lists) => {
      const slices = lists.map((list) => slice(4, [servicePort('web', 8080)], ...list))
      const of = service(['10.96.0.1'], [web])
      const expected = serviceFrontends(of, slices)
      expect(serviceFrontends(of, [...slices, ...slices].toReversed())).toEqual(expected)
      expect(expected[0]!.internal.backends.length).toBe(new Set(lists.flat()).size)
    }),
  )
})

test('a list id names its Service and its backends: another list, another id', () => {
  const lists = [['10.1.0.1'], ['10.1.0.2'], ['10.1.0.1', '10.1.0.2'], []]
  const ids = ['shop/cart', 'shop/web'].flatMap((name) =>
    lists.map((list) =>
      backendListId(
        name,
        list.map((address) => ({ address: address as Address, port: port(80) })),
      ),
    ),
  )
  expect(new Set(ids).size).toBe(ids.length)
})
