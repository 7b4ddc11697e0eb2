// SPDX-License-Identifier: Apache-2.0
// Commands that ask the running agent and print its answer. Nouns change nothing.

import type {
  EndpointRow,
  NodeRow,
  PacketEvent,
  PlanReply,
  PolicyRow,
  ServiceCandidates,
  ServiceDetail,
  ServiceRow,
  Status,
  TraceReply,
} from '../agent/api.ts'
import { askAgent, streamAgent } from '../agent/client.ts'
import { CommandError } from '../core/command-error.ts'
import { type Call, type CommandRow, textOption } from './command.ts'
import { bytesText, durationText, facts, paint, printData, table } from './print.ts'

export const agentCommands: readonly CommandRow[] = [
  {
    usage: 'status',
    summary: "The agent's node: families, mode, kernel features, map fill levels, sources, drops.",
    examples: ['heddle status', 'heddle status --lab lab --node n2 -o json'],
    asksAgent: true,
    printsData: true,
    run: async (call) => {
      const status = await askAgent<Status>(call.socket, 'GET', '/v1/status')
      printData(call, status, (data) => statusText(call, data))
      return status.ready ? 0 : 1
    },
  },
  {
    usage: 'endpoint list',
    summary: 'The pods of this node, read back from the kernel.',
    examples: ['heddle endpoint list --lab lab --node n1'],
    asksAgent: true,
    printsData: true,
    run: async (call) => {
      const rows = await askAgent<EndpointRow[]>(call.socket, 'GET', '/v1/endpoints')
      printData(call, rows, endpointTable)
      return undefined
    },
  },
  {
    usage: 'service list',
    summary: 'The frontends of Services, read back from the kernel.',
    examples: ['heddle service list --backends --lab lab'],
    options: [['--backends', 'one line per backend']],
    asksAgent: true,
    printsData: true,
    run: async (call) => {
      const rows = await askAgent<ServiceRow[]>(call.socket, 'GET', '/v1/services')
      printData(call, rows, call.options.backends === true ? backendTable : serviceTable)
      return undefined
    },
  },
  {
    usage: 'service show <name>',
    summary: 'One Service, NS/NAME: its frontends, who is led where, its endpoints and why one gets nothing.',
    examples: ['heddle service show shop/stock --lab lab'],
    asksAgent: true,
    printsData: true,
    run: async (call) => {
      const [name] = call.args as [string]
      if (!/^[^/]+\/[^/]+$/.test(name)) throw new CommandError(`a Service is NS/NAME, not "${name}"`, 2)
      const query = new URLSearchParams({ name })
      const service = await askAgent<ServiceDetail>(call.socket, 'GET', `/v1/service?${query}`)
      printData(call, service, (data) => serviceText(call, data))
      return undefined
    },
  },
  {
    usage: 'policy list',
    summary: 'The policy sets in force on this node, read back from the kernel.',
    examples: ['heddle policy list --lab lab --node n2'],
    asksAgent: true,
    printsData: true,
    run: async (call) => {
      const rows = await askAgent<PolicyRow[]>(call.socket, 'GET', '/v1/policies')
      printData(call, rows, policyTable)
      return undefined
    },
  },
  {
    usage: 'node list',
    summary: 'The nodes of the cluster and how this node reaches them, read back from the kernel.',
    examples: ['heddle node list --lab lab'],
    asksAgent: true,
    printsData: true,
    run: async (call) => {
      const rows = await askAgent<NodeRow[]>(call.socket, 'GET', '/v1/nodes')
      printData(call, rows, nodeTable)
      return undefined
    },
  },
  {
    usage: 'plan',
    summary: 'What would change in the kernel now; nothing when it holds what is desired.',
    examples: ['heddle plan --lab lab --node n1'],
    asksAgent: true,
    printsData: true,
    run: async (call) => {
      const plan = await askAgent<PlanReply>(call.socket, 'GET', '/v1/plan')
      printData(call, plan, ({ steps }) => steps.map((step) => `${step}\n`).join('') || 'nothing to do\n')
      return undefined
    },
  },
  {
    usage: 'trace <from> <to> <port>',
    summary: 'Runs a packet through the compiled tables. FROM and TO: NS/POD, svc/NS/NAME, node/NAME or an address.',
    examples: [
      'heddle trace shop/cart svc/shop/stock 80/TCP --lab lab',
      'heddle trace shop/cart 203.0.113.2 53/UDP --lab lab',
    ],
    asksAgent: true,
    printsData: true,
    run: async (call) => {
      const [from, to, portText] = call.args as [string, string, string]
      const [port, protocol = 'TCP'] = portText.split('/') as [string, string?]
      if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
        throw new CommandError(`a port is a number up to 65535, with /UDP or /TCP where needed, not "${portText}"`, 2)
      const query = new URLSearchParams({ from, to, port, protocol: protocol.toUpperCase() })
      const trace = await askAgent<TraceReply>(call.socket, 'GET', `/v1/trace?${query}`)
      printData(call, trace, (data) => traceText(call, data))
      return trace.verdict === 'allow' ? 0 : 1
    },
  },
  {
    usage: 'monitor',
    summary: 'Packet events as they happen: what was dropped, or would be by audited policies, why, and by which rule.',
    examples: ['heddle monitor -f --lab lab --node n2', 'heddle monitor --drops --pod shop/cart -f --lab lab'],
    options: [
      ['--drops', 'drops only'],
      ['--pod <namespace/name>', 'events of this pod only'],
      ['-f, --follow', 'go on until interrupted'],
      ['--seconds <count>', 'without -f, end after the events of so many seconds', '1'],
    ],
    asksAgent: true,
    printsData: true,
    run: monitor,
  },
]

/** Without -f the events of a while are a sample; with -f it ends with the agent or the reader. */
async function monitor(call: Call): Promise<undefined> {
  const pod = textOption(call, 'pod')
  const seconds = textOption(call, 'seconds')!
  if (!/^\d{1,6}$/.test(seconds)) throw new CommandError(`--seconds takes a number up to 999999, not "${seconds}"`, 2)
  const until =
    call.options.follow === true ? new AbortController().signal : AbortSignal.timeout(Number(seconds) * 1_000)
  for await (const event of streamAgent<PacketEvent>(call.socket, '/v1/events', until)) {
    if (call.options.drops === true && event.type !== 'drop') continue
    if (pod !== undefined && ![event.pod, event.sourceName, event.destinationName].includes(pod)) continue
    // One JSON document per line, so that a reader can follow.
    call.print(call.output === 'text' ? eventLine(call, event) : `${JSON.stringify(event)}\n`)
  }
  return undefined
}

export function eventLine(call: { readonly colour: boolean }, event: PacketEvent): string {
  const isIcmp = event.protocol.startsWith('ICMP')
  const end = (name: string | null, address: string, port: number) =>
    `${name ? `${name} ` : ''}${isIcmp ? address : hostPort(address, port)}`
  return [
    event.time.slice(11, 23),
    paint(call, event.type === 'audit' ? 'yellow' : 'red', `${event.type} ${event.reason}`),
    event.hook,
    `${event.protocol}${event.tcpFlags ? ` ${event.tcpFlags}` : ''}`,
    `${end(event.sourceName, event.source, event.sourcePort)} -> ${end(event.destinationName, event.destination, event.destinationPort)}`,
    ...(event.service ? [`service ${event.service}`] : []),
    ...(event.rule ? [paint(call, 'bold', event.rule)] : []),
    `${event.length} B`,
    ...(event.count > 1 ? [`(1 of ${event.count})`] : []),
  ]
    .join('  ')
    .concat('\n')
}

function statusText(call: Call, status: Status): string {
  const { version, uplink, lastApply } = status
  const features = status.kernelFeatures.map(({ name, found }) => (found ? name : paint(call, 'yellow', `no ${name}`)))
  return [
    facts([
      ['Node', status.nodeName],
      ['Ready', status.ready ? paint(call, 'green', 'yes') : paint(call, 'red', 'no')],
      ...status.conditions.map((condition): [string, string] => ['', paint(call, 'yellow', condition)]),
      ['Agent', `pid ${status.pid}, ${bytesText(status.rssBytes)} resident, since ${status.startedAt}`],
      ['Version', `${version.version} ${version.commit}, ABI ${version.abi}, kernel ${version.kernel}`],
      ['Mode', `${status.mode}, ${status.families.map((family) => `IPv${family}`).join(' and ')}`],
      ['Addresses', status.nodeAddresses],
      ['Pod CIDRs', status.podCIDRs],
      ['Uplink', `${uplink.name} (ifindex ${uplink.ifindex}), MTU ${uplink.mtu}, pods ${status.podMtu}`],
      ['Kernel', features],
      [
        'Last apply',
        lastApply && `${lastApply.at}, ${lastApply.stepCount} steps in ${durationText(lastApply.milliseconds)}`,
      ],
      ...(lastApply?.error ? [['', paint(call, 'red', lastApply.error)] as [string, string]] : []),
    ]),
    table(
      ['MAP', 'DESIRED', 'CAPACITY'],
      status.maps.map(({ name, desiredCount, maxEntries }) => [name, desiredCount ?? 'kernel', maxEntries]),
    ),
    table(
      ['SOURCE', 'SYNCHRONISED', 'OBJECTS'],
      status.sources.map(({ name, synchronised, objectCounts }) => [
        name,
        synchronised,
        Object.entries(objectCounts).map(([kind, count]) => `${count} ${kind}`),
      ]),
    ),
    ...status.sources
      .filter(({ parts }) => parts.length > 0)
      .map(({ parts }) =>
        table(
          ['WATCHED', 'SYNCHRONISED', 'OBJECTS', 'AGE', 'WHY'],
          parts.map(({ name, synchronised, objectCount, ageMs, failure }) => [
            name,
            synchronised,
            objectCount,
            ageMs === null ? 'never seen' : ageMs === 0 ? 'current' : durationText(ageMs),
            failure,
          ]),
        ),
      ),
    ...status.sources
      .filter(({ problems }) => problems.length > 0)
      .map(({ problems }) =>
        table(
          ['REFUSED', 'FILE', 'DOCUMENT', 'FIELD', 'WHY', 'IN FORCE'],
          problems.map(({ object, file, document, field, message, lastGoodAgeMs, isolates }) => [
            object,
            file,
            document,
            field,
            message,
            inForceText(lastGoodAgeMs, isolates),
          ]),
        ),
      ),
    table(
      ['POOL', 'ALLOCATED', 'RESTING', 'CAPACITY'],
      status.pools.map(({ prefix, allocated, resting, capacity }) => [prefix, allocated, resting, capacity]),
    ),
    ...(status.drops.length > 0
      ? [
          table(
            ['DROPPED BECAUSE', 'PACKETS', 'BYTES'],
            status.drops.map(({ reason, packets, bytes }) => [reason, packets, bytes]),
          ),
        ]
      : []),
    ...(status.audited.length > 0
      ? [
          table(
            ['AUDITED: WOULD DROP', 'PACKETS', 'BYTES'],
            status.audited.map(({ reason, packets, bytes }) => [reason, packets, bytes]),
          ),
        ]
      : []),
  ].join('\n')
}

function inForceText(lastGoodAgeMs: number | null, isolates: boolean): string {
  if (lastGoodAgeMs !== null) return `the version of ${durationText(lastGoodAgeMs)} ago`
  return isolates ? 'isolation of its pods' : 'nothing'
}

function endpointTable(rows: readonly EndpointRow[]): string {
  return table(
    ['POD', 'ADDRESSES', 'DEVICE', 'IFINDEX', 'INGRESS SET', 'EGRESS SET', 'ISOLATED', 'DRIFT'],
    rows.map((row) => [
      `${row.namespace}/${row.name}`,
      row.addresses,
      row.hostIfname,
      row.ifindex,
      row.ingressSet,
      row.egressSet,
      row.isolated,
      row.drift,
    ]),
  )
}

function serviceTable(rows: readonly ServiceRow[]): string {
  return table(
    ['SERVICE', 'PORT', 'FRONTEND', 'BACKENDS', 'DRIFT'],
    rows.map((row) => [
      `${row.namespace}/${row.name}`,
      row.portName,
      frontendText(row),
      row.backends.length,
      row.drift,
    ]),
  )
}

function backendTable(rows: readonly ServiceRow[]): string {
  return table(
    ['SERVICE', 'PORT', 'FRONTEND', 'BACKEND', 'DRIFT'],
    rows.flatMap((row) => {
      const backends =
        row.backends.length > 0 ? row.backends.map(({ address, port }) => hostPort(address, port)) : ['-']
      return backends.map((backend) => [
        `${row.namespace}/${row.name}`,
        row.portName,
        frontendText(row),
        backend,
        row.drift,
      ])
    }),
  )
}

function serviceText(call: Call, service: ServiceDetail): string {
  const { frontends, endpoints, loadBalancerMode, traffic, clients, healthCheck, problems } = service
  const parts = [
    table(
      ['KIND', 'PORT', 'FRONTEND', 'INSIDE', 'OUTSIDE', 'ONLY FROM', 'BALANCING', 'AFFINITY', 'DRIFT'],
      frontends.map((frontend) => [
        frontend.kind,
        frontend.portName,
        frontendText(frontend),
        candidatesText(frontend.internal),
        frontend.external === null ? '-' : candidatesText(frontend.external),
        frontend.sourceRanges ?? 'anywhere',
        frontend.algorithm,
        frontend.affinitySeconds === 0 ? '-' : `${frontend.affinitySeconds} s`,
        frontend.drift,
      ]),
    ),
    table(
      ['PORT', 'ENDPOINT', 'NODE', 'STATE', 'HINTS', 'WEIGHT', 'CLUSTER', 'LOCAL', 'EXCLUDED'],
      endpoints.map((endpoint) => [
        `${endpoint.portName}/${endpoint.protocol}`,
        hostPort(endpoint.address, endpoint.port),
        endpoint.node,
        stateText(endpoint),
        [...endpoint.zoneHints, ...endpoint.nodeHints],
        endpoint.weight ?? '-',
        endpoint.inCluster,
        endpoint.inLocal,
        endpoint.excluded,
      ]),
    ),
  ]
  if (frontends.some(({ external }) => external !== null)) parts.push(`load balancer mode ${loadBalancerMode}\n`)
  if (traffic.length > 0) parts.push(trafficTable(traffic))
  if (clients.length > 0) parts.push(clientTable(clients))
  if (healthCheck !== null) parts.push(`health check on port ${healthCheck.port}: ${healthCheck.localEndpoints} here\n`)
  if (problems.length > 0) parts.push(problems.map((problem) => `${paint(call, 'yellow', problem)}\n`).join(''))
  return parts.join('\n')
}

function trafficTable(traffic: ServiceDetail['traffic']): string {
  return table(
    ['BACKEND', 'CONNECTIONS FROM HERE', 'BYTES SENT', 'BYTES RECEIVED'],
    traffic.map((each) => [frontendText(each), each.connections, each.bytesSent, each.bytesReceived]),
  )
}

const CLIENTS_MAX = 20

function clientTable(clients: ServiceDetail['clients']): string {
  const rows = clients
    .slice(0, CLIENTS_MAX)
    .map(({ portName, client, backend, idleSeconds }) => [
      portName,
      client,
      hostPort(backend.address, backend.port),
      `${Math.round(idleSeconds)} s`,
    ])
  const more = clients.length - rows.length
  return `${table(['PORT', 'CLIENT', 'IS LED TO', 'CAME LAST'], rows)}${more > 0 ? `and ${more} more\n` : ''}`
}

function candidatesText({ backends, policy, whenEmpty }: ServiceCandidates): string {
  const where = policy === 'Local' ? ' local' : ''
  return backends.length === 0 ? `${whenEmpty}${where}` : `${backends.length}${where}`
}

function stateText({ ready, serving, terminating }: ServiceDetail['endpoints'][number]): string {
  if (ready) return 'ready'
  if (terminating) return serving ? 'terminating, serving' : 'terminating'
  return 'not ready'
}

function frontendText(row: Pick<ServiceRow, 'address' | 'port' | 'protocol'>): string {
  return `${hostPort(row.address, row.port)}/${row.protocol}`
}

function hostPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

function policyTable(rows: readonly PolicyRow[]): string {
  return table(
    ['SET', 'DIRECTION', 'ENDPOINTS', 'LEVEL', 'PEER', 'PROTOCOL', 'PORT', 'VERDICT', 'RULE', 'DRIFT'],
    rows.flatMap((row) => {
      const rest = { level: '', scope: '', protocol: '', port: '', verdict: 'deny', rule: row.policies.join(', ') }
      // Where no NetworkPolicy isolates, an entry for everybody says what holds else.
      const isWhole = row.policies.length === 0 && row.entries.length > 0
      const entries = isWhole ? row.entries : [...row.entries, { ...rest, level: 'else', drift: row.drift }]
      return entries.map((entry, index) => [
        index === 0 ? row.set : ' ',
        index === 0 ? row.direction : ' ',
        index === 0 ? row.endpoints : ' ',
        entry.level,
        entry.scope,
        entry.protocol,
        entry.port,
        entry.verdict,
        entry.rule,
        entry.drift,
      ])
    }),
  )
}

function nodeTable(rows: readonly NodeRow[]): string {
  return table(
    ['NODE', 'ADDRESSES', 'POD CIDRS', 'REACHED BY', 'DRIFT'],
    rows.map((row) => [
      row.own ? `${row.name} (this)` : row.name,
      row.addresses,
      row.podCIDRs,
      row.nexthops.map(({ gateway, tunnel }) => (gateway === tunnel ? gateway : `${tunnel} by ${gateway}`)),
      row.drift,
    ]),
  )
}

function allowedText({ audit }: TraceReply): string {
  return audit === null ? 'allowed' : `allowed (audit: would be denied by ${audit})`
}

function traceText(call: Call, trace: TraceReply): string {
  const verdict =
    trace.verdict === 'allow'
      ? paint(call, trace.audit === null ? 'green' : 'yellow', allowedText(trace))
      : paint(call, 'red', `denied: ${trace.reason ?? 'policy'}`)
  return [
    `${trace.from} -> ${trace.to}\n`,
    ...trace.steps.map(({ stage, text }) => `  ${stage.padEnd(12)} ${text}\n`),
    `${verdict}${trace.rule ? ` by ${trace.rule}` : ''}\n`,
  ].join('')
}
