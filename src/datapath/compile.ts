// SPDX-License-Identifier: Apache-2.0
// World -> contributions to the tables. Only what is dirty is compiled, and of that only what came out different is
// contributed again.

import { type Address, family, prefixToKey, UNSPECIFIED } from '../core/address.ts'
import { objectName, podId } from '../core/names.ts'
import type { PeerClass } from '../generated/abi.ts'
import { createPolicyCompiler, type PolicySettings } from '../policy/compile.ts'
import type { CompiledPolicies, EndpointPolicy } from '../policy/tables.ts'
import { type CompiledRouting, compileRouting, type RoutingInput } from '../routing/compile.ts'
import { type CompiledServices, createServiceCompiler, type ServiceInput } from '../services/compile.ts'
import type { Backend, Frontend } from '../services/frontends.ts'
import { sameValue } from '../world/equal.ts'
import type { Endpoint, ObjectName } from '../world/objects.ts'
import type { Dirty, WorldView } from '../world/world.ts'
import { type Admission, createAdmission } from './admission.ts'
import type { ByteText } from './bytes.ts'
import type { TableStore } from './desired.ts'
import { createUnnamed, type Removed } from './removed.ts'
import { contributeService } from './service-tables.ts'
import { idText, type TableEntry, type TableName, tableEntry } from './tables.ts'

/** What the last compilation knew beyond the tables: names behind ids, and what is not a table. */
export interface Compiled {
  readonly policies: CompiledPolicies
  readonly routing: CompiledRouting
  readonly services: CompiledServices
  /** Services that the tables have no room for; nothing of them is in force. */
  readonly refusedServices: Admission['refused']
}

/** What compilation reads beside World. */
export type CompileInput = RoutingInput & ServiceInput

export interface Compiler {
  /** Brings the store up to date with what is dirty. */
  compile(world: WorldView, dirty: Dirty, input: CompileInput): Change
  compiled(): Compiled
}

export interface Change {
  readonly removed: Removed
}

/** Before the first compilation. */
export const NOTHING_COMPILED: Compiled = {
  policies: {
    endpoints: new Map(),
    sets: new Map(),
    classes: new Map(),
    classPrefixes: new Map(),
    classNames: new Map(),
    rules: new Map(),
    ruleMeanings: new Map(),
  },
  routing: {
    routes: new Map(),
    nodes: new Map(),
    nexthops: new Map(),
    ownPodCIDRs: [],
    ownProblems: [],
    kernelRoutes: [],
    notices: [],
  },
  services: {
    place: { nodeName: '', zone: '', nodePortAddresses: [] },
    healthChecks: new Map(),
    ignored: new Map(),
    counted: new Set(),
  },
  refusedServices: new Map(),
}

/** The first compilation must be given every object as dirty, as a new World does. */
export function createCompiler(
  store: TableStore,
  maxEntries: (table: TableName) => number,
  policy?: PolicySettings,
): Compiler {
  const compilePolicies = createPolicyCompiler(policy)
  const services = createServiceCompiler()
  const admission = createAdmission(store, maxEntries)
  const unnamedBy = createUnnamed()
  let compiled: Compiled = { ...NOTHING_COMPILED, services: services.compiled, refusedServices: admission.refused }
  let routingInput: RoutingInput | undefined

  function compileServices(world: WorldView, dirty: Dirty, input: ServiceInput): Removed {
    const removed = { udp: [] as Backend[], unnamed: [] as Address[] }
    const contribute = (name: ObjectName, frontends: readonly Frontend[]): void => {
      removed.udp.push(...contributeService(store, name, frontends, world.service(name)?.createdMs))
      removed.unnamed.push(...unnamedBy(world, name))
    }
    for (const [name, frontends] of services.compile(world, dirty, input)) {
      admission.forget(name)
      contribute(name, frontends)
    }
    admission.settle(
      world,
      (name) => contribute(name, []),
      (name) => contribute(name, services.frontends(world, name)),
    )
    return removed
  }

  return {
    compiled: () => compiled,
    compile(world, dirty, input) {
      const { nodePortAddresses, ...routing } = input
      const endpoints = new Set(dirty.endpoints)
      const removed = compileServices(world, dirty, { nodeName: routing.nodeName, nodePortAddresses })
      if (dirty.nodes.size > 0 || !sameRoutingInput(routing, routingInput)) {
        const next = compileRouting(world, routing)
        contributeRouting(store, compiled.routing, next)
        compiled = { ...compiled, routing: next }
        routingInput = routing
      }
      // An empty world has tables too: the prefixes that every address falls into.
      if (isPolicyDirty(dirty) || compiled.policies === NOTHING_COMPILED.policies) {
        const { compiled: next, changedAddresses } = compilePolicies(world, routing.nodeName, dirty)
        contributePolicies(store, compiled.policies, next)
        contributeClasses(store, changedAddresses, next.classes)
        addJudgedAnew(endpoints, compiled.policies.endpoints, next.endpoints)
        compiled = { ...compiled, policies: next }
      }
      for (const key of endpoints) {
        contributeEndpoint(store, key, world.endpoint(key), compiled.policies.endpoints.get(key))
      }
      return { removed }
    },
  }
}

function isPolicyDirty({ policy, addresses, nodes }: Dirty): boolean {
  return policy || addresses.size > 0 || nodes.size > 0
}

function contributeRouting(store: TableStore, before: CompiledRouting, after: CompiledRouting): void {
  contributeChanged(store, 'nexthops', before.nexthops, after.nexthops, (_, { key, value }) =>
    tableEntry('nexthops', key, value),
  )
  contributeChanged(store, 'nodes', before.nodes, after.nodes, (address, value) =>
    tableEntry('nodes', { address }, value),
  )
  contributeChanged(store, 'routes', before.routes, after.routes, (prefix, value) =>
    tableEntry('routes', prefixToKey(prefix), value),
  )
}

function contributePolicies(store: TableStore, before: CompiledPolicies, after: CompiledPolicies): void {
  for (const [id, set] of after.sets) {
    if (before.sets.get(id)?.entries === set.entries) continue
    store.contribute(
      'policies',
      idText(id),
      set.entries.map(({ key, value }) => tableEntry('policies', key, value)),
    )
  }
  for (const id of before.sets.keys()) if (!after.sets.has(id)) store.contribute('policies', idText(id), [])
  contributeChanged(store, 'class_prefixes', before.classPrefixes, after.classPrefixes, (prefix, value) =>
    tableEntry('class_prefixes', prefixToKey(prefix), value),
  )
}

function contributeClasses(store: TableStore, changed: Iterable<Address>, classes: CompiledPolicies['classes']): void {
  const values = new Map<PeerClass, ByteText>() // one for all of its addresses: of 100,000 that saves 3 MB
  for (const address of changed) {
    const found = classes.get(address)
    if (found === undefined) {
      store.contribute('classes', address, [])
      continue
    }
    const { key, value: fresh } = tableEntry('classes', { address }, found)
    const value = values.get(found) ?? fresh
    values.set(found, value)
    store.contribute('classes', address, [{ key, value }])
  }
}

/** Contributes the items that are new or different, each as a source of its own, and withdraws those that are gone. */
function contributeChanged<K extends string, V>(
  store: TableStore,
  table: TableName,
  before: ReadonlyMap<K, V>,
  after: ReadonlyMap<K, V>,
  entry: (key: K, value: V) => TableEntry,
): void {
  for (const [key, value] of after) {
    if (!sameValue(before.get(key), value)) store.contribute(table, key, [entry(key, value)])
  }
  for (const key of before.keys()) if (!after.has(key)) store.contribute(table, key, [])
}

/** Adds the endpoints whose policy came, changed or went. */
function addJudgedAnew(
  endpoints: Set<string>,
  before: CompiledPolicies['endpoints'],
  after: CompiledPolicies['endpoints'],
): void {
  if (before === after) return
  for (const [key, policy] of after) if (!sameValue(before.get(key), policy)) endpoints.add(key)
  for (const key of before.keys()) if (!after.has(key)) endpoints.add(key)
}

/** An endpoint whose pod is not in World yet has no policy: its entries say isolated. */
function contributeEndpoint(
  store: TableStore,
  key: string,
  endpoint: Endpoint | undefined,
  policy: EndpointPolicy | undefined,
): void {
  if (endpoint === undefined) {
    store.contribute('endpoints', key, [])
    store.contribute('endpoint_cookie', key, [])
    return
  }
  const { netnsCookie, ifindex, addresses } = endpoint
  const value = {
    netnsCookie,
    egressSet: policy?.egressSet ?? 0n,
    ingressSet: policy?.ingressSet ?? 0n,
    ifindex,
    egressLevels: policy?.egressLevels ?? 0,
    ingressLevels: policy?.ingressLevels ?? 0,
    isolated: policy === undefined ? 1 : 0,
    pod: podId(objectName(endpoint.namespace, endpoint.name)),
  }
  store.contribute(
    'endpoints',
    key,
    addresses.map((address) => tableEntry('endpoints', { address }, value)),
  )
  const ipv4 = addresses.find((address) => family(address) === 4) ?? UNSPECIFIED
  const ipv6 = addresses.find((address) => family(address) === 6) ?? UNSPECIFIED
  store.contribute('endpoint_cookie', key, [tableEntry('endpoint_cookie', { netnsCookie }, { ipv4, ipv6 })])
}

function sameRoutingInput(a: RoutingInput, b: RoutingInput | undefined): boolean {
  if (b === undefined) return false
  const { gateways, ...rest } = a
  const { gateways: before, ...restBefore } = b
  return sameValue(rest, restBefore) && (gateways === before || sameValue([...gateways], [...before]))
}
