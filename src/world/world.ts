// SPDX-License-Identifier: Apache-2.0
// The input model: immutable objects in an owned store. A source puts and deletes; each change marks what it makes
// dirty; the loop takes the dirty keys and compiles those. What World holds depends on the objects, not on their order.

import type { Address } from '../core/address.ts'
import { endpointKey, objectName } from '../core/names.ts'
import { sameValue } from './equal.ts'
import {
  API_SERVERS,
  type CiliumPolicy,
  type ClusterNetworkPolicy,
  type Endpoint,
  type EndpointSlice,
  type Kind,
  type KubeObject,
  type Namespace,
  type NetworkPolicy,
  type Node,
  type ObjectName,
  type Pod,
  type Service,
} from './objects.ts'
import { type Claim, createOwners } from './owners.ts'

/** What changed since the last takeDirty. */
export interface Dirty {
  /** Services whose own object or slices changed; compile each, also when it is gone (no frontends). */
  readonly services: ReadonlySet<ObjectName>
  readonly nodes: ReadonlySet<ObjectName>
  /** endpointKey of endpoints that came, changed or went. */
  readonly endpoints: ReadonlySet<string>
  /** Something that policy compilation reads: namespaces, pods, policies, nodes, endpoints, where the API servers are. */
  readonly policy: boolean
}

/** What compilation may read. Iteration order is not defined: compilers sort. */
export interface WorldView {
  namespace(name: string): Namespace | undefined
  node(name: string): Node | undefined
  pod(name: ObjectName): Pod | undefined
  service(name: ObjectName): Service | undefined
  endpoint(key: string): Endpoint | undefined

  nodes(): Iterable<Node>
  pods(): Iterable<Pod>
  services(): Iterable<Service>
  networkPolicies(): Iterable<NetworkPolicy>
  clusterPolicies(): Iterable<ClusterNetworkPolicy>
  /** Of both kinds. */
  ciliumPolicies(): Iterable<CiliumPolicy>
  endpoints(): Iterable<Endpoint>

  policiesOfNamespace(namespace: string): Iterable<NetworkPolicy>
  /** Namespace '': the clusterwide ones. */
  ciliumPoliciesOf(namespace: string): Iterable<CiliumPolicy>
  /** service: "namespace/name". */
  slicesOfService(service: ObjectName): Iterable<EndpointSlice>

  /** Pod that an address belongs to: the pod of a local endpoint, else the youngest pod that is not finished and not on
   *  the host's network (equal age: the later name). */
  ownerOf(address: Address): ObjectName | undefined
  /** The object of that pod; undefined also when the name belongs to a younger pod by now (another uid). */
  podAt(address: Address): Pod | undefined
  /** The object of a local endpoint's pod, by name and, where both are known, by uid: what a pod that was recreated
   *  under the same name may do says nothing about its predecessor. */
  podOf(endpoint: Endpoint): Pod | undefined
  /** False while the source cannot be asked: a pod that is not known now will not become known soon. */
  isLive(): boolean
  /** Every address that has an owner. */
  ownedAddresses(): Iterable<Address>
  countOf(kind: Kind): number
}

export interface World extends WorldView {
  /** False when an equal object was there: nothing is dirty. */
  put(object: KubeObject): boolean
  /** False when there was none. */
  delete(kind: Kind, name: ObjectName): boolean
  putEndpoint(endpoint: Endpoint): boolean
  /** key: endpointKey. */
  deleteEndpoint(key: string): boolean
  /** Whether the source can be asked. */
  setLive(live: boolean): void
  /** Hands over the dirty keys and starts anew. */
  takeDirty(): Dirty
}

export function keyOf(object: KubeObject): ObjectName {
  return objectName('namespace' in object ? object.namespace : '', object.name)
}

/** "Kind namespace/name". */
export function objectKey(object: KubeObject): string {
  return `${object.kind} ${keyOf(object)}`
}

function isCilium(object: KubeObject): object is CiliumPolicy {
  return object.kind === 'CiliumNetworkPolicy' || object.kind === 'CiliumClusterwideNetworkPolicy'
}

export function createWorld(): World {
  const namespaces = new Map<ObjectName, Namespace>()
  const nodes = new Map<ObjectName, Node>()
  const pods = new Map<ObjectName, Pod>()
  const services = new Map<ObjectName, Service>()
  const slices = new Map<ObjectName, EndpointSlice>()
  const policies = new Map<ObjectName, NetworkPolicy>()
  const clusterPolicies = new Map<ObjectName, ClusterNetworkPolicy>()
  const ciliumPolicies = new Map<ObjectName, CiliumPolicy>()
  const ciliumClusterwide = new Map<ObjectName, CiliumPolicy>()
  const endpoints = new Map<string, Endpoint>()
  const tables: { readonly [K in Kind]: Map<ObjectName, KubeObject> } = {
    Namespace: namespaces as Map<ObjectName, KubeObject>,
    Node: nodes as Map<ObjectName, KubeObject>,
    Pod: pods as Map<ObjectName, KubeObject>,
    Service: services as Map<ObjectName, KubeObject>,
    EndpointSlice: slices as Map<ObjectName, KubeObject>,
    NetworkPolicy: policies as Map<ObjectName, KubeObject>,
    ClusterNetworkPolicy: clusterPolicies as Map<ObjectName, KubeObject>,
    CiliumNetworkPolicy: ciliumPolicies as Map<ObjectName, KubeObject>,
    CiliumClusterwideNetworkPolicy: ciliumClusterwide as Map<ObjectName, KubeObject>,
  }

  const policiesByNamespace = createIndex<NetworkPolicy>()
  const ciliumByNamespace = createIndex<CiliumPolicy>()
  const slicesByService = createIndex<EndpointSlice>()
  const owners = createOwners()
  const claims = new Map<Pod | Endpoint, Claim>()

  let dirtyServices = new Set<ObjectName>()
  let dirtyNodes = new Set<ObjectName>()
  let dirtyEndpoints = new Set<string>()
  let dirtyPolicy = false
  let live = true

  function podNamed(name: ObjectName, uid: string): Pod | undefined {
    const pod = pods.get(name)
    return pod === undefined || uid === '' || pod.uid === '' || pod.uid === uid ? pod : undefined
  }

  function claim(owner: Pod | Endpoint, addresses: readonly Address[], made: Claim): void {
    claims.set(owner, made)
    for (const address of addresses) owners.add(address, made)
  }

  function disclaim(owner: Pod | Endpoint, addresses: readonly Address[]): void {
    const made = claims.get(owner)
    if (made === undefined) return
    for (const address of addresses) owners.remove(address, made)
    claims.delete(owner)
  }

  function index(object: KubeObject): void {
    if (object.kind === 'Pod') {
      if (!object.finished && !object.hostNetwork) {
        claim(object, object.podIPs, { pod: keyOf(object), uid: object.uid, createdMs: object.createdMs })
      }
    } else if (object.kind === 'NetworkPolicy') {
      policiesByNamespace.add(object.namespace, object)
    } else if (isCilium(object)) {
      ciliumByNamespace.add(object.namespace, object)
    } else if (object.kind === 'EndpointSlice') {
      slicesByService.add(objectName(object.namespace, object.serviceName), object)
    }
  }

  function unindex(object: KubeObject): void {
    if (object.kind === 'Pod') {
      disclaim(object, object.podIPs)
    } else if (object.kind === 'NetworkPolicy') {
      policiesByNamespace.remove(object.namespace, object)
    } else if (isCilium(object)) {
      ciliumByNamespace.remove(object.namespace, object)
    } else if (object.kind === 'EndpointSlice') {
      slicesByService.remove(objectName(object.namespace, object.serviceName), object)
    }
  }

  function markDirty(object: KubeObject): void {
    switch (object.kind) {
      case 'Service':
        dirtyServices.add(keyOf(object))
        break
      case 'EndpointSlice':
        dirtyServices.add(objectName(object.namespace, object.serviceName))
        if (objectName(object.namespace, object.serviceName) === API_SERVERS) dirtyPolicy = true
        break
      case 'Node':
        dirtyNodes.add(object.name)
        dirtyPolicy = true
        break
      default:
        dirtyPolicy = true
    }
  }

  function put(object: KubeObject): boolean {
    const table = tables[object.kind]
    const name = keyOf(object)
    const old = table.get(name)
    if (sameValue(old, object)) return false
    if (old !== undefined) {
      unindex(old)
      markDirty(old)
    }
    table.set(name, object)
    index(object)
    markDirty(object)
    return true
  }

  function remove(kind: Kind, name: ObjectName): boolean {
    const old = tables[kind].get(name)
    if (old === undefined) return false
    tables[kind].delete(name)
    unindex(old)
    markDirty(old)
    return true
  }

  function deleteEndpoint(key: string): boolean {
    const old = endpoints.get(key)
    if (old === undefined) return false
    endpoints.delete(key)
    disclaim(old, old.addresses)
    dirtyEndpoints.add(key)
    dirtyPolicy = true
    return true
  }

  return {
    namespace: (name) => namespaces.get(name),
    node: (name) => nodes.get(name),
    pod: (name) => pods.get(name),
    service: (name) => services.get(name),
    endpoint: (key) => endpoints.get(key),
    nodes: () => nodes.values(),
    pods: () => pods.values(),
    services: () => services.values(),
    networkPolicies: () => policies.values(),
    clusterPolicies: () => clusterPolicies.values(),
    ciliumPolicies: () => [...ciliumPolicies.values(), ...ciliumClusterwide.values()],
    endpoints: () => endpoints.values(),
    policiesOfNamespace: policiesByNamespace.of,
    ciliumPoliciesOf: ciliumByNamespace.of,
    slicesOfService: slicesByService.of,
    ownerOf: (address) => owners.of(address)?.pod,
    podAt(address) {
      const owner = owners.of(address)
      return owner && podNamed(owner.pod, owner.uid)
    },
    podOf: ({ namespace, name, uid }) => podNamed(objectName(namespace, name), uid),
    isLive: () => live,
    ownedAddresses: owners.addresses,
    countOf: (kind) => tables[kind].size,
    put,
    delete: remove,
    putEndpoint(endpoint) {
      const key = endpointKey(endpoint)
      if (sameValue(endpoints.get(key), endpoint)) return false
      deleteEndpoint(key)
      endpoints.set(key, endpoint)
      // What no orchestrator named is nobody's pod: it owns no class.
      if (endpoint.name !== '') {
        const pod = objectName(endpoint.namespace, endpoint.name)
        claim(endpoint, endpoint.addresses, { pod, uid: endpoint.uid, createdMs: Number.POSITIVE_INFINITY })
      }
      dirtyEndpoints.add(key)
      dirtyPolicy = true
      return true
    },
    deleteEndpoint,
    setLive(now) {
      if (now !== live) dirtyPolicy = true
      live = now
    },
    takeDirty() {
      const dirty = { services: dirtyServices, nodes: dirtyNodes, endpoints: dirtyEndpoints, policy: dirtyPolicy }
      dirtyServices = new Set()
      dirtyNodes = new Set()
      dirtyEndpoints = new Set()
      dirtyPolicy = false
      return dirty
    },
  }
}

interface Index<T> {
  add(key: string, item: T): void
  remove(key: string, item: T): void
  of(key: string): Iterable<T>
}

/** Most keys have one item, which is kept without a set around it: of 10,000 that saves 2 MB. */
function createIndex<T extends object>(): Index<T> {
  const items = new Map<string, T | Set<T>>()
  return {
    add(key, item) {
      const found = items.get(key)
      if (found === undefined) items.set(key, item)
      else if (found instanceof Set) found.add(item)
      else items.set(key, new Set([found, item]))
    },
    remove(key, item) {
      const found = items.get(key)
      if (found === item) items.delete(key)
      else if (found instanceof Set && found.delete(item) && found.size === 0) items.delete(key)
    },
    of(key) {
      const found = items.get(key)
      if (found === undefined) return []
      return found instanceof Set ? found : [found]
    },
  }
}
