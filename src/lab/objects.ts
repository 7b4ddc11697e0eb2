// SPDX-License-Identifier: Apache-2.0
// Kubernetes objects as the lab handles them: API JSON, of which only what a small control plane reads is typed. What it
// does not know it keeps, so an object reaches the agents as it was written.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { LineCounter, parseAllDocuments } from 'yaml'
import { CommandError } from '../core/command-error.ts'

export interface KubeManifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: ObjectMeta
  readonly [field: string]: unknown
}

export interface ObjectMeta {
  readonly name: string
  readonly namespace?: string
  readonly uid?: string
  readonly creationTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly [field: string]: unknown
}

const clusterScoped = new Set(['Namespace', 'Node'])
const known = new Set(['Namespace', 'Node', 'Pod', 'Service', 'EndpointSlice', 'NetworkPolicy'])

/** A document of a manifest file, and where it stands, for messages. */
export interface ManifestDocument {
  readonly file: string
  /** From 1. */
  readonly document: number
  readonly object: KubeManifest
}

/** "Kind namespace/name"; equal for two versions of one object. */
export function objectKey(object: KubeManifest): string {
  return `${object.kind} ${qualifiedName(object)}`
}

/** "namespace/name", or "name" where the kind has no namespace. */
export function qualifiedName(object: KubeManifest): string {
  const { namespace, name } = object.metadata
  return namespace === undefined ? name : `${namespace}/${name}`
}

/** Every document under the given files and folders (their *.yaml, *.yml and *.json, by name), lists unrolled, namespaces
 *  filled in. Throws a usage error that names file and document for what is no object. */
export function readManifests(paths: readonly string[]): ManifestDocument[] {
  return paths.flatMap(manifestFiles).flatMap(readManifestFile)
}

function manifestFiles(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path]
    return readdirSync(path)
      .filter((name) => /\.(ya?ml|json)$/.test(name))
      .toSorted()
      .map((name) => join(path, name))
  } catch (cause) {
    throw new CommandError(`cannot read ${path}: ${(cause as NodeJS.ErrnoException).code}`, 2, { cause })
  }
}

function readManifestFile(file: string): ManifestDocument[] {
  const text = readFileSync(file, 'utf8')
  const lineCounter = new LineCounter()
  const documents = parseAllDocuments(text, { lineCounter })
  if (!Array.isArray(documents)) return []
  return documents.flatMap((parsed, index) => {
    const syntax = parsed.errors[0]
    if (syntax) {
      const line = lineCounter.linePos(syntax.pos[0]).line
      throw new CommandError(`${file}:${line}: document ${index + 1}: ${syntax.message.split('\n')[0]}`, 2)
    }
    const value: unknown = parsed.toJS()
    if (value === null || value === undefined) return []
    const items = isRecord(value) && Array.isArray(value.items) ? value.items : [value]
    return items.map((item) => ({ file, document: index + 1, object: asObject(item, file, index + 1) }))
  })
}

function asObject(value: unknown, file: string, document: number): KubeManifest {
  const refuse = (field: string, what: string) =>
    new CommandError(`${file}: document ${document}: ${field}: ${what}`, 2)
  if (!isRecord(value)) throw refuse('document', 'an object with apiVersion, kind and metadata is expected')
  if (typeof value.apiVersion !== 'string') throw refuse('apiVersion', 'is missing')
  if (typeof value.kind !== 'string') throw refuse('kind', 'is missing')
  if (!known.has(value.kind)) throw refuse('kind', `${value.kind} is none of ${[...known].join(', ')}`)
  const metadata = value.metadata
  if (!isRecord(metadata) || typeof metadata.name !== 'string' || metadata.name === '')
    throw refuse('metadata.name', 'is missing')
  if (clusterScoped.has(value.kind)) return value as unknown as KubeManifest
  const namespace = metadata.namespace ?? 'default'
  return { ...value, metadata: { ...metadata, namespace } } as unknown as KubeManifest
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export interface PodManifest extends KubeManifest {
  readonly kind: 'Pod'
  readonly metadata: ObjectMeta & { readonly namespace: string }
  readonly spec: {
    readonly nodeName?: string
    readonly hostNetwork?: boolean
    readonly containers?: readonly Container[]
    readonly terminationGracePeriodSeconds?: number
    readonly [field: string]: unknown
  }
  readonly status?: {
    readonly phase?: string
    readonly podIP?: string
    readonly podIPs?: readonly { readonly ip: string }[]
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
    readonly [field: string]: unknown
  }
}

export interface Container {
  readonly name: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly workingDir?: string
  readonly env?: readonly {
    readonly name: string
    readonly value?: string
    readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath: string } }
  }[]
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number; readonly protocol?: string }[]
  readonly readinessProbe?: Probe
}

export interface Probe {
  readonly exec?: { readonly command: readonly string[] }
  readonly tcpSocket?: { readonly port: number | string; readonly host?: string }
  readonly httpGet?: { readonly port: number | string; readonly path?: string; readonly host?: string }
  readonly initialDelaySeconds?: number
  readonly periodSeconds?: number
  readonly timeoutSeconds?: number
  readonly failureThreshold?: number
}

export interface ServiceManifest extends KubeManifest {
  readonly kind: 'Service'
  readonly metadata: ObjectMeta & { readonly namespace: string }
  readonly spec: {
    readonly type?: string
    readonly clusterIP?: string
    readonly clusterIPs?: readonly string[]
    readonly ipFamilies?: readonly ('IPv4' | 'IPv6')[]
    readonly ipFamilyPolicy?: string
    readonly selector?: Readonly<Record<string, string>>
    readonly publishNotReadyAddresses?: boolean
    readonly ports?: readonly {
      readonly name?: string
      readonly port: number
      readonly targetPort?: number | string
      readonly protocol?: string
    }[]
    readonly [field: string]: unknown
  }
}

export function isPod(object: KubeManifest): object is PodManifest {
  return object.kind === 'Pod'
}

export function isService(object: KubeManifest): object is ServiceManifest {
  return object.kind === 'Service'
}
