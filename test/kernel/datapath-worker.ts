// SPDX-License-Identifier: Apache-2.0
// What openDatapath does, observed in namespaces of its own (network and mounts), which end with this process:
// `unshare --net --mount node datapath-worker.ts SCENARIO` prints what it saw as JSON. See datapath.test.ts.

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Address } from '../../src/core/address.ts'
import { encode } from '../../src/core/codec.ts'
import {
  endpoint,
  endpointKey,
  flow,
  flowKey,
  type MapName,
  maps,
  type NodeConfig,
  policyEpoch,
  TranslationFlags,
  translation,
  tuple,
  u32,
} from '../../src/generated/abi.ts'
import type { Fd } from '../../src/kernel/addon.ts'
import { loadAddon } from '../../src/kernel/load-addon.ts'
import { type Datapath, openDatapath } from '../../src/kernel/loader.ts'
import { removePins } from '../../src/kernel/uninstall.ts'
import { udp } from '../support/packet.ts'
import { packetBytes } from '../support/packet-bytes.ts'

const addon = loadAddon()
const OBJECTS = join(import.meta.dirname, '../../build/bpf')
const POD = 'hdpod0'

interface Site {
  readonly bpffs: string
  readonly cgroup: string
  readonly ifindex: number
}

const config: NodeConfig = {
  ipv4: '192.0.2.1' as Address,
  ipv6: '::' as Address,
  node: 1n,
  netnsCookie: 2n,
  uplink: 1,
  vni: 1,
  tunnelPort: 8472,
  tunnelMode: 0,
  masquerade: 1,
  dsr: 0,
  natPortMin: 32768,
  natPortMax: 65535,
  refuseDenied: 0,
  sorter: 0,
  seed: [1n, 1n, 1n, 1n],
}

async function open({ bpffs, cgroup, ifindex }: Site, sizes: Partial<Record<MapName, number>>): Promise<Datapath> {
  const datapath = await openDatapath(addon, { bpffs, objectsDir: OBJECTS, config, sizes: { ...small, ...sizes } })
  await datapath.attachPod(ifindex, POD)
  await datapath.linkPods()
  await datapath.attachUplink(ifindex)
  await datapath.attachCgroup(cgroup)
  return datapath
}

/** The shipped sizes would cost a second per load. */
const small: Partial<Record<MapName, number>> = Object.fromEntries(
  Object.values(maps)
    .filter(({ maxEntries, name }) => maxEntries > 4096 && name !== 'events')
    .map(({ name }) => [name, 4096]),
)

function fill({ maps }: Datapath): void {
  const pod = { netnsCookie: 1n, egressSet: 2n, ingressSet: 3n, ifindex: 4, egressLevels: 1, ingressLevels: 2 }
  const address = '10.1.0.5' as Address
  addon.mapUpdate(
    maps.endpoints,
    encode(endpointKey, { address }),
    encode(endpoint, { ...pod, isolated: 0, pod: 9n }),
    0,
  )
  for (let port = 0; port < 300; port++) putFlow(maps.flows, port)
  addon.mapUpdate(maps.policy_epoch, encode(u32, 0), encode(policyEpoch, { epoch: 7 }), 0)
}

const OUTSIDE = '198.51.100.7' as Address
const translationPorts = [1001, 1002, 1003, 1004]

/** A reply from outside to the node's own address, which a pod's masqueraded request awaits. */
function replyTuple(port: number) {
  return { source: OUTSIDE, destination: config.ipv4, sourcePort: 53, destinationPort: port, protocol: 17 }
}

function putTranslation(map: Fd, port: number): void {
  const to = { ...replyTuple(port), destination: '10.1.0.5' as Address }
  const value = { to, flags: TranslationFlags.REVERSE, seenNs: process.hrtime.bigint(), service: 0n }
  addon.mapUpdate(map, encode(tuple, replyTuple(port)), encode(translation, value), 0)
}

async function receiveReply(datapath: Datapath, port: number): Promise<void> {
  const bytes = packetBytes(udp(`${OUTSIDE}:53`, `${config.ipv4}:${port}`))
  await addon.testRun(datapath.programs.get('from_netdev')!, bytes, null, 1)
}

/** Ports whose translation the datapath has. */
function ports({ maps }: Datapath): number[] {
  return translationPorts.filter((port) => addon.mapLookup(maps.translations, encode(tuple, replyTuple(port))) !== null)
}

function putFlow(map: Fd, lowPort: number): void {
  const ends = { low: '10.0.0.1' as Address, high: '10.0.0.2' as Address, lowPort, highPort: 80, protocol: 6 }
  const side = { ifindexIn: 1, ifindexOut: 2, node: 3n }
  addon.mapUpdate(map, encode(flowKey, ends), encode(flow, { seenNs: 1n, epoch: 1, flags: 2, side: [side, side] }), 0)
}

async function observe({ maps }: Datapath, { bpffs }: Site) {
  const folder = join(bpffs, 'heddle')
  const count = async (map: Fd) => (await addon.mapDump(map)).count
  return {
    endpoints: await count(maps.endpoints),
    flows: await count(maps.flows),
    maxFlows: addon.mapInfo(maps.flows).maxEntries,
    flowsId: addon.mapInfo(maps.flows).id,
    epoch: policyEpoch.read(addon.mapLookup(maps.policy_epoch, encode(u32, 0))!, 0).epoch,
    links: readdirSync(join(folder, 'links')).sort(),
    pins: readdirSync(folder)
      .filter((name) => name !== 'links')
      .sort(),
    linkIds: linkIds(folder),
    programsUse: [...new Set(linkIds(folder).map(({ program }) => program))].length,
  }
}

function linkIds(folder: string) {
  return readdirSync(join(folder, 'links'))
    .sort()
    .map((name) => {
      const link = addon.openPinned(join(folder, 'links', name))
      const { id, programId, ifindex } = addon.linkInfo(link)
      addon.closeFd(link)
      return { name, link: id, program: programId, ifindex }
    })
}

/** Programs at the pod's device: filters, and links by their pins. */
function attached({ bpffs }: Site) {
  const filters = ['ingress', 'egress'].flatMap((direction) => {
    const listed = execFileSync('tc', ['-json', 'filter', 'show', 'dev', POD, direction], { encoding: 'utf8' })
    const filters = JSON.parse(listed || '[]') as readonly { readonly options?: { readonly bpf_name?: string } }[]
    return filters.flatMap(({ options }) => options?.bpf_name?.replace(/:.*/, '') ?? [])
  })
  return { filters, links: readdirSync(join(bpffs, 'heddle/links')).sort() }
}

type Scenario = (site: Site) => Promise<unknown>

const scenarios: Readonly<Record<string, Scenario>> = {
  /** Killed and started again: a process that only disposed of its descriptors. */
  async adopt(site) {
    const first = await open(site, {})
    fill(first)
    const before = await observe(first, site)
    first[Symbol.dispose]()
    using second = await open(site, {})
    return { before, after: await observe(second, site) }
  },

  async resize(site) {
    const first = await open(site, {})
    fill(first)
    const before = await observe(first, site)
    first[Symbol.dispose]()
    const second = await open(site, { flows: 8192, endpoints: 100 })
    const larger = await observe(second, site)
    second[Symbol.dispose]()
    using third = await open(site, {})
    return { before, larger, back: await observe(third, site) }
  },

  /** A pod's way from filters to links. */
  async pod(site) {
    const options = { bpffs: site.bpffs, objectsDir: OBJECTS, config, sizes: small }
    using datapath = await openDatapath(addon, options)
    await datapath.attachPod(site.ifindex, POD)
    const linking = datapath.linkPods()
    datapath.detachPod(POD)
    await linking
    const detached = attached(site).links
    for (const pod of [POD, 'second']) await datapath.attachPod(site.ifindex, pod)
    const linkingBoth = datapath.linkPods()
    datapath.detachPod('third')
    await linkingBoth
    const leftOff = attached(site).links
    for (const pod of [POD, 'second']) datapath.detachPod(pod)
    await datapath.attachPod(site.ifindex, POD)
    const atOnce = attached(site)
    await datapath.linkPods()
    const later = attached(site)
    await datapath.attachPod(site.ifindex, POD)
    return { detached, leftOff, atOnce, later, again: attached(site) }
  },

  /** Translations that the programs before wrote at different moments of the change. */
  async takeover(site) {
    const first = await open(site, {})
    const old = first.maps.translations
    putTranslation(old, 1001)
    using second = await open(site, { translations: 8192 })
    putTranslation(old, 1002)
    await receiveReply(second, 1002)
    const byPacket = ports(second)
    putTranslation(old, 1003)
    await second.finishTakeover()
    const byCopy = ports(second)
    putTranslation(old, 1004)
    await receiveReply(second, 1004)
    const afterwards = ports(second)
    const links = attached(site).links
    first[Symbol.dispose]()
    return { byPacket, byCopy, afterwards, links }
  },

  /** What was attached is gone: the device was deleted while nobody watched. */
  async stale(site) {
    const first = await open(site, {})
    first[Symbol.dispose]()
    execFileSync('ip', ['link', 'delete', POD])
    using second = await openDatapath(addon, { bpffs: site.bpffs, objectsDir: OBJECTS, config, sizes: small })
    return await observe(second, site)
  },

  async detach(site) {
    using datapath = await open(site, {})
    datapath.detachPod(POD)
    datapath.detachPod(POD)
    const links = readdirSync(join(site.bpffs, 'heddle/links')).sort()
    removePins(site.bpffs)
    removePins(site.bpffs)
    return { links, left: readdirSync(site.bpffs).filter((name) => name.startsWith('heddle')) }
  },

  /** An object that the verifier refuses, after all maps were adopted. */
  async refused(site) {
    const first = await open(site, {})
    fill(first)
    const before = await observe(first, site)
    const descriptors = readdirSync('/proc/self/fd').length
    const missing = { bpffs: site.bpffs, objectsDir: '/nonexistent', config, sizes: small }
    const error = await openDatapath(addon, missing).catch((reason: Error) => reason.message)
    const open_ = readdirSync('/proc/self/fd').length
    return { error, leaked: open_ - descriptors, before, after: await observe(first, site) }
  },
}

const scenario = scenarios[process.argv[2] ?? '']
if (scenario === undefined) throw new Error(`no scenario ${process.argv[2]}`)
const bpffs = mkdtempSync(join(tmpdir(), 'heddle-test-bpffs-'))
const cgroup = join(cgroupMount(), `heddle-test-${process.pid}`)
execFileSync('mount', ['-t', 'bpf', 'bpf', bpffs])
mkdirSync(cgroup)
try {
  execFileSync('ip', ['link', 'add', POD, 'type', 'veth', 'peer', 'name', 'peer0'])
  const [{ ifindex }] = JSON.parse(execFileSync('ip', ['-json', 'link', 'show', POD]).toString())
  process.stdout.write(JSON.stringify(await scenario({ bpffs, cgroup, ifindex })))
} finally {
  execFileSync('umount', [bpffs])
  rmSync(bpffs, { recursive: true })
  rmdirSync(cgroup)
}

function cgroupMount(): string {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((each) => each.includes(' - cgroup2 '))
  if (line === undefined) throw new Error('no cgroup2 hierarchy is mounted')
  return line.split(' ')[4]!
}
