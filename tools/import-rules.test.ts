// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import { importViolations, parseRooms } from './import-rules.ts'

const rooms = parseRooms(`
| room | pure | may import | rule |
|---|---|---|---|
| core | yes | | Imports nothing |
| world | yes | core | The model |
| kernel | no | core, world | Syscalls |
`)

const check = (path: string, text: string) => importViolations(rooms, [{ path, text }])

describe('import rules: a room stays what src/README.md says', () => {
  test('the table is read as rooms, their purity and what they may import', () => {
    expect(rooms).toEqual([
      { name: 'core', pure: true, mayImport: [] },
      { name: 'world', pure: true, mayImport: ['core'] },
      { name: 'kernel', pure: false, mayImport: ['core', 'world'] },
    ])
  })

  test('downwards passes', () => {
    expect(check('world/world.ts', "import type { Address } from '../core/address.ts'\n")).toEqual([])
    expect(check('kernel/apply.ts', "import { readFile } from 'node:fs/promises'\n")).toEqual([])
  })

  test.each([
    ['upwards', 'core/address.ts', "import { World } from '../world/world.ts'\n"],
    ['upwards for a type only', 'core/address.ts', "import type { World } from '../world/world.ts'\n"],
    ['upwards by re-export', 'core/address.ts', "export { World } from '../world/world.ts'\n"],
    ['upwards over several lines', 'core/address.ts', "import {\n  World,\n} from '../world/world.ts'\n"],
    ['upwards at run time', 'core/address.ts', "const world = await import('../world/world.ts')\n"],
    ['a node module from a pure room', 'world/world.ts', "import { hash } from 'node:crypto'\n"],
    ['a package with effects from a pure room', 'world/world.ts', "import pino from 'pino'\n"],
    ['the composition root', 'kernel/apply.ts', "import { start } from '../main.ts'\n"],
    ['outside src', 'kernel/apply.ts', "import { x } from '../../test/support/x.ts'\n"],
    ['from a room without a row', 'extra/x.ts', ''],
  ])('%s is refused', (_name, path, text) => {
    expect(check(path, text)).toHaveLength(1)
  })
})
