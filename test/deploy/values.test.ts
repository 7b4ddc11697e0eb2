// SPDX-License-Identifier: Apache-2.0
// The chart against the agent that it configures; needs no Helm.

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { type Config, defaultConfigText, isConfigProblem, parseConfig } from '../../src/agent/config.ts'
import { isRecord } from '../../src/api/cursor.ts'
import { maps } from '../../src/generated/abi.ts'
import { staleManifests } from '../../tools/manifests.ts'

const chart = 'deploy/helm/heddle'
const values = parse(readFileSync(`${chart}/values.yaml`, 'utf8')) as { readonly config: Record<string, unknown> }
const schema = JSON.parse(readFileSync(`${chart}/values.schema.json`, 'utf8')) as {
  readonly properties: Record<string, { readonly properties?: Record<string, unknown> }>
}

/** Paths of the schema's objects whose fields are anything. */
function openObjects(part: unknown, path = ''): string[] {
  if (!isRecord(part)) return []
  const isOpen = part.type === 'object' && part.additionalProperties === undefined
  return [
    ...(isOpen ? [path] : []),
    ...Object.entries(part).flatMap(([key, each]) => openObjects(each, `${path}/${key}`)),
  ]
}

function configMapText(manifest: string): string {
  const documents = parseAllDocuments(readFileSync(manifest, 'utf8')).map((document) => document.toJS())
  const map = documents.find(({ kind }) => kind === 'ConfigMap') as { readonly data: Record<string, string> }
  return map.data['config.yaml']!
}

function configOf(manifest: string): Config {
  const config = parseConfig(configMapText(manifest), manifest)
  if (isConfigProblem(config)) throw new Error(config.configProblem)
  return config
}

test('an agent accepts the configuration that the chart writes', () => {
  expect(configOf('deploy/manifests/heddle.yaml')).toMatchObject({
    kubeconfig: 'in-cluster',
    apiServers: [],
    cniConfDir: '/etc/cni/net.d',
    cniBinDir: '/opt/cni/bin',
    mode: 'vxlan',
  })
  expect(configOf('deploy/manifests/kind.yaml')).toMatchObject({
    apiServers: ['https://heddle-control-plane:6443'],
    serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'],
  })
})

test('the chart says no other default than the agent', () => {
  const defaults = parse(defaultConfigText()) as Record<string, unknown>
  const chosen = Object.keys(values.config)
  expect(chosen.filter((key) => !Object.hasOwn(defaults, key))).toEqual([])
  expect(values.config).toEqual(Object.fromEntries(chosen.map((key) => [key, defaults[key]])))
})

test('every key of the agent is a value of the chart, or the chart sets it', () => {
  const set = Object.keys(parse(configMapText('deploy/manifests/kind.yaml')) as object)
  // Paths inside the container; the Node's name comes from the environment.
  const inside = ['nodeName', 'manifests', 'runDir', 'stateDir', 'objectsDir']
  expect([...set, ...inside].toSorted()).toEqual(Object.keys(parse(defaultConfigText()) as object).toSorted())
})

test('the schema knows every value that the chart has', () => {
  for (const [key, value] of Object.entries(values)) {
    const known = schema.properties[key]
    expect(known, key).toBeDefined()
    // Maps that people fill as they like have no properties of their own.
    if (known?.properties)
      expect(Object.keys(known.properties), key).toEqual(expect.arrayContaining(Object.keys(value)))
  }
})

test('a value that is misspelt is refused: no object takes any field, but for what only the API server can judge', () => {
  const affinities = ['nodeAffinity', 'podAffinity', 'podAntiAffinity']
  const judgedElsewhere = affinities.map((kind) => `/properties/affinity/properties/${kind}`)
  // Helm shares `global` between charts.
  expect(openObjects(schema)).toEqual(['/properties/global', ...judgedElsewhere])
  const { mapSizes } = schema.properties.config!.properties as { mapSizes: { properties: object } }
  expect(Object.keys(mapSizes.properties)).toEqual(Object.keys(maps))
})

test('deploy/manifests are the chart of this checkout', () => {
  expect(staleManifests()).toBe('')
})
