// SPDX-License-Identifier: Apache-2.0
// What a runtime asks for, from the CNI specification 1.1.0: the CNI_* environment and the network configuration, parsed and
// validated; every refusal is a CniError.

import type { AttachmentId } from '../ipam/attachment.ts'
import { type CniResult, parseResult } from './results.ts'

/** native/cni-shim/main.c answers VERSION with the same list. */
export const SUPPORTED_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const
export type CniVersion = (typeof SUPPORTED_VERSIONS)[number]
export const NEWEST_VERSION: CniVersion = '1.1.0'

/** Below 100: section 5 of the specification; from 100 on: ours, append-only. */
export const CniErrorCode = {
  INCOMPATIBLE_VERSION: 1,
  UNSUPPORTED_FIELD: 2,
  UNKNOWN_CONTAINER: 3,
  INVALID_ENVIRONMENT: 4,
  IO_FAILURE: 5,
  DECODE_FAILURE: 6,
  INVALID_CONFIG: 7,
  TRY_AGAIN_LATER: 11,
  NOT_AVAILABLE: 50,
  ALREADY_ATTACHED: 100,
  INTERFACE_EXISTS: 101,
  POOL_EXHAUSTED: 102,
  CHECK_FAILED: 103,
  KERNEL_REFUSED: 104,
} as const
export type CniErrorCode = (typeof CniErrorCode)[keyof typeof CniErrorCode]

export interface CniError {
  readonly code: CniErrorCode
  readonly msg: string
  readonly details: string
  /** For the log; the runtime does not see it. */
  readonly cause?: unknown
}

/** As native/cni-shim sends it: the CNI_* environment ('' where unset) and standard input. */
export interface CniRequest {
  readonly command: string
  readonly containerId: string
  readonly netns: string
  readonly ifname: string
  readonly args: string
  readonly path: string
  readonly config: string
}

export interface CniReply {
  /** Of the plugin: 0 or 1. */
  readonly exitCode: number
  /** For its standard output. */
  readonly output: string
  /** To be called exactly once, when the shim has taken the whole reply (true) or cannot (false). */
  readonly delivered: (whole: boolean) => void
}

export interface NetworkConfig {
  readonly cniVersion: CniVersion
  readonly name: string
  /** Passed on in the result. */
  readonly dns: Readonly<Record<string, unknown>> | null
}

export interface PodName {
  readonly namespace: string
  readonly name: string
  readonly uid: string
}

export type CniCommand = { readonly config: NetworkConfig } & (
  | {
      readonly command: 'ADD'
      readonly id: AttachmentId
      readonly netns: string
      readonly pod: PodName
      readonly prevResult: CniResult | null
    }
  | { readonly command: 'CHECK'; readonly id: AttachmentId; readonly netns: string; readonly prevResult: CniResult }
  | { readonly command: 'DEL'; readonly id: AttachmentId }
  /** valid null: the runtime did not say; only what is known to be gone is stale. */
  | { readonly command: 'GC'; readonly valid: readonly AttachmentId[] | null }
  | { readonly command: 'STATUS' }
)

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const
/** First version that knows the command. */
const SINCE: Readonly<Record<string, CniVersion>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' }
const NAME_LENGTH_MAX = 255
const IFNAME_BYTES_MAX = 15
const PATH_LENGTH_MAX = 4095
/** Of container IDs and network names. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/
const POD_ARGUMENTS = { K8S_POD_NAMESPACE: 'namespace', K8S_POD_NAME: 'name', K8S_POD_UID: 'uid' } as const

export function cniError(code: CniErrorCode, msg: string, details = '', cause?: unknown): CniError {
  return { code, msg, details, ...(cause === undefined ? {} : { cause }) }
}

export function isCniError(value: object): value is CniError {
  return 'code' in value && 'msg' in value
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The request inside the shim's frame. */
export function parseRequest(text: string): CniRequest | CniError {
  const members = ['command', 'containerId', 'netns', 'ifname', 'args', 'path', 'config'] as const
  const request = parseJson(text)
  if (!isRecord(request) || !members.every((member) => typeof request[member] === 'string')) {
    return cniError(CniErrorCode.DECODE_FAILURE, 'not a request of heddle-cni', 'plugin and agent differ in version?')
  }
  return request as unknown as CniRequest
}

/** The version to answer in: what was asked for where it looks like one, else the newest. */
export function answerVersion(configText: string): string {
  const config = parseJson(configText)
  const version = isRecord(config) ? config.cniVersion : undefined
  return typeof version === 'string' && /^[0-9]+(\.[0-9]+){0,2}$/.test(version) ? version.slice(0, 15) : NEWEST_VERSION
}

export function parseCommand(request: CniRequest): CniCommand | CniError {
  const command = COMMANDS.find((known) => known === request.command)
  if (command === undefined) {
    return cniError(CniErrorCode.INVALID_ENVIRONMENT, 'invalid CNI_COMMAND', quote(request.command))
  }
  const raw = parseJson(request.config)
  if (raw === undefined) return cniError(CniErrorCode.DECODE_FAILURE, 'the network configuration is not JSON')
  const config = parseConfig(raw, command)
  if (isCniError(config)) return config

  switch (command) {
    case 'STATUS':
      return { command, config }
    case 'GC':
      return parseGc(config, raw)
    case 'DEL': {
      const id = parseId(request)
      return isCniError(id) ? id : { command, config, id }
    }
    case 'ADD':
    case 'CHECK':
      return parseAttach(command, config, raw, request)
  }
}

function parseConfig(raw: unknown, command: string): NetworkConfig | CniError {
  if (!isRecord(raw)) return invalidConfig('the network configuration is not an object', raw)
  const cniVersion = SUPPORTED_VERSIONS.find((supported) => supported === raw.cniVersion)
  if (cniVersion === undefined || cniVersion < (SINCE[command] ?? '')) {
    return cniError(
      CniErrorCode.INCOMPATIBLE_VERSION,
      'incompatible CNI version',
      cniVersion === undefined
        ? `cniVersion is ${quote(raw.cniVersion)}, supported are ${SUPPORTED_VERSIONS.join(', ')}`
        : `${command} needs ${SINCE[command]}, cniVersion is ${cniVersion}`,
    )
  }
  if (typeof raw.name !== 'string' || !isName(raw.name)) return invalidConfig('invalid name', raw.name)
  if (raw.dns !== undefined && raw.dns !== null && !isRecord(raw.dns)) return invalidConfig('invalid dns', raw.dns)
  return { cniVersion, name: raw.name, dns: raw.dns ?? null }
}

function parseGc(config: NetworkConfig, raw: unknown): CniCommand | CniError {
  const key = 'cni.dev/valid-attachments'
  const list = (raw as Readonly<Record<string, unknown>>)[key]
  // A runtime that has no attachments may say null; one that says nothing (cnitool) must not lose all of them.
  if (list === undefined) return { command: 'GC', config, valid: null }
  if (list !== null && !Array.isArray(list)) return invalidConfig(`${key} is not a list`, list)
  const valid: AttachmentId[] = []
  for (const entry of list ?? []) {
    if (!isRecord(entry) || typeof entry.containerID !== 'string' || typeof entry.ifname !== 'string') {
      return invalidConfig(`invalid entry of ${key}`, entry)
    }
    valid.push({ containerId: entry.containerID, ifname: entry.ifname })
  }
  return { command: 'GC', config, valid }
}

function parseAttach(
  command: 'ADD' | 'CHECK',
  config: NetworkConfig,
  raw: unknown,
  request: CniRequest,
): CniCommand | CniError {
  const { ipam, prevResult: rawPrevious } = raw as Readonly<Record<string, unknown>>
  const id = parseId(request)
  if (isCniError(id)) return id
  const { netns } = request
  if (!netns.startsWith('/') || netns.includes('\0') || netns.length > PATH_LENGTH_MAX) {
    return invalidEnvironment('CNI_NETNS', netns)
  }
  const pod = parsePodName(request.args)
  if (isCniError(pod)) return pod
  if (isRecord(ipam) && ipam.type !== undefined && ipam.type !== '') {
    const details = `ipam.type is ${quote(ipam.type)}; heddle allocates the addresses itself`
    return cniError(CniErrorCode.UNSUPPORTED_FIELD, 'unsupported field ipam', details)
  }
  const prevResult = rawPrevious === undefined || rawPrevious === null ? null : parseResult(rawPrevious)
  if (typeof prevResult === 'string') return cniError(CniErrorCode.INVALID_CONFIG, 'invalid prevResult', prevResult)
  if (command === 'ADD') return { command, config, id, netns, pod, prevResult }
  if (prevResult === null) return cniError(CniErrorCode.INVALID_CONFIG, 'CHECK needs prevResult')
  return { command, config, id, netns, prevResult }
}

function parseId({ containerId, ifname }: CniRequest): AttachmentId | CniError {
  if (!isName(containerId)) return invalidEnvironment('CNI_CONTAINERID', containerId)
  if (!isInterfaceName(ifname)) return invalidEnvironment('CNI_IFNAME', ifname)
  return { containerId, ifname }
}

/** CNI_ARGS, "KEY=VALUE;KEY=VALUE". As in the reference plugins an unknown key is an error unless IgnoreUnknown is set. */
function parsePodName(args: string): PodName | CniError {
  const values = new Map<string, string>()
  for (const pair of args.split(';')) {
    const equals = pair.indexOf('=')
    if (equals > 0) values.set(pair.slice(0, equals), pair.slice(equals + 1))
    else if (pair !== '') return invalidEnvironment('CNI_ARGS', pair)
  }
  const ignoreUnknown = ['1', 'true'].includes((values.get('IgnoreUnknown') ?? '').toLowerCase())
  const pod = { namespace: '', name: '', uid: '' }
  for (const [key, value] of values) {
    if (Object.hasOwn(POD_ARGUMENTS, key)) {
      if (value !== '' && !isName(value)) return invalidEnvironment('CNI_ARGS', `${key}=${value}`)
      pod[POD_ARGUMENTS[key as keyof typeof POD_ARGUMENTS]] = value
    } else if (!ignoreUnknown && key !== 'IgnoreUnknown' && key !== 'K8S_POD_INFRA_CONTAINER_ID') {
      return invalidEnvironment('CNI_ARGS', `${key} is unknown and IgnoreUnknown is not set`)
    }
  }
  return pod
}

function isName(text: string): boolean {
  return text.length <= NAME_LENGTH_MAX && NAME.test(text)
}

/** net/core/dev.c dev_valid_name; '%' too, which the kernel would replace by a number. */
function isInterfaceName(text: string): boolean {
  if (text === '' || text === '.' || text === '..' || Buffer.byteLength(text) > IFNAME_BYTES_MAX) return false
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  return !/[/:%\s\u0000-\u001f\u007f]/.test(text)
}

function invalidEnvironment(variable: string, value: string): CniError {
  const details = value === '' ? 'it is not set' : quote(value)
  return cniError(CniErrorCode.INVALID_ENVIRONMENT, `invalid ${variable}`, details)
}

function invalidConfig(msg: string, value: unknown): CniError {
  return cniError(CniErrorCode.INVALID_CONFIG, msg, quote(value))
}

/** undefined: not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** Enough of a bad value to recognise it. */
function quote(value: unknown): string {
  const text =
    typeof value === 'string'
      ? JSON.stringify(value.slice(0, 100))
      : `of type ${value === null ? 'null' : typeof value}`
  return value === undefined ? 'missing' : text
}
