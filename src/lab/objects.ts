// SPDX-License-Identifier: Apache-2.0
// Kubernetes objects as the lab handles them: API JSON, of which only what a small control plane reads is typed. What it
// does not know it keeps, so an object reaches the agents as it was written.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { CommandError } from '../core/command-error.ts'
import { clusterKinds, createManifestParser } from '../manifests/parse.ts'
import { KINDS } from '../world/objects.ts'

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

const known: ReadonlySet<string> = new Set(KINDS)

/** The good objects of manifest files, and a sentence for each bad one: file:line, document and field. */
export interface Manifests {
  readonly objects: readonly KubeManifest[]
  readonly problems: readonly string[]
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

/** Every object under the given files and folders (their *.yaml, *.yml and *.json, by name), judged by the reader that
 *  the agents use; lists unrolled, namespaces filled in. Throws a usage error for a path that cannot be read. */
export function readManifests(paths: readonly string[]): Manifests {
  const files = paths.flatMap(manifestFiles).map(readManifestFile)
  return { objects: files.flatMap(({ objects }) => objects), problems: files.flatMap(({ problems }) => problems) }
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

function readManifestFile(file: string): Manifests {
  const source = readFileSync(file, 'utf8')
  const { problems } = createManifestParser().parse(file, source)
  const badObjects = new Set(problems.map(({ object }) => object))
  const badDocuments = new Set(problems.filter(({ object }) => object === '').map(({ document }) => document))
  const parsed = parseAllDocuments(source)
  const documents: unknown[] = Array.isArray(parsed)
    ? parsed.map((document) => (document.errors.length > 0 ? null : document.toJS()))
    : []
  return {
    objects: documents
      .filter((_, index) => !badDocuments.has(index + 1))
      .flatMap((value) => (isRecord(value) && Array.isArray(value.items) ? value.items : [value]))
      .filter(isObject)
      .map(withNamespace)
      .filter((object) => !badObjects.has(objectKey(object))),
    problems: problems.map(({ line, document, object, field, message }) =>
      [`${file}:${line}: document ${document}`, object, field, message].filter((part) => part !== '').join(': '),
    ),
  }
}

function isObject(value: unknown): value is KubeManifest {
  return isRecord(value) && typeof value.kind === 'string' && known.has(value.kind) && isRecord(value.metadata)
}

function withNamespace(object: KubeManifest): KubeManifest {
  if (clusterKinds.has(object.kind)) return object
  return { ...object, metadata: { ...object.metadata, namespace: object.metadata.namespace ?? 'default' } }
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
      readonly nodePort?: number
    }[]
    readonly externalTrafficPolicy?: string
    readonly healthCheckNodePort?: number
    readonly allocateLoadBalancerNodePorts?: boolean
    readonly trafficDistribution?: string
    readonly [field: string]: unknown
  }
}

export function isPod(object: KubeManifest): object is PodManifest {
  return object.kind === 'Pod'
}

export function isService(object: KubeManifest): object is ServiceManifest {
  return object.kind === 'Service'
}
