// SPDX-License-Identifier: Apache-2.0

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { id64 } from '../core/id64.ts'
import { idText } from '../datapath/tables.ts'
import { maps } from '../generated/abi.ts'
import type { Version } from './api.ts'

const root = new URL('../../', import.meta.url).pathname

/** What is installed here and what it runs on. */
export function installedVersion(): Version {
  const { version, gitHead } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
    version: string
    /** Written by tools/image/main.ts: an image has no repository. */
    gitHead?: string
  }
  const layouts = Object.values(maps).map(({ name, layout }) => `${name} ${layout}`)
  return {
    version,
    commit: gitHead?.slice(0, 12) ?? commit(),
    abi: idText(id64(layouts.join('\n'))).slice(0, 8),
    kernel: release(),
  }
}

function commit(): string {
  if (!existsSync(`${root}.git`)) return ''
  const git = ['-c', 'safe.directory=*', '-C', root, 'rev-parse', '--short=12', 'HEAD']
  try {
    return execFileSync('git', git, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return '' // a checkout without git
  }
}
