// SPDX-License-Identifier: Apache-2.0
// One API object -> one object of World: trimmed to what is read, validated, canonical.
// Source: core/v1, networking.k8s.io/v1 ServiceCIDR.

import type { Kind, KubeObject, Namespace, Node, Pod, ServiceCIDR } from '../world/objects.ts'
import {
  readCiliumClusterwideNetworkPolicy,
  readCiliumNetworkPolicy,
  standInForCiliumClusterwideNetworkPolicy,
  standInForCiliumNetworkPolicy,
} from './cilium-policy.ts'
import { readClusterNetworkPolicy, standInForClusterPolicy } from './cluster-policy.ts'
import {
  address,
  bool,
  type Cursor,
  field,
  isMissing,
  labels,
  list,
  port,
  routePrefix,
  text,
  timeMs,
} from './cursor.ts'
import { readEndpointSlice } from './endpoint-slice.ts'
import { readMetadata, readProtocol } from './fields.ts'
import { readNetworkPolicy, standInForPolicy } from './network-policy.ts'
import { readService } from './service.ts'

/** On what kubelet shows of a static pod; its value is the static pod's own uid, which the runtime tells the plugin. */
export const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror'
export const CAPABILITIES_ANNOTATION = 'node.heddle.network/capabilities'
/** That node's programs answer clients whom another node has led to its pods (bpf/lib/dsr.h). */
export const DSR_CAPABILITY = 'dsr'
/** Set by the cluster autoscaler on a node that it is about to remove. */
const REMOVAL_TAINT = 'ToBeDeletedByClusterAutoscaler'
const NAMESPACE_NAME_LABEL = 'kubernetes.io/metadata.name'

/** By "apiVersion kind". A reader throws BadField, and returns null for an object that Heddle has no use for. */
export const readers: Readonly<Record<string, (object: Cursor) => KubeObject | null>> = {
  'v1 Namespace': readNamespace,
  'v1 Node': readNode,
  'v1 Pod': readPod,
  'v1 Service': readService,
  'discovery.k8s.io/v1 EndpointSlice': readEndpointSlice,
  'networking.k8s.io/v1 NetworkPolicy': readNetworkPolicy,
  'networking.k8s.io/v1 ServiceCIDR': readServiceCIDR,
  'policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy': readClusterNetworkPolicy,
  'cilium.io/v2 CiliumNetworkPolicy': readCiliumNetworkPolicy,
  'cilium.io/v2 CiliumClusterwideNetworkPolicy': readCiliumClusterwideNetworkPolicy,
}

/** What stands for an object that its reader refuses and of which no good version is known, where none at all would open
 *  what it closes. null: none can. Throws BadField where not even its name can be read. */
export const standIns: Readonly<Partial<Record<Kind, (object: Cursor) => KubeObject | null>>> = {
  NetworkPolicy: standInForPolicy,
  ClusterNetworkPolicy: standInForClusterPolicy,
  CiliumNetworkPolicy: standInForCiliumNetworkPolicy,
  CiliumClusterwideNetworkPolicy: standInForCiliumClusterwideNetworkPolicy,
}

/** Why an object is refused, with what not even its stand-in closes. */
export function refusalText(message: string, standIn: KubeObject | null): string {
  const open = standIn !== null && 'unselective' in standIn ? (standIn.unselective ?? []) : []
  return open.length === 0
    ? message
    : `${message}; nobody is isolated by ${open.join(', ')}: whom it means cannot be read`
}

export function isStandIn(object: KubeObject): boolean {
  return 'unreadable' in object && object.unreadable === true
}

/** As the API server does, a Namespace is labelled with its name. */
export function namespaceNamed(name: string, given: Readonly<Record<string, string>>): Namespace {
  return { kind: 'Namespace', name, labels: { ...given, [NAMESPACE_NAME_LABEL]: name } }
}

function readNamespace(object: Cursor): Namespace {
  return namespaceNamed(readMetadata(object).name, labels(field(field(object, 'metadata'), 'labels')))
}

function readNode(object: Cursor): Node {
  const spec = field(object, 'spec')
  const addresses = list(field(field(object, 'status'), 'addresses'))
  const podCIDRs = list(field(spec, 'podCIDRs'))
  const podCIDR = field(spec, 'podCIDR')
  return {
    kind: 'Node',
    name: readMetadata(object).name,
    labels: labels(field(field(object, 'metadata'), 'labels')),
    internalIPs: addresses
      .filter((item) => text(field(item, 'type')) === 'InternalIP')
      .map((item) => address(field(item, 'address'))),
    podCIDRs: (podCIDRs.length > 0 || isMissing(podCIDR) ? podCIDRs : [podCIDR]).map(routePrefix),
    createdMs: timeMs(field(field(object, 'metadata'), 'creationTimestamp')),
    ...(isLeaving(object) ? { leaving: true as const } : {}),
    ...(answersItself(object) ? { dsr: true as const } : {}),
  }
}

function answersItself(node: Cursor): boolean {
  return text(field(field(field(node, 'metadata'), 'annotations'), CAPABILITIES_ANNOTATION), '')
    .split(',')
    .includes(DSR_CAPABILITY)
}

function isLeaving(node: Cursor): boolean {
  const isDeleted = !isMissing(field(field(node, 'metadata'), 'deletionTimestamp'))
  return (
    isDeleted ||
    list(field(field(node, 'spec'), 'taints')).some((taint) => text(field(taint, 'key'), '') === REMOVAL_TAINT)
  )
}

function readServiceCIDR(object: Cursor): ServiceCIDR {
  const cidrs = list(field(field(object, 'spec'), 'cidrs'))
  return { kind: 'ServiceCIDR', name: readMetadata(object).name, cidrs: cidrs.map(routePrefix) }
}

function readPod(object: Cursor): Pod {
  const metadata = field(object, 'metadata')
  const spec = field(object, 'spec')
  const status = field(object, 'status')
  const podIPs = list(field(status, 'podIPs')).map((item) => field(item, 'ip'))
  const podIP = field(status, 'podIP')
  const phase = text(field(status, 'phase'), '')
  return {
    kind: 'Pod',
    ...readMetadata(object),
    uid: text(field(field(metadata, 'annotations'), MIRROR_ANNOTATION), '') || text(field(metadata, 'uid'), ''),
    labels: labels(field(metadata, 'labels')),
    nodeName: text(field(spec, 'nodeName'), ''),
    hostNetwork: bool(field(spec, 'hostNetwork'), false),
    podIPs: (podIPs.length > 0 || isMissing(podIP) ? podIPs : [podIP]).map(address),
    finished: phase === 'Succeeded' || phase === 'Failed',
    createdMs: timeMs(field(metadata, 'creationTimestamp')),
    containerPorts: readPorts([
      ...list(field(spec, 'initContainers')).filter(isSidecar),
      ...list(field(spec, 'containers')),
    ]),
  }
}

/** One for all pods without. */
const NO_PORTS: Pod['containerPorts'] = []

function readPorts(containers: readonly Cursor[]): Pod['containerPorts'] {
  const named = containers
    .flatMap((container) => list(field(container, 'ports')))
    .filter((item) => text(field(item, 'name'), '') !== '')
  if (named.length === 0) return NO_PORTS
  return named.map((item) => ({
    name: text(field(item, 'name')),
    port: port(field(item, 'containerPort')),
    protocol: readProtocol(item),
  }))
}

/** An init container that goes on beside the others. */
function isSidecar(container: Cursor): boolean {
  return text(field(container, 'restartPolicy'), '') === 'Always'
}
