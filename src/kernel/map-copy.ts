// SPDX-License-Identifier: Apache-2.0
// A map's entries into another one of another layout or size. Members are only ever appended to a value or put into its
// spare bytes, so the part that both have means the same.

import type { Addon, Fd } from './addon.ts'
import { attempt, isCode } from './kernel-error.ts'

const BPF_NOEXIST = 1

/** enum bpf_map_type. */
const ARRAY = 2
const PERCPU_ARRAY = 6
const RINGBUF = 27

/** Copies every entry that the new map does not have; of arrays, which have all keys from the start, nothing. E2BIG: the
 *  new map is too small. */
export async function copyMissing(addon: Addon, name: string, from: Fd, to: Fd): Promise<void> {
  const old = addon.mapInfo(from)
  const now = addon.mapInfo(to)
  if (isArray(old.type) || old.type === RINGBUF || old.keySize !== now.keySize) return
  await attempt(`copy map ${name}`, async () => {
    const { keys, values, count } = await addon.mapDump(from)
    const value = new Uint8Array(now.valueSize)
    const common = Math.min(old.valueSize, now.valueSize)
    for (let i = 0; i < count; i++) {
      value.set(values.subarray(i * old.valueSize, i * old.valueSize + common))
      const key = keys.subarray(i * old.keySize, (i + 1) * old.keySize)
      try {
        addon.mapUpdate(to, key, value, BPF_NOEXIST)
      } catch (error) {
        if (!isCode(error, 'EEXIST')) throw error
      }
    }
  })
}

/** Counters and the policy epoch, per CPU where the map is. Nothing when the values have another size. */
export async function copyArray(addon: Addon, name: string, from: Fd, to: Fd): Promise<void> {
  const old = addon.mapInfo(from)
  const now = addon.mapInfo(to)
  if (!isArray(old.type) || old.type !== now.type || old.valueSize !== now.valueSize) return
  await attempt(`copy map ${name}`, async () => {
    const { keys, values, count } = await addon.mapDump(from)
    const valueSize = values.length / count
    for (let i = 0; i < Math.min(count, now.maxEntries); i++) {
      addon.mapUpdate(to, keys.subarray(i * 4, i * 4 + 4), values.subarray(i * valueSize, (i + 1) * valueSize), 0)
    }
  })
}

function isArray(type: number): boolean {
  return type === ARRAY || type === PERCPU_ARRAY
}
