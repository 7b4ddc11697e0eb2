// SPDX-License-Identifier: Apache-2.0
// The lists of the agent API: rows read back from the kernel's tables, named from World.

import { compareAddresses, type Family, prefixFromKey } from '../core/address.ts'
import { compareText, endpointKey, nodeId, objectName, serviceId, servicePortName } from '../core/names.ts'
import type { Compiled } from '../datapath/compile.ts'
import type { TableStore } from '../datapath/desired.ts'
import { directionText, idText, levelText, portsText, protocolText, verdictText } from '../datapath/tables.ts'
import { NodeFlags, PolicyDirection, type PolicyEntry, type PolicyKey, PolicyLevels } from '../generated/abi.ts'
import type { Kernel } from '../kernel/apply.ts'
import type { PolicySet } from '../policy/tables.ts'
import { isolating } from '../policy/verdict.ts'
import type { Endpoint } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import type { EndpointRow, NodeRow, PolicyRow, ServiceRow } from './api.ts'
import { driftOf, type ReadEntry, readBack } from './readback.ts'

export interface ListSources {
  readonly kernel: Kernel
  readonly store: TableStore
  readonly world: WorldView
  readonly compiled: () => Compiled
}

export async function listEndpoints({ kernel, store, world }: ListSources): Promise<EndpointRow[]> {
  const endpointAt = new Map(
    [...world.endpoints()].flatMap((endpoint) => endpoint.addresses.map((at) => [at, endpoint])),
  )
  const entries = await readBack(kernel, store, 'endpoints')
  const rows = Map.groupBy(entries, ({ key }) => {
    const endpoint = endpointAt.get(key.address)
    return endpoint === undefined ? key.address : endpointKey(endpoint)
  })
  return [...rows.values()]
    .map((row) => endpointRow(row, endpointAt.get(row[0]!.key.address)))
    .sort((a, b) => compareText(`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`))
}

function endpointRow(entries: readonly ReadEntry<'endpoints'>[], endpoint: Endpoint | undefined): EndpointRow {
  const { ifindex, isolated, ingressSet, egressSet } = entries[0]!.value
  return {
    namespace: endpoint?.namespace ?? '',
    name: endpoint?.name ?? '',
    containerId: endpoint?.containerId ?? '',
    addresses: entries.map(({ key }) => key.address).sort(compareAddresses),
    ifindex,
    hostIfname: endpoint?.hostIfname ?? '',
    isolated: isolated !== 0,
    ingressSet: ingressSet === 0n ? null : idText(ingressSet),
    egressSet: egressSet === 0n ? null : idText(egressSet),
    drift: driftOf(entries),
  }
}

export async function listServices({ kernel, store, world }: ListSources): Promise<ServiceRow[]> {
  const names = new Map<bigint, { namespace: string; name: string; portName: string }>()
  for (const { namespace, name, ports } of world.services()) {
    for (const port of ports) {
      const id = serviceId(servicePortName(objectName(namespace, name), port.name, port.port))
      names.set(id, { namespace, name, portName: port.name })
    }
  }
  const backends = Map.groupBy(await readBack(kernel, store, 'backends'), ({ key }) => key.backendList)
  return (await readBack(kernel, store, 'frontends'))
    .filter(({ key }) => key.protocol !== 0) // says only that the address is a Service's
    .map((entry): ServiceRow => {
      const { key, value } = entry
      const list = (backends.get(value.backendList) ?? []).toSorted((a, b) => a.key.slot - b.key.slot)
      return {
        ...(names.get(value.service) ?? { namespace: '', name: idText(value.service), portName: '' }),
        address: key.address,
        port: key.port,
        protocol: protocolText(key.protocol),
        backends: list.map(({ value: { address, port } }) => ({ address, port })),
        drift: entry.drift === 'none' && list.some(({ drift }) => drift !== 'none') ? 'different' : entry.drift,
      }
    })
    .sort(
      (a, b) =>
        compareText(`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`) ||
        compareAddresses(a.address, b.address) ||
        a.port - b.port ||
        compareText(a.protocol, b.protocol),
    )
}

export async function listPolicies(sources: ListSources): Promise<PolicyRow[]> {
  const { kernel, store, world } = sources
  const { policies: compiled } = sources.compiled()
  const ownerAt = new Map([...world.endpoints()].flatMap((each) => each.addresses.map((at) => [at, each] as const)))
  const users = new Map<string, Set<string>>() // set and direction -> endpoints
  const rowKey = (set: bigint, direction: number): string => `${idText(set)} ${direction}`
  const use = (set: bigint, direction: number, endpoint: string): void => {
    if (set === 0n) return
    const key = rowKey(set, direction)
    users.set(key, (users.get(key) ?? new Set()).add(endpoint))
  }
  for (const { key, value, drift } of await readBack(kernel, store, 'endpoints')) {
    if (drift === 'missing') continue
    const owner = ownerAt.get(key.address)
    const name = owner === undefined ? key.address : objectName(owner.namespace, owner.name)
    use(value.egressSet, PolicyDirection.EGRESS, name)
    use(value.ingressSet, PolicyDirection.INGRESS, name)
  }
  const entries = Map.groupBy(await readBack(kernel, store, 'policies'), ({ key }) => rowKey(key.set, key.direction))
  const wanted = [...compiled.sets.values()].map((set) => rowKey(set.id, set.direction))
  return [...new Set([...wanted, ...users.keys(), ...entries.keys()])].sort().map((key) => {
    const [set, direction] = key.split(' ') as [string, string]
    const held = entries.get(key) ?? []
    const known = compiled.sets.get(BigInt(`0x${set}`))
    return {
      set,
      direction: directionText(Number(direction)),
      policies: isolating(known, false) ?? [],
      audited: known?.withAudited.filter((name) => !known.policies.includes(name)) ?? [],
      endpoints: [...(users.get(key) ?? [])].sort(),
      entries: held.map(({ key, value, drift }) => ({
        level: levelName(key),
        scope: key.level === PolicyLevels.CLASS ? className(key.scope, sources.compiled()) : levelText(key),
        ...protocolAndPort(key),
        verdict: verdictText(value),
        rule: value.rule === 0n ? withoutRule(value, known) : (compiled.rules.get(value.rule) ?? idText(value.rule)),
        drift,
      })),
      drift: driftOf(held),
    }
  })
}

/** No rule decides: policies isolate, or nothing forbids. */
function withoutRule(entry: PolicyEntry, set: PolicySet | undefined): string {
  const verdict = verdictText(entry)
  return verdict === 'allow' ? '' : (isolating(set, verdict === 'audit') ?? []).join(', ')
}

function levelName({ level }: PolicyKey): 'class' | 'realm' | 'any' {
  if (level === PolicyLevels.CLASS) return 'class'
  return level === PolicyLevels.REALM ? 'realm' : 'any'
}

function className(id: bigint, { policies }: Compiled): string {
  return policies.classNames.get(id) ?? idText(id)
}

function protocolAndPort(key: PolicyKey): { protocol: string; port: string } {
  const [protocol = 'any', port = 'any'] = portsText(key).split(' ')
  return { protocol, port }
}

export async function listNodes({ kernel, store, world }: ListSources): Promise<NodeRow[]> {
  const names = new Map([...world.nodes()].map(({ name }) => [nodeId(name), name]))
  const addresses = Map.groupBy(await readBack(kernel, store, 'nodes'), ({ value }) => value.node)
  const routes = Map.groupBy(await readBack(kernel, store, 'routes'), ({ value }) => value.node)
  const nexthops = Map.groupBy(await readBack(kernel, store, 'nexthops'), ({ key }) => key.node)
  const ids = new Set([...addresses.keys(), ...routes.keys(), ...nexthops.keys()])
  ids.delete(0n) // the Service CIDRs belong to no node
  return [...ids]
    .map((id): NodeRow => {
      const [of, routed, hops] = [addresses.get(id) ?? [], routes.get(id) ?? [], nexthops.get(id) ?? []]
      return {
        name: names.get(id) ?? idText(id),
        own: of.some(({ value }) => (value.flags & NodeFlags.OWN) !== 0),
        addresses: of.map(({ key }) => key.address).sort(compareAddresses),
        podCIDRs: routed.map(({ key }) => prefixFromKey(key)).sort(),
        nexthops: hops
          .map(({ key, value: { gateway, tunnel, ifindex } }) => ({
            family: key.family as Family,
            gateway,
            tunnel,
            ifindex,
          }))
          .sort((a, b) => a.family - b.family),
        drift: driftOf([...of, ...routed, ...hops]),
      }
    })
    .sort((a, b) => compareText(a.name, b.name))
}
