// SPDX-License-Identifier: Apache-2.0

import { execFileSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { homedir } from 'node:os'

/** Helm to render the chart with: the machine's, else the one that `make cluster-test` built; undefined: neither. */
export function findHelm(): string | undefined {
  const built = globSync(`${homedir()}/.cache/heddle/cluster/*/bin/helm`)
  return ['helm', ...built].find(runs)
}

function runs(helm: string): boolean {
  try {
    execFileSync(helm, ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
