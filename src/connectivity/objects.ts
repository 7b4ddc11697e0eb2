// SPDX-License-Identifier: Apache-2.0
// What the test creates, as API objects: one namespace and everything in it. Pure. The pods run this same program, as no
// one in particular, without capabilities, on a read-only root; they end by themselves if nobody takes them away.

export const SERVER_PORT = 8080
/** Every pod answers here too; no policy allows it. */
export const OTHER_PORT = 8081
export const SERVICE_PORT = 80
/** Pods of a run that was killed are gone after this. */
const LIFETIME_SECONDS = 3_600

export interface Deployment {
  readonly namespace: string
  readonly image: string
  readonly nodes: readonly string[]
  /** Ports of the pods on the nodes' own network: this one and the next. */
  readonly nodePort: number
  /** Of every node, mapped to the first port of its server. */
  readonly hostPort: number
}

export interface ApiObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels: Labels }
  readonly [field: string]: unknown
}

type Labels = Readonly<Record<string, string>>
export type Role = 'server' | 'client' | 'node' | 'guarded' | 'confined'

/** On every namespace of every run, for `kubectl delete namespace -l`. */
export const OWNER: Labels = { 'app.kubernetes.io/name': 'heddle-connectivity' }

export interface PodPlace {
  readonly role: Role
  /** Index into Deployment.nodes. */
  readonly node: number
}

/** Three on each node, and one of each that policies select, on the first. */
export function podPlaces({ nodes }: Deployment): readonly PodPlace[] {
  const everywhere = nodes.flatMap((_, node) => (['server', 'client', 'node'] as const).map((role) => ({ role, node })))
  return [...everywhere, { role: 'guarded', node: 0 }, { role: 'confined', node: 0 }]
}

export function podName({ role, node }: PodPlace): string {
  return `${role}-${node + 1}`
}

/** In the order of creation: policies are there before the pods that they select. */
export function testObjects(deployment: Deployment): readonly ApiObject[] {
  return [...policies(deployment), ...services(deployment), ...podPlaces(deployment).map((at) => pod(deployment, at))]
}

export function namespaceObject(namespace: string): ApiObject {
  // The pods on the nodes' network are what Pod Security calls privileged; nothing else here would need it.
  const labels = { ...OWNER, 'pod-security.kubernetes.io/enforce': 'privileged' }
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels } }
}

function pod({ namespace, image, nodes, nodePort, hostPort }: Deployment, place: PodPlace): ApiObject {
  const name = podName(place)
  const onNode = place.role === 'node'
  const ports = onNode ? [nodePort, nodePort + 1] : [SERVER_PORT, OTHER_PORT]
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { ...OWNER, role: place.role, pod: name } },
    spec: {
      nodeName: nodes[place.node],
      hostNetwork: onNode,
      // The cluster's resolver also for pods on the node's network.
      dnsPolicy: onNode ? 'ClusterFirstWithHostNet' : 'ClusterFirst',
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      restartPolicy: 'Always',
      activeDeadlineSeconds: LIFETIME_SECONDS,
      terminationGracePeriodSeconds: 1,
      tolerations: [{ operator: 'Exists' }],
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 65_534,
        runAsGroup: 65_534,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      containers: [
        {
          name: 'heddle',
          image,
          imagePullPolicy: 'IfNotPresent',
          command: ['heddle', 'connectivity', 'serve', name, ports.join(','), '$(POD_IPS)'],
          env: [{ name: 'POD_IPS', valueFrom: { fieldRef: { fieldPath: 'status.podIPs' } } }],
          ports: ports.flatMap((port, index) =>
            ['TCP', 'UDP'].map((protocol) => ({
              name: `${index === 0 ? 'echo' : 'other'}-${protocol.toLowerCase()}`,
              containerPort: port,
              protocol,
              ...(place.role === 'server' && index === 0 ? { hostPort } : {}),
            })),
          ),
          // No readiness probe: kubelet's way to the pod is among what is tested, and has to fail by name.
          terminationMessagePolicy: 'FallbackToLogsOnError',
          resources: { requests: { cpu: '10m', memory: '48Mi' }, limits: { memory: '256Mi' } },
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
        },
      ],
    },
  }
}

export const EXTERNAL_SERVICE = 'external'
export const LOAD_BALANCED_SERVICE = 'load-balanced'

/** Addresses of Services that no other network has (RFC 5737, RFC 3849), others in each of a few runs at once. */
function virtualIPs({ nodePort }: Deployment, net: string, net6: string): readonly string[] {
  return [`${net}.${1 + (nodePort % 254)}`, `${net6}::${nodePort.toString(16)}`]
}

/** Status of Service load-balanced, as a cloud's controller would write it. */
export function loadBalancerStatus(deployment: Deployment): object {
  const ips = virtualIPs(deployment, '198.51.100', '2001:db8:1')
  return { status: { loadBalancer: { ingress: ips.map((ip) => ({ ip })) } } }
}

function services(deployment: Deployment): readonly ApiObject[] {
  const { namespace } = deployment
  const ports = ['TCP', 'UDP'].map((protocol) => ({
    name: protocol.toLowerCase(),
    protocol,
    port: SERVICE_PORT,
    targetPort: `echo-${protocol.toLowerCase()}`,
  }))
  const service = (name: string, selector: Labels, rest: object = {}): ApiObject => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, labels: OWNER },
    spec: { ipFamilyPolicy: 'PreferDualStack', selector, ports, ...rest },
  })
  return [
    service('server', { role: 'server' }),
    service('headless', { role: 'server' }, { clusterIP: 'None' }),
    service('self', { pod: 'server-1' }),
    service('guarded', { role: 'guarded' }),
    service('nobody', { role: 'nobody' }),
    service('exposed', { role: 'server' }, { type: 'NodePort' }),
    service(EXTERNAL_SERVICE, { role: 'server' }, { externalIPs: virtualIPs(deployment, '192.0.2', '2001:db8') }),
    // A class that no controller knows: no cloud makes a load balancer, and charges for it.
    service(
      LOAD_BALANCED_SERVICE,
      { role: 'server' },
      {
        type: 'LoadBalancer',
        loadBalancerClass: 'node.heddle.network/connectivity-test',
        allocateLoadBalancerNodePorts: false,
      },
    ),
  ]
}

/** `guarded` may only be called by clients, on its first port; `confined` may only call servers, on theirs. */
function policies({ namespace }: Deployment): readonly ApiObject[] {
  const policy = (name: string, spec: object): ApiObject => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace, labels: OWNER },
    spec,
  })
  const select = (role: Role) => ({ podSelector: { matchLabels: { role } } })
  const ports = [{ protocol: 'TCP', port: SERVER_PORT }]
  return [
    policy('guarded', {
      ...select('guarded'),
      policyTypes: ['Ingress'],
      ingress: [{ from: [select('client')], ports }],
    }),
    policy('confined', {
      ...select('confined'),
      policyTypes: ['Egress'],
      egress: [{ to: [select('server')], ports }],
    }),
  ]
}
