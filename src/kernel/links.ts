// SPDX-License-Identifier: Apache-2.0
// Programs at their hooks. A link is pinned as <folder>/<program>-<target>, so that it outlives the agent; unpinning it
// detaches the program. Kernels without tcx (below 6.6) get clsact filters instead, which the device itself keeps.

import { readdirSync, statSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Addon, Fd } from './addon.ts'
import { attemptNow, isCode } from './kernel-error.ts'

export type Direction = 'ingress' | 'egress'

/** enum bpf_attach_type (include/uapi/linux/bpf.h). */
const attachTypes = {
  tcxIngress: 46,
  tcxEgress: 47,
  connect4: 10,
  connect6: 11,
  sendmsg4: 14,
  sendmsg6: 15,
  recvmsg4: 19,
  recvmsg6: 20,
  getpeername4: 29,
  getpeername6: 30,
} as const

/** Programs of a cgroup, by the hook that they are named after. */
export const cgroupHooks = [
  'connect4',
  'connect6',
  'sendmsg4',
  'sendmsg6',
  'recvmsg4',
  'recvmsg6',
  'getpeername4',
  'getpeername6',
] as const
export type CgroupHook = (typeof cgroupHooks)[number]

/** Of our filter among a device's; tc(8) shows it as pref. */
const FILTER_PRIORITY = 18500
const FILTER_HANDLE = 1

export class Links {
  readonly #addon: Addon
  readonly #folder: string
  #hasTcx = true

  /** The folder exists and is in a bpffs. */
  constructor(addon: Addon, folder: string) {
    this.#addon = addon
    this.#folder = folder
  }

  /** Gives every pinned link the program of its name; a link whose device, cgroup or program is gone is unpinned. */
  replacePrograms(programs: ReadonlyMap<string, Fd>): void {
    for (const name of readdirSync(this.#folder)) {
      const program = programs.get(name.slice(0, name.indexOf('-')))
      if (program === undefined || !this.#replace(name, program)) this.#unpin(name)
    }
  }

  /** Idempotent. */
  attachDevice(programName: string, program: Fd, ifindex: number, direction: Direction, target: string): void {
    const subject = `attach ${programName} to ifindex ${ifindex}`
    const name = `${programName}-${target}`
    attemptNow(subject, () => {
      const pinned = this.#inspect(name)
      if (pinned?.ifindex === ifindex && this.#replace(name, program)) return
      if (pinned !== undefined) this.#unpin(name)
      if (this.#hasTcx && this.#tryTcx(name, program, ifindex, direction)) return
      this.#addon.filterAttach(program, ifindex, direction, FILTER_PRIORITY, FILTER_HANDLE)
    })
  }

  /** Idempotent. */
  attachCgroup(hook: CgroupHook, program: Fd, path: string): void {
    const name = `${hook}-cgroup`
    attemptNow(`attach ${hook} to ${path}`, () => {
      const pinned = this.#inspect(name)
      if (pinned?.cgroupId === statSync(path, { bigint: true }).ino && this.#replace(name, program)) return
      if (pinned !== undefined) this.#unpin(name)
      const folder = this.#addon.openDirectory(path)
      try {
        this.#create(name, program, folder, attachTypes[hook])
      } finally {
        this.#addon.closeFd(folder)
      }
    })
  }

  /** Idempotent; filters go with their device. */
  detach(programName: string, target: string): void {
    this.#unpin(`${programName}-${target}`)
  }

  /** Removes our filter from a device that stays. Idempotent. */
  detachFilter(ifindex: number, direction: Direction): void {
    try {
      this.#addon.filterDetach(ifindex, direction, FILTER_PRIORITY, FILTER_HANDLE)
    } catch (error) {
      if (!isCode(error, 'ENOENT', 'EINVAL', 'ENODEV')) throw error
    }
  }

  #tryTcx(name: string, program: Fd, ifindex: number, direction: Direction): boolean {
    try {
      this.#create(name, program, ifindex, direction === 'ingress' ? attachTypes.tcxIngress : attachTypes.tcxEgress)
      return true
    } catch (error) {
      if (!isCode(error, 'EINVAL')) throw error
      this.#hasTcx = false
      return false
    }
  }

  #create(name: string, program: Fd, target: number, attachType: number): void {
    const link = this.#addon.linkCreate(program, target, attachType)
    try {
      this.#addon.pin(link, join(this.#folder, name))
    } finally {
      this.#addon.closeFd(link)
    }
  }

  #inspect(name: string): ReturnType<Addon['linkInfo']> | undefined {
    return this.#withPinned(name, (link) => this.#addon.linkInfo(link))
  }

  /** false: what it was attached to is gone. */
  #replace(name: string, program: Fd): boolean {
    const replaced = this.#withPinned(name, (link) => {
      try {
        this.#addon.linkUpdate(link, program)
        return true
      } catch (error) {
        if (!isCode(error, 'ENOLINK')) throw error
        return false
      }
    })
    return replaced ?? false
  }

  #withPinned<T>(name: string, use: (link: Fd) => T): T | undefined {
    const link = openIfPinned(this.#addon, join(this.#folder, name))
    if (link === undefined) return undefined
    try {
      return use(link)
    } finally {
      this.#addon.closeFd(link)
    }
  }

  #unpin(name: string): void {
    try {
      unlinkSync(join(this.#folder, name))
    } catch (error) {
      if (!isCode(error, 'ENOENT')) throw error
    }
  }
}

export function openIfPinned(addon: Addon, path: string): Fd | undefined {
  try {
    return addon.openPinned(path)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}
