// SPDX-License-Identifier: Apache-2.0
// GET /v1/trace: a packet through the tables as the kernel holds them now.

import { type Address, family, isParseError, parseAddress } from '../core/address.ts'
import { nodeId } from '../core/names.ts'
import { Protocol } from '../core/protocol.ts'
import { idText, readKey, readValue, type TableName } from '../datapath/tables.ts'
import { askTrace } from '../datapath/trace-question.ts'
import type { KeyOf, Tables, ValueOf } from '../datapath/trace-tables.ts'
import type { TraceConfig } from '../datapath/trace-walk.ts'
import type { Kernel } from '../kernel/apply.ts'
import { type Names, reasonText } from '../observe/events.ts'
import type { WorldView } from '../world/world.ts'
import type { TraceReply } from './api.ts'
import { RequestError } from './http.ts'

export interface TraceSources {
  readonly kernel: Kernel
  readonly world: WorldView
  readonly names: Names
  readonly config: TraceConfig
  /** Of the uplink. */
  readonly mtuBytes: number
}

/** Throws RequestError for a query that names nothing. */
export async function answerTrace(sources: TraceSources, query: URLSearchParams): Promise<TraceReply> {
  const { config, names, mtuBytes } = sources
  const [from, to] = [query.get('from') ?? '', query.get('to') ?? '']
  const addresses = commonFamily(addressesOf(sources, from), addressesOf(sources, to))
  if (!addresses) throw new RequestError(400, `${from} and ${to} have no address of the same family`)
  const protocol = Protocol[(query.get('protocol') ?? 'TCP') as keyof typeof Protocol]
  if (protocol === undefined) throw new RequestError(400, `${query.get('protocol')} is not TCP, UDP, SCTP or ICMP`)
  const port = Number(query.get('port'))
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new RequestError(400, `${query.get('port')} is not a port`)
  }
  const tables = await readTables(sources.kernel)
  const nameOf = nameOfIds(sources)
  const { verdict, audited, steps } = askTrace({ ...addresses, tables, config, mtuBytes, nameOf, port, protocol })
  const isDenied = verdict.kind === 'drop'
  return {
    from,
    to,
    verdict: isDenied ? 'deny' : 'allow',
    reason: isDenied ? reasonText(verdict.reason) : null,
    rule: isDenied ? ruleText(names, verdict, false) : null,
    audit: isDenied || audited === null ? null : ruleText(names, audited, true),
    steps,
  }
}

function ruleText(names: Names, { rule, set }: { readonly rule: bigint; readonly set: bigint }, audited: boolean) {
  return names.rule(rule) ?? names.isolating(set, audited)?.join(', ') ?? null
}

/** 'NS/POD', 'svc/NS/NAME', 'node/NAME' or an address. */
function addressesOf({ world }: TraceSources, place: string): readonly Address[] {
  const address = parseAddress(place)
  if (!isParseError(address)) return [address]
  const [kind, ...name] = place.split('/')
  const found =
    kind === 'node'
      ? world.node(name.join('/'))?.internalIPs
      : kind === 'svc'
        ? world.service(name.join('/'))?.clusterIPs
        : podAddresses(world, place)
  if (!found || found.length === 0) throw new RequestError(400, `there is no ${place} here that has an address`)
  return found
}

/** A local pod has its addresses before its status tells them. */
function podAddresses(world: WorldView, name: string): readonly Address[] | undefined {
  const endpoint = [...world.endpoints()].find((candidate) => `${candidate.namespace}/${candidate.name}` === name)
  return endpoint?.addresses ?? world.pod(name)?.podIPs
}

function commonFamily(
  from: readonly Address[],
  to: readonly Address[],
): { readonly from: Address; readonly to: Address } | undefined {
  return from
    .flatMap((source) => to.map((destination) => ({ from: source, to: destination })))
    .find((pair) => family(pair.from) === family(pair.to))
}

async function readTables(kernel: Kernel): Promise<Tables> {
  const read = async <M extends TableName>(table: M): Promise<readonly (readonly [KeyOf<M>, ValueOf<M>])[]> =>
    Array.from(await kernel.readTable(table), ({ key, value }) => [readKey(table, key), readValue(table, value)])
  return {
    endpoints: await read('endpoints'),
    classes: await read('classes'),
    class_prefixes: await read('class_prefixes'),
    policies: await read('policies'),
    policy_epoch: [[0, { epoch: kernel.readEpoch() }]],
    routes: await read('routes'),
    nodes: await read('nodes'),
    nexthops: await read('nexthops'),
    frontends: await read('frontends'),
    backends: await read('backends'),
    slot_tables: await read('slot_tables'),
    source_ranges: await read('source_ranges'),
  }
}

function nameOfIds({ names, world }: TraceSources): (id: bigint) => string {
  const nodes = new Map([...world.nodes()].map(({ name }) => [nodeId(name), name]))
  return (id) =>
    names.pod(id) ??
    names.rule(id) ??
    names.service(id) ??
    nodes.get(id) ??
    names.isolating(id, true)?.join(', ') ??
    idText(id)
}
