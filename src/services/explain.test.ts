// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { servicePort, serviceWith, sliceEndpoint, sliceWith } from '../../test/support/services.ts'
import type { Address } from '../core/address.ts'
import type { SliceEndpoint } from '../world/objects.ts'
import { explainEndpoints } from './explain.ts'
import { serviceFrontends } from './frontends.ts'

const place = { nodeName: 'n1', zone: 'z1', nodePortAddresses: [] }
const service = serviceWith({ clusterIPs: ['10.96.0.1' as Address], ports: [servicePort('web', 80)] })
const sliceOf = (...endpoints: readonly SliceEndpoint[]) => sliceWith({ ports: [servicePort('web', 8080)], endpoints })

test('each endpoint says why it gets no traffic', () => {
  const zone = (name: string) => ({ zones: [name], nodes: [] })
  const slice = sliceOf(
    sliceEndpoint('10.1.0.1', { hints: zone('z1') }),
    sliceEndpoint('10.1.0.2', { nodeName: 'n2', hints: zone('z2') }),
    sliceEndpoint('10.1.0.3', { ready: false, serving: false }),
    sliceEndpoint('10.1.0.4', { ready: false, terminating: true }),
    sliceEndpoint('10.1.0.5', { ready: false, serving: false, terminating: true }),
    sliceEndpoint('127.0.0.1'),
    sliceEndpoint('fd00::1'),
  )
  const told = explainEndpoints(service, [slice], place).map(
    ({ endpoint, inCluster, inLocal, excluded }) =>
      `${endpoint.address} ${inCluster ? 'cluster ' : ''}${inLocal ? 'local ' : ''}${excluded}`,
  )
  expect(told).toEqual([
    '10.1.0.1 cluster local ',
    '10.1.0.2 meant for another zone',
    '10.1.0.3 not ready',
    '10.1.0.4 terminating, and others are ready',
    '10.1.0.5 terminating',
    '127.0.0.1 loopback',
    'fd00::1 other family',
  ])
})

test('what is told is what is done, and what is left out says why', () => {
  const endpoints = fc.array(
    fc.record({
      address: fc.nat(9).map((last) => `10.1.0.${last}`),
      ready: fc.boolean(),
      serving: fc.boolean(),
      terminating: fc.boolean(),
      nodeName: fc.constantFrom('n1', 'n2'),
      hints: fc.constantFrom(null, { zones: ['z1'], nodes: [] }, { zones: ['z2'], nodes: ['n1'] }),
    }),
    { maxLength: 8 },
  )
  fc.assert(
    fc.property(endpoints, fc.boolean(), (written, internalLocal) => {
      const slice = sliceOf(...written.map(({ address, ...parts }) => sliceEndpoint(address, parts)))
      const [frontend] = serviceFrontends({ ...service, internalLocal }, [slice], place)
      const told = explainEndpoints(service, [slice], place)
      const used = told.filter(({ inCluster, inLocal }) => (internalLocal ? inLocal : inCluster))
      expect(used.map(({ endpoint, port }) => ({ address: endpoint.address, port }))).toEqual(
        frontend!.internal.backends,
      )
      expect(told.every(({ inCluster, excluded }) => inCluster === (excluded === ''))).toBe(true)
    }),
  )
})
