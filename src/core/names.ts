// SPDX-License-Identifier: Apache-2.0
// Names of objects as map keys, and the ids made from them. Both sides of a table use these, so that they agree.

import { type Id64, id64 } from './id64.ts'

/** "namespace/name", or "name" where the namespace is ''. */
export function objectName(namespace: string, name: string): string {
  return namespace === '' ? name : `${namespace}/${name}`
}

/** Key of a CNI attachment: one container may have several interfaces. */
export function endpointKey(endpoint: { readonly containerId: string; readonly ifname: string }): string {
  return `${endpoint.containerId}/${endpoint.ifname}`
}

export function nodeId(name: string): Id64 {
  return id64(`node ${name}`)
}

/** name: "namespace/name". */
export function podId(name: string): Id64 {
  return id64(`pod ${name}`)
}

/** "namespace/name:port" of a frontend, as events and lists print it; a port without a name is its number. */
export function servicePortName(service: string, portName: string, port: number): string {
  return `${service}:${portName === '' ? port : portName}`
}

export function serviceId(servicePort: string): Id64 {
  return id64(`service ${servicePort}`)
}

/** Code unit order: the same on every machine, unlike localeCompare. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
