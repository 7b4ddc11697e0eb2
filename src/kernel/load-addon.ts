// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Addon } from './addon.ts'

/** The native addon: `path`, else the environment's HEDDLE_ADDON (a sanitized build), else build/heddle.node of the
 *  checkout or image that this file, or the bundle made of it, belongs to. Throws when there is none. */
export function loadAddon(path?: string): Addon {
  return createRequire(import.meta.url)(path ?? process.env.HEDDLE_ADDON ?? findAddon()) as Addon
}

function findAddon(): string {
  const candidates = ['..', '../..'].map((up) => join(import.meta.dirname, up, 'build/heddle.node'))
  const found = candidates.find((candidate) => existsSync(candidate))
  if (found === undefined) throw new Error(`no native addon: run \`make build\` (looked for ${candidates.join(', ')})`)
  return found
}
