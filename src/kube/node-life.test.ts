// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import { type NodeAnnouncement, readNodeFacts, statusPatch, taintPatch } from './node-life.ts'

const now = new Date('2026-11-21T12:00:00.123Z')
const announcement: NodeAnnouncement = {
  mode: 'vxlan',
  tunnelAddresses: ['192.168.0.1', 'fd01::1'],
  tunnelPort: 8472,
  vni: 1,
  capabilities: ['tcx', 'btf'],
  dsr: true,
  version: '0.1.0',
}
const annotations = {
  'node.heddle.network/mode': 'vxlan',
  'node.heddle.network/capabilities': 'btf,dsr,tcx',
  'node.heddle.network/version': '0.1.0',
  'node.heddle.network/tunnel-addresses': '192.168.0.1,fd01::1',
  'node.heddle.network/tunnel-port': '8472',
  'node.heddle.network/vni': '1',
}
const condition = { type: 'NetworkUnavailable', status: 'False', reason: 'HeddleIsReady' }
const taint = { key: 'node.heddle.network/not-ready', effect: 'NoSchedule' }
const other = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule', timeAdded: '2026-11-21T11:00:00Z' }

const patchOf = (node: unknown, said = announcement) => statusPatch(readNodeFacts(node), said, now)

describe('a node that says nothing gets no pods; one that writes without need costs the API server', () => {
  test('a new node: condition and annotations', () => {
    expect(patchOf({ metadata: { name: 'n1', resourceVersion: '7' } })).toEqual({
      metadata: { annotations },
      status: {
        conditions: [
          {
            ...condition,
            message: 'Heddle connects the pods of this node',
            lastHeartbeatTime: '2026-11-21T12:00:00Z',
            lastTransitionTime: '2026-11-21T12:00:00Z',
          },
        ],
      },
    })
  })

  test('everything said already: nothing is written', () => {
    const node = { metadata: { annotations: { ...annotations, other: 'x' } }, status: { conditions: [condition] } }
    expect(patchOf(node)).toBeNull()
  })

  test('a cloud that said the network is unavailable is answered', () => {
    const conditions = [{ ...condition, status: 'True', reason: 'NoRouteCreated' }]
    expect(patchOf({ metadata: { annotations }, status: { conditions } })).toMatchObject({
      status: { conditions: [{ status: 'False', lastTransitionTime: '2026-11-21T12:00:00Z' }] },
    })
  })

  test('the same status for another reason is no transition', () => {
    const conditions = [{ ...condition, reason: 'RouteCreated' }]
    const patch = patchOf({ metadata: { annotations }, status: { conditions } }) as {
      status: { conditions: readonly object[] }
    }
    expect(patch.status.conditions[0]).toMatchObject({ reason: 'HeddleIsReady' })
    expect(patch.status.conditions[0]).not.toHaveProperty('lastTransitionTime')
  })

  test('only annotations that differ are written; the tunnel’s go with the tunnel, others’ stay', () => {
    const before = { ...annotations, 'node.heddle.network/operator': 'kept' }
    const node = { metadata: { annotations: before }, status: { conditions: [condition] } }
    expect(patchOf(node, { ...announcement, mode: 'native', version: '0.2.0' })).toEqual({
      metadata: {
        annotations: {
          'node.heddle.network/mode': 'native',
          'node.heddle.network/version': '0.2.0',
          'node.heddle.network/tunnel-addresses': null,
          'node.heddle.network/tunnel-port': null,
          'node.heddle.network/vni': null,
        },
      },
    })
  })

  test('the taint goes, other taints stay as they are, for the version that was read', () => {
    const facts = readNodeFacts({ metadata: { resourceVersion: '7' }, spec: { taints: [other, taint] } })
    expect(taintPatch(facts)).toEqual({ metadata: { resourceVersion: '7' }, spec: { taints: [other] } })
  })

  test.each([[[]], [[other]], [undefined]])('without the taint nothing is written: %j', (taints) => {
    expect(taintPatch(readNodeFacts({ metadata: {}, spec: { taints } }))).toBeNull()
  })

  test.each([
    [null],
    [[]],
    ['x'],
    [{ metadata: 1, spec: [], status: { conditions: {} } }],
    [{ spec: { taints: 'x' } }],
  ])('a malformed Node throws nothing: %j', (node) => {
    expect(taintPatch(readNodeFacts(node))).toBeNull()
    expect(patchOf(node)).toMatchObject({ metadata: { annotations } })
  })
})
