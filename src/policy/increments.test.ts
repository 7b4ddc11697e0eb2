// SPDX-License-Identifier: Apache-2.0
// The compiler that looks only at what is dirty, beside the one that looks at everything, through random histories.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { changes } from '../../test/support/histories.ts'
import { soak } from '../../test/support/soak.ts'
import type { Address } from '../core/address.ts'
import { createWorld } from '../world/world.ts'
import { compilePolicies, createPolicyCompiler } from './compile.ts'

test('an address that is not looked at again keeps a class that it has no longer', () => {
  fc.assert(
    fc.property(changes, (passes) => {
      const world = createWorld()
      const compile = createPolicyCompiler()
      let before = new Map<Address, bigint>()
      for (const batch of passes) {
        for (const { on } of batch) on(world)
        const { compiled, changedAddresses } = compile(world, 'n1', world.takeDirty())
        expect(compiled).toEqual(compilePolicies(world, 'n1'))
        const now = new Map(Array.from(compiled.classes, ([address, { classId }]) => [address, classId]))
        const differing = [...before.keys(), ...now.keys()].filter((each) => before.get(each) !== now.get(each))
        expect(changedAddresses).toEqual(new Set(differing))
        before = now
      }
    }),
    { numRuns: soak(300, 10_000) },
  )
})
