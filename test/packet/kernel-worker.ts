// SPDX-License-Identifier: Apache-2.0
// Runs packets through the shipped programs with BPF_PROG_TEST_RUN. A child process in a network namespace of its own
// (test/packet/kernel.ts starts it under `unshare --net`), so that its devices, routes and programs vanish with it.
//
//   10 uplink, 192.168.0.1/24 and fd00:f::1/64, default route by .254 and ::fe   110 its peer
//   21, 22, 23 host sides of three pods' veths                                   121, 122, 123 the pods' sides

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Codec, encode } from '../../src/core/codec.ts'
import {
  affinityText,
  type FlowState,
  flowText,
  fragmentText,
  type Tables,
  tableNames,
  tupleText,
} from '../../src/datapath/trace-tables.ts'
import {
  DropReason,
  dropCount,
  type Event,
  event,
  type MapName,
  maps,
  type NodeConfig,
  natKinds,
  nodeConfig,
  openingEnds,
  type Tuple,
  u32,
} from '../../src/generated/abi.ts'
import type { Addon, Fd } from '../../src/kernel/addon.ts'
import { loadAddon } from '../../src/kernel/load-addon.ts'
import { MAX_ENTRIES } from './cluster.ts'

export const hooks = ['from_pod', 'to_pod', 'from_netdev', 'to_netdev'] as const
export type HookName = (typeof hooks)[number]

export interface Step {
  readonly hook: HookName
  readonly bytes: Uint8Array
  /** Device whose hook runs. */
  readonly ifindex: number
  /** Device that the packet came in by: of what the stack forwards, another one; 0 for what it sends. */
  readonly ingressIfindex: number
  readonly mark: number
  /** How often; 1 if absent. */
  readonly repeat?: number
}

export interface RunRequest {
  readonly config: NodeConfig
  readonly tables: Tables
  readonly state: FlowState
  readonly steps: readonly Step[]
  /** Every CPU has sent as many ICMP answers as it may. */
  readonly isAnswerLimited?: boolean
  /** Rules that are counted. */
  readonly countedRules?: readonly bigint[]
}

export interface StepResult {
  readonly retval: number
  readonly bytes: Uint8Array
  readonly mark: number
  /** Reason -> packets counted in this step. */
  readonly drops: ReadonlyMap<number, number>
  readonly events: readonly Event[]
  readonly state: FlowState
  /** Rule -> when it was used, of those that are counted; 0: never. */
  readonly ruleUses: ReadonlyMap<bigint, bigint>
}

export type Reply = { readonly results: readonly StepResult[] } | { readonly failure: string }

const stateNames = [
  'flows',
  'flows_opening',
  'translations',
  'fragments',
  'affinity',
] as const satisfies readonly MapName[]
/** HEDDLE_OBJECTS: other objects than the shipped ones. */
const OBJECTS = process.env.HEDDLE_OBJECTS ?? join(import.meta.dirname, '../../build/bpf')
const MARK_OFFSET = 8 // of __sk_buff
const INGRESS_IFINDEX_OFFSET = 36
const IFINDEX_OFFSET = 40
const SK_BUFF_BYTES = 192

type Entries = readonly (readonly [unknown, unknown])[]

interface Loaded {
  readonly maps: ReadonlyMap<MapName, Fd>
  readonly programs: ReadonlyMap<HookName, Fd>
  readonly events: Event[]
  /** What the programs keep of tables and flows, for each CPU. */
  readonly seen: readonly Fd[]
  readonly answersPaid: Fd
}

/** What the agent promises (src/datapath/epoch.ts) and tests do not keep: what is there changes with the epoch only. */
const lastEpoch = new WeakMap<Loaded, number>()

const ip = (...args: readonly string[]) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] })

function setUpDevices() {
  for (const family of ['ipv4', 'ipv6']) {
    for (const scope of ['all', 'default']) writeFileSync(`/proc/sys/net/${family}/conf/${scope}/forwarding`, '1')
  }
  writeFileSync('/proc/sys/net/ipv6/conf/default/accept_dad', '0')
  ip('link', 'set', 'lo', 'up')
  for (const [index, name] of [
    [10, 'uplink'],
    [21, 'pod1'],
    [22, 'pod2'],
    [23, 'pod3'],
  ] as const) {
    const peer = ['peer', 'name', `${name}-peer`, 'index', String(index + 100)]
    ip('link', 'add', 'name', name, 'index', String(index), 'address', '02:00:00:00:00:01', 'type', 'veth', ...peer)
    ip('link', 'set', name, 'up')
    ip('link', 'set', `${name}-peer`, 'up')
  }
  for (const [address, gateway] of [
    ['192.168.0.1/24', '192.168.0.254'],
    ['fd00:f::1/64', 'fd00:f::fe'],
  ] as const) {
    ip('address', 'add', address, 'dev', 'uplink', ...(address.includes(':') ? ['nodad'] : []))
    ip('route', 'add', 'default', 'via', gateway, 'dev', 'uplink')
    ip('neighbour', 'add', gateway, 'lladdr', '02:00:00:00:00:fe', 'dev', 'uplink', 'nud', 'permanent')
  }
}

async function load(addon: Addon, config: NodeConfig): Promise<Loaded> {
  const opened = new Map<string, Fd>()
  const programs = new Map<HookName, Fd>()
  const isShared = (name: string) => name in maps || name.endsWith('_seen') || name === 'answers_paid'
  for (const hook of hooks) {
    const object = addon.openObject(readFileSync(join(OBJECTS, `${hook}.o`)), hook)
    for (const { name, maxEntries } of object.maps) {
      const fd = opened.get(name)
      if (fd !== undefined) object.reuseMap(name, fd)
      else if (name in maps && name !== 'drops' && name !== 'events')
        object.setMaxEntries(name, Math.min(maxEntries, MAX_ENTRIES))
    }
    object.setRodata('config', encode(nodeConfig, config))
    await object.load()
    for (const { name } of object.maps) {
      if (isShared(name) && !opened.has(name)) opened.set(name, object.mapFd(name))
    }
    programs.set(hook, object.programFd(hook))
    object.close()
  }
  const events: Event[] = []
  addon.openRing(opened.get('events')!, event.size, 1, (bytes, count) => {
    for (let i = 0; i < count; i++) events.push(event.read(bytes, i * event.size))
  })
  const seen = [...opened].filter(([name]) => name.endsWith('_seen')).map(([, fd]) => fd)
  return { maps: opened as ReadonlyMap<MapName, Fd>, programs, events, seen, answersPaid: opened.get('answers_paid')! }
}

async function clear(addon: Addon, fd: Fd, keySize: number) {
  const { keys, count } = await addon.mapDump(fd)
  for (let i = 0; i < count; i++) addon.mapDelete(fd, keys.subarray(i * keySize, (i + 1) * keySize))
}

async function writeTables(addon: Addon, loaded: Loaded, request: RunRequest) {
  const { tables, state, isAnswerLimited, countedRules = [] } = request
  for (const name of tableNames) await writeTable(addon, loaded, name, tables[name])
  for (const name of stateNames) await writeTable(addon, loaded, name, [...state[name].values()])
  await clear(addon, loaded.maps.get('turns')!, maps.turns.keySize)
  const kinds = encode(natKinds, { betweenNodes: state.translations.size > 0 ? 1 : 0 })
  addon.mapUpdate(loaded.maps.get('nat_kinds')!, encode(u32, 0), kinds, 0)
  writeOpenings(addon, loaded, state.openings)
  const { epoch } = tables.policy_epoch[0]![1]
  if (lastEpoch.get(loaded) === epoch) for (const fd of loaded.seen) zero(addon, fd)
  lastEpoch.set(loaded, epoch)
  const unused = { sinceNs: 0n, usedNs: 0n, meaning: 0n }
  await writeTable(
    addon,
    loaded,
    'rule_uses',
    countedRules.map((rule) => [{ rule }, unused]),
  )
  fill(addon, loaded.answersPaid, isAnswerLimited ? process.hrtime.bigint() + 3600n * 1_000_000_000n : 0n)
}

function writeOpenings(addon: Addon, loaded: Loaded, openings: readonly Tuple[]) {
  const ends = { newest: BigInt(openings.length), oldest: 0n }
  addon.mapUpdate(loaded.maps.get('opening_ends')!, encode(u32, 0), encode(openingEnds, ends), 0)
  const ring = loaded.maps.get('openings')!
  for (const [slot, key] of openings.entries())
    addon.mapUpdate(ring, encode(u32, slot), encode(maps.openings.value, key), 0)
}

function readOpenings(addon: Addon, loaded: Loaded): Tuple[] {
  const { newest, oldest } = openingEnds.read(addon.mapLookup(loaded.maps.get('opening_ends')!, encode(u32, 0))!, 0)
  return Array.from({ length: Number(newest - oldest) }, (_, i) =>
    maps.openings.value.read(addon.mapLookup(loaded.maps.get('openings')!, encode(u32, Number(oldest) + i))!, 0),
  )
}

/** Every CPU's one number. */
function fill(addon: Addon, perCpuArray: Fd, value: bigint) {
  addon.mapUpdate(
    perCpuArray,
    encode(u32, 0),
    new Uint8Array(new BigUint64Array(addon.possibleCpus()).fill(value).buffer),
    0,
  )
}

function zero(addon: Addon, perCpuArray: Fd) {
  const { maxEntries, valueSize } = addon.mapInfo(perCpuArray)
  const nothing = new Uint8Array(valueSize * addon.possibleCpus())
  const key = new Uint8Array(4)
  const index = new DataView(key.buffer)
  for (let i = 0; i < maxEntries; i++) {
    index.setUint32(0, i, true)
    addon.mapUpdate(perCpuArray, key, nothing, 0)
  }
}

async function writeTable(addon: Addon, loaded: Loaded, name: MapName, entries: Entries) {
  const fd = loaded.maps.get(name)
  if (fd === undefined) return
  const [key, value] = [maps[name].key as Codec<unknown>, maps[name].value as Codec<unknown>]
  if (name !== 'policy_epoch') await clear(addon, fd, key.size)
  for (const entry of entries) addon.mapUpdate(fd, encode(key, entry[0]), encode(value, entry[1]), 0)
}

async function readState(addon: Addon, loaded: Loaded): Promise<FlowState> {
  const read = async <K, V>(name: (typeof stateNames)[number], text: (key: K) => string) => {
    const { key: keyCodec, value: valueCodec } = maps[name]
    const { keys, values, count } = await addon.mapDump(loaded.maps.get(name)!)
    return new Map(
      Array.from({ length: count }, (_, i) => {
        const key = keyCodec.read(keys, i * keyCodec.size) as K
        return [text(key), [key, valueCodec.read(values, i * valueCodec.size) as V]] as const
      }),
    )
  }
  return {
    flows: await read('flows', flowText),
    flows_opening: await read('flows_opening', flowText),
    translations: await read('translations', tupleText),
    openings: readOpenings(addon, loaded),
    fragments: await read('fragments', fragmentText),
    affinity: await read('affinity', affinityText),
  }
}

async function readRuleUses(addon: Addon, loaded: Loaded): Promise<ReadonlyMap<bigint, bigint>> {
  const { key, value } = maps.rule_uses
  const { keys, values, count } = await addon.mapDump(loaded.maps.get('rule_uses')!)
  return new Map(
    Array.from({ length: count }, (_, i) => [
      key.read(keys, i * key.size).rule,
      value.read(values, i * value.size).usedNs,
    ]),
  )
}

function dropCounts(addon: Addon, loaded: Loaded): readonly bigint[] {
  return Array.from({ length: maps.drops.maxEntries }, (_, reason) => {
    const perCpu = addon.mapLookup(loaded.maps.get('drops')!, encode(u32, reason))!
    let packets = 0n
    for (let at = 0; at < perCpu.length; at += dropCount.size) packets += dropCount.read(perCpu, at).packets
    return packets
  })
}

async function runStep(addon: Addon, loaded: Loaded, step: Step): Promise<StepResult> {
  const context = new Uint8Array(SK_BUFF_BYTES)
  const view = new DataView(context.buffer)
  view.setUint32(MARK_OFFSET, step.mark, true)
  view.setUint32(INGRESS_IFINDEX_OFFSET, step.ingressIfindex, true)
  view.setUint32(IFINDEX_OFFSET, step.ifindex, true)
  const before = dropCounts(addon, loaded)
  const firstEvent = loaded.events.length
  const program = loaded.programs.get(step.hook)!
  const { retval, data, context: after } = await addon.testRun(program, step.bytes, context, step.repeat ?? 1)
  const counts = dropCounts(addon, loaded).map((count, reason) => [reason, Number(count - before[reason]!)] as const)
  const drops = new Map(counts.filter(([, count]) => count > 0))
  const lost = drops.get(DropReason.EVENT_LOST) ?? 0
  const unanswered = drops.get(DropReason.ANSWER_LIMIT) ?? 0
  const told = [...drops.values()].reduce((sum, count) => sum + count, 0) - 2 * lost - unanswered
  for (let waited = 0; loaded.events.length < firstEvent + told && waited < 5000; waited++) {
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return {
    retval,
    bytes: data,
    mark: new DataView(after.buffer, after.byteOffset).getUint32(MARK_OFFSET, true),
    drops,
    events: loaded.events.slice(firstEvent),
    state: await readState(addon, loaded),
    ruleUses: await readRuleUses(addon, loaded),
  }
}

const addon = loadAddon()
const loadedByConfig = new Map<string, Loaded>()

async function run(request: RunRequest): Promise<Reply> {
  const configText = encode(nodeConfig, request.config).toString()
  const loaded = loadedByConfig.get(configText) ?? (await load(addon, request.config))
  loadedByConfig.set(configText, loaded)
  await writeTables(addon, loaded, request)
  const results: StepResult[] = []
  for (const step of request.steps) results.push(await runStep(addon, loaded, step))
  return { results }
}

setUpDevices()
process.on('message', (request: RunRequest) => {
  run(request).then(
    (reply) => process.send!(reply),
    (error: Error) => process.send!({ failure: error.stack ?? String(error) }),
  )
})
process.on('disconnect', () => process.exit())
process.send!('ready')
