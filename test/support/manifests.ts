// SPDX-License-Identifier: Apache-2.0
// Short ways to write the Kubernetes objects that tests need.

import type { KubeManifest } from '../../src/lab/objects.ts'

export const namespace = 'test'
export const httpPort = 8080
export const udpPort = 5353

export function namespaceObject(name: string, labels: Readonly<Record<string, string>> = {}): KubeManifest {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }
}

/** A pod that serves HTTP and UDP (src/lab/serve.ts), ready when it answers. */
export function serverPod(name: string, nodeName: string, labels: Readonly<Record<string, string>> = {}): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name, labels },
    spec: {
      nodeName,
      containers: [
        {
          name: 'server',
          command: ['heddle', 'lab', 'serve', '--http', String(httpPort), '--udp', String(udpPort)],
          readinessProbe: { httpGet: { port: httpPort } },
        },
      ],
    },
  }
}

/** A pod without processes of its own, for `run`. */
export function idlePod(name: string, nodeName: string, labels: Readonly<Record<string, string>> = {}): KubeManifest {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { namespace, name, labels }, spec: { nodeName } }
}

/** TCP 80 and UDP 53 to the server pods with these labels, in every family of the lab; without labels to what its slices say. */
export function service(name: string, selector?: Readonly<Record<string, string>>): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name },
    spec: {
      selector,
      ipFamilyPolicy: 'PreferDualStack',
      ports: [
        { name: 'http', port: 80, targetPort: httpPort, protocol: 'TCP' },
        { name: 'udp', port: 53, targetPort: udpPort, protocol: 'UDP' },
      ],
    },
  }
}

/** In every family of the lab, to the pods with these labels. */
export function nodePortService(
  name: string,
  selector: Readonly<Record<string, string>>,
  ports: readonly Readonly<Record<string, unknown>>[],
  annotations: Readonly<Record<string, string>> = {},
): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name, annotations },
    spec: { type: 'NodePort', selector, ipFamilyPolicy: 'PreferDualStack', ports },
  }
}

export function networkPolicy(name: string, spec: Readonly<Record<string, unknown>>): KubeManifest {
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { namespace, name }, spec }
}

/** The Service `web` of two server pods, one on each of two nodes, and the pod `client` on n1, which alone may speak to
 *  them. */
export const webForClient: readonly KubeManifest[] = [
  serverPod('web-1', 'n1', { app: 'web' }),
  serverPod('web-2', 'n2', { app: 'web' }),
  idlePod('client', 'n1', { app: 'client' }),
  service('web', { app: 'web' }),
  networkPolicy('only-client', {
    podSelector: { matchLabels: { app: 'web' } },
    policyTypes: ['Ingress'],
    ingress: [{ from: [{ podSelector: { matchLabels: { app: 'client' } } }] }],
  }),
]
