// SPDX-License-Identifier: Apache-2.0
// Where maps are pinned: <folder>/<map>_v<layout>. A map that is being migrated to stands beside it as ..._next until
// every program uses it; whatever moment the agent dies at, the next start finds both and goes on.

import { readdirSync, renameSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { type MapName, maps } from '../generated/abi.ts'
import type { Addon, BpfObject, Fd, MapInfo } from './addon.ts'
import { attemptNow } from './kernel-error.ts'
import { openIfPinned } from './links.ts'

const NEXT = '_next'

/** What is pinned of one map. */
export interface Pinned {
  /** To be used as it is. */
  readonly current?: Fd
  /** Of another layout or size: its entries belong into the new map. */
  readonly previous?: Fd
}

export class MapPins {
  readonly #addon: Addon
  readonly #folder: string

  constructor(addon: Addon, folder: string) {
    this.#addon = addon
    this.#folder = folder
  }

  /** Descriptors are the caller's to close. A migration that was begun goes on, unless another one is wanted now. */
  open(name: MapName, maxEntries: number): Pinned {
    const present = this.#openOfSize(this.#pinName(name), maxEntries)
    const next = this.#openOfSize(`${this.#pinName(name)}${NEXT}`, maxEntries)
    const goesOn = next?.fits === true && present?.fits !== true
    if (next !== undefined && !goesOn) this.#forget(name, next.map)
    if (present?.fits) return { current: present.map }
    const previous = present?.map ?? this.#openOtherLayout(name)
    return {
      ...(goesOn && { current: next.map }),
      ...(previous !== undefined && { previous }),
    }
  }

  /** Pins a new map; `migrating`: beside the one that it will replace. */
  pin(name: MapName, map: Fd, migrating: boolean): void {
    const path = join(this.#folder, `${this.#pinName(name)}${migrating ? NEXT : ''}`)
    attemptNow(`pin map ${name}`, () => this.#addon.pin(map, path))
  }

  /** Gives an object the pinned map of its own (one that is not in bpf/abi), if it still has the same shape. */
  reuseOwn(object: BpfObject, { name, type, keySize, valueSize, maxEntries }: MapInfo): boolean {
    const path = this.#ownPath(name)
    const map = openIfPinned(this.#addon, path)
    if (map === undefined) return false
    try {
      const pinned = this.#addon.mapInfo(map)
      const isSame =
        pinned.type === type &&
        pinned.keySize === keySize &&
        pinned.valueSize === valueSize &&
        pinned.maxEntries === maxEntries
      if (isSame) object.reuseMap(name, map)
      else unlinkSync(path)
      return isSame
    } finally {
      this.#addon.closeFd(map)
    }
  }

  /** After the load that created it. */
  pinOwn(object: BpfObject, { name }: MapInfo): void {
    const map = object.mapFd(name)
    try {
      attemptNow(`pin map ${name}`, () => this.#addon.pin(map, this.#ownPath(name)))
    } finally {
      this.#addon.closeFd(map)
    }
  }

  /** Every program uses the new maps: they take their own names, older ones go. */
  finishMigration(): void {
    const wanted = new Map(Object.keys(maps).map((name) => [name, this.#pinName(name as MapName)]))
    for (const file of this.#files()) {
      if (file.endsWith(NEXT)) renameSync(join(this.#folder, file), join(this.#folder, file.slice(0, -NEXT.length)))
    }
    for (const file of this.#files()) {
      const name = mapNameOf(file)
      if (name !== undefined && wanted.get(name) !== file) unlinkSync(join(this.#folder, file))
    }
  }

  /** Of a migration to another size than is wanted now. */
  #forget(name: MapName, next: Fd): void {
    this.#addon.closeFd(next)
    unlinkSync(join(this.#folder, `${this.#pinName(name)}${NEXT}`))
  }

  #ownPath(name: string): string {
    return join(this.#folder, `own_${name}`)
  }

  #pinName(name: MapName): string {
    return `${name}_v${maps[name].layout}`
  }

  #openOfSize(file: string, maxEntries: number): { readonly map: Fd; readonly fits: boolean } | undefined {
    const map = openIfPinned(this.#addon, join(this.#folder, file))
    return map && { map, fits: this.#addon.mapInfo(map).maxEntries === maxEntries }
  }

  #openOtherLayout(name: MapName): Fd | undefined {
    const file = this.#files().find((each) => mapNameOf(each) === name && !each.endsWith(NEXT))
    return file === undefined ? undefined : openIfPinned(this.#addon, join(this.#folder, file))
  }

  #files(): readonly string[] {
    return readdirSync(this.#folder)
  }
}

/** undefined: no map's pin. */
function mapNameOf(file: string): string | undefined {
  return /^(\w+)_v[0-9a-f]+(?:_next)?$/.exec(file)?.[1]
}
