// SPDX-License-Identifier: Apache-2.0
// The one configuration file of a node. Every setting is one row of `settings`: its meaning, its default, and what it
// accepts; `heddle config` prints the table as a file. A key that is not there is refused.

import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml'
import type { Prefix } from '../core/address.ts'
import { coversMapped, isParseError, parsePrefix } from '../core/address.ts'
import { maps } from '../generated/abi.ts'
import { IN_CLUSTER } from '../kube/connection.ts'
import { EVERY_NAMESPACE, type PolicySettings } from '../policy/compile.ts'

export type Mode = 'native' | 'vxlan'
export type LoadBalancerMode = 'snat' | 'hybrid'
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

export interface Config {
  readonly nodeName: string
  readonly manifests: string
  /** '': the source is `manifests`; IN_CLUSTER: the service account of the agent's own pod; else the file's path. */
  readonly kubeconfig: string
  /** Tried in turn; empty: as kubeconfig or the pod's environment says. */
  readonly apiServers: readonly string[]
  readonly mode: Mode
  readonly uplink: string
  readonly mtu: 'auto' | number
  readonly bigTCP: 'auto' | 'always' | 'never'
  readonly masquerade: boolean
  readonly loadBalancerMode: LoadBalancerMode
  readonly policyAudit: boolean
  readonly policyRefuse: boolean
  readonly policyDefaultDeny: readonly string[]
  readonly policyDefaultAllow: readonly string[]
  readonly serviceCIDRs: readonly Prefix[]
  readonly serviceResetTCP: boolean
  readonly nodePortAddresses: readonly Prefix[]
  readonly tunnelPort: number
  readonly vni: number
  readonly natPortMin: number
  readonly natPortMax: number
  readonly runDir: string
  readonly stateDir: string
  readonly bpffs: string
  readonly cgroup: string
  readonly sysctlDir: string
  readonly objectsDir: string
  /** '': nothing is written there. */
  readonly cniConfDir: string
  /** '': nothing is written there. */
  readonly cniBinDir: string
  readonly metricsAddress: string
  readonly proxyHealthAddress: string
  readonly logLevel: LogLevel
  /** Entries of each map whose default does not fit. */
  readonly mapSizes: Readonly<Record<string, number>>
}

/** What is wrong with a configuration file, ready to print: "file:line: key: what". */
export interface ConfigProblem {
  readonly configProblem: string
}

interface Setting<T> {
  readonly meaning: string
  readonly initial: T
  /** The value, or what was expected instead. */
  readonly read: (value: unknown) => T | Expected
}

interface Expected {
  readonly expected: string
}

const text: (value: unknown) => string | Expected = (value) =>
  typeof value === 'string' && value !== '' ? value : { expected: 'a text' }

const path: (value: unknown) => string | Expected = (value) =>
  typeof value === 'string' && value.startsWith('/') ? value : { expected: 'an absolute path' }

const pathOrNone: (value: unknown) => string | Expected = (value) =>
  value === '' || typeof path(value) === 'string' ? (value as string) : { expected: "an absolute path or ''" }

const API_SERVERS_MAX = 16

const apiServers = (value: unknown): readonly string[] | Expected => {
  if (!Array.isArray(value)) return { expected: 'a list of URLs' }
  if (value.length > API_SERVERS_MAX) return { expected: `at most ${API_SERVERS_MAX} URLs` }
  const bad = value.find((item) => typeof item !== 'string' || !isServerUrl(item))
  return bad === undefined
    ? (value as string[])
    : { expected: `URLs such as https://10.0.0.1:6443, not ${String(bad)}` }
}

/** Scheme, host and port only: a path would be lost, a user name would be a secret in a log. */
function isServerUrl(text: string): boolean {
  const url = URL.parse(text)
  // Compared as parsed: a text that names the default port 443, or a host in capitals, is not its own origin.
  return url !== null && url.protocol === 'https:' && url.href === `${url.origin}/`
}

const oneOf =
  <T extends string>(...choices: readonly T[]) =>
  (value: unknown): T | Expected =>
    choices.find((choice) => choice === value) ?? { expected: choices.join(' or ') }

const integer =
  (min: number, max: number) =>
  (value: unknown): number | Expected =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
      ? value
      : { expected: `a whole number from ${min} to ${max}` }

const anyPrefixes = (value: unknown): readonly Prefix[] | Expected => {
  if (!Array.isArray(value)) return { expected: 'a list of prefixes' }
  const parsed = value.map((item) => parsePrefix(String(item)))
  const bad = parsed.find(isParseError)
  return bad ? { expected: `prefixes such as 10.96.0.0/16, not ${bad.text}` } : (parsed as Prefix[])
}

const prefixes = (value: unknown): readonly Prefix[] | Expected => {
  const read = anyPrefixes(value)
  const tooWide = isExpected(read) ? undefined : read.find(coversMapped)
  return tooWide ? { expected: `prefixes that hold no IPv4-mapped address, not ${tooWide}` } : read
}

const listenAddress = (value: unknown): string | Expected =>
  value === 'off' || (typeof value === 'string' && /^.+:\d{1,5}$/.test(value))
    ? value
    : { expected: 'ADDRESS:PORT or off' }

/** RFC 1123, as Kubernetes wants the name of a Namespace. */
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/

const namespaces =
  (...words: readonly string[]) =>
  (value: unknown): readonly string[] | Expected => {
    if (!Array.isArray(value)) return { expected: 'a list of namespaces' }
    const bad = value.find((item) => typeof item !== 'string' || !(words.includes(item) || DNS_LABEL.test(item)))
    return bad === undefined ? (value as string[]) : { expected: `namespaces such as kube-system, not ${String(bad)}` }
  }

const bool = (value: unknown): boolean | Expected =>
  typeof value === 'boolean' ? value : { expected: 'true or false' }

const mapSizes = (value: unknown): Readonly<Record<string, number>> | Expected => {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { expected: 'map names with a size each' }
  const unknown = Object.keys(value).find((name) => !Object.hasOwn(maps, name))
  if (unknown !== undefined) return { expected: `names of maps, not ${unknown}` }
  const bad = Object.entries(value).find(([, size]) => !Number.isInteger(size) || size < 1 || size > 1 << 24)
  return bad ? { expected: `a size from 1 to ${1 << 24} for ${bad[0]}` } : (value as Record<string, number>)
}

const settings: { readonly [K in keyof Config]: Setting<Config[K]> } = {
  nodeName: {
    meaning: "Name of this node's Node object; by default HEDDLE_NODE_NAME of the environment, else the host's name.",
    initial: process.env.HEDDLE_NODE_NAME || hostname(),
    read: text,
  },
  manifests: {
    meaning: 'Folder of manifests (YAML or JSON) that the agent follows.',
    initial: '/etc/heddle/manifests',
    read: path,
  },
  kubeconfig: {
    meaning: "Kubernetes API that the agent follows instead of manifests: in-cluster, or a kubeconfig file; '': none.",
    initial: '',
    read: (value) => {
      const read = value === IN_CLUSTER ? value : pathOrNone(value)
      return typeof read === 'string' ? read : { expected: `${IN_CLUSTER}, an absolute path or ''` }
    },
  },
  apiServers: {
    meaning:
      'URLs of the API servers, tried in turn, instead of what kubeconfig names; they must work without Services.',
    initial: [],
    read: apiServers,
  },
  mode: {
    meaning: 'How packets reach pods of other nodes: native (the network routes pod CIDRs) or vxlan.',
    initial: 'vxlan',
    read: oneOf('native', 'vxlan'),
  },
  uplink: {
    meaning: "Device that leads to the other nodes; auto: the one that holds the node's InternalIP.",
    initial: 'auto',
    read: text,
  },
  mtu: {
    meaning: "MTU of pods; auto: the uplink's, less the tunnel's headers.",
    initial: 'auto',
    read: (value) => (value === 'auto' ? 'auto' : integer(1280, 65535)(value)),
  },
  bigTCP: {
    meaning:
      'TCP hands IPv4 packets of up to 128 KiB through the node (Linux 6.3); auto: where its driver says that the uplink cuts them, and in vxlan mode only a veth.',
    initial: 'auto',
    read: oneOf('auto', 'always', 'never'),
  },
  masquerade: {
    meaning: "Give packets that leave the cluster the node's own address.",
    initial: true,
    read: bool,
  },
  loadBalancerMode: {
    meaning:
      'How a client of the world is answered by a backend of another node than the one it asks: snat (by the way it came, and sees that node as its client), or hybrid: TCP by the backend’s node, which sees the client.',
    initial: 'snat',
    read: (value) =>
      value === 'dsr' ? { expected: 'snat or hybrid: UDP and SCTP go by SNAT' } : oneOf('snat', 'hybrid')(value),
  },
  policyAudit: {
    meaning:
      'Let pass what policies deny, and tell and count it: every policy is audited, as heddle.network/audit does for one.',
    initial: false,
    read: bool,
  },
  policyRefuse: {
    meaning: 'Answer what policies deny, TCP by RST and UDP by ICMP, instead of silence.',
    initial: false,
    read: bool,
  },
  policyDefaultDeny: {
    meaning:
      "Namespaces in which pods reach, and are reached by, only what a policy admits; '*': every one but policyDefaultAllow.",
    initial: [],
    read: namespaces(EVERY_NAMESPACE),
  },
  policyDefaultAllow: {
    meaning: "Namespaces that '*' of policyDefaultDeny leaves out.",
    initial: ['kube-system'],
    read: namespaces(),
  },
  serviceCIDRs: {
    meaning:
      'Prefixes of ClusterIPs beside those of ServiceCIDR objects (Kubernetes 1.33): an address in them that no Service has is refused.',
    initial: [],
    read: prefixes,
  },
  serviceResetTCP: {
    meaning:
      'Reset TCP connections by a Service to a backend that its EndpointSlices name no more; while it terminates they go on.',
    initial: false,
    read: bool,
  },
  nodePortAddresses: {
    meaning:
      "Prefixes of this node's own addresses where NodePorts are answered, 127.0.0.0/8 for the node itself; empty: its InternalIPs.",
    initial: [],
    read: anyPrefixes,
  },
  tunnelPort: {
    meaning: 'UDP port of the tunnel.',
    initial: 8472,
    read: integer(1, 65535),
  },
  vni: {
    meaning: 'VXLAN network identifier; equal on all nodes.',
    initial: 1,
    read: integer(0, 0xffffff),
  },
  natPortMin: {
    meaning: 'First port that masqueraded connections may get.',
    initial: 32768,
    read: integer(1024, 65535),
  },
  natPortMax: {
    meaning: 'Last port that masqueraded connections may get.',
    initial: 65535,
    read: integer(1024, 65535),
  },
  runDir: {
    meaning: 'Sockets and lock; may vanish at a reboot.',
    initial: '/run/heddle',
    read: path,
  },
  stateDir: {
    meaning: 'Journals of addresses, endpoints and last good objects; must survive a reboot.',
    initial: '/var/lib/heddle',
    read: path,
  },
  bpffs: {
    meaning: 'A mounted bpf file system; maps and links are pinned in its folder heddle.',
    initial: '/sys/fs/bpf',
    read: path,
  },
  cgroup: {
    meaning: 'cgroup2 folder whose processes reach Services at the socket; auto: the root of the cgroup2 mount.',
    initial: 'auto',
    read: (value) => (value === 'auto' ? 'auto' : path(value)),
  },
  sysctlDir: {
    meaning:
      "Folder where the kernel's network settings can be written; in a container that is not privileged: a mount.",
    initial: '/proc/sys/net',
    read: path,
  },
  objectsDir: {
    meaning: 'Folder of the compiled programs.',
    initial: new URL('../../build/bpf', import.meta.url).pathname,
    read: path,
  },
  cniConfDir: {
    meaning: "Folder where the agent writes the network configuration once it is ready (/etc/cni/net.d); '': nowhere.",
    initial: '',
    read: pathOrNone,
  },
  cniBinDir: {
    meaning: "Folder where the agent puts the CNI plugin (/opt/cni/bin); '': nowhere.",
    initial: '',
    read: pathOrNone,
  },
  metricsAddress: {
    meaning: 'Where /metrics, /healthz and /readyz are served over HTTP; off: nowhere.',
    initial: '127.0.0.1:9964',
    read: listenAddress,
  },
  proxyHealthAddress: {
    meaning:
      "Where load balancers find kube-proxy's /healthz and /livez, 0.0.0.0:10256 in most clusters; off: nowhere.",
    initial: 'off',
    read: listenAddress,
  },
  logLevel: {
    meaning: 'Least important messages that are logged: trace, debug, info, warn or error.',
    initial: 'info',
    read: oneOf('trace', 'debug', 'info', 'warn', 'error'),
  },
  mapSizes: {
    meaning: 'Entries of single maps, where the default does not fit: {flows: 262144}.',
    initial: {},
    read: mapSizes,
  },
}

/** The configuration that a file's text gives; missing keys have their defaults. `file` is for messages. */
export function parseConfig(source: string, file: string): Config | ConfigProblem {
  const lines = new LineCounter()
  const document = parseDocument(source, { lineCounter: lines })
  const at = (offset: number, message: string): ConfigProblem => ({
    configProblem: `${file}:${lines.linePos(offset).line}: ${message}`,
  })
  const syntax = document.errors[0]
  if (syntax) return at(syntax.pos[0], syntax.message.replace(/ at line .*/s, ''))
  const values: Record<string, unknown> = Object.fromEntries(
    Object.entries(settings).map(([key, setting]) => [key, setting.initial]),
  )
  const contents = document.contents
  if (contents === null) return values as unknown as Config
  if (!isMap(contents)) return at(0, 'the configuration must be a mapping of keys to values')
  for (const { key, value } of contents.items) {
    const name = isScalar(key) ? String(key.value) : String(key)
    const offset = (key as Node).range?.[0] ?? 0
    if (!Object.hasOwn(settings, name)) return at(offset, `unknown key ${name}`)
    const plain = (value as Node | null)?.toJS(document) ?? null
    const read = settings[name as keyof Config].read(plain)
    if (isExpected(read)) return at(offset, `${name} must be ${read.expected}`)
    values[name] = read
  }
  const config = values as unknown as Config
  if (config.natPortMin > config.natPortMax) return at(0, 'natPortMin must not be above natPortMax')
  return config
}

/** What of it the policy compiler reads. */
export function policySettings({ policyAudit, policyDefaultDeny, policyDefaultAllow }: Config): PolicySettings {
  return { auditAll: policyAudit, defaultDeny: policyDefaultDeny, defaultAllow: policyDefaultAllow }
}

export function readConfig(file: string): Config | ConfigProblem {
  try {
    return parseConfig(readFileSync(file, 'utf8'), file)
  } catch (error) {
    return { configProblem: `${file}: ${(error as Error).message.replace(/, .*/, '')}` }
  }
}

export function isConfigProblem(value: Config | ConfigProblem): value is ConfigProblem {
  return 'configProblem' in value
}

/** The documented file with every default, as `heddle config` prints it. */
export function defaultConfigText(): string {
  return Object.entries(settings)
    .map(([key, { meaning, initial }]) => `# ${meaning}\n${key}: ${plainText(initial)}\n`)
    .join('\n')
}

function isExpected(value: unknown): value is Expected {
  return typeof value === 'object' && value !== null && 'expected' in value
}

function plainText(initial: unknown): string {
  return initial === '' ? "''" : JSON.stringify(initial).replaceAll('"', '')
}
