// SPDX-License-Identifier: Apache-2.0

import type { Addon, NetlinkSocket } from './addon.ts'

const NETLINK_ROUTE = 0

/** The node's own network namespace, as the agent changes it. Two sockets: removing a device keeps the kernel busy for
 *  20 ms, and nothing else should wait behind it. */
export class NodeNetwork implements Disposable {
  readonly addon: Addon
  readonly #asking: NetlinkSocket
  readonly #removing: NetlinkSocket

  /** Opens them in the caller's network namespace. */
  constructor(addon: Addon) {
    this.addon = addon
    this.#asking = addon.openNetlink(NETLINK_ROUTE, null)
    this.#removing = addon.openNetlink(NETLINK_ROUTE, null)
  }

  request(message: Uint8Array): Promise<readonly Uint8Array[]> {
    return this.#asking.request(message)
  }

  async remove(message: Uint8Array): Promise<void> {
    await this.#removing.request(message)
  }

  /** Idempotent. */
  [Symbol.dispose](): void {
    this.#asking.close()
    this.#removing.close()
  }
}
