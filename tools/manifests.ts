// SPDX-License-Identifier: Apache-2.0
// deploy/manifests: the chart rendered for those who do not use Helm. Each file's first lines carry what it was rendered
// from, so that `make check` needs no Helm to see that it is stale or was edited.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { findHelm } from './helm.ts'

interface Rendered {
  readonly path: string
  /** Values file; null: the chart's own values. */
  readonly values: string | null
}

const CHART = 'deploy/helm/heddle'
/** What charts are rendered for; nothing in this one depends on it. */
const KUBERNETES = '1.34.0'

const files: readonly Rendered[] = [
  { path: 'deploy/manifests/heddle.yaml', values: null },
  { path: 'deploy/manifests/kind.yaml', values: 'deploy/kind/values.yaml' },
]

/** What is wrong, one line each; empty: every file is the chart of this checkout. */
export function staleManifests(): string {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
  const chart = readFileSync(`${CHART}/Chart.yaml`, 'utf8')
  const versions = ['version', 'appVersion']
    .filter((key) => !chart.includes(`\n${key}: ${version}\n`))
    .map((key) => `${CHART}/Chart.yaml: ${key} is not the ${version} of package.json`)
  const stale = files
    .filter(({ path, values }) => {
      const [, stamp = '', ...text] = readFileSync(path, 'utf8').split('\n')
      return stamp !== stampOf(values, text.join('\n'))
    })
    .map(({ path }) => `${path}: not the chart of this checkout; run \`make manifests\``)
  return [...versions, ...stale].join('\n')
}

function writeManifests(helm: string): void {
  for (const { path, values } of files) {
    const chosen = values === null ? [] : ['--values', values]
    const args = ['template', 'heddle', CHART, '--namespace', 'kube-system', '--kube-version', KUBERNETES, ...chosen]
    const text = execFileSync(helm, args, { encoding: 'utf8' })
    const from = values === null ? CHART : `${CHART} and ${values}`
    writeFileSync(
      path,
      `# Rendered from ${from} by \`make manifests\`; do not edit.\n${stampOf(values, text)}\n${text}`,
    )
  }
}

function stampOf(values: string | null, text: string): string {
  const sources = globSync(`${CHART}/**`)
    .filter((path) => /\.(yaml|json|tpl|txt)$/i.test(path))
    .concat(values ?? [])
    .toSorted()
  const inputs = sources.map((path) => `${path}\n${readFileSync(path, 'utf8')}`).join('')
  return `# inputs ${digest(inputs)}, text ${digest(text)}`
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

if (import.meta.main) {
  const helm = findHelm()
  if (helm === undefined) throw new Error('no Helm here: install it, or let `make cluster-test` build it')
  writeManifests(helm)
}
