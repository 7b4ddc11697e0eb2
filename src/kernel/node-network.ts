// SPDX-License-Identifier: Apache-2.0

import type { Addon, Answers, Fd, NetlinkSocket, NetworkStep } from './addon.ts'
import { concat } from './netlink.ts'

const NETLINK_ROUTE = 0

/** The node's own network namespace, as the agent changes it. Two sockets: removing a device keeps the kernel busy for
 *  20 ms, and nothing else should wait behind it. */
export class NodeNetwork implements Disposable {
  readonly addon: Addon
  readonly #sysctlDir: string
  readonly #netns: Fd
  readonly #asking: NetlinkSocket
  readonly #removing: NetlinkSocket
  #disposed = false

  /** `sysctlDir`: where /proc/sys/net can be written; a container that is not privileged has its own mount of it. */
  constructor(addon: Addon, { netnsPath = '/proc/thread-self/ns/net', sysctlDir = '/proc/sys/net' } = {}) {
    this.addon = addon
    this.#sysctlDir = sysctlDir
    this.#netns = addon.openNetns(netnsPath)
    this.#asking = addon.openNetlink(NETLINK_ROUTE, this.#netns)
    this.#removing = addon.openNetlink(NETLINK_ROUTE, this.#netns)
  }

  /** NetlinkSocket.request. */
  request(...messages: readonly Uint8Array[]): Promise<readonly Uint8Array[]> {
    return this.#asking.request(concat(messages))
  }

  async remove(message: Uint8Array): Promise<void> {
    await this.#removing.request(message)
  }

  /** `path` is below /proc/sys/net. */
  writeSysctl(path: string, value: string): void {
    this.addon.writeSysctl(this.#netns, `${this.#sysctlDir}/${path}`, value)
  }

  /** For `configure`; `netns`: of a pod, else the node's own. */
  requests(messages: readonly Uint8Array[], netns: Fd = this.#netns): NetworkStep {
    return { netns, messages: concat(messages) }
  }

  /** For `configure`, like writeSysctl. */
  setting(path: string, value: string, netns: Fd = this.#netns): NetworkStep {
    return { netns, sysctl: `${this.#sysctlDir}/${path}`, value }
  }

  /** Addon.configure. */
  configure(steps: readonly NetworkStep[]): Promise<Answers> {
    return this.addon.configure(steps)
  }

  /** Idempotent. */
  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#asking.close()
    this.#removing.close()
    this.addon.closeFd(this.#netns)
  }
}
