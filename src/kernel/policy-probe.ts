// SPDX-License-Identifier: Apache-2.0
// The shipped programs, asked about policy: loaded on maps of their own, attached to nothing and pinned nowhere. Packets are
// run through them with BPF_PROG_TEST_RUN and go nowhere; everything is gone with the process.
//
// The pod in question is the only endpoint there is, on the loopback device: its egress is judged by from_pod, its ingress
// by from_netdev.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Address, UNSPECIFIED } from '../core/address.ts'
import { type Codec, encode } from '../core/codec.ts'
import { type Probe, probeFrame } from '../datapath/probe-frame.ts'
import type { KeyOf, TableName, ValueOf } from '../datapath/tables.ts'
import {
  DropReason,
  dropCount,
  type Endpoint,
  type MapName,
  maps,
  type NodeConfig,
  nodeConfig,
  POLICY_FIXED_BITS,
  POLICY_PROTOCOL_BITS,
  PolicyDirection,
  type PolicyEntry,
  PolicyLevels,
  TunnelMode,
  u32,
} from '../generated/abi.ts'
import type { Addon, Fd } from './addon.ts'
import { attempt } from './kernel-error.ts'
import { loadAddon } from './load-addon.ts'

type Entries<M extends TableName> = readonly (readonly [KeyOf<M>, ValueOf<M>])[]

/** What a node's policies are in its maps. */
export interface ProbeTables {
  readonly policies: Entries<'policies'>
  readonly classes: Entries<'classes'>
  readonly class_prefixes: Entries<'class_prefixes'>
}

export interface ProbeQuestion {
  readonly direction: PolicyDirection
  readonly pod: Address
  readonly peer: Address
  readonly protocol: Probe['protocol']
  /** Of ICMP type << 8 | code. */
  readonly port: number
  /** What the pod's entry says of the direction asked. */
  readonly set: bigint
  readonly levels: number
}

export interface ProbeAnswer {
  readonly allowed: boolean
  /** Counted as one that audited policies would deny. */
  readonly audited: boolean
  /** What the maps give for the packet, as the program looks it up; undefined: nothing. */
  readonly entry: PolicyEntry | undefined
  /** Level of the entry; 0: none. */
  readonly level: number
}

export interface PolicyProbe extends Disposable {
  /** Replaces what was there. */
  write(tables: ProbeTables): void
  judge(question: ProbeQuestion): Promise<ProbeAnswer>
}

/** Loopback: every network namespace has it, and TEST_RUN takes it where no other device is named. */
const IFINDEX = 1
const SK_BUFF_BYTES = 192
const TC_ACT_SHOT = 2
/** No probe fills the others, and the shipped sizes would cost a second. */
const OTHER_ENTRIES_MAX = 1024
const FULL_SIZE: ReadonlySet<string> = new Set(['policies', 'classes', 'class_prefixes', 'drops', 'events'])
const HOOKS = ['from_pod', 'from_netdev'] as const
const CONFIG: NodeConfig = {
  ipv4: UNSPECIFIED,
  ipv6: UNSPECIFIED,
  node: 1n,
  netnsCookie: 0n,
  uplink: IFINDEX,
  vni: 1,
  tunnelPort: 8472,
  tunnelMode: TunnelMode.NONE,
  masquerade: 0,
  dsr: 0,
  natPortMin: 32768,
  natPortMax: 60999,
  refuseDenied: 0,
  sorter: 0,
  seed: [1n, 1n, 1n, 1n],
}
/** A set that has no entry: whatever is judged by it is denied. */
const NOTHING_ALLOWED = { set: 1n, levels: 0 }

/** Needs root. */
export async function openPolicyProbe(objectsDir: string): Promise<PolicyProbe> {
  const addon = loadAddon()
  const fds = new Map<string, Fd>()
  const programs = new Map<string, Fd>()
  for (const hook of HOOKS) await attempt(`load ${hook}`, () => load(addon, objectsDir, hook, fds, programs))
  const written = new Map<MapName, readonly Uint8Array[]>()
  let epoch = 0

  const fdOf = (name: MapName) => fds.get(name)!
  const put = (name: MapName, key: unknown, value: unknown) => {
    const bytes = encode(maps[name].key as Codec<unknown>, key)
    addon.mapUpdate(fdOf(name), bytes, encode(maps[name].value as Codec<unknown>, value), 0)
    return bytes
  }
  const replace = <M extends TableName>(name: M, entries: Entries<M>) => {
    for (const key of written.get(name) ?? []) addon.mapDelete(fdOf(name), key)
    written.set(
      name,
      entries.map(([key, value]) => put(name, key, value)),
    )
  }
  const find = <M extends TableName>(name: M, key: KeyOf<M>): ValueOf<M> | undefined => {
    const bytes = addon.mapLookup(fdOf(name), encode(maps[name].key as Codec<unknown>, key))
    return bytes === null ? undefined : ((maps[name].value as Codec<unknown>).read(bytes, 0) as ValueOf<M>)
  }

  /** As lib/policy.h does, with the kernel's own longest-prefix match. */
  function lookUp(question: ProbeQuestion): Pick<ProbeAnswer, 'entry' | 'level'> {
    const { direction, set, levels, peer, protocol, port } = question
    const peerClass = find('classes', { address: peer }) ?? find('class_prefixes', { length: 128, address: peer })
    const scopes = [
      ...(peerClass === undefined
        ? []
        : ([
            [PolicyLevels.CLASS, peerClass.classId],
            [PolicyLevels.REALM, BigInt(peerClass.realm)],
          ] as const)),
      [PolicyLevels.ANY, 0n] as const,
    ]
    const prefixLength = POLICY_FIXED_BITS + POLICY_PROTOCOL_BITS + 16
    for (const [level, scope] of scopes) {
      if ((levels & level) === 0) continue
      const entry = find('policies', { prefixLength, direction, level, set, scope, protocol, port })
      if (entry !== undefined) return { entry, level }
    }
    return { entry: undefined, level: 0 }
  }

  function countOf(reason: number): bigint {
    const perCpu = addon.mapLookup(fdOf('drops'), encode(u32, reason))!
    let packets = 0n
    for (let at = 0; at < perCpu.length; at += dropCount.size) packets += dropCount.read(perCpu, at).packets
    return packets
  }

  async function run(question: ProbeQuestion): Promise<Pick<ProbeAnswer, 'allowed' | 'audited'>> {
    const isEgress = question.direction === PolicyDirection.EGRESS
    const reason = isEgress ? DropReason.POLICY_EGRESS : DropReason.POLICY_INGRESS
    const [source, destination] = isEgress ? [question.pod, question.peer] : [question.peer, question.pod]
    const frame = probeFrame({ source, destination, protocol: question.protocol, port: question.port })
    const auditReason = isEgress ? DropReason.AUDIT_EGRESS : DropReason.AUDIT_INGRESS
    const [before, auditBefore] = [countOf(reason), countOf(auditReason)]
    const program = programs.get(isEgress ? 'from_pod' : 'from_netdev')!
    const { retval } = await addon.testRun(program, frame, new Uint8Array(SK_BUFF_BYTES), 1)
    if (retval !== TC_ACT_SHOT) return { allowed: true, audited: countOf(auditReason) > auditBefore }
    if (countOf(reason) > before) return { allowed: false, audited: false }
    throw new Error(
      `${source} to ${destination}, protocol ${question.protocol} ${question.port}: dropped, but not by policy`,
    )
  }

  return {
    write(tables) {
      replace('policies', tables.policies)
      replace('classes', tables.classes)
      replace('class_prefixes', tables.class_prefixes)
    },
    async judge(question) {
      replace('endpoints', [[{ address: question.pod }, endpointEntry(question)]])
      put('policy_epoch', 0, { epoch: ++epoch }) // a flow that an earlier probe opened is judged again
      return { ...(await run(question)), ...lookUp(question) }
    },
    [Symbol.dispose]() {
      for (const fd of [...fds.values(), ...programs.values()]) addon.closeFd(fd)
    },
  }
}

/** The other direction is closed, so that nothing passes as an answer. */
function endpointEntry({ direction, set, levels }: ProbeQuestion): Endpoint {
  const asked = { set, levels }
  const [egress, ingress] = direction === PolicyDirection.EGRESS ? [asked, NOTHING_ALLOWED] : [NOTHING_ALLOWED, asked]
  return {
    netnsCookie: 0n,
    egressSet: egress.set,
    ingressSet: ingress.set,
    ifindex: IFINDEX,
    egressLevels: egress.levels,
    ingressLevels: ingress.levels,
    isolated: 0,
    pod: 1n,
  }
}

async function load(addon: Addon, objectsDir: string, hook: string, fds: Map<string, Fd>, programs: Map<string, Fd>) {
  const object = addon.openObject(readFileSync(join(objectsDir, `${hook}.o`)), hook)
  try {
    for (const { name, maxEntries } of object.maps) {
      if (!(name in maps)) continue
      const fd = fds.get(name)
      if (fd !== undefined) object.reuseMap(name, fd)
      else if (!FULL_SIZE.has(name)) object.setMaxEntries(name, Math.min(maxEntries, OTHER_ENTRIES_MAX))
    }
    object.setRodata('config', encode(nodeConfig, CONFIG))
    await object.load()
    for (const { name } of object.maps) if (name in maps && !fds.has(name)) fds.set(name, object.mapFd(name))
    programs.set(hook, object.programFd(hook))
  } finally {
    object.close()
  }
}
