// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import type { Address } from '../core/address.ts'
import { createWorld } from '../world/world.ts'
import { createClassifier, type Questions, serverClassId } from './classes.ts'
import { SERVERS } from './rules.ts'

const address = '192.0.2.1' as Address

test('the class of a node, and what it is once an API server is there', () => {
  const world = createWorld()
  world.put({ kind: 'Node', name: 'n1', labels: { zone: 'a' }, internalIPs: [address], podCIDRs: [], createdMs: 0 })
  const nodes = { matchLabels: { zone: 'a' }, matchExpressions: [] }
  const classify = createClassifier()
  const questions: Questions = {
    selectors: [SERVERS, { kind: 'nodes', text: 'nodes where zone=a', nodes }],
    asksForPods: false,
    deniesPods: false,
    asksForRanges: false,
    portNames: new Set(),
  }
  const classOf = () => classify(world, 'n2', questions, world.takeDirty()).byAddress.get(address)!
  const before = classOf()
  world.put({
    kind: 'EndpointSlice',
    namespace: 'default',
    name: 'kubernetes',
    serviceName: 'kubernetes',
    family: 4,
    ports: [],
    endpoints: [
      {
        address,
        nodeName: '',
        hints: null,
        ready: true,
        serving: true,
        terminating: false,
      },
    ],
    triggeredMs: 0,
  })
  expect([...classOf().members].sort()).toEqual(['kube-apiserver', 'nodes where zone=a'])
  expect(classOf().classId).toBe(serverClassId(before.text))
})
