// SPDX-License-Identifier: Apache-2.0
// What the API says about the deployed test. Pure; throws BadField where an object is not what Kubernetes promises.

import { address, bool, type Cursor, dnsName, field, isMissing, list, port, root, text } from '../api/cursor.ts'
import { type Address, type Family, family } from '../core/address.ts'
import { EXTERNAL_SERVICE, LOAD_BALANCED_SERVICE, podName } from './objects.ts'
import type { Facts, NodeFacts, PodFacts } from './plan.ts'

/** Names of the nodes that take pods, sorted: Ready, not cordoned, Linux. */
export function readyNodes(objects: readonly unknown[]): readonly string[] {
  return objects
    .map(root)
    .filter((node) => {
      const isReady = list(field(field(node, 'status'), 'conditions')).some(
        (condition) => text(field(condition, 'type')) === 'Ready' && text(field(condition, 'status')) === 'True',
      )
      const isLinux = text(field(field(field(node, 'metadata'), 'labels'), 'kubernetes.io/os'), 'linux') === 'linux'
      return isReady && isLinux && !bool(field(field(node, 'spec'), 'unschedulable'), false)
    })
    .map((node) => dnsName(field(field(node, 'metadata'), 'name')))
    .toSorted()
}

export interface PodState extends PodFacts {
  readonly isReady: boolean
  /** What it waits for, as the kubelet says it; '' when nothing is known. */
  readonly waiting: string
  /** Waiting longer will not help: the image cannot be had, or the program ended. */
  readonly isHopeless: boolean
}

/** Reasons that do not go away by themselves. Source: kubelet's images and kuberuntime packages. */
const HOPELESS = [
  'ErrImageNeverPull',
  'InvalidImageName',
  'ImagePullBackOff',
  'CrashLoopBackOff',
  'CreateContainerConfigError',
]

export function podStates(objects: readonly unknown[]): ReadonlyMap<string, PodState> {
  return new Map(
    objects.map(root).map((pod) => {
      const name = dnsName(field(field(pod, 'metadata'), 'name'))
      return [name, podState(name, field(pod, 'status'))]
    }),
  )
}

function podState(name: string, status: Cursor): PodState {
  const container = list(field(status, 'containerStatuses'))[0] ?? root({})
  const waiting = field(field(container, 'state'), 'waiting')
  const ended = field(field(container, 'lastState'), 'terminated')
  const reason = text(field(waiting, 'reason'), '')
  const messages = [reason, ...[waiting, ended, status].map((at) => clipped(field(at, 'message')))]
  const restarts = field(container, 'restartCount').value
  const addresses = list(field(status, 'podIPs'), 8).map((ip) => address(field(ip, 'ip')))
  return {
    name,
    addresses,
    isReady: bool(field(container, 'ready'), false) && addresses.length > 0,
    waiting: messages.filter((message) => message !== '').join(': '),
    isHopeless: HOPELESS.includes(reason) || (typeof restarts === 'number' && restarts > 2),
  }
}

function clipped(message: Cursor): string {
  return typeof message.value === 'string' ? message.value.slice(0, 300).trim() : ''
}

/** `families`: those to test; null: every one that a pod or a Service of the test was given. */
export function readFacts(
  deployed: {
    readonly namespace: string
    readonly nodes: readonly string[]
    readonly nodePort: number
    readonly hostPort: number
    readonly pods: ReadonlyMap<string, PodFacts>
    /** The Services of the namespace, default/kubernetes (null: none), those that are the cluster's DNS. */
    readonly services: readonly unknown[]
    readonly apiServer: unknown
    readonly dnsServices: readonly unknown[]
  },
  families: readonly Family[] | null,
): Facts {
  const { namespace, nodePort, hostPort, pods } = deployed
  const pod = (name: string): PodFacts => pods.get(name) ?? { name, addresses: [] }
  const nodes = deployed.nodes.map(
    (name, node): NodeFacts => ({
      name,
      server: pod(podName({ role: 'server', node })),
      client: pod(podName({ role: 'client', node })),
      host: pod(podName({ role: 'node', node })),
    }),
  )
  const services = new Map(
    deployed.services.map(root).map((service) => [text(field(field(service, 'metadata'), 'name')), service]),
  )
  const service = (name: string) => clusterIPs(services.get(name) ?? root({}))
  const given = [
    ...nodes.flatMap(({ server, client }) => [...server.addresses, ...client.addresses]),
    ...service('server'),
  ]
  return {
    namespace,
    nodePort,
    hostPort,
    nodes,
    families: families ?? ([4, 6] as const).filter((each) => given.some((one) => family(one) === each)),
    guarded: pod('guarded-1'),
    confined: pod('confined-1'),
    services: {
      server: service('server'),
      self: service('self'),
      guarded: service('guarded'),
      nobody: service('nobody'),
    },
    exposed: nodePorts(services.get('exposed') ?? root({})),
    externalIPs: externalIPs(services.get(EXTERNAL_SERVICE) ?? root({})),
    loadBalancerIPs: loadBalancerIPs(services.get(LOAD_BALANCED_SERVICE) ?? root({})),
    apiServer: deployed.apiServer === null ? null : readApiServer(root(deployed.apiServer)),
    hasDns: deployed.dnsServices.length > 0,
  }
}

function readApiServer(service: Cursor): Facts['apiServer'] {
  const first = list(field(field(service, 'spec'), 'ports'))[0]
  return first === undefined ? null : { addresses: clusterIPs(service), port: port(field(first, 'port')) }
}

function nodePorts(service: Cursor): Facts['exposed'] {
  const ports = list(field(field(service, 'spec'), 'ports'), 8)
  const [tcp, udp] = ['TCP', 'UDP'].map((protocol) =>
    ports.find((one) => text(field(one, 'protocol')) === protocol && !isMissing(field(one, 'nodePort'))),
  )
  if (tcp === undefined || udp === undefined) return null
  return { tcp: port(field(tcp, 'nodePort')), udp: port(field(udp, 'nodePort')) }
}

function externalIPs(service: Cursor): readonly Address[] {
  return list(field(field(service, 'spec'), 'externalIPs'), 8).map(address)
}

function loadBalancerIPs(service: Cursor): readonly Address[] {
  const ingress = list(field(field(field(service, 'status'), 'loadBalancer'), 'ingress'), 8)
  return ingress.map((one) => address(field(one, 'ip')))
}

function clusterIPs(service: Cursor): readonly Address[] {
  const ips = list(field(field(service, 'spec'), 'clusterIPs'), 8)
  return ips.filter((ip) => !isMissing(ip) && ip.value !== 'None' && ip.value !== '').map((ip) => address(ip))
}
