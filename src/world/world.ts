// SPDX-License-Identifier: Apache-2.0
// The input model: immutable objects in an owned store. A source puts and deletes; each change marks what it makes
// dirty; the loop takes the dirty keys and compiles those. What World holds depends on the objects, not on their order.

import type { Address } from '../core/address.ts'
import { compareText, endpointKey, objectName } from '../core/names.ts'
import { sameValue } from './equal.ts'
import { createObjectTable, type ObjectTable } from './object-table.ts'
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
  type ServiceCIDR,
} from './objects.ts'
import { createOwners, isEndpoint, type Owner } from './owners.ts'

/** What changed since the last takeDirty. */
export interface Dirty {
  /** Services whose own object or slices changed; compile each, also when it is gone (no frontends). */
  readonly services: ReadonlySet<ObjectName>
  readonly nodes: ReadonlySet<ObjectName>
  /** endpointKey of endpoints that came, changed or went. */
  readonly endpoints: ReadonlySet<string>
  /** Those of pods, nodes and API servers that came, changed or went, and of pods whose namespace did. */
  readonly addresses: ReadonlySet<Address>
  /** Something besides that policy compilation reads: policies, namespaces, nodes, endpoints and their pods. */
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
  serviceCIDRs(): Iterable<ServiceCIDR>
  networkPolicies(): Iterable<NetworkPolicy>
  clusterPolicies(): Iterable<ClusterNetworkPolicy>
  /** Of both kinds. */
  ciliumPolicies(): Iterable<CiliumPolicy>
  endpoints(): Iterable<Endpoint>

  podsOfNamespace(namespace: string): Iterable<Pod>
  policiesOfNamespace(namespace: string): Iterable<NetworkPolicy>
  /** Namespace '': the clusterwide ones, and what stands for a kind that cannot be read. */
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
  /** Those that podAt may find it by: its own, and those of a local endpoint of its name. */
  addressesOf(pod: Pod): Iterable<Address>
  /** Every address that has an owner. */
  ownedAddresses(): Iterable<Address>
  /** Whose internal address it is; of several the first by name. */
  nodeAt(address: Address): Node | undefined
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

export function createWorld(): World {
  const namespaces = createObjectTable<Namespace>()
  const nodes = createObjectTable<Node>()
  const pods = createObjectTable<Pod>()
  const services = createObjectTable<Service>()
  const serviceCIDRs = createObjectTable<ServiceCIDR>()
  const slices = createObjectTable<EndpointSlice>()
  const policies = createObjectTable<NetworkPolicy>()
  const clusterPolicies = createObjectTable<ClusterNetworkPolicy>()
  const ciliumPolicies = createObjectTable<CiliumPolicy>()
  const ciliumClusterwide = createObjectTable<CiliumPolicy>()
  const endpoints = new Map<string, Endpoint>()
  const tables: { readonly [K in Kind]: ObjectTable<KubeObject> } = {
    Namespace: namespaces as ObjectTable<KubeObject>,
    Node: nodes as ObjectTable<KubeObject>,
    Pod: pods as ObjectTable<KubeObject>,
    Service: services as ObjectTable<KubeObject>,
    ServiceCIDR: serviceCIDRs as ObjectTable<KubeObject>,
    EndpointSlice: slices as ObjectTable<KubeObject>,
    NetworkPolicy: policies as ObjectTable<KubeObject>,
    ClusterNetworkPolicy: clusterPolicies as ObjectTable<KubeObject>,
    CiliumNetworkPolicy: ciliumPolicies as ObjectTable<KubeObject>,
    CiliumClusterwideNetworkPolicy: ciliumClusterwide as ObjectTable<KubeObject>,
  }

  const slicesByService = createIndex<EndpointSlice>()
  const nodesByAddress = createIndex<Node>()
  const endpointsByPod = createIndex<Endpoint>()
  const owners = createOwners()

  let dirtyServices = new Set<ObjectName>()
  let dirtyNodes = new Set<ObjectName>()
  let dirtyEndpoints = new Set<string>()
  let dirtyAddresses = new Set<Address>()
  let dirtyPolicy = false
  let live = true

  function podOf({ namespace, name, uid }: Endpoint): Pod | undefined {
    const pod = pods.get(objectName(namespace, name))
    return pod === undefined || uid === '' || pod.uid === '' || pod.uid === uid ? pod : undefined
  }

  function claim(owner: Owner, addresses: readonly Address[]): void {
    for (const address of addresses) owners.add(address, owner)
  }

  function disclaim(owner: Owner, addresses: readonly Address[]): void {
    for (const address of addresses) owners.remove(address, owner)
  }

  function index(object: KubeObject): void {
    if (object.kind === 'Pod') {
      if (!object.finished && !object.hostNetwork) claim(object, object.podIPs)
    } else if (object.kind === 'Node') {
      for (const address of object.internalIPs) nodesByAddress.add(address, object)
    } else if (object.kind === 'EndpointSlice') {
      slicesByService.add(objectName(object.namespace, object.serviceName), object)
    }
  }

  function unindex(object: KubeObject): void {
    if (object.kind === 'Pod') {
      disclaim(object, object.podIPs)
    } else if (object.kind === 'Node') {
      for (const address of object.internalIPs) nodesByAddress.remove(address, object)
    } else if (object.kind === 'EndpointSlice') {
      slicesByService.remove(objectName(object.namespace, object.serviceName), object)
    }
  }

  function markAddresses(addresses: Iterable<Address>): void {
    for (const address of addresses) dirtyAddresses.add(address)
  }

  function addressesOf(pod: Pod): Iterable<Address> {
    return [...pod.podIPs, ...[...endpointsByPod.of(keyOf(pod))].flatMap(({ addresses }) => addresses)]
  }

  function markPod(pod: Pod): void {
    markAddresses(addressesOf(pod))
    const [local] = endpointsByPod.of(keyOf(pod))
    if (local !== undefined) dirtyPolicy = true
  }

  function markEndpoint(endpoint: Endpoint): void {
    dirtyEndpoints.add(endpointKey(endpoint))
    markAddresses(endpoint.addresses)
    dirtyPolicy = true
  }

  function markSlice({ namespace, serviceName, endpoints }: EndpointSlice): void {
    const service = objectName(namespace, serviceName)
    dirtyServices.add(service)
    if (service === API_SERVERS) markAddresses(endpoints.map(({ address }) => address))
  }

  function markDirty(object: KubeObject): void {
    switch (object.kind) {
      case 'Service':
        dirtyServices.add(keyOf(object))
        break
      case 'EndpointSlice':
        markSlice(object)
        break
      case 'Pod':
        markPod(object)
        break
      case 'ServiceCIDR':
        break // read with every pass
      case 'Node':
        dirtyNodes.add(object.name)
        markAddresses(object.internalIPs)
        dirtyPolicy = true
        break
      case 'Namespace':
        for (const pod of pods.ofNamespace(object.name)) markPod(pod)
        dirtyPolicy = true
        break
      default:
        dirtyPolicy = true
    }
  }

  function put(object: KubeObject): boolean {
    const table = tables[object.kind]
    const old = table.get(keyOf(object))
    if (sameValue(old, object)) return false
    if (old !== undefined) {
      unindex(old)
      markDirty(old)
    }
    table.put(object)
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
    endpointsByPod.remove(objectName(old.namespace, old.name), old)
    markEndpoint(old)
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
    serviceCIDRs: () => serviceCIDRs.values(),
    networkPolicies: () => policies.values(),
    clusterPolicies: () => clusterPolicies.values(),
    ciliumPolicies: () => [...ciliumPolicies.values(), ...ciliumClusterwide.values()],
    endpoints: () => endpoints.values(),
    podsOfNamespace: pods.ofNamespace,
    policiesOfNamespace: policies.ofNamespace,
    ciliumPoliciesOf: (namespace) => [
      ...ciliumPolicies.ofNamespace(namespace),
      ...ciliumClusterwide.ofNamespace(namespace),
    ],
    slicesOfService: slicesByService.of,
    ownerOf(address) {
      const owner = owners.of(address)
      return owner && objectName(owner.namespace, owner.name)
    },
    podAt(address) {
      const owner = owners.of(address)
      return owner !== undefined && isEndpoint(owner) ? podOf(owner) : owner
    },
    podOf,
    isLive: () => live,
    addressesOf,
    ownedAddresses: owners.addresses,
    nodeAt: (address) => [...nodesByAddress.of(address)].sort((a, b) => compareText(a.name, b.name))[0],
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
        claim(endpoint, endpoint.addresses)
        endpointsByPod.add(objectName(endpoint.namespace, endpoint.name), endpoint)
      }
      markEndpoint(endpoint)
      return true
    },
    deleteEndpoint,
    setLive(now) {
      if (now !== live) dirtyPolicy = true
      live = now
    },
    takeDirty() {
      const dirty = {
        services: dirtyServices,
        nodes: dirtyNodes,
        endpoints: dirtyEndpoints,
        addresses: dirtyAddresses,
        policy: dirtyPolicy,
      }
      dirtyServices = new Set()
      dirtyNodes = new Set()
      dirtyEndpoints = new Set()
      dirtyAddresses = new Set()
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
