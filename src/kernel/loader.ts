// SPDX-License-Identifier: Apache-2.0
// The data plane, from files to running programs: adopts what is pinned, creates what is missing, replaces the programs
// of pinned links. Packets go on throughout: old programs run until the new ones, loaded on the same maps, take over.

import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { encode } from '../core/codec.ts'
import { type MapName, maps, type NodeConfig, natKinds, nodeConfig, u32 } from '../generated/abi.ts'
import type { Addon, BpfObject, Fd } from './addon.ts'
import { addClsact, putFilter } from './filters.ts'
import { all, attempt } from './kernel-error.ts'
import { type CgroupHook, cgroupHooks, type DeviceHook, Links } from './links.ts'
import { copyArray, copyMissing } from './map-copy.ts'
import { MapPins } from './map-pins.ts'

/** Compiled from bpf/hooks; every one declares the maps that it uses, and all but collect the node's `config`. collect
 *  comes first: it creates `translations` without bpf/lib/takeover.h, beside which libbpf would take one for the other,
 *  for a map that is reused gets the name of what it reuses. */
const objectNames = ['collect', 'from_pod', 'to_pod', 'from_netdev', 'to_netdev', 'from_sorter', 'sock'] as const
type ObjectName = (typeof objectNames)[number]

/** bpf/lib/takeover.h */
const PREVIOUS_NAT = 'previous_nat'

/** Pods come in bursts; what else changes the network should not wait for their links. */
const LINK_DELAY_MS = 1000

const mapNames = Object.keys(maps) as readonly MapName[]

export interface DatapathOptions {
  /** A mounted bpffs; everything is pinned in its folder heddle. */
  readonly bpffs: string
  /** Folder of the compiled objects. */
  readonly objectsDir: string
  readonly config: NodeConfig
  /** Entries of maps whose default in bpf/abi does not fit. */
  readonly sizes: Partial<Record<MapName, number>>
}

interface Loaded {
  readonly maps: Map<MapName, Fd>
  readonly programs: Map<string, Fd>
}

interface Sources {
  readonly addon: Addon
  readonly options: DatapathOptions
  readonly pins: MapPins
  readonly sizeOf: (name: MapName) => number
}

/** Maps of another size or layout that programs which are still attached may write to. */
interface Takeover {
  readonly previous: Map<MapName, Fd>
  /** Objects whose programs look into the previous `translations`. */
  readonly objects: Set<ObjectName>
  readonly sources: Sources
}

/** Owns the descriptors; what is pinned stays when it is disposed of. */
export class Datapath implements Disposable {
  readonly maps: Readonly<Record<MapName, Fd>>
  readonly #loaded: Loaded
  readonly #takeover: Takeover
  readonly #addon: Addon
  readonly #links: Links
  /** Host interfaces of pods that only have filters -> ifindex. */
  readonly #toLink = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined
  /** How often a pod came or went. */
  #changes = 0

  constructor(addon: Addon, links: Links, loaded: Loaded, takeover: Takeover) {
    this.#addon = addon
    this.#links = links
    this.#loaded = loaded
    this.#takeover = takeover
    this.maps = Object.fromEntries(loaded.maps) as Record<MapName, Fd>
  }

  get programs(): ReadonlyMap<string, Fd> {
    return this.#loaded.programs
  }

  /** To be called when every pod, the uplink and the cgroup are attached: copies what the programs that were there before
   *  wrote until then, and forgets their maps. Filters look into them until the next start. Nothing to do when no map
   *  changed. */
  async finishTakeover(): Promise<void> {
    const { previous, objects, sources } = this.#takeover
    for (const [name, from] of previous) await copyMissing(this.#addon, name, from, this.maps[name])
    const renewed: Loaded = { maps: this.#loaded.maps, programs: new Map() }
    for (const name of objects) await loadObject(sources, name, renewed)
    for (const [name, program] of renewed.programs) {
      this.#addon.closeFd(this.#loaded.programs.get(name)!)
      this.#loaded.programs.set(name, program)
    }
    if (objects.size > 0) this.#links.replacePrograms(this.#loaded.programs)
    objects.clear()
    closePrevious(this.#addon, previous)
  }

  /** What makes a new device a pod's, before it goes up: its programs as filters. They cost an ADD 0.2 ms; linkPod
   *  follows behind its back. */
  podFilters(ifindex: number): readonly Uint8Array[] {
    const filters = this.#podHooks(ifindex, '').map(({ direction, name, program }) =>
      putFilter(ifindex, direction, name, program),
    )
    return [addClsact(ifindex), ...filters]
  }

  /** Has links take the place of the filters, soon. */
  linkPod(ifindex: number, hostIfname: string): void {
    if (this.#links.hasTcx) this.#toLink.set(hostIfname, ifindex)
    this.#linkLater()
  }

  /** A pod that was there when the agent started: it has these programs when this resolves. */
  async attachPod(ifindex: number, hostIfname: string): Promise<void> {
    await all(this.#podHooks(ifindex, hostIfname).map((hook) => this.#links.filterDevice(hook)))
    this.linkPod(ifindex, hostIfname)
  }

  /** Idempotent; after the device has gone. */
  detachPod(hostIfname: string): void {
    this.#toLink.delete(hostIfname)
    this.#linkLater()
    for (const name of ['from_pod', 'to_pod']) this.#links.detach(name, hostIfname)
  }

  /** Gives pods that only have filters their links, one after the other: each keeps the kernel's network configuration
   *  locked for two RCU grace periods. Runs by itself when no pod came or went for a second, and leaves off, to go on
   *  later, when one does: its ADD or DEL would wait for the lock. */
  async linkPods(): Promise<void> {
    const changes = this.#changes
    for (const [hostIfname, ifindex] of [...this.#toLink]) {
      if (changes !== this.#changes) return
      const isWanted = () => this.#toLink.get(hostIfname) === ifindex
      for (const hook of this.#podHooks(ifindex, hostIfname)) {
        if (isWanted()) await this.#links.linkDevice(hook, isWanted)
      }
      if (isWanted()) this.#toLink.delete(hostIfname)
    }
  }

  /** Idempotent. */
  async attachUplink(ifindex: number): Promise<void> {
    const at = { ifindex, target: 'uplink' }
    await this.#links.attachDevice({ ...at, ...this.#hook('to_netdev'), direction: 'egress' })
    await this.#links.attachDevice({ ...at, ...this.#hook('from_netdev'), direction: 'ingress' })
  }

  /** What puts fragments in order (sorter.ts). Idempotent. */
  async attachSorter(ifindex: number): Promise<void> {
    const hook = this.#hook('from_sorter')
    await this.#links.attachDevice({ ifindex, target: 'sorter', ...hook, direction: 'ingress' })
  }

  /** Idempotent; sockets of every process below that folder. */
  async attachCgroup(path: string): Promise<void> {
    for (const hook of cgroupHooks) await this.#links.attachCgroup(hook, this.#hook(hook).program, path)
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#toLink.clear()
    this.#links[Symbol.dispose]()
    closePrevious(this.#addon, this.#takeover.previous)
    for (const fd of [...Object.values(this.maps), ...this.programs.values()]) this.#addon.closeFd(fd)
  }

  #linkLater(): void {
    this.#changes++
    clearTimeout(this.#timer)
    if (this.#toLink.size === 0) return
    // A failure is repeated at the next start: the filters judge as the links would.
    this.#timer = setTimeout(() => this.linkPods().catch(() => {}), LINK_DELAY_MS)
    this.#timer.unref()
  }

  #podHooks(ifindex: number, hostIfname: string): readonly DeviceHook[] {
    const at = { ifindex, target: hostIfname }
    return [
      { ...at, ...this.#hook('to_pod'), direction: 'egress' },
      { ...at, ...this.#hook('from_pod'), direction: 'ingress' },
    ]
  }

  #hook(name: CgroupHook | ObjectName): { readonly name: string; readonly program: Fd } {
    const program = this.programs.get(name)
    if (program === undefined) throw new Error(`no object has a program ${name}`)
    return { name, program }
  }
}

/** Rejects with a KernelError, verifier log included; then the programs and maps that were there are still in force. */
export async function openDatapath(addon: Addon, options: DatapathOptions): Promise<Datapath> {
  const folder = join(options.bpffs, 'heddle')
  mkdirSync(join(folder, 'links'), { recursive: true, mode: 0o700 })
  const pins = new MapPins(addon, folder)
  const links = new Links(addon, join(folder, 'links'))
  const loaded: Loaded = { maps: new Map(), programs: new Map() }
  const previous = new Map<MapName, Fd>()
  const sources: Sources = { addon, options, pins, sizeOf: (name) => options.sizes[name] ?? maps[name].maxEntries }
  const takeover: Takeover = { previous, objects: new Set(), sources }
  try {
    for (const name of mapNames) {
      const pinned = pins.open(name, sources.sizeOf(name))
      if (pinned.current !== undefined) loaded.maps.set(name, pinned.current)
      if (pinned.previous !== undefined) previous.set(name, pinned.previous)
    }
    const adopted = new Set(loaded.maps.keys())
    for (const name of objectNames) {
      if (await loadObject(sources, name, loaded, previous.get('translations'))) takeover.objects.add(name)
    }
    const missing = mapNames.filter((name) => !loaded.maps.has(name))
    if (missing.length > 0) throw new Error(`no object declares the maps ${missing.join(', ')}`)

    for (const [name, from] of previous) await copyMissing(addon, name, from, loaded.maps.get(name)!)
    for (const [name, from] of previous) await copyArray(addon, name, from, loaded.maps.get(name)!)
    if (!adopted.has('nat_kinds') && (adopted.has('translations') || previous.has('translations'))) {
      const every = encode(natKinds, { betweenNodes: 1 })
      addon.mapUpdate(loaded.maps.get('nat_kinds')!, encode(u32, 0), every, 0)
    }
    for (const name of mapNames) {
      if (!adopted.has(name)) pins.pin(name, loaded.maps.get(name)!, previous.has(name))
    }
    links.replacePrograms(loaded.programs)
    // What the old programs wrote until the last of them was replaced.
    for (const [name, from] of previous) await copyMissing(addon, name, from, loaded.maps.get(name)!)
    pins.finishMigration()
    await startCollecting(addon, loaded.programs.get('collect')!)
    return new Datapath(addon, links, loaded, takeover)
  } catch (error) {
    for (const fd of [...loaded.maps.values(), ...loaded.programs.values()]) addon.closeFd(fd)
    closePrevious(addon, previous)
    links[Symbol.dispose]()
    throw error
  }
}

function closePrevious(addon: Addon, previous: Map<MapName, Fd>): void {
  for (const fd of previous.values()) addon.closeFd(fd)
  previous.clear()
}

/** true: its programs look into `previousNat` for what `translations` does not have. */
async function loadObject(
  { addon, options, pins, sizeOf }: Sources,
  name: ObjectName,
  loaded: Loaded,
  previousNat?: Fd,
): Promise<boolean> {
  const object = addon.openObject(readFileSync(join(options.objectsDir, `${name}.o`)), name)
  try {
    const shared = object.maps.map((map) => map.name).filter(isMapName)
    for (const map of shared) {
      const fd = loaded.maps.get(map)
      if (fd !== undefined) object.reuseMap(map, fd)
      else object.setMaxEntries(map, sizeOf(map))
    }
    const own = object.maps.filter((map) => !isMapName(map.name) && map.name !== PREVIOUS_NAT)
    const created = own.filter((map) => !pins.reuseOwn(object, map))
    if (name !== 'collect') object.setRodata('config', encode(nodeConfig, options.config))
    const takesOver = previousNat !== undefined && takeOver(addon, object, previousNat)
    await attempt(`load ${name}`, () => object.load())
    for (const map of created) pins.pinOwn(object, map)
    for (const map of shared) if (!loaded.maps.has(map)) loaded.maps.set(map, object.mapFd(map))
    for (const program of object.programs) loaded.programs.set(program.name, object.programFd(program.name))
    return takesOver
  } finally {
    object.close()
  }
}

/** Only for values of the same size: the verifier refuses to copy a shorter one. */
function takeOver(addon: Addon, object: BpfObject, previousNat: Fd): boolean {
  const hasPrevious = object.maps.some((map) => map.name === PREVIOUS_NAT)
  if (!hasPrevious || addon.mapInfo(previousNat).valueSize !== maps.translations.valueSize) return false
  object.reuseMap(PREVIOUS_NAT, previousNat)
  object.setRodata('taking_over', Uint8Array.of(1))
  return true
}

/** The timer that deletes idle translations lives in a map and goes on without the agent; this starts it, or gives it
 *  the new program. */
async function startCollecting(addon: Addon, program: Fd): Promise<void> {
  const anyFrame = new Uint8Array(64)
  const { retval } = await attempt('start collecting', () => addon.testRun(program, anyFrame, null, 1))
  if (retval !== 0) throw new Error('the timer that collects idle translations did not start')
}

function isMapName(name: string): name is MapName {
  return name in maps
}
