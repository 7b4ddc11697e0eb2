// SPDX-License-Identifier: Apache-2.0
// Short ways to write the objects that the tests of a real cluster need. Every server is agnhost's netexec: /hostname says
// which pod answered, UDP understands the word hostname.

import { agnhostImage } from './build.ts'

export const httpPort = 8080
export const udpPort = 8081

type Labels = Readonly<Record<string, string>>

export function namespaceObject(name: string): object {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name } }
}

/** A pod's spec with one netexec container, ready as soon as it answers. */
export function serverSpec(more: { readonly container?: object; readonly pod?: object } = {}) {
  return {
    terminationGracePeriodSeconds: 1,
    containers: [
      {
        name: 'server',
        image: agnhostImage,
        args: ['netexec', `--http-port=${httpPort}`, `--udp-port=${udpPort}`],
        readinessProbe: { httpGet: { path: '/healthz', port: httpPort }, periodSeconds: 1 },
        ...more.container,
      },
    ],
    ...more.pod,
  }
}

/** A pod's spec with one agnhost container of these arguments. */
export function agnhost(args: readonly string[], container: object = {}) {
  return {
    terminationGracePeriodSeconds: 1,
    containers: [{ name: 'agnhost', image: agnhostImage, args, ...container }],
  }
}

/** A server for load: netexec writes a line for every request, which is most of its work. */
export function loadServerSpec() {
  return agnhost(['porter'], {
    env: [{ name: `SERVE_PORT_${httpPort}`, value: 'served' }],
    readinessProbe: { tcpSocket: { port: httpPort }, periodSeconds: 1 },
  })
}

/** A pod's spec with one container that does nothing. */
export function idleSpec(more: { readonly container?: object; readonly pod?: object } = {}) {
  return {
    terminationGracePeriodSeconds: 0,
    containers: [{ name: 'idle', image: agnhostImage, args: ['pause'], ...more.container }],
    ...more.pod,
  }
}

export function pod(namespace: string, name: string, spec: object, labels: Labels = { app: name }): object {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { namespace, name, labels }, spec }
}

/** Pods labelled app: NAME, spread over the nodes. */
export function deployment(namespace: string, name: string, replicas: number, spec: object, more: object = {}): object {
  const labels = { app: name }
  const spread = {
    maxSkew: 1,
    topologyKey: 'kubernetes.io/hostname',
    whenUnsatisfiable: 'ScheduleAnyway',
    labelSelector: { matchLabels: labels },
  }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { namespace, name },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { topologySpreadConstraints: [spread], ...spec } },
      ...more,
    },
  }
}

/** TCP 80 and UDP 81 to the pods labelled app: NAME, in every family of the cluster. */
export function service(namespace: string, name: string, more: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name },
    spec: {
      ipFamilyPolicy: 'PreferDualStack',
      selector: { app: name },
      ports: [
        { name: 'http', port: 80, targetPort: httpPort },
        { name: 'udp', port: 81, targetPort: udpPort, protocol: 'UDP' },
      ],
      ...more,
    },
  }
}

export function networkPolicy(namespace: string, name: string, spec: object): object {
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { namespace, name }, spec }
}
