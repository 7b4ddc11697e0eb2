// SPDX-License-Identifier: Apache-2.0
// Programs at their hooks. A link is pinned as <folder>/<program>-<target>, so that it outlives the agent; unpinning it
// detaches the program. Kernels without tcx (below 6.6) get clsact filters instead, which the device itself keeps.

import { readdirSync, statSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Addon, Fd, NetlinkSocket } from './addon.ts'
import { addClsact, type Direction, deleteFilter, putFilter } from './filters.ts'
import { attempt, isCode } from './kernel-error.ts'

/** enum bpf_attach_type (include/uapi/linux/bpf.h). */
const attachTypes = {
  tcxIngress: 46,
  tcxEgress: 47,
  bind4: 8,
  bind6: 9,
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
  'bind4',
  'bind6',
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

const NETLINK_ROUTE = 0

/** A program at a device; target names it in the pin, for ever the same. */
export interface DeviceHook {
  readonly name: string
  readonly program: Fd
  readonly ifindex: number
  readonly direction: Direction
  readonly target: string
}

export class Links implements Disposable {
  readonly #addon: Addon
  readonly #folder: string
  #socket: NetlinkSocket | undefined
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

  [Symbol.dispose](): void {
    this.#socket?.close()
    this.#socket = undefined
  }

  /** Whether links to devices can be made; true until one was refused. */
  get hasTcx(): boolean {
    return this.#hasTcx
  }

  /** By a link where the kernel can (10 ms), else by a filter. Idempotent. */
  async attachDevice(hook: DeviceHook): Promise<void> {
    if (!(await this.linkDevice(hook, () => true))) await this.filterDevice(hook)
  }

  /** By a filter (0.3 ms), unless a link is there already. Idempotent. */
  async filterDevice(hook: DeviceHook): Promise<void> {
    await attempt(subjectOf(hook), async () => {
      if (this.#replaceOn(hook)) return
      await this.#ask(addClsact(hook.ifindex)).catch((error) => {
        if (!isCode(error, 'EEXIST')) throw error
      })
      await this.#ask(putFilter(hook.ifindex, hook.direction, hook.name, hook.program))
    })
  }

  /** Makes the link, which takes precedence over a filter, and then removes the filter: every packet meets one of them.
   *  `isWanted` is asked when the link is there; if not, it is given up. false: the kernel cannot. Idempotent. */
  async linkDevice(hook: DeviceHook, isWanted: () => boolean): Promise<boolean> {
    return attempt(subjectOf(hook), async () => {
      if (this.#replaceOn(hook)) return true
      const type = hook.direction === 'ingress' ? attachTypes.tcxIngress : attachTypes.tcxEgress
      const link = await this.#tryTcx(hook.program, hook.ifindex, type)
      if (link === undefined) return false
      try {
        if (!isWanted()) return true
        this.#addon.pin(link, join(this.#folder, nameOf(hook)))
      } finally {
        this.#addon.closeFd(link)
      }
      await this.detachFilter(hook.ifindex, hook.direction)
      return true
    })
  }

  /** Idempotent. */
  async attachCgroup(hook: CgroupHook, program: Fd, path: string): Promise<void> {
    const name = `${hook}-cgroup`
    await attempt(`attach ${hook} to ${path}`, async () => {
      const pinned = this.#inspect(name)
      if (pinned?.cgroupId === statSync(path, { bigint: true }).ino && this.#replace(name, program)) return
      if (pinned !== undefined) this.#unpin(name)
      const folder = this.#addon.openDirectory(path)
      try {
        const link = await this.#addon.linkCreate(program, folder, attachTypes[hook])
        try {
          this.#addon.pin(link, join(this.#folder, name))
        } finally {
          this.#addon.closeFd(link)
        }
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
  async detachFilter(ifindex: number, direction: Direction): Promise<void> {
    try {
      await this.#ask(deleteFilter(ifindex, direction))
    } catch (error) {
      if (!isCode(error, 'ENOENT', 'EINVAL', 'ENODEV')) throw error
    }
  }

  /** In the caller's network namespace, as links are. */
  #ask(message: Uint8Array): Promise<readonly Uint8Array[]> {
    this.#socket ??= this.#addon.openNetlink(NETLINK_ROUTE, null)
    return this.#socket.request(message)
  }

  /** undefined: this kernel has no tcx. */
  async #tryTcx(program: Fd, ifindex: number, attachType: number): Promise<Fd | undefined> {
    if (!this.#hasTcx) return undefined
    try {
      return await this.#addon.linkCreate(program, ifindex, attachType)
    } catch (error) {
      if (!isCode(error, 'EINVAL')) throw error
      this.#hasTcx = false
      return undefined
    }
  }

  /** false: no link to that device is pinned. */
  #replaceOn(hook: DeviceHook): boolean {
    const name = nameOf(hook)
    const pinned = this.#inspect(name)
    if (pinned?.ifindex === hook.ifindex && this.#replace(name, hook.program)) return true
    if (pinned !== undefined) this.#unpin(name)
    return false
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

function nameOf({ name, target }: DeviceHook): string {
  return `${name}-${target}`
}

function subjectOf({ name, ifindex }: DeviceHook): string {
  return `attach ${name} to ifindex ${ifindex}`
}

export function openIfPinned(addon: Addon, path: string): Fd | undefined {
  try {
    return addon.openPinned(path)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}
