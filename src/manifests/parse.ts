// SPDX-License-Identifier: Apache-2.0
// The text of one manifest file -> objects and problems. Nothing here throws on input, whatever it is.

import { LineCounter, parseAllDocuments } from 'yaml'
import {
  BadField,
  type Cursor,
  clip,
  field,
  isRecord,
  LIST_MAX,
  list,
  pathOf,
  pathText,
  root,
  text,
} from '../api/cursor.ts'
import { readMetadata } from '../api/fields.ts'
import { unreadRules } from '../api/network-policy.ts'
import { readers, standIns } from '../api/object.ts'
import { sameValue } from '../world/equal.ts'
import type { Kind, KubeObject } from '../world/objects.ts'
import type { SourceProblem } from '../world/source.ts'
import { objectKey } from '../world/world.ts'

/** Kinds without a namespace. */
export const clusterKinds: ReadonlySet<string> = new Set<Kind>([
  'Namespace',
  'Node',
  'ServiceCIDR',
  'ClusterNetworkPolicy',
  'CiliumClusterwideNetworkPolicy',
])

export interface ParsedFile {
  readonly path: string
  /** By "Kind namespace/name"; equal definitions of one object count once. */
  readonly objects: ReadonlyMap<string, KubeObject>
  readonly problems: readonly SourceProblem[]
  /** By "Kind namespace/name": for those among the problems that nothing at all would open. */
  readonly standIns: ReadonlyMap<string, KubeObject>
  /** What is ignored, one sentence each. */
  readonly notices: readonly string[]
}

/** What one document says; lines count from the chunk's first. */
interface Finding {
  readonly objects: readonly { readonly object: KubeObject; readonly line: number }[]
  readonly problems: readonly Omit<SourceProblem, 'file' | 'document'>[]
  readonly standIns: readonly KubeObject[]
  readonly notices: readonly string[]
}

const EMPTY: Finding = { objects: [], problems: [], standIns: [], notices: [] }

const FILE_CHARACTERS_MAX = 256 * 1024 * 1024

export interface ManifestParser {
  parse(path: string, text: string): ParsedFile
  /** The same, giving way after each document. */
  steps(path: string, text: string): Generator<undefined, ParsedFile>
  forget(path: string): void
}

/** Remembers the documents of each file, so that a changed file costs what changed in it. Keeps no more than the last
 *  text of files with several documents. Cost: about 0.15 ms for a YAML document, 0.005 ms for a JSON one. */
export function createManifestParser(): ManifestParser {
  const remembered = new Map<string, ReadonlyMap<string, readonly Finding[]>>()

  function* steps(path: string, source: string): Generator<undefined, ParsedFile> {
    if (source.length > FILE_CHARACTERS_MAX) {
      return merge(path, [[1, [refusal(1, '', `larger than ${FILE_CHARACTERS_MAX} characters`)]]])
    }
    const before = remembered.get(path)
    const now = new Map<string, readonly Finding[]>()
    const found: [line: number, findings: readonly Finding[]][] = []
    for (const { line, chunk } of splitDocuments(source)) {
      const findings = now.get(chunk) ?? before?.get(chunk) ?? parseChunk(chunk)
      now.set(chunk, findings)
      found.push([line, findings])
      yield
    }
    if (now.size > 1) remembered.set(path, now)
    else remembered.delete(path)
    return merge(path, found)
  }

  return {
    steps,
    parse(path, source) {
      const running = steps(path, source)
      for (;;) {
        const step = running.next()
        if (step.done) return step.value
      }
    },
    forget: (path) => void remembered.delete(path),
  }
}

/** Nothing but directives, comments and empty lines. */
const PREAMBLE = /^(?:[ \t]*(?:[%#].*)?\r?\n)*$/

/** Cuts at document markers: a line that starts with "---" is one even inside a block scalar (YAML 1.2.2, 9.1.2). What
 *  only holds directives and comments belongs to the document that follows. */
function splitDocuments(source: string): readonly { readonly line: number; readonly chunk: string }[] {
  const chunks: { line: number; chunk: string }[] = []
  let start = 0
  let startLine = 1
  let line = 1
  for (let at = 0; at < source.length; at = source.indexOf('\n', at) + 1 || source.length, line++) {
    if (at === start || !isMarker(source, at)) continue
    if (PREAMBLE.test(source.slice(start, at))) continue
    chunks.push({ line: startLine, chunk: source.slice(start, at) })
    start = at
    startLine = line
  }
  chunks.push({ line: startLine, chunk: source.slice(start) })
  return chunks
}

function isMarker(source: string, at: number): boolean {
  return source.startsWith('---', at) && (at + 3 === source.length || /\s/.test(source[at + 3]!))
}

function parseChunk(chunk: string): readonly Finding[] {
  if (/^\s*[{[]/.test(chunk)) {
    const value = parseJson(chunk)
    // A refusal needs lines, which only the YAML parser gives; JSON is YAML.
    const finding = value === undefined ? null : readDocument(value, () => 1)
    if (finding !== null && finding.problems.length === 0) return [finding]
  }
  try {
    return parseYaml(chunk)
  } catch (error) {
    // Nesting beyond the stack, aliases beyond yaml's bound: hostile, not ours to understand.
    return [refusal(1, '', error instanceof Error ? firstLine(error.message) : String(error))]
  }
}

function parseJson(chunk: string): unknown {
  try {
    return JSON.parse(chunk)
  } catch {
    return undefined
  }
}

function parseYaml(chunk: string): readonly Finding[] {
  const lines = new LineCounter()
  const documents = parseAllDocuments(chunk, { lineCounter: lines, logLevel: 'silent', strict: true })
  if (!Array.isArray(documents)) return []
  return documents.map((document) => {
    const lineOf = (offset: number | undefined) => (offset === undefined ? 1 : Math.max(1, lines.linePos(offset).line))
    const error = document.errors[0]
    if (error !== undefined) return refusal(lineOf(error.pos[0]), '', firstLine(error.message))
    return readDocument(document.toJS({ maxAliasCount: 100 }), (path) => {
      for (let depth = path.length; depth > 0; depth--) {
        const node = document.getIn(path.slice(0, depth), true) as { readonly range?: readonly number[] } | undefined
        if (node?.range) return lineOf(node.range[0])
      }
      return lineOf(document.contents?.range?.[0])
    })
  })
}

type LineOf = (path: readonly (string | number)[]) => number

function readDocument(value: unknown, lineOf: LineOf): Finding {
  if (value === null || value === undefined) return EMPTY
  const findings = [...itemsOf(root(value))].map((item) => readObject(item, lineOf))
  return {
    objects: findings.flatMap((finding) => finding.objects),
    problems: findings.flatMap((finding) => finding.problems),
    standIns: findings.flatMap((finding) => finding.standIns),
    notices: findings.flatMap((finding) => finding.notices),
  }
}

/** The object itself, or the items of a List, ServiceList ... */
function itemsOf(object: Cursor): readonly Cursor[] {
  const record = object.value
  if (!isRecord(record) || typeof record.kind !== 'string' || !record.kind.endsWith('List')) return [object]
  return Array.isArray(record.items) ? list(field(object, 'items'), LIST_MAX) : [object]
}

function readObject(object: Cursor, lineOf: LineOf): Finding {
  let name = ''
  try {
    const kind = text(field(object, 'kind'))
    const type = `${text(field(object, 'apiVersion'))} ${kind}`
    const reader = Object.hasOwn(readers, type) ? readers[type] : undefined
    if (reader === undefined) return notice(`${clip(type)} is not read`)
    const metadata = readMetadata(object)
    const clusterScoped = clusterKinds.has(kind)
    name = `${kind} ${clusterScoped ? metadata.name : `${metadata.namespace}/${metadata.name}`}`
    const read = reader(object)
    if (read === null) return notice(`${name} is not for this proxy: another's, headless by label, or of type FQDN`)
    return { ...EMPTY, objects: [{ object: read, line: lineOf(pathOf(object)) }], notices: unreadRules(read) }
  } catch (error) {
    if (!(error instanceof BadField)) throw error
    const problem = { line: lineOf(error.path), object: name, field: pathText(error.path), message: error.message }
    const standIn = name === '' ? undefined : standIns[name.split(' ')[0] as Kind]?.(object)
    return { ...EMPTY, problems: [problem], standIns: standIn ? [standIn] : [] }
  }
}

function merge(path: string, found: readonly (readonly [line: number, findings: readonly Finding[]])[]): ParsedFile {
  const objects = new Map<string, KubeObject>()
  const problems: SourceProblem[] = []
  const standIns = new Map<string, KubeObject>()
  const notices: string[] = []
  let document = 0
  for (const [firstLineOfChunk, findings] of found) {
    for (const finding of findings) {
      document++
      for (const { object, line } of finding.objects) {
        const key = objectKey(object)
        const first = objects.get(key)
        if (first === undefined) objects.set(key, object)
        else if (!sameValue(first, object))
          problems.push(definedTwice(path, line + firstLineOfChunk - 1, document, key))
      }
      for (const problem of finding.problems) {
        problems.push({ ...problem, file: path, document, line: problem.line + firstLineOfChunk - 1 })
      }
      for (const object of finding.standIns) standIns.set(objectKey(object), object)
      for (const text of finding.notices) notices.push(`${path}: document ${document}: ${text}`)
    }
  }
  return { path, objects, problems, standIns, notices }
}

export function definedTwice(file: string, line: number, document: number, object: string): SourceProblem {
  return { file, line, document, object, field: 'metadata.name', message: 'defined before, with other contents' }
}

function refusal(line: number, object: string, message: string): Finding {
  return { ...EMPTY, problems: [{ line, object, field: '', message }] }
}

function notice(text: string): Finding {
  return { ...EMPTY, notices: [text] }
}

function firstLine(message: string): string {
  return clip(message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, ''))
}
