// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { soak } from '../../test/support/soak.ts'
import { endpointsOf, objects } from '../../test/support/worlds.ts'
import { objectName } from '../core/names.ts'
import { PolicyDirection, PolicyVerdict } from '../generated/abi.ts'
import { type Endpoint, type KubeObject, POLICY_KINDS, type PolicyPort } from '../world/objects.ts'
import { createWorld } from '../world/world.ts'
import { BY_POLICY, compilePolicies, createPolicyCompiler } from './compile.ts'
import type { CompiledPolicies } from './tables.ts'

function compile(kubeObjects: readonly KubeObject[], endpoints: readonly Endpoint[]): CompiledPolicies {
  const world = createWorld()
  for (const object of kubeObjects) world.put(object)
  for (const endpoint of endpoints) world.putEndpoint(endpoint)
  return compilePolicies(world, 'n1')
}

describe('a table that depends on more than the objects lets forbidden packets through or stops allowed ones', () => {
  test('the tables depend on the objects, not on the order in which they came', () => {
    fc.assert(
      fc.property(objects, (world) => {
        const endpoints = endpointsOf(world)
        const forward = compile(world, endpoints)
        expect(compile(world.toReversed(), endpoints.toReversed())).toEqual(forward)
        expect(compile([...world, ...world], [...endpoints, ...endpoints])).toEqual(forward)
      }),
      { numRuns: soak(200, 10_000) },
    )
  })

  test('an object that came and went leaves no trace', () => {
    fc.assert(
      fc.property(objects, objects, (kept, passing) => {
        const world = createWorld()
        const names = new Set(kept.map((object) => `${object.kind} ${nameOf(object)}`))
        const strangers = passing.filter((object) => !names.has(`${object.kind} ${nameOf(object)}`))
        for (const object of strangers) world.put(object)
        for (const object of kept) world.put(object)
        for (const endpoint of endpointsOf(kept)) world.putEndpoint(endpoint)
        for (const object of strangers) world.delete(object.kind, nameOf(object))
        expect(compilePolicies(world, 'n1')).toEqual(compile(kept, endpointsOf(kept)))
      }),
      { numRuns: soak(200, 10_000) },
    )
  })

  test('what was remembered from earlier worlds changes nothing', () => {
    fc.assert(
      fc.property(objects, objects, objects, (first, edits, deletions) => {
        const world = createWorld()
        const compileAgain = createPolicyCompiler()
        const remembered = () => compileAgain(world, 'n1', world.takeDirty()).compiled
        for (const object of first) world.put(object)
        for (const endpoint of endpointsOf(first)) world.putEndpoint(endpoint)
        for (const edit of [...edits, ...edits.map(alike), ...first]) {
          world.put(edit)
          expect(remembered()).toEqual(compilePolicies(world, 'n1'))
        }
        for (const object of deletions) {
          world.delete(object.kind, nameOf(object))
          expect(remembered()).toEqual(compilePolicies(world, 'n1'))
        }
      }),
      { numRuns: 60 },
    )
  })

  test('to audit everything is to audit each policy', () => {
    const annotated = (object: KubeObject): KubeObject => {
      if ('specs' in object) return { ...object, specs: object.specs.map((spec) => ({ ...spec, audited: true })) }
      return POLICY_KINDS.includes(object.kind) ? ({ ...object, audited: true } as KubeObject) : object
    }
    fc.assert(
      fc.property(objects, (kept) => {
        const world = createWorld()
        for (const object of kept) world.put(object)
        for (const endpoint of endpointsOf(kept)) world.putEndpoint(endpoint)
        const all = compilePolicies(world, 'n1', { ...BY_POLICY, auditAll: true })
        expect(all).toEqual(compile(kept.map(annotated), endpointsOf(kept)))
        const denying = [...all.sets.values()].flatMap(({ entries }) =>
          entries.filter(({ value }) => value.verdict !== PolicyVerdict.ALLOW),
        )
        expect(denying).toEqual([])
      }),
      { numRuns: soak(200, 10_000) },
    )
  })

  test('IPv4 never falls under ::/0, whose bits would hold it', () => {
    fc.assert(
      fc.property(objects, (world) => {
        const { classPrefixes } = compile(world, endpointsOf(world))
        expect([...classPrefixes.keys()]).toEqual(expect.arrayContaining(['::/0', '0.0.0.0/0']))
      }),
      { numRuns: 50 },
    )
  })
})

test('a set whose levels say less than its entries would never be asked for them', () => {
  fc.assert(
    fc.property(objects, (world) => {
      for (const set of compile(world, endpointsOf(world)).sets.values()) {
        for (const { key } of set.entries) {
          expect(key.level & set.levels).not.toBe(0)
          expect([PolicyDirection.EGRESS, PolicyDirection.INGRESS]).toContain(key.direction)
          expect([key.set, key.direction]).toEqual([set.id, set.direction])
        }
      }
    }),
    { numRuns: 100 },
  )
})

/** The object with its label values, port names or directions swapped: what was remembered of it is no longer true. */
function alike(object: KubeObject): KubeObject {
  if (object.kind === 'NetworkPolicy') {
    const egress = object.egress?.map((rule) => ({ ...rule, ports: rule.ports?.map(otherName) ?? null })) ?? null
    return object.name === 'web' ? { ...object, egress } : { ...object, ingress: object.egress, egress: object.ingress }
  }
  if (object.kind === 'CiliumNetworkPolicy' || object.kind === 'CiliumClusterwideNetworkPolicy') {
    const specs = object.specs.map((spec) => ({ ...spec, ingress: spec.egress, egress: spec.ingress }))
    return { ...object, specs }
  }
  if (object.kind !== 'Namespace' && object.kind !== 'Pod') return object
  return { ...object, labels: { app: object.labels.app === 'p' ? 'q' : 'p' } }
}

function otherName(port: PolicyPort): PolicyPort {
  return typeof port.port === 'string' ? { ...port, port: port.port === 'http' ? 'dns' : 'http' } : port
}

function nameOf(object: { readonly name: string; readonly namespace?: string }): string {
  return objectName(object.namespace ?? '', object.name)
}
